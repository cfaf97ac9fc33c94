//! One rule asked about one packet.

use std::borrow::Cow;

use super::load::{At, Scene};
use super::packet::{Bits, CtState, IpFamily, Packet};
use super::prepared::{PreparedTable, verdict};
use super::value::Truth;
use crate::ruleset::nftables::listing::{
    Expression, Nat, Payload, Rule, SetUpdate, Statement, ValueOrName, Verdict,
};

/// What came of a rule.
pub(super) struct RuleRun<'p> {
    /// The packet as the rule leaves it, if all that is unsure held.
    pub(super) packet: Cow<'p, Packet>,
    /// The packet if it did not, and the rule had no effect at its end.
    pub(super) otherwise: Cow<'p, Packet>,
    /// Its statements of which it is not known whether they let the rule go on.
    pub(super) unsure: Vec<usize>,
    /// How it ended.
    pub(super) end: End,
}

/// How a rule ended, for a packet that met its conditions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// A statement did not hold; the packet is as after those before it.
    NoMatch,
    /// It has no verdict.
    Through,
    /// This.
    Final(Final),
    /// One of these; the rule may also match nothing (`None`).
    OneOf(Vec<Option<Final>>),
    /// What it does is not known.
    Anything,
}

/// What a rule does to a packet at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Final {
    /// A verdict.
    Verdict(Verdict),
    /// It is answered and dropped.
    Reject,
    /// It is translated and leaves the base chain alive.
    Translated,
    /// A program decides.
    Queue,
    /// It goes another way.
    Stolen,
}

/// What a statement does to the rule.
enum Effect {
    Next,
    Break,
    Unsure,
    End(End),
    /// An end, if the statement is reached to its own end, which is not known.
    UnsureEnd(End),
}

/// Asks a rule.
pub(super) fn run<'a, 'p>(
    rule: &'a Rule,
    packet: &'p Packet,
    table: &PreparedTable<'a>,
    at: At<'_>,
) -> RuleRun<'p> {
    run_statements(rule.statements.iter().enumerate(), packet, table, at)
}

/// The same, as if all its conditions held.
pub(super) fn run_forced<'a, 'p>(
    rule: &'a Rule,
    packet: &'p Packet,
    table: &PreparedTable<'a>,
    at: At<'_>,
) -> RuleRun<'p> {
    let statements = rule.statements.iter().enumerate();
    let others = statements.filter(|(_, statement)| !matches!(statement, Statement::Match { .. }));
    run_statements(others, packet, table, at)
}

fn run_statements<'a, 'p>(
    statements: impl Iterator<Item = (usize, &'a Statement)>,
    packet: &'p Packet,
    table: &PreparedTable<'a>,
    at: At<'_>,
) -> RuleRun<'p> {
    let mut now = Cow::Borrowed(packet);
    // The packet before the first statement that is not known to hold.
    let mut certain: Option<Cow<'p, Packet>> = None;
    let mut unsure = Vec::new();
    let mut end = End::Through;
    for (index, statement) in statements {
        let scene = Scene {
            packet: &now,
            table,
            at,
        };
        let (effect, changed) = step(statement, scene);
        if matches!(effect, Effect::Unsure | Effect::UnsureEnd(_)) {
            certain.get_or_insert_with(|| now.clone());
            unsure.push(index);
        }
        if let Some(changed) = changed {
            now = Cow::Owned(changed);
        }
        match effect {
            Effect::Next | Effect::Unsure => {}
            Effect::Break => {
                end = End::NoMatch;
                break;
            }
            Effect::End(how) | Effect::UnsureEnd(how) => {
                end = how;
                break;
            }
        }
    }
    let otherwise = match certain {
        // It may have been changed.
        Some(before) if before != now => Cow::Owned(before.merged(&now)),
        _ => now.clone(),
    };
    let no_verdict = matches!(end, End::NoMatch | End::Through);
    RuleRun {
        packet: if no_verdict { otherwise.clone() } else { now },
        otherwise,
        unsure,
        end,
    }
}

/// What a statement does, and the packet if it is another then.
fn step<'a>(statement: &'a Statement, scene: Scene<'a>) -> (Effect, Option<Packet>) {
    let effect = match statement {
        Statement::Match {
            left,
            operator,
            right,
        } => of_truth(scene.holds(left, *operator, right)),
        Statement::Verdict(Verdict::Continue) => Effect::End(End::Through),
        Statement::Verdict(verdict) => Effect::End(End::Final(Final::Verdict(verdict.clone()))),
        Statement::Vmap { key, data } => vmap(scene, key, data),
        Statement::Mangle { key, value } => return mangle(scene, key, value),
        Statement::Nat(nat) => return translate(scene, nat),
        Statement::Notrack => return (Effect::Next, Some(untracked(scene))),
        Statement::Reject { kind, .. } => match answers(scene, kind.as_deref()) {
            Truth::Yes => Effect::End(End::Final(Final::Reject)),
            Truth::No => Effect::Break,
            Truth::Unknown => Effect::End(End::OneOf(vec![Some(Final::Reject), None])),
        },
        Statement::Queue { .. } => Effect::End(End::Final(Final::Queue)),
        Statement::Fwd { .. } => Effect::End(End::Final(Final::Stolen)),
        Statement::Counter(ValueOrName::Name(name)) => named(scene, name),
        Statement::Set(update) => of_truth(set_update(scene, update)),
        Statement::Xt { kind, name } => return xt(kind, name, scene.packet),
        other => plain(other),
    };
    (effect, None)
}

fn translate(scene: Scene<'_>, nat: &Nat) -> (Effect, Option<Packet>) {
    let end = End::Final(Final::Translated);
    match of_family(scene, nat.family.as_deref()) {
        // Of the other family it does nothing.
        Truth::No => return (Effect::Next, None),
        Truth::Unknown => return (Effect::End(End::Anything), None),
        Truth::Yes => {}
    }
    // What a map does not have ends the rule.
    let targets = nat.address.iter().chain(&nat.port);
    match targets
        .map(|target| scene.is_there(target))
        .fold(Truth::Yes, Truth::and)
    {
        Truth::No => (Effect::Break, None),
        Truth::Yes => (Effect::End(end), Some(scene.translated(nat))),
        Truth::Unknown => (Effect::UnsureEnd(end), Some(scene.translated(nat))),
    }
}

/// What is tracked already stays so.
fn untracked(scene: Scene<'_>) -> Packet {
    let mut packet = scene.packet.clone();
    packet.connection.state = match scene.has_connection() {
        Truth::Yes => packet.connection.state,
        Truth::No => Some(CtState::Untracked),
        Truth::Unknown => None,
    };
    packet
}

/// A header that the packet does not have is not changed: nft asks for the protocol first, and does not write so.
fn mangle(scene: Scene<'_>, key: &Expression, value: &Expression) -> (Effect, Option<Packet>) {
    let has_header = match key {
        Expression::Payload(Payload::Field { protocol, .. }) => scene.has_header(protocol),
        _ => Truth::Yes,
    };
    let is_there = has_header.and(scene.is_there(value));
    match (is_there, scene.mangled(key, value)) {
        (Truth::No, _) | (_, None) => (Effect::Break, None),
        (Truth::Yes, changed) => (Effect::Next, changed),
        (Truth::Unknown, changed) => (Effect::Unsure, changed),
    }
}

fn of_family(scene: Scene<'_>, family: Option<&str>) -> Truth {
    match family {
        Some("ip") => scene.is_family(IpFamily::V4),
        Some("ip6") => scene.is_family(IpFamily::V6),
        _ => Truth::Yes,
    }
}

/// An answer of one protocol is for its packets only: nft asks for it first, and does not write so.
fn answers(scene: Scene<'_>, kind: Option<&str>) -> Truth {
    const TCP: u8 = 6;
    match kind {
        Some("icmp") => scene.is_family(IpFamily::V4),
        Some("icmpv6") => scene.is_family(IpFamily::V6),
        Some("tcp reset") => scene
            .packet
            .protocol
            .map_or(Truth::Unknown, |number| Truth::from(number == TCP)),
        _ => Truth::Yes,
    }
}

/// Statements whose outcome does not depend on what is known of a packet.
fn plain(statement: &Statement) -> Effect {
    match statement {
        Statement::Counter(_)
        | Statement::Log(_)
        | Statement::Dup { .. }
        | Statement::Last(_)
        | Statement::Reset(_)
        | Statement::CtObject {
            kind: "helper" | "timeout",
            ..
        } => Effect::Next,
        Statement::Limit(_)
        | Statement::Quota(_)
        | Statement::CtCount { .. }
        | Statement::CtObject { .. }
        | Statement::Meter { .. }
        | Statement::Flow { .. }
        | Statement::Tproxy { .. } => Effect::Unsure,
        // nft could not put it into JSON: a change of a map with data.
        Statement::Text(text) if text.starts_with("add @") || text.starts_with("update @") => Effect::Unsure,
        _ => Effect::End(End::Anything),
    }
}

fn of_truth(truth: Truth) -> Effect {
    match truth {
        Truth::Yes => Effect::Next,
        Truth::No => Effect::Break,
        Truth::Unknown => Effect::Unsure,
    }
}

/// A named object that a map chooses: without an element the rule does not match.
fn named(scene: Scene<'_>, name: &Expression) -> Effect {
    match name {
        Expression::Map { key, data } => {
            let found = scene.find(key, data);
            match found.missing {
                true => Effect::Break,
                false => of_truth(found.is_there()),
            }
        }
        _ => Effect::Next,
    }
}

/// An element that finds no room ends the rule.
fn set_update(scene: Scene<'_>, update: &SetUpdate) -> Truth {
    let plain = update
        .statements
        .iter()
        .all(|one| matches!(one, Statement::Counter(_)));
    let key = scene.load_parts(&update.element.key);
    if key.contains(&super::value::Loaded::Missing) {
        return Truth::No;
    }
    let is_known = key.iter().all(|part| matches!(part, super::value::Loaded::Is(_)));
    // How full it was is not how full it is.
    let has_room = !scene.table.is_of_the_past
        && scene.table.set(&update.set).is_some_and(|set| {
            let room = set.room.and_then(|room| usize::try_from(room).ok());
            room.is_none_or(|room| set.len() < room)
        });
    let is_addition = matches!(update.operation.as_str(), "add" | "update");
    match plain && is_known && has_room && is_addition {
        true => Truth::Yes,
        false => Truth::Unknown,
    }
}

fn vmap<'a>(scene: Scene<'a>, key: &Expression, data: &'a Expression) -> Effect {
    let found = scene.find(key, data);
    if found.missing {
        return Effect::Break;
    }
    // Also one that says `continue` is found, and so the rule matches.
    let of = |element| verdict(element).cloned().map(Final::Verdict);
    if let Some(element) = found.sure {
        return match of(element) {
            Some(Final::Verdict(Verdict::Continue)) | None => Effect::Next,
            Some(verdict) => Effect::End(End::Final(verdict)),
        };
    }
    if found.more {
        return Effect::End(End::Anything);
    }
    let mut ends: Vec<Option<Final>> = Vec::new();
    let none = found.none.then_some(None);
    for end in found.candidates.into_iter().map(of).chain(none) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    match ends.as_slice() {
        [None] | [] => Effect::Break,
        [Some(only)] => Effect::End(End::Final(only.clone())),
        _ => Effect::End(End::OneOf(ends)),
    }
}

/// Extensions of xtables, of which only the name is known.
fn xt(kind: &str, name: &str, packet: &Packet) -> (Effect, Option<Packet>) {
    let mut changed = packet.clone();
    match (kind, name) {
        ("match", "comment") => (Effect::Next, None),
        ("match", _) => (Effect::Unsure, None),
        ("target", "LOG" | "NFLOG" | "TCPMSS" | "TEE" | "CHECKSUM" | "CLASSIFY" | "AUDIT" | "TRACE") => {
            (Effect::Next, None)
        }
        ("target", "REJECT") => (Effect::End(End::Final(Final::Reject)), None),
        ("target", "NFQUEUE") => (Effect::End(End::Final(Final::Queue)), None),
        ("target", "MARK") => {
            changed.mark = Bits::UNKNOWN;
            (Effect::Next, Some(changed))
        }
        ("target", "DNAT" | "REDIRECT") => {
            changed.forget_translation(false);
            (Effect::End(End::Final(Final::Translated)), Some(changed))
        }
        ("target", "SNAT" | "MASQUERADE") => {
            changed.forget_translation(true);
            (Effect::End(End::Final(Final::Translated)), Some(changed))
        }
        _ => (Effect::End(End::Anything), None),
    }
}
