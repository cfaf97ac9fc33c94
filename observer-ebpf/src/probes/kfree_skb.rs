//! `kfree_skb`: the tracepoint that every dropped packet passes and no live one.
//!
//! include/trace/events/skb.h
//!     v5.10  TP_PROTO(struct sk_buff *skb, void *location)
//!     v6.1   TP_PROTO(struct sk_buff *skb, void *location, enum skb_drop_reason reason)
//!     v6.12  TP_PROTO(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_ringbuf_output},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use observer_common::{
    Allowance, Count, DROP_FILTER, DropEvent, EventKind, Filter, HEADER_BYTES, MAX_RANGES, Matched,
    SENT_STACK, WAKE_NS, flag,
};

use crate::{
    behind::{self, Look},
    bytes,
    conntrack::{self, conntrack_fill},
    cost,
    counters::counters_compare,
    cpu,
    filter::{self, Sight},
    flood::{self, flood_fold},
    maps::{EVENTS, FILTER, NO_WAKEUP, NOT_LOSS, SCRATCH, Scratch, count},
    memory::{bounded, offset},
    path, skb, stack,
};

#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    let began = cost::samples();
    // Nothing to report to: the kernel ignores what a tracepoint program returns.
    let _ = dropped(&ctx);
    cost::sampled(began);
    0
}

#[inline(always)]
fn dropped(ctx: &BtfTracePointContext) -> Option<()> {
    let filter = FILTER.get(DROP_FILTER)?;
    let enabled = filter.enabled != 0;
    if enabled {
        count(Count::Seen);
    }
    let scratch = SCRATCH.get_ptr_mut(0)?;
    let location = ctx.arg::<u64>(1);
    let reason: u32 = if offset!(has_reason) != 0 { ctx.arg(2) } else { 0 };
    // SAFETY: this CPU's element; the kernel does not enter a program twice on one CPU.
    let event = unsafe { &mut (*scratch).event };
    event.kind = EventKind::Drop as u32;
    // SAFETY: this CPU's element; volatile, so that it is read back as a number.
    let skb = unsafe {
        core::ptr::write_volatile(&raw mut event.skb, ctx.arg::<*const u8>(0) as u64);
        core::ptr::read_volatile(&raw const event.skb)
    };
    event.location = location;
    event.reason = reason;
    event.flags = 0;
    let by_netfilter = is_netfilter(filter, location, reason);
    if !by_netfilter && (!enabled || is_no_loss(reason)) {
        return not_loss(enabled);
    }
    let Some((net, inode)) = skb::net(skb, event) else {
        return not_loss(enabled);
    };
    event.net = net;
    event.netns_inode = inode;
    // SAFETY: the helper has no preconditions.
    event.cpu = unsafe { bpf_get_smp_processor_id() };
    event.moved_count = 0;
    event.stack_count = 0;
    event.nesting = 0;
    let allowance = flood::allowance()?;
    let fate = if enabled {
        choose(scratch, filter, skb, allowance)
    } else {
        Fate::Quiet
    };
    let look = if by_netfilter {
        look_at_counters(scratch, net, fate)
    } else {
        Look::Own
    };
    match fate {
        Fate::Quiet => return None,
        Fate::Folded => return folded(skb),
        // It opens the books for the next, which will be named.
        Fate::Told if look == Look::Opens => return folded(skb),
        Fate::NotIp => return not_loss(enabled),
        // Two counters moved, or none: the next record on this CPU can only be read right with this one.
        Fate::Outside if event.flags & flag::COMPARED != 0 && event.moved_count != 1 => {
            event.flags |= flag::BOOKKEEPING;
        }
        Fate::Outside => {
            count(Count::Filtered);
            return None;
        }
        Fate::Told | Fate::Other => {}
    }
    flood::take_record(allowance);
    tell(ctx, scratch, filter, skb)
}

#[inline(always)]
fn not_loss(enabled: bool) -> Option<()> {
    if enabled {
        count(Count::NotLoss);
    }
    None
}

#[inline(always)]
fn folded(skb: u64) -> Option<()> {
    path::forget(skb);
    count(Count::Folded);
    None
}

/// What is to become of a drop.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// User space is not ready.
    Quiet,
    /// The filter matches it.
    Told,
    /// So it does, and its flow has not been told of in a flood of others.
    Other,
    /// So it does, but there are too many: it is counted.
    Folded,
    /// The filter does not match it.
    Outside,
    /// It is no IP packet.
    NotIp,
}

/// The books are kept for every netfilter drop, whether or not the filter matches it, but in a flood only for what is told.
#[inline(always)]
fn look_at_counters(scratch: *mut Scratch, net: u64, fate: Fate) -> Look {
    // SAFETY: this CPU's element.
    unsafe {
        (*scratch).event.flags |= flag::NETFILTER;
        (*scratch).sequence += 1;
        (*scratch).event.sequence = (*scratch).sequence;
    }
    let is_outside = fate == Fate::Outside || fate == Fate::NotIp;
    let began = if is_outside { flood::may_look() } else { None };
    if fate == Fate::Folded {
        behind::folded(net);
        return Look::Own;
    }
    if is_outside && began.is_none() {
        behind::unseen(net);
        return Look::Own;
    }
    let look = cpu::offset_of_this_cpu(scratch).map(|offset| counters_compare(scratch, offset, net).into());
    if let Some(began) = began {
        flood::looked(began);
    }
    look.unwrap_or(Look::Own)
}

/// Reads the packet, and asks the filter and the allowance.
#[inline(always)]
fn choose(scratch: *mut Scratch, filter: &Filter, skb: u64, allowance: *mut Allowance) -> Fate {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    let is_ip = skb::fill(skb, event);
    event.matched = Matched::Any as u8;
    if !is_ip {
        return Fate::NotIp;
    }
    let has_conn = conntrack_fill(conntrack::of(skb), &mut event.conn) != 0;
    if has_conn {
        event.flags |= flag::CONN;
    }
    let sight = Sight {
        header: &event.header,
        header_bytes: event.header_bytes,
        conn: has_conn.then_some(&event.conn),
        inode: event.netns_inode,
        dev: &event.dev_name,
        route: &event.route_name,
    };
    // SAFETY: this CPU's element.
    let views = unsafe { &raw mut (*scratch).views };
    if drop_is_match(scratch, filter) == 0 {
        return Fate::Outside;
    }
    if flood::is_plenty(allowance) {
        return Fate::Told;
    }
    // SAFETY: this CPU's element.
    let view = unsafe { &mut (*views)[0] };
    if filter.active == 0 {
        filter::from_headers(view, &sight);
    }
    if flood_fold(allowance, view, event) != 0 {
        Fate::Folded
    } else {
        Fate::Other
    }
}

/// Whether the filter matches what the record has of the packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn drop_is_match(scratch: *mut Scratch, filter: *const Filter) -> u32 {
    if scratch.is_null() || filter.is_null() {
        return 0;
    }
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    let sight = Sight {
        header: &event.header,
        header_bytes: event.header_bytes,
        conn: (event.flags & flag::CONN != 0).then_some(&event.conn),
        inode: event.netns_inode,
        dev: &event.dev_name,
        route: &event.route_name,
    };
    // SAFETY: this CPU's element, and one of a map.
    let matched = unsafe { filter::matches(DROP_FILTER, &*filter, &raw mut (*scratch).views, &sight) };
    let Some(matched) = matched else { return 0 };
    event.matched = matched;
    1
}

#[inline(always)]
fn tell(ctx: &BtfTracePointContext, scratch: *mut Scratch, filter: &Filter, skb: u64) -> Option<()> {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    // Its way first, so that user space has it when it hears of the death.
    if path::freed(skb) {
        event.flags |= flag::PATH;
    }
    if event.flags & flag::BOOKKEEPING == 0 && bytes::send(skb, event.cpu) {
        event.flags |= flag::BYTES;
    }
    send(ctx, scratch, filter)
}

#[inline(always)]
fn send(ctx: &BtfTracePointContext, scratch: *mut Scratch, filter: &Filter) -> Option<()> {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    // SAFETY: the helper has no preconditions.
    event.time_ns = unsafe { bpf_ktime_get_ns() };
    let len = if event.flags & flag::NETFILTER != 0 {
        stack::fill(ctx, scratch, filter);
        DropEvent::LEN_NETFILTER + 8 * bounded(&event.stack_count, SENT_STACK as u32) as usize
    } else {
        DropEvent::LEN_OTHER + bounded(&event.header_bytes, HEADER_BYTES as u32) as usize
    };
    let wake = wake(scratch, event.time_ns);
    // SAFETY: the record lies in the scratch element and is at least `len` long.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut *event).cast(),
            len as u64,
            wake,
        )
    };
    let bookkeeping = event.flags & flag::BOOKKEEPING != 0;
    count(match (sent, bookkeeping) {
        (0, false) => Count::Sent,
        (0, true) => Count::Bookkeeping,
        (_, false) => Count::Lost,
        (_, true) => Count::Filtered,
    });
    Some(())
}

/// User space is woken once in a while only, which costs as much as all else: it looks again by itself for longer than that
/// after each time that it found something.
#[inline(always)]
fn wake(scratch: *mut Scratch, now: u64) -> u64 {
    // SAFETY: this CPU's element.
    let woke = unsafe { &mut (*scratch).woke_ns };
    if now.wrapping_sub(*woke) < WAKE_NS {
        return NO_WAKEUP;
    }
    *woke = now;
    0
}

#[inline(always)]
fn is_netfilter(filter: &Filter, location: u64, reason: u32) -> bool {
    if filter.netfilter_drop != 0 && reason == filter.netfilter_drop {
        return true;
    }
    for i in 0..MAX_RANGES {
        if i as u32 >= filter.range_count {
            break;
        }
        let [start, end] = filter.ranges[i];
        if location >= start && location < end {
            return true;
        }
    }
    false
}

/// A reason beyond the set's end belongs to a subsystem, and is a loss.
#[inline(always)]
fn is_no_loss(reason: u32) -> bool {
    NOT_LOSS.get(reason).is_some_and(|no_loss| *no_loss != 0)
}
