//! The bytes of a packet that dies, for a capture: nothing of this is in the programs that the kernel loads when none is asked
//! for, since the verifier takes out what a constant forbids.

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use observer_common::{BytesEvent, EventKind, MAX_LINK_BYTES, MAX_SNAPLEN};

use crate::maps::{BYTES, EVENTS, NO_WAKEUP, SNAPLEN};
use crate::memory::{bounded, field, offset, preset, read_bytes};

/// Sends the bytes from the link header on, or from the network header where there is none; true if user space gets them.
#[inline(always)]
pub fn send(skb: u64, cpu: u32) -> bool {
    let most = preset(&raw const SNAPLEN);
    most != 0 && copy_and_send(skb, cpu, most).is_some()
}

#[inline(always)]
fn copy_and_send(skb: u64, cpu: u32, most: u32) -> Option<()> {
    let record = BYTES.get_ptr_mut(cpu)?;
    // SAFETY: this CPU's element; the kernel does not enter a program twice on one CPU.
    let record = unsafe { &mut *record };
    let head: u64 = field(skb, offset!(skb_head))?;
    let tail: u32 = field(skb, offset!(skb_tail))?;
    let network = u32::from(field::<u16>(skb, offset!(skb_network_header))?);
    // Not set: the greatest number (skb_mac_header_was_set(), include/linux/skbuff.h v6.12).
    let mac = u32::from(field::<u16>(skb, offset!(skb_mac_header)).unwrap_or(u16::MAX));
    let link = network.wrapping_sub(mac);
    let link = if link <= MAX_LINK_BYTES { link } else { 0 };
    let start = network - link;
    if tail <= start {
        return None;
    }
    record.kind = EventKind::Bytes as u32;
    record.cpu = cpu;
    record.link_bytes = link;
    record.count = tail - start;
    record.count = bounded(&record.count, most);
    let len = bounded(&record.count, MAX_SNAPLEN as u32);
    // SAFETY: `len` is at most the array's length.
    if !unsafe { read_bytes(record.bytes.as_mut_ptr(), len, head + u64::from(start)) } {
        return None;
    }
    // SAFETY: the record is at least as long.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut *record).cast(),
            BytesEvent::LEN as u64 + u64::from(len),
            // The drop itself comes next.
            NO_WAKEUP,
        )
    };
    (sent == 0).then_some(())
}
