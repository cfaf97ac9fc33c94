//! Commands with the packet's own values. A value that a shell or the tool would read as more than one plain word is not
//! put into a command: anybody who owns a namespace chooses the names in it.

use super::entry::Fix;
use super::pattern::Kept;
use super::scene::Scene;
use crate::report::record::{PacketFamily, TableFamily, Tool};

/// The command of a fix; `None` if it has none for such a table, or a value is not known or not plain.
pub fn command(fix: &Fix, scene: &Scene<'_>, kept: &Kept) -> Option<String> {
    let enter = if fix.anywhere { "" } else { scene.enter? };
    let words = |template: &str| {
        fill(template, |name| {
            value(name, scene, kept).filter(|word| is_plain(word))
        })
    };
    let tool = match scene.drop().tool {
        Some(Tool::Nft) => fix
            .nft
            .as_deref()
            .map(|nft| Some(format!("nft '{}'", words(nft)?))),
        Some(_) => fix
            .iptables
            .as_deref()
            .map(|arguments| Some(format!("{} {}", iptables(scene)?, words(arguments)?))),
        None => None,
    };
    let command = match (tool, &fix.command) {
        (Some(command), _) => command?,
        (None, Some(command)) => words(command)?,
        (None, None) => return None,
    };
    Some(format!("{enter}{command}"))
}

/// `ip6tables-nft -t raw`, without the table that is taken anyway.
fn iptables(scene: &Scene<'_>) -> Option<String> {
    let drop = scene.drop();
    let name = match (drop.tool?, drop.family?) {
        (Tool::IptablesLegacy, TableFamily::Ip) => "iptables-legacy",
        (Tool::IptablesLegacy, TableFamily::Ip6) => "ip6tables-legacy",
        (Tool::IptablesNft, TableFamily::Ip) => "iptables-nft",
        (Tool::IptablesNft, TableFamily::Ip6) => "ip6tables-nft",
        _ => return None,
    };
    Some(match drop.table.as_deref()? {
        "filter" => name.to_owned(),
        table if is_plain(table) => format!("{name} -t {table}"),
        _ => return None,
    })
}

/// A sentence with its values, whatever they are: they are escaped where they are shown.
pub fn sentence(template: &str, scene: &Scene<'_>, kept: &Kept) -> Option<String> {
    fill(template, |name| value(name, scene, kept))
}

/// Puts values into the gaps of a template; `None` if one is missing. A brace that opens no gap stands for itself.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, from)) = rest.split_once('{') {
        let (name, after) = from.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&value(name)?);
        rest = after;
    }
    Some(filled + rest)
}

/// What a gap stands for: what the patterns kept, or a value of the drop.
fn value(name: &str, scene: &Scene<'_>, kept: &Kept) -> Option<String> {
    if let Some(word) = kept.get(name) {
        return Some(word.to_owned());
    }
    let (line, drop, packet) = (scene.line, scene.drop(), &scene.line.packet);
    let service = || line.flow.as_ref()?.service.as_deref()?.split_once('/');
    match name {
        "in" => line.in_dev.clone(),
        "out" => line.out_dev.clone(),
        "src" => packet.src.map(|src| src.to_string()),
        "dst" => packet.dst.map(|dst| dst.to_string()),
        "dport" => packet.dport.map(|port| port.to_string()),
        "proto" => packet.proto.map(|proto| proto.to_string()),
        "hook" => drop.hook.map(|hook| hook.name().to_owned()),
        "table" => drop.table.clone(),
        "chain" => drop.chain.clone(),
        "family" => drop.family.map(|family| family.name().to_owned()),
        "ip" => match packet.family {
            PacketFamily::Ip => Some("ip".to_owned()),
            PacketFamily::Ip6 => Some("ip6".to_owned()),
            _ => None,
        },
        "service_ns" => service().map(|(ns, _)| ns.to_owned()),
        "service_name" => service().map(|(_, name)| name.to_owned()),
        _ => None,
    }
}

/// Whether a shell, iptables, nft and the others read this as one plain word.
pub fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    !word.is_empty() && !word.starts_with('-') && word.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_put_into_commands() {
        for word in [
            "flannel.1",
            "br-0123456789ab",
            "10.224.2.16",
            "fd00::1",
            "KUBE-POD-FW-X",
            "service/a",
        ] {
            assert!(is_plain(word), "{word}");
        }
        for word in [
            "",
            "-A",
            "$(reboot)",
            "a b",
            "a;b",
            "a'b",
            "eth+",
            "a\"b",
            "a\nb",
            "é",
            "a*",
            "a|b",
            "{x}",
        ] {
            assert!(!is_plain(word), "{word:?}");
        }
    }

    #[test]
    fn a_value_that_is_missing_leaves_no_sentence() {
        let known = |name: &str| (name == "a").then(|| "1".to_owned());
        assert_eq!(fill("x {a} y", known).as_deref(), Some("x 1 y"));
        assert_eq!(fill("x {b} y", known), None);
        assert_eq!(fill("x { y", known), None);
        // What is put in is not read again.
        assert_eq!(fill("{a}", |_| Some("{b}".to_owned())).as_deref(), Some("{b}"));
    }
}
