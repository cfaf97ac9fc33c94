//! Headers to a packet, as far as they were captured: what is cut off is absent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Buf as _;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use observer_common::{DropEvent, HEADER_BYTES};

use crate::report::record::{Mark, Packet, PacketFamily, Proto, TcpFlags};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// More extension headers than any honest packet has.
const MOST_EXTENSIONS: usize = 8;

/// Decodes the packet of a record.
pub fn packet(event: &DropEvent) -> Packet {
    let header = &event.header[..(event.header_bytes as usize).min(HEADER_BYTES)];
    let mut packet = Packet {
        len: event.len_bytes,
        mark: Mark(event.mark),
        ..Packet::default()
    };
    match header.first().map(|first| first >> 4) {
        Some(4) => v4(&mut packet, header),
        Some(6) => v6(&mut packet, header),
        _ => packet.ethertype = Some(format!("{:#06x}", u16::from_be(event.protocol))),
    }
    packet
}

/// The packet that headers describe; `None` if they are not IP's.
pub fn headers(header: &[u8]) -> Option<Packet> {
    let mut packet = Packet::default();
    match header.first()? >> 4 {
        4 => v4(&mut packet, header),
        6 => v6(&mut packet, header),
        _ => return None,
    }
    Some(packet)
}

/// Name of a device, as the kernel has it; `None` if there is none.
pub fn device(name: &[u8; 16]) -> Option<String> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    (end > 0).then(|| String::from_utf8_lossy(&name[..end]).into_owned())
}

fn v4(packet: &mut Packet, header: &[u8]) {
    packet.family = PacketFamily::Ip;
    if header.len() < Ipv4Hdr::LEN {
        return;
    }
    let mut fields = header;
    let ihl = usize::from(fields.get_u8() & 0xf) * 4;
    fields.advance(3);
    packet.ip_id = Some(fields.get_u16());
    let fragment = fields.get_u16();
    packet.ttl = Some(fields.get_u8());
    let proto = fields.get_u8();
    fields.advance(2);
    packet.proto = Some(Proto(proto));
    packet.src = Some(IpAddr::V4(Ipv4Addr::from_bits(fields.get_u32())));
    packet.dst = Some(IpAddr::V4(Ipv4Addr::from_bits(fields.get_u32())));
    let offset = (fragment & 0x1fff) * 8;
    if offset > 0 {
        packet.frag_offset = Some(offset);
        return;
    }
    transport(
        packet,
        proto,
        header.get(ihl.max(Ipv4Hdr::LEN)..).unwrap_or_default(),
    );
}

fn v6(packet: &mut Packet, header: &[u8]) {
    packet.family = PacketFamily::Ip6;
    if header.len() < Ipv6Hdr::LEN {
        return;
    }
    let mut fields = header;
    fields.advance(6);
    let mut next = fields.get_u8();
    packet.ttl = Some(fields.get_u8());
    packet.src = Some(IpAddr::V6(Ipv6Addr::from_bits(fields.get_u128())));
    packet.dst = Some(IpAddr::V6(Ipv6Addr::from_bits(fields.get_u128())));
    let mut rest = fields;
    for _ in 0..MOST_EXTENSIONS {
        let Some(extension) = extension(next, rest) else {
            break;
        };
        next = extension.next;
        if let Some(offset) = extension.fragment_offset.filter(|offset| *offset > 0) {
            packet.proto = Some(Proto(next));
            packet.frag_offset = Some(offset);
            return;
        }
        rest = rest.get(extension.len_bytes..).unwrap_or_default();
    }
    packet.proto = Some(Proto(next));
    transport(packet, next, rest);
}

struct Extension {
    next: u8,
    len_bytes: usize,
    fragment_offset: Option<u16>,
}

/// The extension header at the front of `rest`, if `kind` is one and it was captured.
fn extension(kind: u8, rest: &[u8]) -> Option<Extension> {
    let (next, len) = (*rest.first()?, usize::from(*rest.get(1)?));
    let (len_bytes, fragment_offset) = match kind {
        0 | 43 | 60 => ((len + 1) * 8, None),
        44 => (
            8,
            Some(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) & 0xfff8),
        ),
        51 => ((len + 2) * 4, None),
        _ => return None,
    };
    Some(Extension {
        next,
        len_bytes,
        fragment_offset,
    })
}

fn transport(packet: &mut Packet, proto: u8, mut rest: &[u8]) {
    match proto {
        TCP | UDP | DCCP | SCTP | UDPLITE if rest.len() >= 4 => {
            if proto == TCP {
                packet.tcp_flags = rest.get(13).copied().map(TcpFlags);
            }
            packet.sport = Some(rest.get_u16());
            packet.dport = Some(rest.get_u16());
        }
        ICMP | ICMPV6 if rest.len() >= 2 => {
            packet.icmp_type = Some(rest.get_u8());
            packet.icmp_code = Some(rest.get_u8());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::blank;

    fn event(header: &[u8]) -> DropEvent {
        let mut event = blank();
        event.header[..header.len()].copy_from_slice(header);
        event.header_bytes = header.len() as u32;
        event
    }

    const SYN: [u8; 40] = [
        0x45, 0, 0, 60, 0x12, 0x67, 0x40, 0, 63, 6, 0, 0, 10, 224, 0, 0, 10, 224, 2, 16, // IPv4
        0xa1, 0x12, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0x02, 0xff, 0xff, 0, 0, 0, 0, // TCP
    ];

    #[test]
    fn a_syn_is_read_whole() {
        let packet = packet(&event(&SYN));
        assert_eq!(packet.src, Some("10.224.0.0".parse().expect("address")));
        assert_eq!(packet.dst, Some("10.224.2.16".parse().expect("address")));
        assert_eq!((packet.sport, packet.dport), (Some(41234), Some(80)));
        assert_eq!((packet.ttl, packet.ip_id), (Some(63), Some(0x1267)));
        assert_eq!(packet.tcp_flags, Some(TcpFlags(2)));
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut header = SYN;
        header[6..8].copy_from_slice(&[0x20, 0x10]);
        let packet = packet(&event(&header));
        assert_eq!((packet.frag_offset, packet.sport), (Some(128), None));
    }

    #[test]
    fn ports_are_found_behind_ipv6_extension_headers() {
        let mut header = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        header.extend([0xfd; 32]);
        header.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        header.extend([0, 53, 0x15, 0xb3, 0, 8, 0, 0]);
        let packet = packet(&event(&header));
        assert_eq!(
            (packet.proto, packet.sport, packet.dport),
            (Some(Proto(17)), Some(53), Some(5555))
        );
    }

    #[test]
    fn headers_cut_or_lying_anywhere_do_no_harm() {
        for len in 0..SYN.len() {
            packet(&event(&SYN[..len]));
        }
        for first in 0..=255u8 {
            for proto in [0, 6, 43, 44, 51, 58, 60] {
                let mut header = [0xff; HEADER_BYTES];
                header[0] = first;
                header[6] = proto;
                packet(&event(&header));
            }
        }
    }
}
