//! Matches on what conntrack knows: `conntrack` and `state`.

use super::address::Net;
use super::extension::Opt;
use super::header::{Signed, put, render};
use super::packet::Span;

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CtStates(u8);

/// One direction of a connection, as far as a rule asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CtTuple {
    /// Its source.
    pub src: Option<Signed<Net>>,
    /// Its destination.
    pub dst: Option<Signed<Net>>,
    /// Its source's port.
    pub sport: Option<Signed<Span>>,
    /// Its destination's port.
    pub dport: Option<Signed<Span>>,
}

/// The match `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// `--ctstate`
    pub states: Option<Signed<CtStates>>,
    /// `--ctproto`
    pub proto: Option<Signed<u8>>,
    /// `--ctorigsrc` …: the direction of the first packet.
    pub original: CtTuple,
    /// `--ctreplsrc` …: the direction of the answers.
    pub reply: CtTuple,
    /// `--ctstatus`, as it is written.
    pub status: Option<Signed<Box<str>>>,
    /// `--ctexpire`, as it is written.
    pub expire: Option<Signed<Box<str>>>,
    /// `--ctdir`: whether it is REPLY.
    pub is_reply: Option<Signed<bool>>,
}

impl CtStates {
    /// Conntrack could not place the packet, or has not seen it.
    pub const INVALID: Self = Self(1);
    /// A connection's first packets.
    pub const NEW: Self = Self(2);
    /// Of another connection.
    pub const RELATED: Self = Self(4);
    /// Packets were seen in both directions.
    pub const ESTABLISHED: Self = Self(8);
    /// Kept from conntrack.
    pub const UNTRACKED: Self = Self(16);
    /// The source is translated.
    pub const SNAT: Self = Self(32);
    /// The destination is translated.
    pub const DNAT: Self = Self(64);

    /// In the order in which the tools print them.
    const NAMES: [(Self, &'static str); 7] = [
        (Self::INVALID, "INVALID"),
        (Self::NEW, "NEW"),
        (Self::RELATED, "RELATED"),
        (Self::ESTABLISHED, "ESTABLISHED"),
        (Self::UNTRACKED, "UNTRACKED"),
        (Self::SNAT, "SNAT"),
        (Self::DNAT, "DNAT"),
    ];

    /// Reads `NEW,ESTABLISHED`.
    pub fn parse(text: &str) -> Option<Self> {
        let state = |name: &str| {
            Self::NAMES
                .iter()
                .find(|(_, known)| known.eq_ignore_ascii_case(name))
        };
        text.split(',')
            .try_fold(Self::default(), |all, name| Some(Self(all.0 | state(name)?.0.0)))
    }

    /// Whether it holds one of another set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// As the tools print it.
    pub fn text(&self) -> String {
        let named = Self::NAMES.iter().filter(|(state, _)| self.has(*state));
        named.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    }
}

impl Conntrack {
    pub(super) fn read(options: &[Opt]) -> Option<Self> {
        let mut found = Self::default();
        for option in options {
            let value = option.only()?;
            match &*option.name {
                "--ctstate" => put(&mut found.states, option, CtStates::parse(value))?,
                "--ctproto" => put(&mut found.proto, option, value.parse().ok())?,
                "--ctstatus" => put(&mut found.status, option, Some(value.into()))?,
                "--ctexpire" => put(&mut found.expire, option, Some(value.into()))?,
                "--ctdir" => put(&mut found.is_reply, option, direction(value))?,
                name if name.starts_with("--ctorig") => found.original.take("--ctorig", option)?,
                name => {
                    name.starts_with("--ctrepl")
                        .then(|| found.reply.take("--ctrepl", option))??;
                }
            }
        }
        Some(found)
    }

    pub(super) fn render(&self, out: &mut String) {
        render(out, "--ctstate", self.states.as_ref(), CtStates::text);
        render(out, "--ctproto", self.proto.as_ref(), u8::to_string);
        self.original.render_addresses("--ctorig", out);
        self.reply.render_addresses("--ctrepl", out);
        self.original.render_ports("--ctorig", out);
        self.reply.render_ports("--ctrepl", out);
        render(out, "--ctstatus", self.status.as_ref(), |text| text.to_string());
        render(out, "--ctexpire", self.expire.as_ref(), |text| text.to_string());
        render(out, "--ctdir", self.is_reply.as_ref(), |is_reply| {
            if *is_reply { "REPLY" } else { "ORIGINAL" }.to_owned()
        });
    }
}

fn direction(text: &str) -> Option<bool> {
    match text {
        "ORIGINAL" => Some(false),
        "REPLY" => Some(true),
        _ => None,
    }
}

impl CtTuple {
    fn take(&mut self, prefix: &str, option: &Opt) -> Option<()> {
        let value = option.only()?;
        match option.name.strip_prefix(prefix)? {
            "src" => put(&mut self.src, option, Net::parse(value)),
            "dst" => put(&mut self.dst, option, Net::parse(value)),
            "srcport" => put(&mut self.sport, option, Span::parse(value)),
            "dstport" => put(&mut self.dport, option, Span::parse(value)),
            _ => None,
        }
    }

    fn render_addresses(&self, prefix: &str, out: &mut String) {
        render(out, &format!("{prefix}src"), self.src.as_ref(), Net::short);
        render(out, &format!("{prefix}dst"), self.dst.as_ref(), Net::short);
    }

    fn render_ports(&self, prefix: &str, out: &mut String) {
        render(
            out,
            &format!("{prefix}srcport"),
            self.sport.as_ref(),
            Span::to_string,
        );
        render(
            out,
            &format!("{prefix}dstport"),
            self.dport.as_ref(),
            Span::to_string,
        );
    }
}

/// The match `state`.
pub(super) fn read_state(options: &[Opt]) -> Option<Signed<CtStates>> {
    let [option] = options else { return None };
    let states = CtStates::parse(option.only()?)?;
    (&*option.name == "--state").then_some(Signed {
        negated: option.negated,
        value: states,
    })
}
