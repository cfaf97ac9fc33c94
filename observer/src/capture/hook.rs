//! Takes a record of a hook apart. Every length is checked: a record that is too short is `None`.

use bytes::Buf as _;
use observer_common::{AFTER_BYTES, BEFORE_BYTES, EventKind, HookEvent, MAX_STEPS, Step};

use super::decode::{array, conn};

/// Address of the packet that a record is about: all that is needed to put it aside.
pub fn skb_of(record: &[u8]) -> Option<u64> {
    word(record, core::mem::offset_of!(HookEvent, skb))
}

/// When the packet entered the hook, `CLOCK_MONOTONIC`.
pub fn entered_ns(record: &[u8]) -> Option<u64> {
    word(record, core::mem::offset_of!(HookEvent, time_ns))
}

fn word(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

/// Decodes one record.
pub fn hook_event(record: &[u8]) -> Option<Box<HookEvent>> {
    let mut fixed = record.get(..HookEvent::LEN_FIXED)?;
    let mut event = Box::new(fixed_part(&mut fixed));
    if event.kind != EventKind::Hook as u32 {
        return None;
    }
    let count = (event.step_count as usize).min(MAX_STEPS);
    let mut rest = record.get(HookEvent::LEN_FIXED..HookEvent::LEN_FIXED + count * size_of::<Step>())?;
    for step in &mut event.steps[..count] {
        *step = Step {
            kind: rest.get_u32_ne(),
            value: rest.get_u32_ne(),
            words: [rest.get_u64_ne(), rest.get_u64_ne(), rest.get_u64_ne()],
        };
    }
    Some(event)
}

/// In the order of the structure's fields.
fn fixed_part(from: &mut &[u8]) -> HookEvent {
    HookEvent {
        kind: from.get_u32_ne(),
        cpu: from.get_u32_ne(),
        time_ns: from.get_u64_ne(),
        skb: from.get_u64_ne(),
        net: from.get_u64_ne(),
        nfct: from.get_u64_ne(),
        entries: from.get_u64_ne(),
        netns_inode: from.get_u32_ne(),
        generation: from.get_u32_ne(),
        flags: from.get_u32_ne(),
        returned: from.get_i32_ne(),
        hook: from.get_u8(),
        pf: from.get_u8(),
        matched: from.get_u8(),
        first: from.get_u8(),
        protocol: from.get_u16_ne(),
        pad: from.get_u16_ne(),
        in_ifindex: from.get_u32_ne(),
        out_ifindex: from.get_u32_ne(),
        in_name: array(from),
        out_name: array(from),
        mark_before: from.get_u32_ne(),
        mark_after: from.get_u32_ne(),
        nft_seq: from.get_u32_ne(),
        len_bytes: from.get_u32_ne(),
        before_bytes: from.get_u32_ne(),
        step_count: from.get_u32_ne(),
        conn: conn(from),
        before: array::<BEFORE_BYTES>(from),
        other: array::<AFTER_BYTES>(from),
        steps: [Step::default(); MAX_STEPS],
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record's bytes as the kernel side writes them.
    pub(crate) fn bytes(event: &HookEvent) -> Vec<u8> {
        let len = HookEvent::LEN_FIXED + event.step_count as usize * size_of::<Step>();
        // SAFETY: a `repr(C)` structure of integers without padding, and `len` is within it.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(event).cast::<u8>(), len) }.to_vec()
    }

    /// A record of nothing, to be filled by a test.
    pub(crate) fn blank_hook() -> Box<HookEvent> {
        let mut record = vec![0; HookEvent::LEN_FIXED];
        record[..4].copy_from_slice(&(EventKind::Hook as u32).to_ne_bytes());
        hook_event(&record).expect("a record")
    }

    #[test]
    fn a_record_survives_being_written_and_read() {
        let mut event = blank_hook();
        event.skb = 1;
        event.time_ns = 2;
        event.hook = 3;
        event.conn.status = 4;
        event.other[63] = 5;
        event.step_count = 2;
        event.steps[1] = Step {
            kind: 1,
            value: 2,
            words: [3, 4, 5],
        };
        let record = bytes(&event);
        let read = hook_event(&record).expect("a record");
        assert_eq!(bytes(&read), record);
        assert_eq!((skb_of(&record), entered_ns(&record)), (Some(1), Some(2)));
        assert_eq!(read.steps[1].words, [3, 4, 5]);
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_refused() {
        let mut event = blank_hook();
        event.step_count = 1;
        let record = bytes(&event);
        for len in 0..record.len() {
            assert!(hook_event(&record[..len]).is_none(), "{len}");
        }
        event.step_count = u32::MAX;
        let lying = bytes(&HookEvent {
            step_count: 1,
            ..*event
        });
        let mut lying = lying;
        let at = core::mem::offset_of!(HookEvent, step_count);
        lying[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(hook_event(&lying).is_none(), "more steps than there are");
    }
}
