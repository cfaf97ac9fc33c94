//! What a rule does to a packet that matches.

use std::net::IpAddr;

use super::address::{Net, Range};
use super::extension::{Extension, Opt};
use super::matches::{masked, number};

/// What a rule does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it counts.
    #[default]
    None,
    /// The packet leaves the table alive.
    Accept,
    /// The packet dies.
    Drop,
    /// The calling chain goes on; at the end of a built-in chain, its policy.
    Return,
    /// To user space.
    Queue,
    /// Another chain of the table (its index) is walked, then this one goes on.
    Jump(usize),
    /// Another chain of the table (its index) is walked instead of this one.
    Goto(usize),
    /// `REJECT`: the packet dies, and its sender is told.
    Reject(Extension),
    /// `MARK`: the packet's mark becomes `(mark & !mask) ^ value`.
    Mark(MarkChange, Extension),
    /// `CONNMARK --set-xmark`: as [`Action::Mark`], of the connection.
    Connmark(MarkChange, Extension),
    /// `CONNMARK --save-mark`: masks of the packet's mark and of the connection's.
    SaveMark(u32, u32, Extension),
    /// `CONNMARK --restore-mark`: masks of the packet's mark and of the connection's.
    RestoreMark(u32, u32, Extension),
    /// `NOTRACK`, `CT --notrack`
    Notrack(Extension),
    /// A translation of addresses or ports.
    Nat(Nat),
    /// Every other target, word for word.
    Other(Extension),
}

/// A change of a mark: `(mark & !mask) ^ value` (`mark_tg`, net/netfilter/xt_mark.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkChange {
    /// The bits that are turned over.
    pub value: u32,
    /// The bits that are cleared first.
    pub mask: u32,
}

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Its kind.
    pub kind: NatKind,
    /// What the packet gets.
    pub to: To,
    /// As it is written.
    pub written: Extension,
}

/// The kind of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// `DNAT`
    Dnat,
    /// `SNAT`
    Snat,
    /// `MASQUERADE`: the address of the device that the packet leaves by.
    Masquerade,
    /// `REDIRECT`: this host.
    Redirect,
    /// `NETMAP`: a network onto another.
    Netmap,
}

/// What a translated packet gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// An address of a span, a port of a span; what is absent stays or is the target's to choose.
    Span {
        /// Addresses.
        addrs: Option<Range>,
        /// First and last port.
        ports: Option<(u16, u16)>,
    },
    /// The network of NETMAP.
    Net(Net),
    /// Could not be read.
    Unread,
}

impl Action {
    /// Reads what follows `-j`, where the name is no chain of the table.
    pub(super) fn read(name: &str, options: Vec<Opt>) -> Self {
        let extension = Extension {
            name: name.into(),
            options,
        };
        if extension.options.is_empty() {
            match name {
                "ACCEPT" => return Self::Accept,
                "DROP" => return Self::Drop,
                "RETURN" => return Self::Return,
                "QUEUE" => return Self::Queue,
                _ => {}
            }
        }
        match name {
            "REJECT" => Self::Reject(extension),
            "MARK" => mark(extension),
            "CONNMARK" => connmark(extension),
            "NOTRACK" => Self::Notrack(extension),
            // With a zone or a helper beside it, it is more than this.
            "CT" if extension.options.len() == 1 && extension.has("--notrack") => Self::Notrack(extension),
            "DNAT" => nat(NatKind::Dnat, "--to-destination", extension),
            "SNAT" => nat(NatKind::Snat, "--to-source", extension),
            "MASQUERADE" => nat(NatKind::Masquerade, "--to-ports", extension),
            "REDIRECT" => nat(NatKind::Redirect, "--to-ports", extension),
            "NETMAP" => nat(NatKind::Netmap, "--to", extension),
            _ => Self::Other(extension),
        }
    }

    /// The extension that it is, if it is one.
    pub fn extension(&self) -> Option<&Extension> {
        match self {
            Self::Reject(extension)
            | Self::Mark(_, extension)
            | Self::Connmark(_, extension)
            | Self::SaveMark(.., extension)
            | Self::RestoreMark(.., extension)
            | Self::Notrack(extension)
            | Self::Other(extension) => Some(extension),
            Self::Nat(nat) => Some(&nat.written),
            _ => None,
        }
    }
}

fn mark(extension: Extension) -> Action {
    match change(&extension) {
        Some(change) => Action::Mark(change, extension),
        None => Action::Other(extension),
    }
}

/// All spellings come to one; the tools print `--set-xmark`.
fn change(extension: &Extension) -> Option<MarkChange> {
    let [option] = extension.options.as_slice() else {
        return None;
    };
    let text = option.only().filter(|_| !option.negated)?;
    let (value, mask) = match &*option.name {
        "--set-xmark" => masked(text)?,
        "--set-mark" => {
            let (value, mask) = masked(text)?;
            (value, value | mask)
        }
        "--and-mark" => (0, !number(text)?),
        "--or-mark" => (number(text)?, number(text)?),
        "--xor-mark" => (number(text)?, 0),
        _ => return None,
    };
    Some(MarkChange { value, mask })
}

fn connmark(extension: Extension) -> Action {
    if let Some(change) = change(&extension) {
        return Action::Connmark(change, extension);
    }
    let whole = |name| {
        let mut options = extension.options.iter();
        options.any(|option| &*option.name == name && option.values.is_empty() && !option.negated)
    };
    match (whole("--save-mark"), whole("--restore-mark"), masks(&extension)) {
        (true, false, Some((packet, conn))) => Action::SaveMark(packet, conn, extension),
        (false, true, Some((packet, conn))) => Action::RestoreMark(packet, conn, extension),
        _ => Action::Other(extension),
    }
}

/// Masks of the packet's mark and of the connection's; `None` if there is anything else.
fn masks(extension: &Extension) -> Option<(u32, u32)> {
    let (mut packet, mut conn) = (u32::MAX, u32::MAX);
    for option in &extension.options {
        match &*option.name {
            "--save-mark" | "--restore-mark" => {}
            "--nfmask" => packet = number(option.only()?)?,
            "--ctmask" => conn = number(option.only()?)?,
            "--mask" => {
                packet = number(option.only()?)?;
                conn = packet;
            }
            _ => return None,
        }
    }
    Some((packet, conn))
}

fn nat(kind: NatKind, option: &str, written: Extension) -> Action {
    let to = match (written.has(option), written.value(option)) {
        (false, _) => To::Span {
            addrs: None,
            ports: None,
        },
        (true, None) => To::Unread,
        (true, Some(text)) => match kind {
            NatKind::Dnat | NatKind::Snat => span(text).unwrap_or(To::Unread),
            NatKind::Netmap => Net::parse(text).map_or(To::Unread, To::Net),
            NatKind::Masquerade | NatKind::Redirect => ports(text).map_or(To::Unread, |ports| To::Span {
                addrs: None,
                ports: Some(ports),
            }),
        },
    };
    const KNOWN: [&str; 3] = ["--random", "--random-fully", "--persistent"];
    let mut options = written.options.iter();
    let is_plain = options.all(|found| &*found.name == option || KNOWN.contains(&&*found.name));
    Action::Nat(Nat {
        kind,
        to: if is_plain { to } else { To::Unread },
        written,
    })
}

/// `10.0.0.5`, `10.0.0.5-10.0.0.9:80-90`, `:80`, `[fd00::1]:80`, `fd00::1`.
fn span(text: &str) -> Option<To> {
    let (addrs, port) = if text.parse::<IpAddr>().is_ok() {
        (text.to_owned(), None)
    } else if let Some((addrs, port)) = text.rsplit_once("]:") {
        (addrs.replace(['[', ']'], ""), Some(port))
    } else if text.matches(':').count() <= 1 {
        match text.split_once(':') {
            Some((addrs, port)) => (addrs.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        }
    } else {
        (text.replace(['[', ']'], ""), None)
    };
    Some(To::Span {
        addrs: match addrs.as_str() {
            "" => None,
            text => Some(Range::parse(text)?),
        },
        ports: match port {
            None => None,
            Some(port) => Some(ports(port)?),
        },
    })
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(addrs: Option<&str>, ports: Option<(u16, u16)>) -> Option<To> {
        Some(To::Span {
            addrs: addrs.map(|text| Range::parse(text).expect("addresses")),
            ports,
        })
    }

    #[test]
    fn what_a_translation_gives_is_read_in_every_form() {
        assert_eq!(span("10.0.0.5"), to(Some("10.0.0.5"), None));
        assert_eq!(span("10.0.0.5:80"), to(Some("10.0.0.5"), Some((80, 80))));
        assert_eq!(
            span("10.0.0.5-10.0.0.9:80-90"),
            to(Some("10.0.0.5-10.0.0.9"), Some((80, 90)))
        );
        assert_eq!(span(":80"), to(None, Some((80, 80))));
        assert_eq!(span("fd00::1"), to(Some("fd00::1"), None));
        assert_eq!(span("[fd00::1]:80"), to(Some("fd00::1"), Some((80, 80))));
        assert_eq!(span("fd00::1-fd00::9"), to(Some("fd00::1-fd00::9"), None));
        // A shifted span: more than one port in a way that is not modelled.
        assert_eq!(span("10.0.0.5:80-90/1000"), None);
    }
}
