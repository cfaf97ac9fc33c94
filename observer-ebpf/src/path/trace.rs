//! What nf_tables' trace hook says: each rule that matched, each return, each policy.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use observer_common::{
    BY_TRACE, BY_VERDICTS, EventKind, Filter, MAX_DEPTH, NftOffsets, PATH_FILTER, Step, hook_flag,
};

use super::frame::{self, Frame, Function, Running, tracking};
use super::{BRIDGE, PREROUTING, packet};
use crate::conntrack;
use crate::look::{Look as _, Plain};
use crate::maps::{FILTER, FRAMES};
use crate::memory::{field, offset};

/// One call of the trace hook.
#[derive(Clone, Copy)]
pub struct Traced {
    /// Address of the `struct nft_pktinfo`.
    pub pkt: u64,
    /// Kind of a [`Step`].
    pub kind: u32,
    /// The verdict's code.
    pub code: i32,
    /// The rule's handle; for a policy, the policy.
    pub handle: u64,
    /// Address of the base chain.
    pub base: u64,
    /// Address of the chain that the verdict leads to, or 0.
    pub to: u64,
}

/// Adds a step to the frame of the packet.
#[inline(always)]
pub fn traced(offsets: &NftOffsets, call: &Traced) -> Option<()> {
    let skb: u64 = field(call.pkt, offsets.pkt_skb)?;
    let frame = match frame::innermost(skb) {
        Some(frame) => frame,
        None => frameless(offsets, call.pkt, skb)?,
    };
    // SAFETY: this CPU's element.
    let event = unsafe { &raw mut (*frame).event };
    frame::push(
        event,
        Step {
            kind: call.kind,
            value: call.code as u32,
            words: [call.handle, call.base, call.to],
        },
    );
    Some(())
}

/// How nf_tables is watched, as a flag of a record.
#[inline(always)]
pub fn watched(filter: &Filter) -> u32 {
    match filter.traced {
        BY_TRACE => hook_flag::TRACED,
        BY_VERDICTS => hook_flag::VERDICTS,
        _ => 0,
    }
}

/// A bridge runs its PREROUTING without `nf_hook_slow`: the trace hook is all that sees it (`nf_hook_bridge_pre`,
/// net/bridge/br_input.c).
#[inline(always)]
pub fn frameless(offsets: &NftOffsets, pkt: u64, skb: u64) -> Option<*mut Frame> {
    let filter = FILTER.get(PATH_FILTER)?;
    if filter.enabled == 0 {
        return None;
    }
    let state: u64 = field(pkt, offsets.pkt_state)?;
    let pf: u8 = field(state, offset!(state_pf))?;
    let hook: u8 = field(state, offset!(state_hook))?;
    if pf != BRIDGE || hook != PREROUTING {
        return None;
    }
    let frame = FRAMES.get_ptr_mut(MAX_DEPTH)?;
    // SAFETY: this CPU's element.
    let of = unsafe { &mut *frame };
    if of.skb == skb && of.state == state && of.closed == 0 {
        return Some(frame);
    }
    of.skb = skb;
    of.state = state;
    of.closed = 0;
    of.tracking = tracking::YES;
    of.has_snapshot = 0;
    of.has_flow = 0;
    of.nft = Running::default();
    of.function = Function::default();
    let event = &mut of.event;
    event.kind = EventKind::Hook as u32;
    event.flags = hook_flag::FRAMELESS | watched(filter);
    event.skb = skb;
    event.net = field(state, offset!(state_net))?;
    event.netns_inode = field(event.net, offset!(net_inum))?;
    event.nfct = conntrack::of(skb);
    event.hook = hook;
    event.pf = pf;
    event.first = 0;
    event.step_count = 0;
    event.generation = 0;
    event.mark_before = Plain(skb).load(offset!(skb_mark));
    // SAFETY: the helper has no preconditions.
    event.time_ns = unsafe { bpf_ktime_get_ns() };
    super::enter::devices(event, Plain(state));
    packet::fill(Plain(skb), event);
    Some(frame)
}
