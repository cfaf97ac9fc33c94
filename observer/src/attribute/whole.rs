//! Whether a packet's headers are all there: what is malformed, matches of x_tables drop by themselves (`hotdrop`)
//! without their rule being counted.

use observer_common::DropEvent;

use super::droppers::is_v6;

/// Length of an IPv6 header, in bytes.
const V6_BYTES: usize = 40;
/// Shortest TCP header, in bytes.
const TCP_BYTES: usize = 20;

/// True if the packet is surely not malformed to any match that looks at its transport header. Only for the protocols
/// of nearly all traffic; anything else may be malformed.
pub fn is_whole(event: &DropEvent) -> bool {
    let header = &event.header[..(event.header_bytes as usize).min(event.header.len())];
    transport(event, header).is_some_and(|(proto, rest)| match proto {
        6 => {
            let len = rest.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
            len >= TCP_BYTES && rest.len() >= len
        }
        // UDP; ICMP and ICMPv6, whose first eight bytes are the same for every type.
        1 | 17 | 58 => rest.len() >= 8,
        _ => false,
    })
}

/// Protocol, and the packet from its transport header on, if that follows the IP header at once and no part of it is in
/// another fragment.
fn transport<'a>(event: &DropEvent, header: &'a [u8]) -> Option<(u8, &'a [u8])> {
    if is_v6(event) {
        return Some((*header.get(6)?, header.get(V6_BYTES..)?));
    }
    let len = usize::from(header.first()? & 0xf) * 4;
    let fragment = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]) & 0x1fff;
    (fragment == 0 && len >= 20).then_some((*header.get(9)?, header.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::blank;

    fn event(protocol: u16, header: &[u8]) -> DropEvent {
        let mut event = blank();
        event.protocol = protocol.to_be();
        event.header[..header.len()].copy_from_slice(header);
        event.header_bytes = header.len() as u32;
        event
    }

    fn v4(fragment: u16, proto: u8, transport: &[u8]) -> DropEvent {
        let mut header = vec![0x45; 20];
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[9] = proto;
        header.extend(transport);
        event(0x0800, &header)
    }

    #[test]
    fn a_packet_with_all_of_its_headers_is_whole() {
        let mut tcp = [0; 24];
        tcp[12] = 6 << 4;
        assert!(is_whole(&v4(0x4000, 6, &tcp)));
        assert!(is_whole(&v4(0, 17, &[0; 8])));
        assert!(is_whole(&v4(0, 1, &[0; 8])));
        let mut v6 = vec![0x60; 40];
        v6[6] = 58;
        v6.extend([0; 8]);
        assert!(is_whole(&event(0x86dd, &v6)));
    }

    #[test]
    fn what_a_match_may_take_for_malformed_is_not() {
        let mut tcp = [0; 24];
        tcp[12] = 6 << 4;
        assert!(!is_whole(&v4(0, 6, &tcp[..20])), "options are missing");
        tcp[12] = 4 << 4;
        assert!(!is_whole(&v4(0, 6, &tcp)), "shorter than any TCP header");
        assert!(!is_whole(&v4(1, 17, &[0; 8])), "a later fragment");
        assert!(!is_whole(&v4(0, 17, &[0; 7])));
        assert!(
            !is_whole(&v4(0, 132, &[0; 32])),
            "a protocol that is not looked at"
        );
        assert!(!is_whole(&v4(0, 6, &[])));
        assert!(!is_whole(&event(0x0800, &[0x45; 4])));
    }
}
