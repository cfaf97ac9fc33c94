//! What the kernel side copied of a packet, and with what it begins.

use observer_common::{DropEvent, HEADER_BYTES};

use crate::capture::Copied;
use crate::report::record::{Begin, PacketBytes};

/// Lengths of Ethernet headers: without, with one and with two VLAN tags.
const ETHERNET: [usize; 3] = [14, 18, 22];

/// The bytes of a drop. Where they did not reach user space, the headers that travel with every record.
pub fn bytes(event: &DropEvent, copied: Option<&Copied>) -> PacketBytes {
    let Some(copied) = copied else {
        let count = (event.header_bytes as usize).min(HEADER_BYTES);
        return cut(Begin::Ip, &event.header[..count], event.len_bytes, 0);
    };
    let link = &copied.bytes[..copied.link_bytes.min(copied.bytes.len())];
    if is_ethernet(link, event.protocol) {
        cut(Begin::Ethernet, &copied.bytes, event.len_bytes, link.len() as u32)
    } else {
        cut(Begin::Ip, &copied.bytes[link.len()..], event.len_bytes, 0)
    }
}

/// Not every device's link header is Ethernet's, and what lies before a packet need not be one at all: the type at its end must
/// be the packet's protocol (`eth_type_trans()`, net/ethernet/eth.c). `protocol` is in network byte order.
fn is_ethernet(link: &[u8], protocol: u16) -> bool {
    ETHERNET.contains(&link.len()) && link.ends_with(&protocol.to_ne_bytes())
}

/// Bytes behind the packet's end (padding to the shortest frame of Ethernet) are not the packet's. `len` is its length from the
/// network header on.
fn cut(begin: Begin, bytes: &[u8], len: u32, link: u32) -> PacketBytes {
    let whole_len = len.saturating_add(link);
    let count = bytes.len().min(whole_len as usize);
    PacketBytes {
        begin,
        bytes: bytes[..count].into(),
        whole_len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::blank;

    fn copied(link: &[u8], rest: &[u8]) -> Copied {
        Copied {
            cpu: 0,
            link_bytes: link.len(),
            bytes: [link, rest].concat().into(),
        }
    }

    fn event(len_bytes: u32) -> DropEvent {
        let mut event = blank();
        event.protocol = 0x0800_u16.to_be();
        event.len_bytes = len_bytes;
        event.header[..2].copy_from_slice(&[0x45, 0]);
        event.header_bytes = 2;
        event
    }

    #[test]
    fn a_header_that_does_not_end_in_the_packets_protocol_is_left_out() {
        let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let kept = bytes(&event(20), Some(&copied(&ethernet, &[0x45; 20])));
        assert_eq!(
            (kept.begin, kept.bytes.len(), kept.whole_len),
            (Begin::Ethernet, 34, 34)
        );
        let mut other = ethernet;
        other[12] = 0x86;
        for link in [&other[..], &ethernet[2..], &[]] {
            let kept = bytes(&event(20), Some(&copied(link, &[0x45; 20])));
            assert_eq!(
                (kept.begin, kept.bytes.len(), kept.whole_len),
                (Begin::Ip, 20, 20)
            );
        }
    }

    #[test]
    fn a_tag_of_a_vlan_is_of_the_header() {
        let tagged = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 8, 0];
        let kept = bytes(&event(20), Some(&copied(&tagged, &[0x45; 20])));
        assert_eq!((kept.begin, kept.bytes.len()), (Begin::Ethernet, 38));
    }

    #[test]
    fn padding_is_not_the_packets_and_a_long_packet_says_how_long() {
        let kept = bytes(&event(20), Some(&copied(&[], &[0x45; 46])));
        assert_eq!((kept.bytes.len(), kept.whole_len), (20, 20));
        let kept = bytes(&event(1500), Some(&copied(&[], &[0x45; 46])));
        assert_eq!((kept.bytes.len(), kept.whole_len), (46, 1500));
    }

    #[test]
    fn without_a_copy_there_are_the_headers() {
        let kept = bytes(&event(60), None);
        assert_eq!(
            (kept.begin, &kept.bytes[..], kept.whole_len),
            (Begin::Ip, &[0x45, 0][..], 60)
        );
    }
}
