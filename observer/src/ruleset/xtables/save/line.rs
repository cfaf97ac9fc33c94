//! A line `-A CHAIN …` taken apart: which option belongs to the header, to which match, to the target.

use super::extension::{Extension, Opt, Value};
use super::header::Header;
use super::matches::Match;
use super::table::Counters;
use super::target::Action;
use super::words::{MOST, words};

/// A rule whose target is a name yet.
pub(super) struct Line {
    pub(super) chain: Box<str>,
    pub(super) counters: Option<Counters>,
    pub(super) header: Header,
    pub(super) matches: Vec<Match>,
    pub(super) target: Option<Target>,
}

/// What follows `-j` or `-g`.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) is_goto: bool,
    pub(super) extension: Extension,
}

/// These take the next word whatever it looks like: it is text that people chose.
const TEXTS: [&str; 16] = [
    "-A",
    "--append",
    "-i",
    "-o",
    "-m",
    "--match",
    "-j",
    "--jump",
    "-g",
    "--goto",
    "--comment",
    "--log-prefix",
    "--nflog-prefix",
    "--string",
    "--name",
    "--match-set",
];
/// Matches that a protocol brings with it, by its number.
const IMPLIED: [(u8, &str); 7] = [
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (58, "icmp6"),
    (132, "sctp"),
    (136, "udplite"),
];
/// Options that belong to the protocol's match wherever a person puts them.
const OF_PROTOCOL: [&str; 9] = [
    "--sport",
    "--source-port",
    "--dport",
    "--destination-port",
    "--tcp-flags",
    "--syn",
    "--tcp-option",
    "--icmp-type",
    "--icmpv6-type",
];

#[derive(Default)]
struct Parts {
    chain: Option<Box<str>>,
    counters: Option<Counters>,
    header: Header,
    matches: Vec<(Box<str>, Vec<Opt>)>,
    target: Option<(bool, Box<str>, Vec<Opt>)>,
}

impl Line {
    /// Reads a line, its counters taken off.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let options = options(text)?;
        let mut parts = Parts::default();
        for option in options {
            parts.take(option)?;
        }
        Ok(Self {
            chain: parts.chain.ok_or("is no rule: a rule begins with -A")?,
            counters: parts.counters,
            header: parts.header,
            matches: parts
                .matches
                .into_iter()
                .map(|(name, options)| Match::read(&name, options))
                .collect(),
            target: parts.target.map(|(is_goto, name, options)| Target {
                is_goto,
                extension: Extension { name, options },
            }),
        })
    }
}

impl Parts {
    fn take(&mut self, option: Opt) -> Result<(), &'static str> {
        match &*option.name {
            "-A" | "--append" => {
                let chain = option.only().filter(|_| self.chain.is_none() && !option.negated);
                self.chain = Some(chain.ok_or("names no chain, or two")?.into());
            }
            "-c" | "--set-counters" => self.counters = counters(&option),
            "-m" | "--match" => {
                let name = option.only().filter(|_| !option.negated);
                self.matches
                    .push((name.ok_or("has -m without a name")?.into(), Vec::new()));
            }
            "-j" | "--jump" | "-g" | "--goto" => {
                let name = option.only().filter(|_| !option.negated && self.target.is_none());
                let name = name.ok_or("has -j without a name, or twice")?.into();
                self.target = Some((option.name.contains('g'), name, Vec::new()));
            }
            _ if self.header.take(&option) => {}
            _ => self.belongs(option),
        }
        Ok(())
    }

    /// Gives an option to the match or target that it stands behind.
    fn belongs(&mut self, option: Opt) {
        let implied = || {
            let proto = self.header.proto.as_ref().and_then(|proto| proto.value.number);
            IMPLIED.iter().find(|(number, _)| Some(*number) == proto)
        };
        let of_protocol = OF_PROTOCOL.contains(&&*option.name);
        if let Some((_, _, options)) = &mut self.target
            && !of_protocol
        {
            options.push(option);
            return;
        }
        let is_protocols = |name: &str| IMPLIED.iter().any(|(_, known)| *known == name) || name == "icmpv6";
        if let Some((name, options)) = self.matches.last_mut()
            && (!of_protocol || is_protocols(name))
        {
            options.push(option);
            return;
        }
        match implied() {
            Some((_, name)) => match self.matches.iter_mut().find(|(known, _)| &**known == *name) {
                Some((_, options)) => options.push(option),
                None => self.matches.push(((*name).into(), vec![option])),
            },
            None => self.header.unread.push(option),
        }
    }
}

/// The words as options, each with its values.
fn options(text: &str) -> Result<Vec<Opt>, &'static str> {
    let words = words(text);
    if words.len() >= MOST {
        return Err("has more words than any rule");
    }
    let mut options: Vec<Opt> = Vec::new();
    let mut negated = false;
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let wants_text = options
            .last()
            .is_some_and(|last| last.values.is_empty() && TEXTS.contains(&&*last.name));
        let is_option =
            |word: &super::words::Word<'_>| !word.quoted && word.text.len() > 1 && word.text.starts_with('-');
        if !word.quoted && word.text == "!" && !wants_text && words.peek().is_some_and(is_option) {
            negated = true;
        } else if is_option(&word) && !wants_text {
            options.push(Opt {
                negated: std::mem::take(&mut negated),
                name: word.text.into(),
                values: Vec::new(),
            });
        } else if let Some(last) = options.last_mut() {
            last.values.push(Value::from(word));
        } else {
            options.push(Opt {
                negated: false,
                name: "".into(),
                values: vec![Value::from(word)],
            });
        }
    }
    Ok(options)
}

fn counters(option: &Opt) -> Option<Counters> {
    let [packets, bytes] = option.values.as_slice() else {
        return None;
    };
    Some(Counters {
        packets: packets.text.parse().ok()?,
        bytes: bytes.text.parse().ok()?,
    })
}

/// `[12:345]`
pub(super) fn bracketed(text: &str) -> Option<Counters> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counters {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

impl Target {
    /// What it does, where it is no chain of the table.
    pub(super) fn action(self) -> Action {
        Action::read(&self.extension.name, self.extension.options)
    }
}
