//! Addresses with a mask, and spans of addresses, as iptables writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the bits of it that count. Both families in one number; IPv4 in its low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    is_v6: bool,
    addr: u128,
    mask: u128,
}

/// A span of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

impl Net {
    /// A network; bits of the address outside of the mask are kept as they are written.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let bits = width(addr);
        let prefix = u32::from(prefix);
        (prefix <= bits).then(|| Self {
            is_v6: addr.is_ipv6(),
            addr: number(addr),
            mask: all(bits) & !all(bits - prefix),
        })
    }

    /// A network of IPv4 with any mask.
    pub fn v4(addr: Ipv4Addr, mask: Ipv4Addr) -> Self {
        Self {
            is_v6: false,
            addr: number(addr.into()),
            mask: number(mask.into()),
        }
    }

    /// Reads `10.0.0.0/8`, `10.0.0.1`, `10.0.0.0/255.255.0.255`, `fd00::/64`.
    pub fn parse(text: &str) -> Option<Self> {
        let (addr, mask) = text
            .split_once('/')
            .map_or((text, None), |(addr, mask)| (addr, Some(mask)));
        let addr: IpAddr = addr.parse().ok()?;
        match mask {
            None => Self::new(addr, u8::try_from(width(addr)).ok()?),
            Some(mask) if mask.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self::new(addr, mask.parse().ok()?)
            }
            Some(mask) => {
                let mask: IpAddr = mask.parse().ok()?;
                (mask.is_ipv6() == addr.is_ipv6()).then(|| Self {
                    is_v6: addr.is_ipv6(),
                    addr: number(addr),
                    mask: number(mask),
                })
            }
        }
    }

    /// Whether it holds an address. The kernel compares the masked address with the one that was written: bits outside
    /// of the mask never match (`ip_packet_match`, net/ipv4/netfilter/ip_tables.c).
    pub fn holds(&self, addr: IpAddr) -> bool {
        addr.is_ipv6() == self.is_v6 && number(addr) & self.mask == self.addr
    }

    /// Whether it is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// The length of its prefix; `None` for a mask with holes.
    pub fn prefix(&self) -> Option<u8> {
        let bits = if self.is_v6 { 128 } else { 32 };
        let ones = self.mask.count_ones();
        (self.mask == all(bits) & !all(bits - ones))
            .then(|| u8::try_from(ones).ok())
            .flatten()
    }

    /// Its address.
    pub fn addr(&self) -> IpAddr {
        address(self.is_v6, self.addr)
    }

    /// Its mask.
    pub fn mask(&self) -> IpAddr {
        address(self.is_v6, self.mask)
    }

    /// The part of an address that it looks at.
    pub fn masked(&self, addr: IpAddr) -> IpAddr {
        address(self.is_v6, number(addr) & self.mask)
    }

    /// An address with the masked bits taken from this network: what NETMAP does.
    pub fn map(&self, addr: IpAddr) -> IpAddr {
        address(self.is_v6, (number(addr) & !self.mask) | (self.addr & self.mask))
    }

    /// How many leading bits of an address agree with it, at most those that count.
    pub fn bits_shared(&self, addr: IpAddr) -> u32 {
        let bits = if self.is_v6 { 128 } else { 32 };
        let differ = (number(addr) & self.mask) ^ (self.addr & self.mask);
        let leading = differ.leading_zeros().saturating_sub(128 - bits);
        leading.min(self.mask.count_ones())
    }

    /// Whether it is one address.
    pub fn is_whole(&self) -> bool {
        self.prefix() == Some(if self.is_v6 { 128 } else { 32 })
    }

    /// As a match on one tuple of a connection prints it, and as a person reads it: a whole address without `/32`.
    pub fn short(&self) -> String {
        if self.is_whole() {
            self.addr().to_string()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(prefix) => write!(f, "{}/{prefix}", self.addr()),
            None => write!(f, "{}/{}", self.addr(), address(self.is_v6, self.mask)),
        }
    }
}

impl Range {
    /// Reads `10.0.0.1-10.0.0.5`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        (first.is_ipv6() == last.is_ipv6()).then_some(Self { first, last })
    }

    /// Whether it holds an address.
    pub fn holds(&self, addr: IpAddr) -> bool {
        addr.is_ipv6() == self.first.is_ipv6()
            && (number(self.first)..=number(self.last)).contains(&number(addr))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn width(addr: IpAddr) -> u32 {
    if addr.is_ipv6() { 128 } else { 32 }
}

/// So many ones from the low end.
fn all(bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - bits).unwrap_or(0)
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn address(is_v6: bool, number: u128) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from_bits(number).into()
    } else {
        let low = number & u128::from(u32::MAX);
        Ipv4Addr::from_bits(u32::try_from(low).unwrap_or_default()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        Net::parse(text).expect("a network")
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_hold_what_the_kernel_says_they_hold() {
        assert!(net("10.0.0.0/8").holds(addr("10.1.2.3")) && !net("10.0.0.0/8").holds(addr("11.0.0.0")));
        assert!(net("0.0.0.0/0").holds(addr("1.2.3.4")) && !net("0.0.0.0/0").holds(addr("::1")));
        assert!(net("10.0.0.9/255.255.0.255").holds(addr("10.0.77.9")));
        assert!(!net("10.0.0.9/255.255.0.255").holds(addr("10.0.77.8")));
        assert!(net("fd00::/64").holds(addr("fd00::1:2")) && !net("fd00::/64").holds(addr("fd00:0:0:1::")));
        assert!(net("::/0").holds(addr("::")) && net("fd00::1").holds(addr("fd00::1")));
    }

    #[test]
    fn networks_read_back_from_their_text() {
        for text in [
            "10.0.0.0/8",
            "1.2.3.4/32",
            "10.0.0.0/255.255.0.255",
            "fd00::/64",
            "::1/128",
            "0.0.0.0/0",
        ] {
            assert_eq!(net(text).to_string(), text);
        }
        for text in [
            "10.0.0.0/33",
            "x",
            "10.0.0.0/",
            "fd00::/129",
            "10.0.0.0/fd00::",
            "1.2.3.4/-1",
        ] {
            assert_eq!(Net::parse(text), None, "{text}");
        }
    }

    #[test]
    fn shared_bits_are_counted_within_the_mask() {
        assert_eq!(net("10.244.0.0/16").bits_shared(addr("10.224.2.16")), 11);
        assert_eq!(net("10.224.0.0/16").bits_shared(addr("10.224.2.16")), 16);
        assert_eq!(net("fd00::/16").bits_shared(addr("fe00::")), 6);
    }

    #[test]
    fn spans_hold_both_their_ends() {
        let range = Range::parse("10.0.0.1-10.0.0.5").expect("a span");
        assert!(
            range.holds(addr("10.0.0.1")) && range.holds(addr("10.0.0.5")) && !range.holds(addr("10.0.0.6"))
        );
        assert!(!range.holds(addr("::a00:1")));
        assert_eq!(net("10.1.1.0/24").map(addr("192.168.1.7")), addr("10.1.1.7"));
    }
}
