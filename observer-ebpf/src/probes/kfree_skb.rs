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
    Count, DROP_FILTER, DropEvent, EventKind, Filter, HEADER_BYTES, MAX_RANGES, Matched, SENT_STACK, flag,
};

use crate::{
    bytes, conntrack, counters, cpu,
    filter::{self, Sight},
    maps::{EVENTS, FILTER, NOT_LOSS, SCRATCH, Scratch, count},
    memory::{bounded, offset},
    path, skb, stack,
};

#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    // Nothing to report to: the kernel ignores what a tracepoint program returns.
    let _ = dropped(&ctx);
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
    let skb = ctx.arg::<*const u8>(0) as u64;
    let location = ctx.arg::<u64>(1);
    let reason: u32 = if offset!(has_reason) != 0 { ctx.arg(2) } else { 0 };
    // SAFETY: this CPU's element; the kernel does not enter a program twice on one CPU.
    let event = unsafe { &mut (*scratch).event };
    event.kind = EventKind::Drop as u32;
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
    if by_netfilter {
        event.flags |= flag::NETFILTER;
        look_at_counters(scratch, net);
    }
    if !enabled {
        return None;
    }
    choose(ctx, scratch, filter, skb)
}

#[inline(always)]
fn not_loss(enabled: bool) -> Option<()> {
    if enabled {
        count(Count::NotLoss);
    }
    None
}

/// The books are kept for every netfilter drop, whether or not the filter matches it.
#[inline(always)]
fn look_at_counters(scratch: *mut Scratch, net: u64) {
    // SAFETY: this CPU's element.
    unsafe {
        (*scratch).sequence += 1;
        (*scratch).event.sequence = (*scratch).sequence;
    }
    if let Some(cpu_offset) = cpu::offset_of_this_cpu(scratch) {
        counters::compare(scratch, cpu_offset, net);
    }
}

#[inline(always)]
fn choose(ctx: &BtfTracePointContext, scratch: *mut Scratch, filter: &Filter, skb: u64) -> Option<()> {
    // SAFETY: this CPU's element.
    let event = unsafe { &mut (*scratch).event };
    let is_ip = skb::fill(skb, event);
    event.matched = Matched::Any as u8;
    let has_conn = conntrack::fill(conntrack::of(skb), &mut event.conn);
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
    let matched = if is_ip {
        // SAFETY: this CPU's element.
        filter::matches(DROP_FILTER, filter, unsafe { &raw mut (*scratch).views }, &sight)
    } else {
        None
    };
    match matched {
        Some(matched) => event.matched = matched,
        // Two counters moved, or none: the next record on this CPU can only be read right with this one.
        None if is_ip && event.flags & flag::COMPARED != 0 && event.moved_count != 1 => {
            event.flags |= flag::BOOKKEEPING;
        }
        None => {
            count(if is_ip { Count::Filtered } else { Count::NotLoss });
            return None;
        }
    }
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
    // SAFETY: the record lies in the scratch element and is at least `len` long.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut *event).cast(),
            len as u64,
            0,
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
