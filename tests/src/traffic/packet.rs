//! Packets made by hand, for what no socket would send: wrong checksums, foreign source addresses, odd flags.

use std::net::IpAddr;

/// A transport header with its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp { flags: u8 },
    IcmpEcho { id: u16 },
}

impl Transport {
    fn protocol(self, v4: bool) -> u8 {
        match (self, v4) {
            (Self::Udp, _) => 17,
            (Self::Tcp { .. }, _) => 6,
            (Self::IcmpEcho { .. }, true) => 1,
            (Self::IcmpEcho { .. }, false) => 58,
        }
    }
}

/// What a packet is made from.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) ttl: u8,
    pub(crate) transport: Transport,
    pub(crate) payload_bytes: usize,
    pub(crate) bad_checksum: bool,
}

impl Packet {
    /// The IP packet, with every checksum.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut segment = self.segment();
        let protocol = self.transport.protocol(self.src.is_ipv4());
        let checksum = self.checksum(&segment, protocol) ^ (u16::from(self.bad_checksum) * 0x5555);
        let at = self.checksum_at();
        segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());

        let mut packet = Vec::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let length = (20 + segment.len()) as u16;
                packet.extend([0x45, 0]);
                packet.extend(length.to_be_bytes());
                packet.extend([0, 0, 0, 0, self.ttl, protocol, 0, 0]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
                let checksum = ones_complement(&packet);
                packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((segment.len() as u16).to_be_bytes());
                packet.extend([protocol, self.ttl]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
            }
            _ => {}
        }
        packet.extend(segment);
        packet
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        let (sport, dport) = (self.sport.to_be_bytes(), self.dport.to_be_bytes());
        match self.transport {
            Transport::Udp => {
                segment.extend(sport);
                segment.extend(dport);
                segment.extend(((8 + self.payload_bytes) as u16).to_be_bytes());
                segment.extend([0, 0]);
            }
            Transport::Tcp { flags } => {
                segment.extend(sport);
                segment.extend(dport);
                segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Transport::IcmpEcho { id } => {
                segment.extend([if self.src.is_ipv4() { 8 } else { 128 }, 0, 0, 0]);
                segment.extend(id.to_be_bytes());
                segment.extend([0, 1]);
            }
        }
        segment.extend(std::iter::repeat_n(b'.', self.payload_bytes));
        segment
    }

    fn checksum_at(&self) -> usize {
        match self.transport {
            Transport::Udp => 6,
            Transport::Tcp { .. } => 16,
            Transport::IcmpEcho { .. } => 2,
        }
    }

    fn checksum(&self, segment: &[u8], protocol: u8) -> u16 {
        let mut covered = Vec::new();
        match (self.src, self.dst) {
            (IpAddr::V4(_), _) if matches!(self.transport, Transport::IcmpEcho { .. }) => {}
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                covered.extend(src.octets());
                covered.extend(dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                covered.extend(src.octets());
                covered.extend(dst.octets());
            }
            _ => {}
        }
        if !covered.is_empty() {
            covered.extend([0, protocol]);
            covered.extend((segment.len() as u16).to_be_bytes());
        }
        covered.extend(segment);
        ones_complement(&covered)
    }
}

/// RFC 1071.
pub(crate) fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(transport: Transport) -> Packet {
        Packet {
            src: "10.0.0.1".parse().expect("address"),
            dst: "10.0.0.2".parse().expect("address"),
            sport: 1000,
            dport: 53,
            ttl: 64,
            transport,
            payload_bytes: 3,
            bad_checksum: false,
        }
    }

    #[test]
    fn the_checksum_over_a_good_packet_is_zero() {
        for transport in [
            Transport::Udp,
            Transport::Tcp { flags: 2 },
            Transport::IcmpEcho { id: 1 },
        ] {
            let packet = packet(transport);
            let segment = &packet.bytes()[20..];
            assert_eq!(
                packet.checksum(segment, transport.protocol(true)),
                0,
                "{transport:?}"
            );
        }
    }

    #[test]
    fn the_checksum_over_a_bad_packet_is_not() {
        let mut packet = packet(Transport::Udp);
        packet.bad_checksum = true;
        let bytes = packet.bytes();
        assert_ne!(packet.checksum(&bytes[20..], 17), 0);
        assert_eq!(bytes.len(), 20 + 8 + 3);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len());
    }
}
