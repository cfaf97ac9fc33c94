//! What dropped a packet, as a row: in which namespace, by which rule with which text.

use std::rc::Rc;

use crate::report::record::{
    CounterInfo, CounterLine, DropInfo, DropLine, Layer, LostFlow, Netns, Rule, Tool,
};
use crate::report::words;

/// So much of a rule's text stands in a row, in characters; its details have all of it.
const MOST_TEXT: usize = 512;

/// What makes two packets those of one cause. After a change of the rules another rule may have a number: its text is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CauseKey {
    inode: Option<u32>,
    kind: Kind,
    words: String,
    tool: Option<Tool>,
    rule: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Drop(Layer),
    Counter,
    Folded,
}

/// What is shown of it.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// `policy DROP of filter FORWARD (iptables-legacy)`
    pub(super) words: Rc<str>,
    /// `policy DROP of filter FORWARD (iptables-legacy) in node02: -A FORWARD …`
    pub(super) whole: Rc<str>,
}

impl CauseKey {
    pub(super) fn of_drop(line: &DropLine) -> Self {
        Self {
            inode: line.netns.as_ref().map(|netns| netns.inode),
            kind: Kind::Drop(line.drop.layer),
            words: words::cause(&line.drop),
            tool: line.drop.tool,
            rule: text(line.drop.rule.as_ref()).map(str::to_owned),
        }
    }

    pub(super) fn of_counter(line: &CounterLine) -> Self {
        let CounterInfo { tool, rule, .. } = &line.counter;
        Self {
            inode: line.netns.as_ref().map(|netns| netns.inode),
            kind: Kind::Counter,
            words: words::counter(&line.counter),
            tool: *tool,
            rule: text(rule.as_ref()).map(str::to_owned),
        }
    }

    /// Of drops that the kernel side only counted: their namespace and the kernel's reason are all that is known.
    pub(super) fn of_fold(flow: &LostFlow) -> Self {
        Self {
            inode: Some(flow.netns.inode),
            kind: Kind::Folded,
            words: folded(flow.reason.as_deref(), flow.symbol.as_deref()),
            tool: None,
            rule: None,
        }
    }

    /// Of those of which not even that was told.
    pub(super) fn of_rest() -> Self {
        Self {
            inode: None,
            kind: Kind::Folded,
            words: "folded in the kernel: flows that are not told apart".to_owned(),
            tool: None,
            rule: None,
        }
    }

    /// What is shown of it; `netns` is its namespace.
    pub(super) fn shown(&self, netns: Option<&Netns>) -> Cause {
        let tool = self
            .tool
            .map(|tool| format!(" ({})", tool.name()))
            .unwrap_or_default();
        let words = format!("{}{tool}", self.words);
        let place = match netns.map(|netns| (netns.inode, netns.name.as_deref())) {
            Some((_, Some(name))) => format!(" in {name}"),
            Some((inode, None)) => format!(" in netns {inode}"),
            None => String::new(),
        };
        let rule = self
            .rule
            .as_deref()
            .map(|text| format!(": {}", start(text)))
            .unwrap_or_default();
        Cause {
            whole: format!("{words}{place}{rule}").into(),
            words: words.into(),
        }
    }
}

fn folded(reason: Option<&str>, symbol: Option<&str>) -> String {
    match (reason, symbol) {
        (Some(reason), Some(symbol)) => format!("folded in the kernel: {reason} in {symbol}"),
        (Some(why), None) | (None, Some(why)) => format!("folded in the kernel: {why}"),
        (None, None) => "folded in the kernel: no reason given".to_owned(),
    }
}

fn text(rule: Option<&Rule>) -> Option<&str> {
    rule.and_then(|rule| rule.text.as_deref())
}

fn start(text: &str) -> &str {
    text.char_indices()
        .nth(MOST_TEXT)
        .map_or(text, |(end, _)| &text[..end])
}

/// Whether drops with this cause may be among those that were folded: the kernel's reason and function are the same.
pub(super) fn may_be_of(fold: &LostFlow, drop: &DropInfo, netns: Option<&Netns>) -> bool {
    netns.is_some_and(|netns| netns.inode == fold.netns.inode)
        && fold.reason.as_deref().is_none_or(|reason| reason == drop.reason)
        && (fold.symbol.is_none() || fold.symbol == drop.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::Event;
    use crate::report::record::samples::{flood_line, policy_drop, rule_drop};

    #[test]
    fn a_rule_is_another_with_another_text_and_in_another_namespace() {
        let drop = rule_drop();
        let key = CauseKey::of_drop(&drop);
        assert_eq!(CauseKey::of_drop(&drop.clone()), key);
        let mut other = drop.clone();
        if let Some(netns) = &mut other.netns {
            netns.inode += 1;
        }
        assert_ne!(CauseKey::of_drop(&other), key);
        let mut other = drop;
        if let Some(rule) = &mut other.drop.rule {
            rule.text = Some("-A KUBE-FORWARD -j DROP".into());
        }
        assert_ne!(CauseKey::of_drop(&other), key);
    }

    #[test]
    fn a_row_says_chain_tool_namespace_and_text() {
        let drop = rule_drop();
        let shown = CauseKey::of_drop(&drop).shown(drop.netns.as_ref());
        assert_eq!(
            &*shown.whole,
            "rule 1 of filter KUBE-FORWARD (iptables-legacy) in node02: -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"
        );
        assert_eq!(&*shown.words, "rule 1 of filter KUBE-FORWARD (iptables-legacy)");
    }

    #[test]
    fn a_fold_may_be_of_drops_with_its_namespace_and_reason() {
        let Event::Lost(lost) = flood_line().event else {
            panic!("a flood")
        };
        let drop = policy_drop();
        assert!(may_be_of(&lost.flows[0], &drop.drop, drop.netns.as_ref()));
        assert!(!may_be_of(&lost.flows[0], &drop.drop, None));
        let mut other = drop.drop;
        other.reason = "NO_SOCKET".into();
        assert!(!may_be_of(&lost.flows[0], &other, drop.netns.as_ref()));
        assert_eq!(
            &*CauseKey::of_fold(&lost.flows[0])
                .shown(Some(&lost.flows[0].netns))
                .whole,
            "folded in the kernel: NETFILTER_DROP in nf_hook_slow in node02"
        );
    }
}
