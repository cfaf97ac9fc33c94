//! Takes a record of the ring buffer apart. Every length is checked: a record that is too short is `None`.

use bytes::Buf as _;
use observer_common::{
    BytesEvent, Conn, ConnTuple, DropEvent, EventKind, HEADER_BYTES, MAX_JUMPS, MAX_MOVED, MAX_STACK, Moved,
    RulesetEvent, SENT_STACK, flag,
};

/// A record.
#[derive(Clone)]
pub enum Captured {
    /// A packet was freed.
    Drop(Box<DropEvent>),
    /// A ruleset is being replaced.
    Ruleset(RulesetEvent),
    /// The bytes of the packet whose drop comes next from the same CPU.
    Bytes(Copied),
}

/// A packet's bytes, as the kernel side copied them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The CPU that freed the packet.
    pub cpu: u32,
    /// How many of the bytes come before the network header; not more than there are.
    pub link_bytes: usize,
    /// From the link header on.
    pub bytes: Box<[u8]>,
}

/// Decodes one record.
pub fn decode(mut record: &[u8]) -> Option<Captured> {
    let kind = record.get(..4)?.try_into().map(u32::from_ne_bytes).ok()?;
    if kind == EventKind::Ruleset as u32 {
        if record.len() < size_of::<RulesetEvent>() {
            return None;
        }
        let record = &mut record;
        return Some(Captured::Ruleset(RulesetEvent {
            kind: record.get_u32_ne(),
            netns_inode: record.get_u32_ne(),
            net: record.get_u64_ne(),
            time_ns: record.get_u64_ne(),
        }));
    }
    if kind == EventKind::Bytes as u32 {
        return copied(record).map(Captured::Bytes);
    }
    (kind == EventKind::Drop as u32)
        .then(|| drop_event(record))
        .flatten()
        .map(|event| Captured::Drop(Box::new(event)))
}

fn copied(mut record: &[u8]) -> Option<Copied> {
    if record.len() < BytesEvent::LEN {
        return None;
    }
    let (_, cpu) = (record.get_u32_ne(), record.get_u32_ne());
    let (link_bytes, count) = (record.get_u32_ne() as usize, record.get_u32_ne() as usize);
    let bytes = record.get(..count)?;
    (link_bytes <= count).then(|| Copied {
        cpu,
        link_bytes,
        bytes: bytes.into(),
    })
}

fn drop_event(record: &[u8]) -> Option<DropEvent> {
    if record.len() < DropEvent::LEN_OTHER {
        return None;
    }
    let mut fixed = record.get(..DropEvent::LEN_OTHER)?;
    let rest = record.get(DropEvent::LEN_OTHER..)?;
    let mut event = fixed_part(&mut fixed);
    let header = rest.get(..(event.header_bytes as usize).min(HEADER_BYTES))?;
    event.header[..header.len()].copy_from_slice(header);
    if event.flags & flag::NETFILTER != 0 {
        netfilter_part(&mut event, rest.get(HEADER_BYTES..)?)?;
    }
    Some(event)
}

/// In the order of the structure's fields.
fn fixed_part(from: &mut &[u8]) -> DropEvent {
    DropEvent {
        kind: from.get_u32_ne(),
        cpu: from.get_u32_ne(),
        time_ns: from.get_u64_ne(),
        skb: from.get_u64_ne(),
        location: from.get_u64_ne(),
        net: from.get_u64_ne(),
        sequence: from.get_u64_ne(),
        netns_inode: from.get_u32_ne(),
        reason: from.get_u32_ne(),
        flags: from.get_u32_ne(),
        len_bytes: from.get_u32_ne(),
        mark: from.get_u32_ne(),
        dev_ifindex: from.get_u32_ne(),
        route_ifindex: from.get_u32_ne(),
        iif: from.get_u32_ne(),
        dev_name: array(from),
        route_name: array(from),
        protocol: from.get_u16_ne(),
        pkt_type: from.get_u8(),
        matched: from.get_u8(),
        generation: from.get_u32_ne(),
        conn: conn(from),
        moved_count: from.get_u32_ne(),
        nesting: from.get_u32_ne(),
        stack_count: from.get_u32_ne(),
        header_bytes: from.get_u32_ne(),
        header: [0; HEADER_BYTES],
        moved: [Moved::default(); MAX_MOVED],
        jumps: [0; MAX_JUMPS],
        stack: [0; MAX_STACK],
    }
}

/// A `struct nf_conn`'s part of a record.
pub(super) fn conn(from: &mut &[u8]) -> Conn {
    let (address, info, pad) = (from.get_u64_ne(), from.get_u32_ne(), from.get_u32_ne());
    let original = tuple(from);
    // Addresses of the kernel's, of no use to anybody.
    from.advance(2 * size_of::<u64>());
    Conn {
        address,
        info,
        pad,
        original,
        between: [0; 2],
        reply: tuple(from),
        status: from.get_u32_ne(),
        status_upper: from.get_u32_ne(),
    }
}

/// `NFPROTO_IPV4`
const IPV4: u16 = 2;

/// A tuple, with its addresses as IPv6 has them.
fn tuple(from: &mut &[u8]) -> ConnTuple {
    let mut tuple = ConnTuple {
        src: array(from),
        src_port: from.get_u16_ne(),
        family: from.get_u16_ne(),
        dst: array(from),
        dst_port: from.get_u16_ne(),
        proto: from.get_u8(),
        direction: from.get_u8(),
    };
    if tuple.family == IPV4 {
        tuple.src = mapped(tuple.src);
        tuple.dst = mapped(tuple.dst);
    }
    tuple
}

/// `::ffff:a.b.c.d` of an address in the first four bytes.
fn mapped(address: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, ..] = address;
    std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets()
}

/// Bytes of a fixed number.
pub(super) fn array<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let mut to = [0; N];
    from.copy_to_slice(&mut to);
    to
}

fn netfilter_part(event: &mut DropEvent, mut from: &[u8]) -> Option<()> {
    let frames = (event.stack_count as usize).min(SENT_STACK);
    if from.len() < DropEvent::LEN_NETFILTER - DropEvent::LEN_OTHER - HEADER_BYTES + 8 * frames {
        return None;
    }
    for moved in &mut event.moved {
        *moved = Moved {
            candidate: from.get_u32_ne(),
            packets: from.get_u32_ne(),
            bytes: from.get_u64_ne(),
        };
    }
    event.jumps.iter_mut().for_each(|jump| *jump = from.get_u64_ne());
    event.stack[..frames]
        .iter_mut()
        .for_each(|frame| *frame = from.get_u64_ne());
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of nothing, to be filled by a test.
    pub(crate) fn blank() -> DropEvent {
        let Some(Captured::Drop(event)) = decode(&record(0, 0, 0, DropEvent::LEN_OTHER)) else {
            panic!("not decoded")
        };
        *event
    }

    /// A record as the kernel side writes it: the structure's bytes, cut.
    fn record(flags: u32, header_bytes: u32, stack_count: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<DropEvent>()];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(0, EventKind::Drop as u32);
        put(core::mem::offset_of!(DropEvent, flags), flags);
        put(core::mem::offset_of!(DropEvent, header_bytes), header_bytes);
        put(core::mem::offset_of!(DropEvent, stack_count), stack_count);
        put(core::mem::offset_of!(DropEvent, header), 0xaabb_ccdd);
        put(core::mem::offset_of!(DropEvent, moved), 7);
        put(core::mem::offset_of!(DropEvent, stack), 9);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn every_field_lies_where_the_structure_has_it() {
        let bytes = record(flag::NETFILTER, 4, 1, DropEvent::LEN_NETFILTER + 8);
        let Some(Captured::Drop(event)) = decode(&bytes) else {
            panic!("not decoded")
        };
        assert_eq!(event.header[..4], 0xaabb_ccdd_u32.to_ne_bytes());
        assert_eq!(event.moved[0].candidate, 7);
        assert_eq!(event.stack[0], 9);
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_refused_or_whole() {
        for flags in [0, flag::NETFILTER] {
            let whole = if flags == 0 {
                DropEvent::LEN_OTHER + 20
            } else {
                DropEvent::LEN_NETFILTER + 8 * 3
            };
            for len in 0..=whole {
                assert_eq!(
                    decode(&record(flags, 20, 3, len)).is_some(),
                    len == whole,
                    "{flags} {len}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_cut_or_more_than_there_are_are_refused() {
        let record = |link: u32, count: u32, bytes: &[u8]| {
            let words = [EventKind::Bytes as u32, 3, link, count].map(u32::to_ne_bytes);
            [&words.concat(), bytes].concat()
        };
        let Some(Captured::Bytes(copied)) = decode(&record(2, 4, &[9, 9, 0x45, 0])) else {
            panic!("not decoded")
        };
        assert_eq!((copied.cpu, copied.link_bytes, copied.bytes.len()), (3, 2, 4));
        for bad in [
            record(2, 5, &[9, 9, 0x45, 0]),
            record(5, 4, &[0; 4]),
            record(0, u32::MAX, &[0; 64]),
        ] {
            assert!(decode(&bad).is_none());
        }
        let whole = record(0, 4, &[1, 2, 3, 4]);
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert!(decode(&[9; 2000]).is_none());
        assert!(decode(&[]).is_none());
    }
}
