//! Which packet it is: what its headers say in every namespace that it passes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

/// How ARP for IPv4 over Ethernet begins.
const ARP: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// The parts of a packet's headers that tell it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ident {
    /// The transport protocol's number.
    pub proto: u8,
    /// IPv4 identification; 0 for IPv6, and where the sender sets none.
    pub ip_id: u16,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port; of an ICMP echo its identifier.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// The flags of a TCP segment, the byte of its header.
    pub tcp_flags: Option<u8>,
    /// The type of an ICMP message.
    pub icmp_type: Option<u8>,
}

impl Ident {
    /// Reads a network header and the transport header behind it. Only the first fragment has ports.
    pub fn parse(network: &[u8], transport: Option<&[u8]>) -> Option<Self> {
        let short = |bytes: &[u8], at: usize| {
            let two: Option<[u8; 2]> = bytes.get(at..at + 2)?.try_into().ok();
            two.map(u16::from_be_bytes)
        };
        if network.first_chunk::<6>() == Some(&ARP) {
            return Self::of_arp(network);
        }
        let (proto, ip_id, first, src, dst, rest): (u8, u16, bool, IpAddr, IpAddr, usize) =
            match network.first()? >> 4 {
                4 => {
                    let address = |at: usize| -> Option<Ipv4Addr> {
                        let four: [u8; 4] = network.get(at..at + 4)?.try_into().ok()?;
                        Some(Ipv4Addr::from(four))
                    };
                    let first = short(network, 6)? & 0x1fff == 0;
                    let rest = usize::from(network[0] & 15) * 4;
                    let id = short(network, 4)?;
                    let proto = *network.get(9)?;
                    (proto, id, first, address(12)?.into(), address(16)?.into(), rest)
                }
                6 => {
                    let address = |at: usize| -> Option<Ipv6Addr> {
                        let sixteen: [u8; 16] = network.get(at..at + 16)?.try_into().ok()?;
                        Some(Ipv6Addr::from(sixteen))
                    };
                    let proto = *network.get(6)?;
                    (proto, 0, true, address(8)?.into(), address(24)?.into(), 40)
                }
                _ => return None,
            };
        let transport = transport
            .or_else(|| network.get(rest..))
            .filter(|_| first)
            .unwrap_or_default();
        let (sport, dport) = match proto {
            6 | 17 | 132 => (short(transport, 0), short(transport, 2)),
            1 | 58 => (short(transport, 4), None),
            _ => (None, None),
        };
        Some(Self {
            proto,
            ip_id,
            src,
            dst,
            sport,
            dport,
            tcp_flags: transport.get(13).copied().filter(|_| proto == 6),
            icmp_type: transport.first().copied().filter(|_| matches!(proto, 1 | 58)),
        })
    }

    /// Who asks and for whom, in place of the ports the end of the asker's hardware address, and what it is: 1 a question, 2 an
    /// answer.
    fn of_arp(header: &[u8]) -> Option<Self> {
        let four = |at: usize| -> Option<Ipv4Addr> {
            let four: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(four))
        };
        let two = |at: usize| -> Option<u16> {
            let two: [u8; 2] = header.get(at..at + 2)?.try_into().ok()?;
            Some(u16::from_be_bytes(two))
        };
        let operation = two(6)?;
        let asker = if operation == 2 { 18 } else { 8 };
        Some(Self {
            proto: 0,
            ip_id: 0,
            src: four(14)?.into(),
            dst: four(24)?.into(),
            sport: two(asker + 4),
            dport: Some(operation),
            tcp_flags: None,
            icmp_type: None,
        })
    }

    /// The flags of a TCP segment by their names.
    pub fn flag_names(&self) -> Vec<&'static str> {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let flags = self.tcp_flags.unwrap_or_default();
        let set = names
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| flags & (1 << bit) != 0);
        set.map(|(_, name)| name).collect()
    }

    /// Whether both are the same packet, before or after NAT, in whatever namespace.
    pub fn same_packet(&self, other: &Self) -> bool {
        if self.proto != other.proto || self.src.is_ipv4() != other.src.is_ipv4() {
            return false;
        }
        if self.ip_id != 0 || other.ip_id != 0 {
            return self.ip_id == other.ip_id;
        }
        self.sport == other.sport && (self.dst == other.dst || self.src == other.src)
    }

    /// Whether this is the packet of a trace line.
    pub fn is_of(&self, line: &Value) -> bool {
        let packet = &line["packet"];
        let proto = match packet["proto"].as_str() {
            Some("tcp") => 6,
            Some("udp") => 17,
            Some("icmp") => 1,
            Some("icmpv6" | "ipv6-icmp") => 58,
            _ => return false,
        };
        let icmp_type = packet["icmp_type"].as_u64().zip(self.icmp_type);
        if proto != self.proto || icmp_type.is_some_and(|(one, other)| one != u64::from(other)) {
            return false;
        }
        match packet["ip_id"].as_u64() {
            Some(id) if id != 0 || self.ip_id != 0 => return id == u64::from(self.ip_id),
            _ => {}
        }
        let flow = &line["flow"];
        let tuples = [packet, &flow["original"], &flow["reply"]];
        // An ICMP error about a connection with ports has its addresses, translated one after the other.
        if matches!(self.proto, 1 | 58) && flow["original"]["sport"].is_number() {
            let is_one = |mine: IpAddr| tuples.iter().any(|tuple| has_address(tuple, mine));
            return is_one(self.src) && is_one(self.dst);
        }
        tuples.iter().any(|tuple| self.has_tuple(tuple))
    }

    fn has_tuple(&self, tuple: &Value) -> bool {
        let is = |name: &str, mine: IpAddr| address(tuple, name) == Some(mine);
        let port = |name: &str, mine: Option<u16>| match tuple[name].as_u64() {
            Some(port) => mine.is_some_and(|mine| u64::from(mine) == port),
            None => true,
        };
        is("src", self.src) && is("dst", self.dst) && port("sport", self.sport) && port("dport", self.dport)
    }

    /// Whether it carries other packets: a tunnel's outer packet (VXLAN's port).
    pub fn is_tunnel(&self) -> bool {
        self.proto == 17 && matches!(self.dport, Some(4789 | 8472))
    }
}

fn address(tuple: &Value, name: &str) -> Option<IpAddr> {
    tuple[name].as_str().and_then(|it| it.parse().ok())
}

fn has_address(tuple: &Value, mine: IpAddr) -> bool {
    ["src", "dst"]
        .iter()
        .any(|name| address(tuple, name) == Some(mine))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const UDP: [u8; 28] = [
        0x45, 0, 0, 28, 0x3b, 0x96, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 0xe1, 0x77, 0, 9, 0, 8,
        0, 0,
    ];

    #[test]
    fn headers_are_read_whether_they_come_together_or_apart() {
        let together = Ident::parse(&UDP, None).expect("packet");
        let apart = Ident::parse(&UDP[..20], Some(&UDP[20..])).expect("packet");
        assert_eq!(together, apart);
        assert_eq!(
            (together.ip_id, together.sport, together.dport),
            (15254, Some(57719), Some(9))
        );
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut fragment = UDP;
        fragment[7] = 3;
        assert_eq!(Ident::parse(&fragment, None).expect("packet").sport, None);
        assert_eq!(Ident::parse(&UDP[..12], None), None);
    }

    #[test]
    fn a_packet_is_known_by_its_identification_whatever_nat_did() {
        let one = Ident::parse(&UDP, None).expect("packet");
        let mut translated = UDP;
        translated[19] = 7;
        translated[23] = 80;
        assert!(one.same_packet(&Ident::parse(&translated, None).expect("packet")));
        translated[5] = 1;
        assert!(!one.same_packet(&Ident::parse(&translated, None).expect("packet")));
    }

    #[test]
    fn a_line_is_about_the_packet_with_its_identification_or_its_tuple() {
        let one = Ident::parse(&UDP, None).expect("packet");
        let line = |ip_id: u16| json!({"packet": {"proto": "udp", "ip_id": ip_id}});
        assert!(one.is_of(&line(15254)) && !one.is_of(&line(15255)));
        let mut unset = one.clone();
        unset.ip_id = 0;
        let tuple = |dport: u16| json!({"packet": {"proto": "udp", "src": "10.9.0.1", "sport": 57719, "dst": "10.9.0.2", "dport": dport}});
        assert!(unset.is_of(&tuple(9)) && !unset.is_of(&tuple(10)));
    }

    #[test]
    fn an_error_about_a_translated_connection_is_known_by_its_addresses() {
        let error = Ident {
            proto: 58,
            ip_id: 0,
            src: Ipv6Addr::from([1; 16]).into(),
            dst: Ipv6Addr::from([2; 16]).into(),
            sport: Some(0),
            dport: None,
            tcp_flags: None,
            icmp_type: Some(1),
        };
        let line = |client: [u8; 16], port: Option<u16>| {
            let mut original = json!({"src": Ipv6Addr::from(client), "dst": Ipv6Addr::from([3; 16])});
            port.iter().for_each(|port| original["sport"] = json!(port));
            json!({"packet": {"proto": "icmpv6", "icmp_type": 1, "src": error.src, "dst": Ipv6Addr::from([4; 16])},
                   "flow": {"original": original}})
        };
        assert!(error.is_of(&line([2; 16], Some(7))));
        assert!(!error.is_of(&line([5; 16], Some(7))) && !error.is_of(&line([2; 16], None)));
        // A neighbour's solicitation between the same two.
        let neighbour = Ident {
            icmp_type: Some(135),
            ..error.clone()
        };
        assert!(!neighbour.is_of(&line([2; 16], Some(7))));
    }
}
