//! docs/reasons.md is written from the catalogue: `UPDATE_DOCS=1 cargo test -p observer diagnose`.

use std::fmt::Write as _;

use super::handled::HANDLED;
use super::{Loss, Meaning, all_reasons, all_refined, all_symbols};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");

const HEAD: &str = "\
# What the kernel's drop reasons mean

Every drop that is not netfilter's comes with the kernel's own reason, or where it gives none with the function that
freed the packet. This is the catalogue that `observer` explains them from, written out of the source by a test
(`UPDATE_DOCS=1 cargo test -p observer diagnose`).

*Loss* says whether anybody misses the packet. What is no loss is counted in the summary as `not_loss`, within
`filtered`, and not reported.

| mark | meaning |
| --- | --- |
| yes | a loss |
| no | none: a duplicate, a tap's copy, a frame for another host, a message between programs |
| to one | a loss, unless it was sent to many (multicast, broadcast) |
| IP | a loss if it is IPv4 or IPv6 |
| IP for us | a loss if it is IP to one address, and was sent by or to this host |
| not upkeep | a loss, unless it is IGMP, MLD, a router solicitation or the check that an IPv6 address is free |

A packet whose protocol number in the kernel is 0 belongs to netlink, a unix socket and the like, and is no loss, unless
routing or neighbour resolution dropped it. `{dst}`, `{in}` and the like stand for the packet's own values. A reason
makes the answer `exact`, a function alone makes it `inferred`, and a reason or function that is not listed here is
reported by its name, in layer `other`, as `unknown`.

What cannot be seen: a SYN that finds the listener's queue full ends as if it had been used up (`tcp_rcv_state_process`
consumes it; read in 6.1 and 6.12), so no drop is reported for it, only for the handshake's last ACK.
`nstat -az TcpExtListenOverflows TcpExtListenDrops` counts both. An IPv6 echo request that this host does not answer
(`net.ipv6.icmp.echo_ignore_all`) is freed as the answered ones are on 6.1, so it is not reported on any kernel.
";

#[test]
fn the_catalogue_in_the_documentation_is_this_one() {
    let written = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &written).expect("docs/reasons.md can be written");
    }
    let found = std::fs::read_to_string(PATH).expect("docs/reasons.md can be read");
    assert_eq!(
        found, written,
        "run UPDATE_DOCS=1 cargo test -p observer diagnose"
    );
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    section(
        &mut text,
        "Reasons",
        "reason",
        all_reasons().map(|(name, meaning)| (format!("`{name}`"), meaning)),
    );
    let no_socket = super::socket::NO_SOCKET.iter().map(|(number, meaning)| {
        (
            format!("`NO_SOCKET`, {}", crate::report::record::Proto(*number)),
            meaning,
        )
    });
    let reset = ("`NO_SOCKET`, tcp with RST".to_owned(), &super::tcp::STRAY_RESET);
    section(
        &mut text,
        "Reasons that the protocol makes clearer",
        "reason, protocol",
        std::iter::once(reset).chain(no_socket),
    );
    let refined =
        all_refined().map(|(name, symbols, meaning)| (format!("`{name}` in {}", list(symbols)), meaning));
    section(
        &mut text,
        "Reasons that the function makes clearer",
        "reason and function",
        refined,
    );
    let handled = HANDLED
        .iter()
        .map(|(symbols, which, meaning)| (format!("{} in {}", which.words(), list(symbols)), meaning));
    section(
        &mut text,
        "Packets that were handled before they were freed without a reason",
        "packet and function",
        handled,
    );
    let symbols = all_symbols().map(|(symbols, meaning)| (list(symbols), meaning));
    section(
        &mut text,
        "Functions, where there is no reason",
        "function",
        symbols,
    );
    text
}

fn list(symbols: &[&str]) -> String {
    symbols
        .iter()
        .map(|symbol| format!("`{symbol}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn section<'a>(
    text: &mut String,
    title: &str,
    what: &str,
    rows: impl Iterator<Item = (String, &'a Meaning)>,
) {
    let _ = writeln!(
        text,
        "\n## {title}\n\n| {what} | layer | loss | meaning | check |\n| --- | --- | --- | --- | --- |"
    );
    for (name, meaning) in rows {
        let check = if meaning.check.is_empty() {
            String::new()
        } else {
            format!("`{}`", meaning.check.replace('|', "\\|"))
        };
        let (layer, loss, says) = (meaning.layer.name(), mark(meaning.loss), meaning.says);
        let _ = writeln!(text, "| {name} | {layer} | {loss} | {says} | {check} |");
    }
}

fn mark(loss: Loss) -> &'static str {
    match loss {
        Loss::Yes => "yes",
        Loss::No => "no",
        Loss::UnlessToMany => "to one",
        Loss::IfIpForUs => "IP for us",
        Loss::IfIp => "IP",
        Loss::UnlessUpkeep => "not upkeep",
    }
}
