//! Where packets are sent: addresses and ports.

use std::fmt::Write as _;

use super::values::write_value;
use crate::ruleset::nftables::listing::datatype::Datatype;
use crate::ruleset::nftables::listing::expression::Expression;
use crate::ruleset::nftables::listing::statement::Nat;

/// `dnat ip to 192.0.2.1:80 random`
pub(super) fn write_nat(out: &mut String, nat: &Nat) {
    out.push_str(nat.kind.name());
    if let Some(family) = &nat.family {
        let _ = write!(out, " {family}");
    }
    if nat.type_flags.iter().any(|flag| flag == "prefix") {
        out.push_str(" prefix");
    }
    if nat.address.is_some() || nat.port.is_some() {
        out.push_str(" to ");
    }
    if let Some(address) = &nat.address {
        write_address(out, address, nat.port.is_some());
    }
    write_port(out, nat.port.as_ref());
    // That whole networks are translated is said by `prefix`.
    let flags: Vec<_> = nat
        .flags
        .iter()
        .map(String::as_str)
        .filter(|flag| *flag != "netmap")
        .collect();
    if !flags.is_empty() {
        let _ = write!(out, " {}", flags.join(","));
    }
}

/// `tproxy ip6 to [::1]:5000`
pub(super) fn write_tproxy(
    out: &mut String,
    family: Option<&str>,
    address: Option<&Expression>,
    port: Option<&Expression>,
) {
    out.push_str("tproxy ");
    if let Some(family) = family {
        let _ = write!(out, "{family} ");
    }
    out.push_str("to ");
    if let Some(address) = address {
        write_address(out, address, true);
    }
    write_port(out, port);
}

fn write_port(out: &mut String, port: Option<&Expression>) {
    if let Some(port) = port {
        out.push(':');
        write_value(out, port, &[Datatype::Service]);
    }
}

/// IPv6 addresses are put in brackets before a port.
fn write_address(out: &mut String, address: &Expression, brackets: bool) {
    let in_brackets = |out: &mut String, address: &Expression| match address {
        Expression::Word(word) if brackets && word.contains(':') => {
            let _ = write!(out, "[{word}]");
        }
        other => write_value(out, other, &[Datatype::Other]),
    };
    match address {
        Expression::Range(ends) => {
            in_brackets(out, &ends[0]);
            out.push('-');
            in_brackets(out, &ends[1]);
        }
        one => in_brackets(out, one),
    }
}
