//! Who wrote the rule or policy that dropped a packet, what it means, and one safe next step. What is known of each owner
//! is data, one file each; nothing is said for which the evidence does not hold.

mod command;
mod devices;
mod entry;
mod evidence;
mod pattern;
mod scene;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod tests;

use crate::report::record::{Cause, Confidence, Hint, HintKind, Layer};

use command::{command, sentence};
use entry::{Case, Fix};
use evidence::Held;

pub use command::is_plain;
pub use scene::Scene;

/// The owner of what dropped a packet, and what to do: nothing where it is not known what that was.
pub fn hints(scene: &Scene<'_>) -> Vec<Hint> {
    let drop = scene.drop();
    let is_named = matches!(drop.cause, Some(Cause::Rule | Cause::Policy)) && !scene.tables.is_empty();
    let is_asked = is_named || (drop.cause.is_none() && drop.chain.is_none());
    if drop.confidence == Confidence::Unknown || !is_asked {
        return Vec::new();
    }
    let Some((case, mut who, held)) = owner(scene) else {
        return Vec::new();
    };
    if let Some(other) = scene.other_iptables() {
        who.text.push_str(&format!(
            " {other} has rules at this hook, too: a packet must pass both, and what accepts it there does not help here."
        ));
    }
    let fix = fix_hint(&case.fixes, scene, &held).or_else(|| {
        is_named
            .then(|| fix_hint(entry::advice(), scene, &held))
            .flatten()
    });
    [Some(who), fix].into_iter().flatten().collect()
}

/// The first case whose evidence holds and that can be told.
fn owner(scene: &Scene<'_>) -> Option<(&'static Case, Hint, Held)> {
    let by_netfilter = scene.drop().layer == Layer::Netfilter;
    let mut cases = entry::all()
        .iter()
        .flat_map(|owner| owner.cases.iter().map(move |case| (owner, case)));
    cases.find_map(|(owner, case)| {
        if case.when.reason.is_empty() != by_netfilter {
            return None;
        }
        let held = case.when.holds(scene, &Held::default())?;
        let who = owner_hint(
            &owner.name,
            &sentence(&case.says, scene, &held.kept)?,
            &held.grounds,
        );
        Some((case, who, held))
    })
}

fn owner_hint(name: &'static str, says: &str, grounds: &[String]) -> Hint {
    let text = if grounds.is_empty() {
        format!("{says}.")
    } else {
        format!("{says} (known by {}).", listed(grounds))
    };
    Hint {
        kind: HintKind::Owner,
        text,
        rule: None,
        command: None,
        owner: Some(name),
    }
}

/// The first that holds and whose command can be given.
fn fix_hint(fixes: &[Fix], scene: &Scene<'_>, held: &Held) -> Option<Hint> {
    fixes.iter().find_map(|fix| {
        let held = fix.when.holds(scene, held)?;
        Some(Hint {
            kind: HintKind::Fix,
            text: sentence(&fix.text, scene, &held.kept)?,
            rule: None,
            command: Some(command(fix, scene, &held.kept)?),
            owner: None,
        })
    })
}

/// `a, b and c`.
fn listed(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
