//! The newest lines, kept as they are for a file; bounded in number and in bytes.

use std::collections::VecDeque;
use std::rc::Rc;

use super::model::is_of_drops;
use crate::report::record::{Candidate, Change, DropLine, Event, Hint, Line, Passage, Rule};

/// So many lines are kept,
pub(super) const MOST_LINES: usize = 4096;
/// of so many bytes.
const MOST_BYTES: usize = 16 << 20;
/// A longer one is not kept at all.
pub(super) const LONGEST_BYTES: usize = 32 << 10;

/// The lines, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Kept {
    lines: VecDeque<(usize, Rc<Line>)>,
    bytes: usize,
    /// Packets of lines that are not kept, or not any more.
    pub(super) forgotten: u64,
}

impl Kept {
    /// Keeps a line; false if it is too long for that.
    pub(super) fn keep(&mut self, line: &Rc<Line>) -> bool {
        let bytes = bytes(line);
        if bytes > LONGEST_BYTES {
            self.forget(line);
            return false;
        }
        self.bytes += bytes;
        self.lines.push_back((bytes, Rc::clone(line)));
        while (self.lines.len() > MOST_LINES || self.bytes > MOST_BYTES)
            && let Some((bytes, oldest)) = self.lines.pop_front()
        {
            self.bytes -= bytes;
            self.forget(&oldest);
        }
        true
    }

    /// From the oldest to the newest.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Rc<Line>> {
        self.lines.iter().map(|(_, line)| line)
    }

    fn forget(&mut self, line: &Line) {
        let packets = match &line.event {
            Event::Drop(_) => 1,
            Event::Counter(counter) => counter.packets,
            Event::Lost(lost) if is_of_drops(lost) => lost.count,
            _ => 0,
        };
        self.forgotten = self.forgotten.saturating_add(packets);
    }
}

/// About how much memory a line takes.
fn bytes(line: &Line) -> usize {
    let more = match &line.event {
        Event::Drop(drop) => size_of::<DropLine>() + of_drop(drop),
        Event::Counter(counter) => {
            let rule = counter.counter.rule.as_ref().map_or(0, of_rule);
            size_of_val(&**counter) + rule + counter.hints.iter().map(of_hint).sum::<usize>()
        }
        Event::Lost(lost) => size_of_val(lost.flows.as_slice()),
        _ => 0,
    };
    size_of::<Line>() + line.node.len() + more
}

fn of_drop(drop: &DropLine) -> usize {
    let info = &drop.drop;
    let texts = [
        &info.text,
        &info.table,
        &info.chain,
        &info.note,
        &drop.in_dev,
        &drop.out_dev,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let chains: usize = info
        .chain_path
        .iter()
        .map(|chain| size_of::<String>() + chain.len())
        .sum();
    let candidates: usize = info.candidates.iter().map(of_candidate).sum();
    let disagreement = info.disagreement.iter().flat_map(|it| &it.replayed);
    texts
        + chains
        + candidates
        + disagreement.map(of_candidate).sum::<usize>()
        + info.rule.as_ref().map_or(0, of_rule)
        + drop.hints.iter().map(of_hint).sum::<usize>()
        + drop.path.iter().map(of_passage).sum::<usize>()
        + drop.bytes.as_ref().map_or(0, |bytes| bytes.bytes.len())
}

fn of_rule(rule: &Rule) -> usize {
    let texts = [&rule.text, &rule.comment, &rule.target];
    texts.into_iter().flatten().map(String::len).sum()
}

fn of_candidate(candidate: &Candidate) -> usize {
    let texts = [
        Some(&candidate.table),
        Some(&candidate.chain),
        candidate.policy.as_ref(),
        candidate.text.as_ref(),
    ];
    size_of::<Candidate>() + texts.into_iter().flatten().map(String::len).sum::<usize>()
}

fn of_hint(hint: &Hint) -> usize {
    let rule = hint
        .rule
        .as_ref()
        .map_or(0, |it| it.table.len() + it.chain.len() + of_rule(&it.rule));
    size_of::<Hint>() + hint.text.len() + rule + hint.command.as_ref().map_or(0, String::len)
}

fn of_passage(passage: &Passage) -> usize {
    let names = [
        &passage.node,
        &passage.in_dev,
        &passage.out_dev,
        &passage.table,
        &passage.chain,
        &passage.note,
    ];
    let names: usize = names.into_iter().flatten().map(String::len).sum();
    let steps = passage.steps.iter().map(|step| {
        let words = [&step.target, &step.jump, &step.goto, &step.verdict, &step.policy];
        size_of_val(step) + step.chain.len() + words.into_iter().flatten().map(String::len).sum::<usize>()
    });
    let changes = passage.changes.iter().map(|change| match change {
        Change::Dnat { from, to } | Change::Snat { from, to } => size_of_val(change) + from.len() + to.len(),
        Change::Mark { .. } => size_of_val(change),
    });
    size_of::<Passage>() + names + steps.sum::<usize>() + changes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples::{drop_line, policy_drop};

    #[test]
    fn the_newest_are_kept_and_the_others_are_counted() {
        let mut kept = Kept::default();
        for number in 0..MOST_LINES as u64 + 10 {
            let mut line = drop_line(policy_drop());
            line.time.0 = number;
            assert!(kept.keep(&line.into()));
        }
        assert_eq!((kept.lines().count(), kept.forgotten), (MOST_LINES, 10));
        assert_eq!(kept.lines().next().map(|line| line.time.0), Some(10));
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_not_kept() {
        let mut kept = Kept::default();
        let mut drop = policy_drop();
        drop.hints[0].text = "x".repeat(LONGEST_BYTES);
        assert!(!kept.keep(&drop_line(drop).into()));
        assert_eq!((kept.lines().count(), kept.forgotten), (0, 1));
    }

    #[test]
    fn many_long_lines_are_fewer() {
        let mut kept = Kept::default();
        for _ in 0..MOST_LINES {
            let mut drop = policy_drop();
            drop.drop.note = Some("x".repeat(LONGEST_BYTES / 2));
            kept.keep(&drop_line(drop).into());
        }
        let left = kept.lines().count();
        assert!((500..1025).contains(&left), "{left}");
        assert_eq!(kept.forgotten, (MOST_LINES - left) as u64);
    }
}
