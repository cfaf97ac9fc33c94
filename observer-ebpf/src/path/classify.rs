//! Does the filter match a packet that enters a hook?

use aya_ebpf::helpers::bpf_jiffies64;
use observer_common::{Count, Filter, PATH_FILTER, hook_flag};

use super::frame::{Frame, PathCpu, tracking};
use super::{OUTPUT, PREROUTING, is_inet, packet};
use crate::conntrack::conntrack_fill;
use crate::filter::{self, Sight};
use crate::look::Look;
use crate::maps::{FLOWS, count};

/// In [`FLOWS`]: the filter matches, once NAT has done its part. Else the tick at which it was found not to: for a while.
const OURS: u64 = u64::MAX;
/// What is not in it. (A number, and no `Option`: of that the compiler may copy what is nothing, which the verifier does
/// not allow.)
const NOT_SEEN: u64 = 0;
/// How long that holds, in ticks of the kernel's clock: a quarter of a second to two and a half.
const TICKS: u64 = 250;

/// A constant of [`tracking`]. Fills the record's headers, connection and `matched`.
#[inline(always)]
pub fn classify(skb: impl Look, frame: *mut Frame, cpu: *mut PathCpu, filter: &Filter) -> u32 {
    // SAFETY: this CPU's elements.
    let frame = unsafe { &mut *frame };
    frame.has_flow = 0;
    if !packet::fill(skb, &mut frame.event) {
        return tracking::NONE;
    }
    if is_match(frame, cpu, filter) {
        return tracking::YES;
    }
    let nfct = frame.event.nfct;
    // The packet within, or the connection's other addresses: in one place, since the verifier follows the filter anew in each.
    if !packet::unwrap_tunnel(skb, &mut frame.event) {
        if conntrack_fill(nfct, &mut frame.event.conn) == 0 {
            return if filter.dst_count | filter.src_count | filter.port_count == 0 {
                tracking::NONE
            } else {
                before_conntrack(frame, cpu)
            };
        }
        frame.event.flags |= hook_flag::CONN;
    }
    if is_match(frame, cpu, filter) {
        tracking::YES
    } else {
        tracking::NONE
    }
}

/// Whether the filter matches what the record has of the packet so far.
#[inline(always)]
pub fn is_match(frame: &mut Frame, cpu: *mut PathCpu, filter: &Filter) -> bool {
    path_is_match(frame, cpu, filter) != 0
}

/// [`is_match`], by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_is_match(frame: *mut Frame, cpu: *mut PathCpu, filter: *const Filter) -> u32 {
    if frame.is_null() || cpu.is_null() || filter.is_null() {
        return 0;
    }
    // SAFETY: this CPU's element, and one of a map.
    u32::from(unsafe { matches(&mut *frame, cpu, &*filter) })
}

#[inline(always)]
fn matches(frame: &mut Frame, cpu: *mut PathCpu, filter: &Filter) -> bool {
    let event = &frame.event;
    let sight = Sight {
        header: &event.before,
        header_bytes: event.before_bytes,
        conn: (event.flags & hook_flag::CONN != 0).then_some(&event.conn),
        inode: event.netns_inode,
        dev: &event.in_name,
        route: &event.out_name,
    };
    // SAFETY: this CPU's element.
    let views = unsafe { &raw mut (*cpu).views };
    let Some(matched) = filter::matches(PATH_FILTER, filter, views, &sight) else {
        return false;
    };
    frame.event.matched = matched;
    true
}

/// Conntrack and NAT come later in this hook: has a packet with these addresses been seen?
#[inline(always)]
fn before_conntrack(frame: &mut Frame, cpu: *mut PathCpu) -> u32 {
    let (hook, pf) = (frame.event.hook, frame.event.pf);
    // SAFETY: this CPU's element; `matches` has filled the first view.
    let view = unsafe { &(*cpu).views[0] };
    // Field by field, where it is to be: the stack is short.
    let key = &mut frame.flow;
    key.src = view.src;
    key.dst = view.dst;
    key.src_port = view.src_port;
    key.dst_port = view.dst_port;
    key.proto = u32::from(view.proto);
    key.inode = frame.event.netns_inode;
    key.pad = 0;
    // SAFETY: a copy is taken at once.
    let known = unsafe { FLOWS.get(&frame.flow) }.copied().unwrap_or(NOT_SEEN);
    if known == OURS {
        return tracking::PERHAPS;
    }
    let may_change = is_inet(pf) && (hook == PREROUTING || hook == OUTPUT);
    // SAFETY: the helper has no preconditions.
    let is_others = known != NOT_SEEN && unsafe { bpf_jiffies64() }.wrapping_sub(known) < TICKS;
    if !may_change || (is_others && !is_opening(frame)) {
        return tracking::NONE;
    }
    frame.has_flow = 1;
    tracking::PERHAPS
}

/// A TCP SYN: a new connection may be translated otherwise than the last one with these ports.
#[inline(always)]
fn is_opening(frame: &Frame) -> bool {
    let header = &frame.event.before;
    let at = if header[0] >> 4 == 4 {
        u32::from(header[0] & 0xf) * 4
    } else {
        40
    };
    let flags = header[((at + 13) & 127) as usize];
    frame.flow.proto == 6 && flags & 0x12 == 0x02
}

/// Remembers whether the filter matches packets with these addresses.
#[inline(always)]
pub fn remember(frame: &Frame, is_ours: bool) {
    if frame.has_flow == 0 {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let value = if is_ours { OURS } else { unsafe { bpf_jiffies64() } };
    // A full map forgets its oldest entry; a failure costs a second look.
    if FLOWS.insert(&frame.flow, value, 0).is_err() {
        count(Count::Unmatched);
    }
}
