//! Whether an expression holds for a packet.

use std::net::IpAddr;

use super::super::filter::NetnsSpec;
use super::{Expression, Node, Side, Test};
use crate::report::record::{Matched, Packet, Tuple};

/// One way to see a packet: who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    /// Of the source, then of the destination.
    ports: [Option<u16>; 2],
    proto: Option<u8>,
    means: Matched,
}

/// A packet, in all ways it may be seen.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    views: Vec<View>,
    /// Where it came in by, was at, or was to leave by.
    devices: Vec<&'a str>,
    /// Inode numbers of network namespaces where it was.
    netns: Vec<u32>,
    /// From the network header on.
    bytes: u32,
}

impl<'a> Seen<'a> {
    /// By its headers as they are.
    pub fn headers(packet: &Packet) -> Self {
        let headers = View {
            src: packet.src,
            dst: packet.dst,
            ports: [packet.sport, packet.dport],
            proto: packet.proto.map(|proto| proto.0),
            means: Matched::Headers,
        };
        Self {
            views: vec![headers],
            devices: Vec::new(),
            netns: Vec::new(),
            bytes: packet.len,
        }
    }

    /// Also by the tuples of its connection, of this protocol, each as it is and the other way round.
    #[must_use]
    pub fn in_connection(mut self, original: &Tuple, reply: &Tuple, proto: u8) -> Self {
        let original = of_tuple(original, proto, Matched::Original);
        let reply = of_tuple(reply, proto, Matched::Reply);
        // As the kernel side goes through them.
        self.views
            .extend([original, reply, inverted(reply), inverted(original)]);
        self
    }

    /// At a device.
    #[must_use]
    pub fn at(mut self, device: Option<&'a str>) -> Self {
        self.devices.extend(device);
        self
    }

    /// In a network namespace.
    #[must_use]
    pub fn within(mut self, inode: u32) -> Self {
        self.netns.push(inode);
        self
    }
}

fn of_tuple(tuple: &Tuple, proto: u8, means: Matched) -> View {
    View {
        src: Some(tuple.src),
        dst: Some(tuple.dst),
        ports: [tuple.sport, tuple.dport],
        proto: Some(proto),
        means,
    }
}

fn inverted(view: View) -> View {
    View {
        src: view.dst,
        dst: view.src,
        ports: [view.ports[1], view.ports[0]],
        ..view
    }
}

impl Expression {
    /// The first view that it holds for.
    pub fn matched(&self, seen: &Seen<'_>) -> Option<Matched> {
        let view = seen.views.iter().find(|view| holds(&self.root, view, seen))?;
        Some(view.means)
    }
}

/// What is not, is not in any view: else a connection whose port was translated would slip through `not port 22`.
fn holds(node: &Node, view: &View, seen: &Seen<'_>) -> bool {
    match node {
        Node::And(one, other) => holds(one, view, seen) && holds(other, view, seen),
        Node::Or(one, other) => holds(one, view, seen) || holds(other, view, seen),
        Node::Not(node) => !seen.views.iter().any(|view| holds(node, view, seen)),
        Node::Test(test) => passes(test, view, seen),
    }
}

fn passes(test: &Test, view: &View, seen: &Seen<'_>) -> bool {
    match test {
        Test::Net(side, net) => is_in(*side, [view.src, view.dst], |addr| net.contains(&addr)),
        Test::Ports(side, first, last) => is_in(*side, view.ports, |port| (*first..=*last).contains(&port)),
        Test::Proto(number) => view.proto == Some(*number),
        Test::IsV6(is_v6) => view.dst.is_some_and(|addr| addr.is_ipv6() == *is_v6),
        Test::Iface(name) => seen.devices.iter().any(|device| device == name),
        Test::Netns(NetnsSpec::Inode(inode)) => seen.netns.contains(inode),
        // Never met: they are resolved first.
        Test::Netns(NetnsSpec::Name(_) | NetnsSpec::Pid(_)) => false,
        Test::AtLeast(bytes) => seen.bytes >= *bytes,
        Test::AtMost(bytes) => seen.bytes <= *bytes,
    }
}

fn is_in<T: Copy>(side: Side, [src, dst]: [Option<T>; 2], holds: impl Fn(T) -> bool) -> bool {
    match side {
        Side::Src => src.is_some_and(holds),
        Side::Dst => dst.is_some_and(holds),
        Side::Either => [src, dst].into_iter().flatten().any(holds),
    }
}
