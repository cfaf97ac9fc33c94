//! What the kernel knows of a packet beside its bytes.

use super::Scene;
use crate::evaluate::nftables::packet::{Device, IpFamily};
use crate::evaluate::nftables::value::{Data, Loaded};
use crate::ruleset::nftables::listing::Family;

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
const IPV4: u8 = 2;
const IPV6: u8 = 10;

impl Scene<'_> {
    pub(super) fn meta(self, key: &str) -> Loaded {
        let packet = self.packet;
        match key {
            "l4proto" => Loaded::known(packet.protocol),
            "nfproto" => self.nf_protocol(),
            "protocol" if self.is_of_ip() => self.ether_type(),
            "mark" => Loaded::bits(packet.mark),
            "length" if self.is_of_ip() => Loaded::known(packet.length_bytes),

            "iifname" => name(&packet.input),
            "oifname" => name(&packet.output),
            "iif" => name(&packet.input),
            "oif" => name(&packet.output),
            "pkttype" => Loaded::known(packet.packet_type),
            _ => Loaded::Unknown,
        }
    }

    /// Whether the chain sees packets from their IP header on.
    pub(super) fn is_of_ip(self) -> bool {
        matches!(self.at.family, Family::Ip | Family::Ip6 | Family::Inet)
            && !matches!(self.at.hook, "ingress" | "egress")
    }

    fn nf_protocol(self) -> Loaded {
        match self.packet.ip_family() {
            Some(IpFamily::V4) if self.is_of_ip() => Loaded::number(IPV4),
            Some(IpFamily::V6) if self.is_of_ip() => Loaded::number(IPV6),
            _ => Loaded::Unknown,
        }
    }
}

fn name(device: &Device) -> Loaded {
    match device {
        Device::Named(name) => Loaded::Is(Data::Text(name.clone())),
        // Constants are names of devices, and none of them is empty.
        Device::None => Loaded::Is(Data::Text(String::new())),
        Device::Unknown => Loaded::Unknown,
    }
}
