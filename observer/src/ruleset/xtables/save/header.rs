//! What every rule can ask of a packet without an extension: addresses, devices, protocol, fragment.

use std::fmt::Write as _;

use super::address::Net;
use super::extension::Opt;

/// A value, and whether a `!` stands before its option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    /// Whether it must not be so.
    pub negated: bool,
    /// The value.
    pub value: T,
}

/// The part of a rule before its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `-s`
    pub src: Option<Signed<Net>>,
    /// `-d`
    pub dst: Option<Signed<Net>>,
    /// `-i`
    pub in_dev: Option<Signed<Device>>,
    /// `-o`
    pub out_dev: Option<Signed<Device>>,
    /// `-p`
    pub proto: Option<Signed<Protocol>>,
    /// `-f`: second and further fragments; negated: everything else.
    pub fragment: Option<Signed<()>>,
    /// Options that could not be read: a host's name, several addresses in one.
    pub unread: Vec<Opt>,
}

/// A device's name, or how it begins (`eth+`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Without the `+`.
    pub name: Box<str>,
    /// Whether any name fits that begins so.
    pub is_prefix: bool,
}

/// A protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its number; `None` for a name that is not known here.
    pub number: Option<u8>,
    /// As it is written: names are those of the machine's /etc/protocols.
    pub name: Box<str>,
}

impl Device {
    /// Reads `eth0` or `eth+`.
    pub fn parse(text: &str) -> Self {
        let prefix = text.strip_suffix('+');
        Self {
            name: prefix.unwrap_or(text).into(),
            is_prefix: prefix.is_some(),
        }
    }

    /// Whether a name fits. A packet without a device has the empty name.
    pub fn fits(&self, name: &str) -> bool {
        if self.is_prefix {
            name.starts_with(&*self.name)
        } else {
            name == &*self.name
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        format!("{}{}", self.name, if self.is_prefix { "+" } else { "" })
    }
}

impl Protocol {
    /// Reads a name or number.
    pub fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let known = NUMBERS.iter().find(|(_, name)| *name == lower);
        Self {
            number: text.parse().ok().or(known.map(|(number, _)| *number)),
            name: text.into(),
        }
    }
}

/// Names that /etc/protocols gives to numbers that netfilter's users meet.
const NUMBERS: &[(u8, &str)] = &[
    (0, "all"),
    (0, "ip"),
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipencap"),
    (4, "ipv4"),
    (6, "tcp"),
    (8, "egp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (50, "ipv6-crypt"),
    (51, "ah"),
    (51, "ipv6-auth"),
    (58, "ipv6-icmp"),
    (58, "icmpv6"),
    (58, "icmp6"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (88, "eigrp"),
    (89, "ospf"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (132, "sctp"),
    (135, "mobility-header"),
    (135, "ipv6-mh"),
    (135, "mh"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
];

impl Header {
    /// Takes an option, if it is the header's.
    pub(super) fn take(&mut self, option: &Opt) -> bool {
        let value = option.only();
        let taken = match &*option.name {
            "-s" | "--source" | "--src" => put(&mut self.src, option, value.and_then(Net::parse)),
            "-d" | "--destination" | "--dst" => put(&mut self.dst, option, value.and_then(Net::parse)),
            "-i" | "--in-interface" => put(&mut self.in_dev, option, value.map(Device::parse)),
            "-o" | "--out-interface" => put(&mut self.out_dev, option, value.map(Device::parse)),
            "-p" | "--protocol" | "--proto" => put(&mut self.proto, option, value.map(Protocol::parse)),
            "-f" | "--fragment" => put(&mut self.fragment, option, option.values.is_empty().then_some(())),
            _ => return false,
        };
        if taken.is_none() {
            self.unread.push(option.clone());
        }
        true
    }

    pub(super) fn render(&self, out: &mut String) {
        render(out, "-s", self.src.as_ref(), Net::to_string);
        render(out, "-d", self.dst.as_ref(), Net::to_string);
        render(out, "-i", self.in_dev.as_ref(), Device::text);
        render(out, "-o", self.out_dev.as_ref(), Device::text);
        render(out, "-p", self.proto.as_ref(), |proto| proto.name.to_string());
        if let Some(fragment) = &self.fragment {
            out.push_str(if fragment.negated { " ! -f" } else { " -f" });
        }
        for option in &self.unread {
            option.render(out);
        }
    }
}

/// Fills a place that is still free; `None` if it is not, or there is nothing to fill it with.
pub(super) fn put<T>(place: &mut Option<Signed<T>>, option: &Opt, value: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(Signed {
        negated: option.negated,
        value: value?,
    });
    Some(())
}

/// Appends an option, if it is there.
pub(super) fn render<T>(
    out: &mut String,
    name: &str,
    signed: Option<&Signed<T>>,
    text: impl FnOnce(&T) -> String,
) {
    if let Some(signed) = signed {
        let not = if signed.negated { "! " } else { "" };
        // Writing to a string does not fail.
        let _ = write!(out, " {not}{name} {}", text(&signed.value));
    }
}
