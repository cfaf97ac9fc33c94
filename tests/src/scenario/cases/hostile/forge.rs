//! Packets that no honest host sends, from a seed: every field of every header wrong, options without end, headers within that lie.

use crate::replay::Random;
use crate::traffic::packet::ones_complement;

/// The most that an IPv4 packet, or the payload of an IPv6 packet, may claim to have, in bytes.
const LONGEST: usize = 65_535;
/// Ethertypes.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
/// Numbers that break counting: none, one, the ends of what is signed and what is not.
const EDGES: [u16; 8] = [0, 1, 0x7fff, 0x8000, 0xffff, 0xff, 0x100, 20];
/// Numbers of protocols with a parser somewhere: and some that have none.
const PROTOCOLS: [u8; 20] = [
    0, 1, 2, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 136, 139, 255,
];
/// IPv6 extension headers.
const EXTENSIONS: [u8; 6] = [0, 43, 44, 51, 60, 139];

/// A packet for the wire.
pub(super) struct Forged {
    pub(super) bytes: Vec<u8>,
    pub(super) ethertype: u16,
    /// Whether it is for the router's hardware address; else for everybody's.
    pub(super) is_for_us: bool,
}

/// Makes them; the same seed makes the same.
pub(super) struct Forge {
    random: Random,
    /// Who is said to have sent it, and whom it is for: a host behind the router, the router itself.
    v4: ([u8; 4], [[u8; 4]; 2]),
    v6: ([u8; 16], [[u8; 16]; 2]),
}

impl Forge {
    pub(super) fn new(seed: u64, v4: ([u8; 4], [[u8; 4]; 2]), v6: ([u8; 16], [[u8; 16]; 2])) -> Self {
        Self {
            random: Random::new(seed, 0),
            v4,
            v6,
        }
    }

    pub(super) fn packet(&mut self) -> Forged {
        let is_v6 = self.random.one_in(2);
        let (proto, payload) = self.payload(is_v6, 0);
        let mut bytes = if is_v6 {
            self.ipv6(proto, payload)
        } else {
            self.ipv4(proto, payload)
        };
        if self.random.one_in(2) {
            self.spoil(&mut bytes);
        }
        // What is in a wrong header is not looked at if its checksum is wrong, too.
        if !is_v6 && !self.random.one_in(8) {
            sum_up(&mut bytes);
        }
        match self.random.below(12) {
            0 => bytes.truncate(self.random.below(bytes.len() + 1)),
            1 => bytes.extend(self.noise(64)),
            _ => {}
        }
        bytes.truncate(LONGEST);
        let is_v6 = is_v6 != self.random.one_in(40);
        Forged {
            bytes,
            ethertype: if is_v6 { IPV6 } else { IPV4 },
            is_for_us: !self.random.one_in(40),
        }
    }

    /// What follows the IP header, and its protocol; `depth` says how many headers it is within.
    fn payload(&mut self, is_v6: bool, depth: usize) -> (u8, Vec<u8>) {
        match self.random.below(if depth > 3 { 4 } else { 8 }) {
            0 => (6, self.tcp()),
            1 => (17, self.udp(&[])),
            2 => (*self.random.pick(&PROTOCOLS), self.noise(80)),
            3 => (*self.random.pick(&[33, 132, 136]), self.noise(24)),
            4 => self.icmp_error(is_v6, depth),
            5 => {
                let inner = self.inner(depth);
                let proto = *self.random.pick(&[4, 41]);
                (proto, inner)
            }
            6 => {
                let mut vxlan = vec![8, 0, 0, 0, 0, 0, 1, 0];
                vxlan.extend([2; 12]);
                vxlan.extend(if self.random.one_in(2) {
                    [8, 0]
                } else {
                    [0x86, 0xdd]
                });
                vxlan.extend(self.inner(depth));
                let cut = if self.random.one_in(4) {
                    self.random.below(vxlan.len())
                } else {
                    vxlan.len()
                };
                (17, self.udp(&vxlan[..cut]))
            }
            _ => {
                let flags = *self.random.pick(&[0u8, 0x20, 0x80, 0xb0, 0xff]);
                let mut gre = vec![flags, self.random.below(4) as u8];
                gre.extend(if self.random.one_in(2) {
                    [8, 0]
                } else {
                    [0x86, 0xdd]
                });
                gre.extend(self.inner(depth));
                (47, gre)
            }
        }
    }

    /// A packet within a packet, which lies about itself more often than not.
    fn inner(&mut self, depth: usize) -> Vec<u8> {
        let is_v6 = self.random.one_in(2);
        let (proto, payload) = self.payload(is_v6, depth + 1);
        let mut inner = if is_v6 {
            self.ipv6(proto, payload)
        } else {
            self.ipv4(proto, payload)
        };
        if !self.random.one_in(3) {
            self.spoil(&mut inner);
        }
        let cut = self.random.below(inner.len() + 1);
        if self.random.one_in(3) {
            inner.truncate(cut);
        }
        inner
    }

    fn icmp_error(&mut self, is_v6: bool, depth: usize) -> (u8, Vec<u8>) {
        let (proto, kinds): (u8, [u8; 6]) = if is_v6 {
            (58, [1, 2, 3, 4, 128, 137])
        } else {
            (1, [3, 5, 8, 11, 12, 13])
        };
        let mut icmp = vec![*self.random.pick(&kinds), self.random.below(20) as u8, 0, 0];
        icmp.extend(self.noise(4));
        icmp.resize(8, 0);
        icmp.extend(self.inner(depth));
        if !is_v6 {
            let sum = ones_complement(&icmp);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        (proto, icmp)
    }

    fn ipv4(&mut self, proto: u8, payload: Vec<u8>) -> Vec<u8> {
        let options = match self.random.below(4) {
            0 => self.options(40),
            1 => {
                let length = self.random.below(11) * 4;
                self.options(length)
            }
            _ => Vec::new(),
        };
        let header = 20 + options.len();
        let payload = self.sized(payload, LONGEST - header);
        // One in four is a fragment: few identifications, so that they meet.
        let fragment = if self.random.one_in(4) {
            let offset = *self.random.pick(&[0u16, 1, 2, 3, 185, 0x1fff, 0x1ffe]);
            (u16::from(self.random.one_in(2)) << 13) | offset
        } else {
            u16::from(self.random.one_in(2)) << 14
        };
        let mut packet = vec![0x40 | (header / 4) as u8, self.random.below(256) as u8];
        packet.extend(((header + payload.len()) as u16).to_be_bytes());
        packet.extend((self.random.below(4) as u16).to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([*self.random.pick(&[0, 1, 2, 64, 255]), proto, 0, 0]);
        packet.extend(self.v4.0);
        packet.extend(*self.random.pick(&self.v4.1));
        packet.extend(options);
        sum_up(&mut packet);
        packet.extend(payload);
        packet
    }

    /// Options of IPv4, or of TCP: kinds that exist and kinds that do not, lengths that fit and lengths that do not.
    fn options(&mut self, length: usize) -> Vec<u8> {
        let mut options = Vec::new();
        while options.len() < length {
            let kind = *self
                .random
                .pick(&[0u8, 1, 7, 68, 130, 131, 134, 136, 137, 148, 2, 3, 4, 5, 8, 255]);
            options.push(kind);
            if kind > 1 {
                options.push(*self.random.pick(&[0u8, 1, 2, 3, 4, 8, 11, 40, 255]));
                options.extend(self.noise(6));
            }
        }
        options.truncate(length);
        options
    }

    fn ipv6(&mut self, proto: u8, payload: Vec<u8>) -> Vec<u8> {
        let chain = match self.random.below(4) {
            0 => self.random.below(40),
            1 => 1,
            _ => 0,
        };
        let kinds: Vec<u8> = (0..chain).map(|_| *self.random.pick(&EXTENSIONS)).collect();
        let mut extensions = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            let next = kinds.get(index + 1).copied().unwrap_or(proto);
            let units = *self.random.pick(&[0u8, 0, 0, 1, 2, 255]);
            let mut header = vec![next, units];
            // Padding, mostly; a third is noise.
            let filler = if self.random.one_in(3) {
                self.noise(6)
            } else {
                vec![1, 4, 0, 0, 0, 0]
            };
            header.extend(filler);
            header.resize(
                if *kind == 44 {
                    8
                } else {
                    8 + 8 * usize::from(units.min(2))
                },
                0,
            );
            extensions.extend(header);
        }
        let payload = self.sized(payload, LONGEST - extensions.len().min(LONGEST));
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(((extensions.len() + payload.len()) as u16).to_be_bytes());
        packet.push(kinds.first().copied().unwrap_or(proto));
        packet.push(*self.random.pick(&[0, 1, 2, 64, 255]));
        packet.extend(self.v6.0);
        packet.extend(*self.random.pick(&self.v6.1));
        packet.extend(extensions);
        packet.extend(payload);
        packet
    }

    /// One in thirty is as long as it can be, one in fifteen has nothing.
    fn sized(&mut self, mut payload: Vec<u8>, most: usize) -> Vec<u8> {
        match self.random.below(30) {
            0 => payload.resize(most, b'.'),
            1 | 2 => payload.clear(),
            _ => payload.truncate(most),
        }
        payload
    }

    fn tcp(&mut self) -> Vec<u8> {
        let length = self.random.below(11) * 4;
        let options = self.options(length);
        let mut segment = self.ports();
        segment.extend(self.noise(8));
        segment.resize(12, 0);
        let offset = if self.random.one_in(3) {
            self.random.below(16)
        } else {
            5 + options.len() / 4
        };
        segment.push((offset << 4) as u8);
        segment.push(self.random.below(256) as u8);
        segment.extend([0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment
    }

    fn udp(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut datagram = self.ports();
        let length = if self.random.one_in(3) {
            *self.random.pick(&EDGES)
        } else {
            (8 + payload.len()) as u16
        };
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    }

    fn ports(&mut self) -> Vec<u8> {
        let port = *self.random.pick(&[0u16, 7, 9, 53, 80, 4789, 8472, 65_535]);
        let from = 1 + self.random.below(20) as u16;
        [from.to_be_bytes(), port.to_be_bytes()].concat()
    }

    /// Up to so many bytes of nothing.
    fn noise(&mut self, most: usize) -> Vec<u8> {
        (0..self.random.below(most + 1))
            .map(|_| self.random.below(256) as u8)
            .collect()
    }

    /// Changes one field of the first forty bytes, addresses left alone mostly: or else it goes nowhere.
    fn spoil(&mut self, bytes: &mut [u8]) {
        let is_v6 = bytes.first().is_some_and(|first| first >> 4 == 6);
        let fields = if is_v6 {
            [0, 1, 4, 6, 7, 40, 41, 42]
        } else {
            [0, 2, 4, 6, 8, 9, 20, 21]
        };
        let at = if self.random.one_in(10) {
            self.random.below(40)
        } else {
            *self.random.pick(&fields)
        };
        let value = self.random.pick(&EDGES).to_be_bytes();
        let kind = self.random.below(3);
        let Some(byte) = bytes.get_mut(at) else { return };
        match kind {
            0 => *byte = self.random.below(256) as u8,
            1 => *byte ^= 1 << self.random.below(8),
            _ => {
                *byte = value[0];
                if let Some(next) = bytes.get_mut(at + 1) {
                    *next = value[1];
                }
            }
        }
    }
}

/// The checksum of an IPv4 header that is as long as it says.
fn sum_up(packet: &mut [u8]) {
    let length = usize::from(packet.first().copied().unwrap_or(0) & 0xf) * 4;
    if length < 20 || packet.len() < length {
        return;
    }
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = ones_complement(&packet[..length]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forge(seed: u64) -> Forge {
        let (a, b) = ([10, 0, 0, 1], [[10, 0, 0, 2], [10, 0, 0, 3]]);
        Forge::new(seed, (a, b), ([0xfd; 16], [[0xfc; 16], [0xfb; 16]]))
    }

    #[test]
    fn some_are_as_long_as_can_be_some_are_empty_and_the_same_seed_makes_the_same() {
        let mut one = forge(7);
        let packets: Vec<Forged> = (0..3000).map(|_| one.packet()).collect();
        let lengths: Vec<usize> = packets.iter().map(|packet| packet.bytes.len()).collect();
        assert!(lengths.contains(&LONGEST) && lengths.contains(&0));
        let mut other = forge(7);
        assert!(packets.iter().all(|packet| packet.bytes == other.packet().bytes));
        let whole = |packet: &&Forged| packet.bytes.first().is_some_and(|first| *first == 0x45);
        assert!(packets.iter().filter(whole).count() > 300);
    }
}
