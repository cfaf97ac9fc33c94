//! Fills a meaning's gaps with what is known of the packet.

use std::borrow::Cow;

use super::{Meaning, PacketFacts};

/// The sentence, and the command after it.
pub(super) fn sentence(meaning: &Meaning, facts: &PacketFacts<'_>) -> String {
    let says = fill(meaning.says, facts);
    if meaning.check.is_empty() {
        return format!("{says}.");
    }
    format!("{says}; check: {}", fill(meaning.check, facts))
}

fn fill(template: &str, facts: &PacketFacts<'_>) -> String {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, from)) = rest.split_once('{') {
        let Some((name, after)) = from.split_once('}') else {
            break;
        };
        filled.push_str(before);
        filled.push_str(&value(name, facts));
        rest = after;
    }
    filled + rest
}

/// What stands for `{name}`: in capitals what the reader must put there, where it is not known.
fn value(name: &str, facts: &PacketFacts<'_>) -> Cow<'static, str> {
    let packet = facts.packet;
    let known = match name {
        "dst" => packet.and_then(|packet| packet.dst).map(|addr| addr.to_string()),
        "src" => packet.and_then(|packet| packet.src).map(|addr| addr.to_string()),
        "dport" => packet
            .and_then(|packet| packet.dport)
            .map(|port| port.to_string()),
        "len" => packet.map(|packet| packet.len.to_string()),
        "in" => device(facts.in_dev),
        "out" => device(facts.out_dev),
        "dev" => device(facts.out_dev.or(facts.in_dev)),
        _ => None,
    };
    known.map(Cow::Owned).unwrap_or_else(|| placeholder(name).into())
}

fn placeholder(name: &str) -> &'static str {
    match name {
        "dst" => "DST",
        "src" => "SRC",
        "dport" => "PORT",
        "len" => "LENGTH",
        "in" => "IN-DEV",
        "out" => "OUT-DEV",
        _ => "DEV",
    }
}

/// A device's name, if a shell reads it as one plain word: the command is there to be pasted, and anybody who owns a
/// namespace chooses the names in it.
fn device(name: Option<&str>) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    let plain = |name: &&str| !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_plain);
    name.filter(plain).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples;

    #[test]
    fn gaps_are_filled_with_the_packets_own_values() {
        let drop = samples::policy_drop();
        let facts = PacketFacts {
            packet: Some(&drop.packet),
            in_dev: Some("flannel.1"),
            ..PacketFacts::default()
        };
        assert_eq!(
            fill(
                "ip route get {dst} from {src} iif {in} port {dport} dev {out} {",
                &facts
            ),
            "ip route get 10.224.2.16 from 10.224.0.0 iif flannel.1 port 80 dev OUT-DEV {"
        );
    }

    #[test]
    fn a_device_that_a_shell_would_run_is_left_for_the_reader() {
        for name in ["$(reboot)", "a b", "", "-all", "x;y", "\u{1b}[2J"] {
            let facts = PacketFacts {
                in_dev: Some(name),
                ..PacketFacts::default()
            };
            assert_eq!(fill("ip link show {in}", &facts), "ip link show IN-DEV");
        }
    }
}
