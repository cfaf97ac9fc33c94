//! What tells causes apart, as labels. Names and texts are whatever somebody chose: escaped as on a terminal, and cut.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::report::escape;
use crate::report::record::{
    Cause, CounterEffect, CounterLine, CounterMatch, DropInfo, DropLine, Hint, Netns, Rule,
};

/// A label's value where the real one is not kept.
pub(super) const OTHER: &str = "other";
/// So many characters has a value at most.
const MAX_CHARS: usize = 160;

/// The labels of one series. A label without a value is not there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Labels {
    layer: &'static str,
    confidence: &'static str,
    /// Of a counter: what becomes of its packets.
    effect: Option<&'static str>,
    /// The rest, by name.
    rest: Vec<(&'static str, String)>,
}

impl Labels {
    pub(in super::super) fn of_drop(line: &DropLine) -> Self {
        Self::new(&line.drop, line.netns.as_ref(), &line.hints)
    }

    /// `None`: it can be none of the packets that were asked for.
    pub(in super::super) fn of_counter(line: &CounterLine) -> Option<Self> {
        if line.filter == Some(CounterMatch::Excluded) {
            return None;
        }
        let mut labels = Self::new(&line.counter.as_drop(), line.netns.as_ref(), &line.hints);
        labels.effect = Some(match line.counter.effect {
            CounterEffect::Drop => "drop",
            CounterEffect::Reject => "reject",
            CounterEffect::Queue => "queue",
        });
        if let Some(statistic) = &line.counter.statistic {
            labels.rest.push(("statistic", bounded(statistic)));
        }
        Some(labels)
    }

    fn new(drop: &DropInfo, netns: Option<&Netns>, hints: &[Hint]) -> Self {
        let text = |value: &Option<String>| value.as_deref().map(bounded);
        // Which rule it was not is told by the trace, not here.
        let cause = drop.cause.map(|cause| match cause {
            Cause::Rule => "rule",
            Cause::Policy => "policy",
            Cause::Hook => "hook",
        });
        // The kernel's word says more than the function that freed the packet, where it says anything.
        let has_reason = !matches!(drop.reason.as_str(), "" | "NOT_SPECIFIED" | "NETFILTER_DROP");
        let symbol = (!has_reason && cause.is_none())
            .then(|| text(&drop.symbol))
            .flatten();
        let owner = hints.iter().find_map(|hint| hint.owner);
        let rest = [
            ("netns", netns.map(name)),
            ("reason", Some(bounded(&drop.reason))),
            ("symbol", symbol),
            ("hook", drop.hook.map(|hook| hook.name().to_owned())),
            ("family", drop.family.map(|family| family.name().to_owned())),
            ("table", text(&drop.table)),
            ("chain", text(&drop.chain)),
            ("cause", cause.map(str::to_owned)),
            ("rule", drop.rule.as_ref().and_then(identity)),
            ("policy", text(&drop.policy)),
            ("function", text(&drop.function)),
            ("owner", owner.map(str::to_owned)),
        ];
        let rest = rest
            .into_iter()
            .filter_map(|(name, value)| value.filter(|value| !value.is_empty()).map(|value| (name, value)))
            .collect();
        Self {
            layer: drop.layer.name(),
            confidence: drop.confidence.name(),
            effect: None,
            rest,
        }
    }

    /// Everything that has no series of its own: what is left is one of a few.
    pub(in super::super) fn others(self) -> Self {
        let names = [
            "netns", "reason", "hook", "family", "table", "chain", "cause", "rule", "policy", "owner",
        ];
        Self {
            rest: names.iter().map(|name| (*name, OTHER.to_owned())).collect(),
            ..self
        }
    }
}

impl Labels {
    /// Each with its value.
    pub(in super::super) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fixed = [("layer", self.layer), ("confidence", self.confidence)];
        let effect = self.effect.map(|effect| ("effect", effect));
        let rest = self.rest.iter().map(|(name, value)| (*name, value.as_str()));
        fixed.into_iter().chain(effect).chain(rest)
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.pairs()
            .try_for_each(|pair| pair.encode(encoder.encode_label()))
    }
}

fn name(netns: &Netns) -> String {
    match &netns.name {
        Some(name) => bounded(name),
        None => netns.inode.to_string(),
    }
}

/// A rule's text is the same after rules before it came or went; its number is not. What is cut would be the same for two
/// rules: there the place says which.
fn identity(rule: &Rule) -> Option<String> {
    let place = match (rule.handle, rule.number) {
        (Some(handle), _) => Some(format!("handle {handle}")),
        (None, Some(number)) => Some(format!("rule {number}")),
        (None, None) => None,
    };
    let text = rule.text.as_deref().map(without_counts);
    match (&text, place) {
        (Some(text), Some(place)) if !fits(text) => Some(format!("{} ({place})", bounded(text))),
        (Some(text), _) => Some(bounded(text)),
        (None, place) => place,
    }
}

/// nft prints what a rule has counted into its text: each drop would make a series of its own.
fn without_counts(text: &str) -> String {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<&str> = text.split(' ').collect();
    let (mut kept, mut rest) = (Vec::new(), words.as_slice());
    while let [word, after @ ..] = rest {
        rest = match rest {
            ["packets", packets, "bytes", bytes, more @ ..]
                if kept.last() == Some(&"counter") && is_number(packets) && is_number(bytes) =>
            {
                more
            }
            // Of a quota: how much of it is gone.
            ["used", amount, _unit, more @ ..] if is_number(amount) => more,
            _ => {
                kept.push(*word);
                after
            }
        };
    }
    kept.join(" ")
}

fn fits(text: &str) -> bool {
    escape(text).chars().count() <= MAX_CHARS
}

/// The text, escaped and cut.
pub(super) fn bounded(text: &str) -> String {
    // Nothing beyond this is looked at: a character has at most four bytes, and escaping makes no text shorter.
    let end = text
        .char_indices()
        .nth(MAX_CHARS + 1)
        .map_or(text.len(), |(at, _)| at);
    let safe = escape(&text[..end]);
    match safe.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", &safe[..at]),
        None => safe.into_owned(),
    }
}
