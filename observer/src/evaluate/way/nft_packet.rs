//! One packet in the words of both evaluators. What one of them does not say is not known to the other.

use crate::evaluate::around::Surroundings;
use crate::evaluate::nftables::{
    self, Bits, Connection, Device, Direction, Evaluator, IpFamily, Path, Tuple,
};
use crate::evaluate::packet::{Conn, Dev, Kinds, Packet};
use crate::evaluate::translation;
use crate::report::record::{self, CtState, Hook};
use crate::ruleset::nftables::listing::{Expression, Nat, NatKind, Statement};

/// `IPS_SRC_NAT`, `IPS_DST_NAT`, `enum ip_conntrack_status`.
const SNAT: u32 = 1 << 4;
const DNAT: u32 = 1 << 5;

/// The packet as nft's rules are asked about it.
pub(super) fn as_nft(packet: &Packet) -> nftables::Packet {
    nftables::Packet {
        family: Some(if packet.is_v6 { IpFamily::V6 } else { IpFamily::V4 }),
        protocol: packet.proto,
        source: packet.src,
        destination: packet.dst,
        sport: packet.sport,
        dport: packet.dport,
        tcp_flags: packet.tcp_flags,
        icmp_type: packet.icmp_type,
        icmp_code: packet.icmp_code,
        length_bytes: packet.len_bytes,
        ttl: packet.ttl,
        later_fragment: packet.is_fragment,
        input: device(&packet.in_dev),
        output: device(&packet.out_dev),
        mark: Bits::from(packet.mark),
        source_kinds: packet.src_kinds,
        destination_kinds: packet.dst_kinds,
        connection: connection(&packet.conn),
        ..nftables::Packet::default()
    }
}

fn device(dev: &Dev) -> Device {
    match dev {
        Dev::Unknown => Device::Unknown,
        Dev::Absent => Device::None,
        Dev::Named(name) => Device::Named(name.to_string()),
    }
}

fn connection(conn: &Conn) -> Connection {
    // Of a first packet it is known that there is nothing but translations.
    let known = if conn.state == Some(CtState::New) {
        !(SNAT | DNAT)
    } else {
        0
    };
    let mut status = Bits::partly(0, known);
    for (bit, is_set) in [(SNAT, conn.snat), (DNAT, conn.dnat)] {
        status = match is_set {
            Some(true) => status.with(bit),
            Some(false) => Bits::partly(status.value(), status.known() | bit),
            None => status,
        };
    }
    let tuple = |tuple: &Option<record::Tuple>| {
        tuple.as_ref().map_or_else(Tuple::default, |tuple| Tuple {
            source: Some(tuple.src),
            destination: Some(tuple.dst),
            sport: tuple.sport,
            dport: tuple.dport,
        })
    };
    Connection {
        state: conn.state.map(nft_state),
        status,
        mark: Bits::from(conn.mark),
        direction: conn.is_reply.map(|is_reply| match is_reply {
            true => Direction::Reply,
            false => Direction::Original,
        }),
        original: tuple(&conn.original),
        reply: tuple(&conn.reply),
    }
}

fn nft_state(state: CtState) -> nftables::CtState {
    match state {
        CtState::New => nftables::CtState::New,
        CtState::Established => nftables::CtState::Established,
        CtState::Related => nftables::CtState::Related,
        CtState::Invalid => nftables::CtState::Invalid,
        CtState::Untracked => nftables::CtState::Untracked,
    }
}

fn state(state: nftables::CtState) -> CtState {
    match state {
        nftables::CtState::New => CtState::New,
        nftables::CtState::Established => CtState::Established,
        nftables::CtState::Related => CtState::Related,
        nftables::CtState::Invalid => CtState::Invalid,
        nftables::CtState::Untracked => CtState::Untracked,
    }
}

/// The packet as it leaves a base chain.
pub(super) fn with_changes(
    before: &Packet,
    path: &Path,
    nft: &Evaluator<'_>,
    (hook, around): (Hook, &dyn Surroundings),
) -> Packet {
    let after = &path.packet;
    let mut packet = Packet {
        proto: after.protocol,
        src: after.source,
        dst: after.destination,
        sport: after.sport,
        dport: after.dport,
        tcp_flags: after.tcp_flags,
        icmp_type: after.icmp_type,
        icmp_code: after.icmp_code,
        is_fragment: after.later_fragment,
        len_bytes: after.length_bytes,
        ttl: after.ttl,
        mark: exact(after.mark),
        conn: conn(&before.conn, &after.connection),
        ..before.clone()
    };
    let nat = translation(path, nft).filter(|_| path.is_translated);
    if let Some(nat) = nat {
        settle(nat, before, &mut packet, hook, around);
    }
    if packet.src != before.src {
        packet.src_kinds = packet.src.map_or(Kinds::ANY, |addr| around.kinds(addr));
    }
    if packet.dst != before.dst {
        packet.dst_kinds = packet.dst.map_or(Kinds::ANY, |addr| around.kinds(addr));
    }
    if nat.is_some_and(|nat| nat.kind == NatKind::Redirect) {
        packet.dst_kinds = Kinds::LOCAL;
    }
    packet
}

fn exact(bits: Bits) -> Option<u32> {
    (bits.known() == u32::MAX).then_some(bits.value())
}

fn conn(before: &Conn, after: &Connection) -> Conn {
    let bit = |bit: u32| (after.status.known() & bit != 0).then_some(after.status.value() & bit != 0);
    let now = after.state.map(state);
    Conn {
        state: now,
        mark: exact(after.mark),
        original: before.original.clone(),
        reply: if after.reply == connection(before).reply {
            before.reply.clone()
        } else {
            reply(&after.reply)
        },
        is_reply: before.is_reply,
        snat: bit(SNAT),
        dnat: bit(DNAT),
        // Only `notrack` makes a state that was known one that is not.
        may_be_untracked: before.may_be_untracked || (now.is_none() && before.state.is_some()),
    }
}

fn reply(tuple: &Tuple) -> Option<record::Tuple> {
    Some(record::Tuple {
        src: tuple.source?,
        sport: tuple.sport,
        dst: tuple.destination?,
        dport: tuple.dport,
        icmp_id: None,
    })
}

/// The statement that has translated.
fn translation<'a>(path: &Path, nft: &Evaluator<'a>) -> Option<&'a Nat> {
    let rule = nft.rule(path.decided_by?)?;
    rule.statements.iter().find_map(|statement| match statement {
        Statement::Nat(nat) => Some(&**nat),
        _ => None,
    })
}

/// What the host around the rules says of a translation: which address masquerading gives. It is taken to succeed: there is a free
/// port.
fn settle(nat: &Nat, before: &Packet, packet: &mut Packet, hook: Hook, around: &dyn Surroundings) {
    let address = |dev: &Dev| match dev {
        Dev::Named(name) => around.address_of(name, before.is_v6),
        _ => None,
    };
    let keeps_port = nat.port.is_none() && !nat.flags.iter().any(|flag| flag.contains("random"));
    match nat.kind {
        NatKind::Masquerade => packet.src = address(&before.out_dev),
        NatKind::Redirect if hook == Hook::Output => {
            packet.dst = Some(translation::loopback(before.is_v6));
        }
        NatKind::Redirect => packet.dst = address(&before.in_dev),
        NatKind::Snat | NatKind::Dnat => {}
    }
    if matches!(nat.kind, NatKind::Snat | NatKind::Masquerade) {
        if keeps_port && !is_mapped(nat) {
            packet.sport = before.sport;
        }
        packet.conn.snat = translation::changed((before.src, packet.src), (before.sport, packet.sport));
    } else {
        packet.conn.dnat = translation::changed((before.dst, packet.dst), (before.dport, packet.dport));
    }
}

/// Whether a map gives the address, and perhaps a port with it.
fn is_mapped(nat: &Nat) -> bool {
    !nat.type_flags.is_empty() || matches!(nat.address, Some(Expression::Map { .. }))
}
