//! What happened at one hook: the tables that only let the packet pass in a few words, the others one by one.

use super::super::layout::Tone;
use super::super::record::{
    Backend, Change, DropInfo, PassVerdict, Passage, PathEvidence, PathStep, TableFamily,
};
use super::super::words;
use super::steps;

/// So many chains that a dropped packet was in are named, beside those on the way to its death.
const MAX_LEFT_AGAIN: usize = 8;

/// Something to be told of a hook, in chunks between which a line may be broken.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) chunks: Vec<String>,
    pub(super) tone: Option<Tone>,
}

impl Item {
    pub(super) fn plain(chunks: Vec<String>) -> Self {
        Self { chunks, tone: None }
    }

    pub(super) fn alarm(chunks: Vec<String>) -> Self {
        Self {
            chunks,
            tone: Some(Tone::Alarm),
        }
    }
}

/// What happened, the death last. `death` is what is known of it, if the packet died here.
pub(super) fn items(traversal: &[Passage], is_mixed: bool, death: Option<&DropInfo>) -> Vec<Item> {
    let mut quiet = Quiet::default();
    let mut items = Vec::new();
    for passage in traversal {
        let told = steps::telling(&passage.steps);
        let name = Name::of(passage, is_mixed);
        match (&name, passage.verdict) {
            (_, Some(PassVerdict::Drop)) => items.extend(culprit(passage, &told, name.as_ref(), death)),
            (Some(name), Some(PassVerdict::Accept) | None) if told.is_empty() && passage.note.is_none() => {
                quiet.add(name, outcome(passage));
                items.extend(changes(passage));
            }
            (Some(name), _) => {
                items.push(table(passage, &told, name));
                items.extend(changes(passage));
            }
            (None, _) => items.extend(no_table(passage, traversal.len() == 1)),
        }
    }
    let mut all: Vec<Item> = quiet.items();
    all.extend(items);
    all
}

/// How a table of which nothing else is to be told was left.
fn outcome(passage: &Passage) -> String {
    let by_policy = |step: &PathStep| {
        step.policy
            .as_deref()
            .is_some_and(|policy| policy.eq_ignore_ascii_case("ACCEPT"))
    };
    let words = match passage.verdict {
        None => "not seen how it left",
        Some(_) if passage.steps.iter().any(by_policy) => "accepted by policy",
        Some(_) => "accepted",
    };
    format!("{words}{}", replayed(passage))
}

fn replayed(passage: &Passage) -> &'static str {
    match passage.evidence {
        PathEvidence::Observed => "",
        PathEvidence::Replayed => " (replayed)",
    }
}

/// Rules that did something, and how the table was left if it was not simply left behind.
fn table(passage: &Passage, told: &[&PathStep], name: &Name) -> Item {
    let mut chunks = name.chunks(passage, told);
    match passage.verdict {
        Some(verdict @ (PassVerdict::Queue | PassVerdict::Stolen)) => chunks.push(went(verdict).to_owned()),
        Some(_) if told.is_empty() => chunks.push(outcome(passage)),
        None if !told.iter().copied().any(decides) => chunks.push("(not seen how it left)".to_owned()),
        Some(_) | None => {}
    }
    if !told.is_empty() {
        chunks.extend((passage.evidence == PathEvidence::Replayed).then(|| "(replayed)".to_owned()));
    }
    chunks.extend(passage.note.as_ref().map(|note| format!("({note})")));
    Item::plain(chunks)
}

/// A hook without a table: what is known of it, and never more. Beside tables there may be nothing to add.
fn no_table(passage: &Passage, is_alone: bool) -> Option<Item> {
    let went = match passage.verdict {
        Some(verdict @ (PassVerdict::Queue | PassVerdict::Stolen)) => Some(went(verdict)),
        _ => None,
    };
    let mut chunks: Vec<String> = went.map(str::to_owned).into_iter().collect();
    chunks.extend(changes(passage).into_iter().flat_map(|item| item.chunks));
    chunks.extend(passage.note.clone());
    if chunks.is_empty() && !is_alone && passage.verdict.is_some() {
        return None;
    }
    if chunks.is_empty() {
        let words = match passage.verdict {
            Some(_) => "went on",
            None => "not seen how it left",
        };
        chunks.push(words.to_owned());
    }
    chunks.extend((passage.evidence == PathEvidence::Replayed).then(|| "(replayed)".to_owned()));
    Some(Item::plain(chunks))
}

fn went(verdict: PassVerdict) -> &'static str {
    match verdict {
        PassVerdict::Accept => "went on",
        PassVerdict::Drop => "DROP",
        PassVerdict::Queue => "QUEUE: waits for a program",
        PassVerdict::Stolen => "STOLEN: another part of the kernel has it now",
    }
}

/// The row that everything leads to; before it, the way to it and the other chains that the packet was in.
fn culprit(
    passage: &Passage,
    told: &[&PathStep],
    name: Option<&Name>,
    death: Option<&DropInfo>,
) -> Vec<Item> {
    let mut items = Vec::new();
    let mut words = match (death, name) {
        (Some(death), _) => format!("DROP by {}", words::cause(death)),
        (None, Some(name)) => format!("DROP in {}", name.with_chain()),
        (None, None) => "DROP".to_owned(),
    };
    if let Some(name) = name {
        items.extend(left_again(passage, told, name));
        let is_all_said = match told {
            [] => true,
            [only] => death.is_some() && decides(only),
            _ => false,
        };
        if !is_all_said {
            items.push(Item::plain(name.chunks(passage, told)));
        }
    }
    items.extend(changes(passage));
    words.push_str(replayed(passage));
    let note = passage.note.as_ref().map(|note| format!("({note})"));
    items.push(Item::alarm([words].into_iter().chain(note).collect()));
    items
}

fn left_again(passage: &Passage, told: &[&PathStep], name: &Name) -> Option<Item> {
    let chains = steps::left_again(&passage.steps, told);
    let (more, last) = (
        chains.len().saturating_sub(MAX_LEFT_AGAIN),
        chains.len().checked_sub(1)?,
    );
    // Where the end was not seen, it may have died in one of them.
    let verb = if passage.steps.last().is_some_and(decides) {
        "came back from"
    } else {
        "went into"
    };
    let mut chunks = vec![format!("{}: {verb}", name.with_chain())];
    let named = chains.iter().enumerate().take(MAX_LEFT_AGAIN);
    chunks.extend(named.map(|(number, chain)| format!("{chain}{}", if number == last { "" } else { "," })));
    chunks.extend((more > 0).then(|| format!("and {more} more")));
    Some(Item::plain(chunks))
}

/// It says itself how the packet left the table.
fn decides(step: &PathStep) -> bool {
    step.verdict.is_some() || step.policy.is_some()
}

/// `dst 10.108.94.160:80 → 10.224.2.16:80, mark 0x0 → 0x4000`.
fn changes(passage: &Passage) -> Option<Item> {
    let words = |change: &Change| match change {
        Change::Dnat { from, to } => format!("dst {from} → {to}"),
        Change::Snat { from, to } => format!("src {from} → {to}"),
        Change::Mark { from, to } => format!("mark {from} → {to}"),
    };
    let mut chunks: Vec<String> = passage.changes.iter().map(words).collect();
    let last = chunks.len().checked_sub(1)?;
    chunks[..last].iter_mut().for_each(|chunk| chunk.push(','));
    Some(Item::plain(chunks))
}

/// What a table and its base chain are called.
struct Name {
    /// The backend where both are in use, the family where it is not understood.
    kind: String,
    table: String,
    chain: Option<String>,
    /// The base chain has the hook's own name, as those of iptables have.
    is_hooks_own: bool,
}

impl Name {
    fn of(passage: &Passage, is_mixed: bool) -> Option<Self> {
        let backend = match passage.backend {
            Some(Backend::Legacy) if is_mixed => Some("legacy"),
            Some(Backend::Nft) if is_mixed => Some("nft"),
            _ => None,
        };
        let family = match (passage.backend, passage.family) {
            (Some(Backend::Legacy), Some(TableFamily::Ip)) | (_, None) => None,
            (_, Some(family)) => Some(family.name()),
        };
        Some(Self {
            kind: backend.into_iter().chain(family).collect::<Vec<_>>().join(" "),
            table: passage.table.clone()?,
            chain: passage.chain.clone(),
            is_hooks_own: passage
                .chain
                .as_deref()
                .is_none_or(|chain| chain == passage.hook.name()),
        })
    }

    /// `nat OUTPUT`, `inet filter forward`.
    fn with_chain(&self) -> String {
        joined([&self.kind, &self.table, self.chain.as_deref().unwrap_or_default()])
    }

    /// In a list, after a table of `kind`: without the hook's name, which stands beside it.
    fn after(&self, kind: Option<&str>) -> String {
        let kind = match (kind, self.kind.as_str()) {
            (None, own) => own,
            (Some(kind), own) if kind == own => "",
            // Those of the family ip are not named so as long as there is nothing else.
            (Some(_), "") => TableFamily::Ip.name(),
            (Some(_), own) => own,
        };
        let chain = self.chain.as_deref().filter(|_| !self.is_hooks_own);
        joined([kind, &self.table, chain.unwrap_or_default()])
    }

    /// The table, and the rules that are to be told of.
    fn chunks(&self, passage: &Passage, told: &[&PathStep]) -> Vec<String> {
        if told.is_empty() {
            return vec![format!("{}:", self.with_chain())];
        }
        let by_handle = passage.backend == Some(Backend::Nft) && !self.is_hooks_own;
        let mut chunks = steps::chunks(told, by_handle);
        if let Some(first) = chunks.first_mut() {
            *first = joined([&self.kind, &self.table, first]);
        }
        chunks
    }
}

fn joined(words: [&str; 3]) -> String {
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Tables of which nothing is to be told but how they were left: `raw, mangle, filter: accepted by policy`.
#[derive(Default)]
struct Quiet(Vec<Group>);

/// Those that were left in the same way.
struct Group {
    outcome: String,
    names: Vec<String>,
    /// Of the table named last.
    kind: String,
}

impl Quiet {
    fn add(&mut self, name: &Name, outcome: String) {
        match self.0.iter_mut().find(|group| group.outcome == outcome) {
            Some(group) => {
                group.names.push(name.after(Some(&group.kind)));
                group.kind.clone_from(&name.kind);
            }
            None => self.0.push(Group {
                outcome,
                names: vec![name.after(None)],
                kind: name.kind.clone(),
            }),
        }
    }

    fn items(self) -> Vec<Item> {
        let item = |group: Group| {
            let mut chunks: Vec<String> = group.names.iter().map(|name| format!("{name},")).collect();
            if let Some(last) = chunks.last_mut() {
                last.pop();
                last.push(':');
            }
            chunks.push(group.outcome);
            Item::plain(chunks)
        };
        self.0.into_iter().map(item).collect()
    }
}
