//! A packet's way as rows: where it was, each hook that it passed, and what happened there. What changed nothing stands
//! on the hook's own line in a few words; the whole way is in the JSON.

mod passage;
mod steps;
#[cfg(test)]
mod tests;

use super::escape::escape;
use super::layout::{INDENT, Row, Tone, wrap};
use super::record::{Backend, DropInfo, DropLine, Hook, PassVerdict, Passage, Tuple};
use super::terminal::Look;
use super::words;
use passage::Item;

/// Columns before a hook, under the place that it is in.
const HOOK_INDENT: usize = 2;
/// Columns before what happened at a hook, where that does not stand beside it.
const ITEM_INDENT: usize = 4;
/// Columns of hook and devices at most, so that what stands beside them is aligned.
const MAX_HEAD: usize = 28;
/// What happened stands beside the hook where at least so many columns are left for it.
const MIN_BESIDE: usize = 56;
/// So many hooks are told: the first and the last half of them.
const MAX_TRAVERSALS: usize = 32;

/// The way of a packet up to its death: the last row says what killed it. Nothing if no hook was seen.
pub(super) fn of_drop(drop: &DropLine, look: Look) -> Vec<Row> {
    let Some(last) = drop.path.last() else {
        return Vec::new();
    };
    let mut page = Page::new(&drop.path, Some(&drop.drop), look);
    page.traversals(&drop.path);
    if last.verdict != Some(PassVerdict::Drop) {
        let words = format!("DROP by {}", words::cause(&drop.drop));
        page.lines(HOOK_INDENT, &Item::alarm(vec![words]));
    }
    page.rows
}

/// The way of a packet that was not dropped.
pub(super) fn of_pass(path: &[Passage], look: Look) -> Vec<Row> {
    if path.is_empty() {
        return vec![Row::new("way", "no hook that it passed was seen")];
    }
    let mut page = Page::new(path, None, look);
    page.traversals(path);
    page.rows
}

struct Page<'a> {
    /// What is known of the packet's death, if it died.
    death: Option<&'a DropInfo>,
    /// Both backends had a part in it, so that each table needs the name of its own.
    is_mixed: bool,
    columns: usize,
    head_columns: usize,
    rows: Vec<Row>,
}

impl<'a> Page<'a> {
    fn new(path: &[Passage], death: Option<&'a DropInfo>, look: Look) -> Self {
        let has = |backend| path.iter().any(|passage| passage.backend == Some(backend));
        let heads = path.iter().map(|passage| columns_of(&escape(&head(passage))));
        Self {
            death,
            is_mixed: has(Backend::Legacy) && has(Backend::Nft),
            columns: look.width.saturating_sub(INDENT).max(20),
            head_columns: heads.max().unwrap_or(0).min(MAX_HEAD),
            rows: Vec::new(),
        }
    }

    fn traversals(&mut self, path: &[Passage]) {
        let all = traversals(path);
        let (begin, end) = if all.len() > MAX_TRAVERSALS {
            (MAX_TRAVERSALS / 2, all.len() - MAX_TRAVERSALS / 2)
        } else {
            (all.len(), all.len())
        };
        let mut place = String::new();
        for (number, traversal) in all.iter().enumerate() {
            if number == begin {
                self.line(HOOK_INDENT, &format!("… {} more hooks …", end - begin), None);
            }
            if (begin..end).contains(&number) {
                continue;
            }
            let here = where_it_was(&traversal[0]);
            if here != place {
                self.lines(0, &Item::plain(vec![here.clone()]));
                place = here;
            }
            let is_last = number + 1 == all.len();
            self.traversal(traversal, self.death.filter(|_| is_last));
        }
    }

    fn traversal(&mut self, traversal: &[Passage], death: Option<&DropInfo>) {
        let head = escape(&head(&traversal[0])).into_owned();
        let items = passage::items(traversal, self.is_mixed, death);
        let beside = HOOK_INDENT + self.head_columns + 2;
        let is_wide = self.columns.saturating_sub(beside) >= MIN_BESIDE;
        let indent = if is_wide { beside } else { ITEM_INDENT };
        let (first, others) = match items.as_slice() {
            [first, others @ ..] if first.tone.is_none() => (Some(first), others),
            items => (None, items),
        };
        match first.and_then(|first| self.with_head(&head, first, is_wide)) {
            Some(lines) => {
                for (number, line) in lines.iter().enumerate() {
                    self.line(if number == 0 { HOOK_INDENT } else { indent }, line, None);
                }
            }
            None => {
                self.lines(HOOK_INDENT, &Item::plain(vec![head]));
                first.into_iter().for_each(|first| self.lines(indent, first));
            }
        }
        others.iter().for_each(|item| self.lines(indent, item));
    }

    /// Hook and item on one line, aligned with the others if that is possible; on a wide screen the item may go on below.
    fn with_head(&self, head: &str, item: &Item, is_wide: bool) -> Option<Vec<String>> {
        let columns = self.columns - HOOK_INDENT;
        let room = if is_wide {
            columns.saturating_sub(self.head_columns + 2)
        } else {
            columns
        };
        let mut lines = fill(&item.chunks, room);
        let text = lines.first().filter(|_| is_wide || lines.len() == 1)?;
        let pad = self.head_columns.saturating_sub(columns_of(head));
        let aligned = format!("{head}{:pad$}  {text}", "");
        let close = format!("{head}  {text}");
        lines[0] = [aligned, close]
            .into_iter()
            .find(|line| columns_of(line) <= columns)?;
        Some(lines)
    }

    /// An item on lines of its own.
    fn lines(&mut self, indent: usize, item: &Item) {
        let columns = self.columns.saturating_sub(indent).max(8);
        for line in fill(&item.chunks, columns) {
            self.line(indent, &line, item.tone);
        }
    }

    fn line(&mut self, indent: usize, text: &str, tone: Option<Tone>) {
        let label = if self.rows.is_empty() { "way" } else { "" };
        self.rows.push(Row {
            words_tone: tone,
            ..Row::new(label, format!("{:indent$}{text}", ""))
        });
    }
}

/// The passages of each traversal of a hook, one slice a traversal. A table that comes again is another traversal.
fn traversals(path: &[Passage]) -> Vec<&[Passage]> {
    let mut found = Vec::new();
    let mut begin = 0;
    for end in 1..=path.len() {
        let so_far = &path[begin..end];
        let goes_on = path.get(end).is_some_and(|next| {
            is_same_hook(&path[begin], next) && !so_far.iter().any(|passage| is_same_chain(passage, next))
        });
        if !goes_on {
            found.push(so_far);
            begin = end;
        }
    }
    found
}

fn is_same_hook(one: &Passage, other: &Passage) -> bool {
    one.hook == other.hook
        && one.node == other.node
        && one.netns == other.netns
        && one.in_dev == other.in_dev
        && one.out_dev == other.out_dev
        && one.outer == other.outer
}

fn is_same_chain(one: &Passage, other: &Passage) -> bool {
    let chain = |of: &Passage| {
        let (table, chain) = (of.table.clone(), of.chain.clone());
        (of.backend, of.family, table, chain, of.priority)
    };
    one.table.is_some() && chain(one) == chain(other)
}

/// `FORWARD flannel.1 → cni0`, `OUTPUT → eth0`, `INPUT eth0 →`.
fn head(passage: &Passage) -> String {
    let hook = Hook::name(passage.hook);
    match (&passage.in_dev, &passage.out_dev) {
        (Some(in_dev), Some(out_dev)) => format!("{hook} {in_dev} → {out_dev}"),
        (Some(in_dev), None) => format!("{hook} {in_dev} →"),
        (None, Some(out_dev)) => format!("{hook} → {out_dev}"),
        (None, None) => hook.to_owned(),
    }
}

/// `node02, in vxlan 192.0.2.10 → 192.0.2.12`; empty where neither is known.
fn where_it_was(passage: &Passage) -> String {
    let netns = passage.netns.as_ref().map(|netns| match &netns.name {
        Some(name) => name.clone(),
        None => format!("netns {}", netns.inode),
    });
    // A namespace that is named after its host is not told twice.
    let node = passage.node.clone().filter(|node| netns.as_ref() != Some(node));
    let node = node.map(|node| format!("on {node}"));
    let tunnel = passage.outer.as_ref().map(tunnel);
    netns
        .into_iter()
        .chain(node)
        .chain(tunnel)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Named after its port: 4789 is IANA's for VXLAN and 8472 Linux' own, 6081 is IANA's for GENEVE.
fn tunnel(outer: &Tuple) -> String {
    let name = match outer.dport {
        Some(4789 | 8472) => "vxlan",
        Some(6081) => "geneve",
        _ => "a tunnel",
    };
    format!("in {name} {} → {}", outer.src, outer.dst)
}

/// Lines that break between chunks; within one only if it is longer than a line.
fn fill(chunks: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for chunk in chunks {
        let chunk = escape(chunk);
        let fits = columns_of(&line) + 1 + columns_of(&chunk) <= columns;
        if !line.is_empty() && fits {
            line = format!("{line} {chunk}");
            continue;
        }
        lines.extend((!line.is_empty()).then(|| std::mem::take(&mut line)));
        let mut pieces = wrap(chunk.trim_start(), columns);
        line = pieces.pop().unwrap_or_default();
        lines.extend(pieces);
    }
    lines.extend((!line.is_empty()).then_some(line));
    lines
}

fn columns_of(text: &str) -> usize {
    text.chars().count()
}
