//! The rules that a packet matched in one table, with those left out that led nowhere.

use super::super::record::PathStep;

/// So many rules of one table are told: the first and the last half of them.
const MAX_STEPS: usize = 16;

/// The steps that did or decided something, each with the jumps that led there.
pub(super) fn telling(steps: &[PathStep]) -> Vec<&PathStep> {
    let mut is_told = vec![false; steps.len()];
    let mut stack: Vec<Entered> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        return_to(&mut stack, &step.chain);
        if has_effect(step) {
            is_told[index] = true;
            stack
                .iter()
                .flat_map(|entered| &entered.by)
                .for_each(|&by| is_told[by] = true);
        }
        if let Some(chain) = &step.jump {
            stack.push(Entered {
                chain,
                by: vec![index],
            });
        } else if let (Some(chain), Some(top)) = (&step.goto, stack.last_mut()) {
            // It returns to where the chain that it left would have returned to.
            top.chain = chain;
            top.by.push(index);
        }
    }
    let told = steps.iter().zip(is_told);
    told.filter_map(|(step, is_told)| is_told.then_some(step))
        .collect()
}

/// A chain that is being run, and the steps that led into it.
struct Entered<'a> {
    chain: &'a str,
    by: Vec<usize>,
}

/// The next rule is one of `chain`: all that was entered from it has been left.
fn return_to<'a>(stack: &mut Vec<Entered<'a>>, chain: &'a str) {
    match stack.iter().rposition(|entered| entered.chain == chain) {
        Some(position) => stack.truncate(position + 1),
        None => {
            stack.clear();
            stack.push(Entered {
                chain,
                by: Vec::new(),
            });
        }
    }
}

/// Neither a jump or a return, nor a rule that only counts, nor the policy that lets everything pass.
fn has_effect(step: &PathStep) -> bool {
    let is_other_than = |word: &Option<String>, words: &[&str]| {
        word.as_deref()
            .is_some_and(|word| !words.iter().any(|quiet| word.eq_ignore_ascii_case(quiet)))
    };
    is_other_than(&step.target, &["counter"])
        || is_other_than(&step.verdict, &["RETURN", "CONTINUE"])
        || is_other_than(&step.policy, &["ACCEPT"])
}

/// The chains that were entered and left again without having done anything, each once.
pub(super) fn left_again<'a>(steps: &'a [PathStep], told: &[&PathStep]) -> Vec<&'a str> {
    let is_told = |step: &PathStep| told.iter().any(|known| std::ptr::eq(*known, step));
    let mut chains = Vec::new();
    for step in steps.iter().filter(|step| !is_told(step)) {
        let entered = step.jump.as_deref().or(step.goto.as_deref());
        chains.extend(entered.filter(|chain| !chains.contains(chain)));
    }
    chains
}

/// `OUTPUT 1`, `→ KUBE-SERVICES 3`, `→ KUBE-MARK-MASQ 1 MARK,`, `KUBE-SERVICES 4 ACCEPT`: to be broken between, not within.
pub(super) fn chunks(told: &[&PathStep], by_handle: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut previous: Option<&PathStep> = None;
    for (number, step) in told.iter().enumerate() {
        let left_out = told.len().saturating_sub(MAX_STEPS);
        if left_out > 0 && (MAX_STEPS / 2..told.len() - MAX_STEPS / 2).contains(&number) {
            if number == MAX_STEPS / 2 {
                chunks.push(format!("… {left_out} more rules …"));
            }
            previous = None;
            continue;
        }
        let words = words(step, by_handle);
        let chain = &step.chain;
        let chunk = match previous {
            None => format!("{chain} {words}"),
            Some(previous) if previous.jump.as_ref() == Some(chain) => format!("→ {chain} {words}"),
            Some(previous) if previous.goto.as_ref() == Some(chain) => format!("goto {chain} {words}"),
            Some(previous) => {
                if let Some(last) = chunks.last_mut() {
                    last.push(',');
                }
                if previous.chain == *chain {
                    words
                } else {
                    format!("{chain} {words}")
                }
            }
        };
        chunks.push(chunk);
        previous = Some(step);
    }
    chunks
}

/// `2 DNAT`, `handle 12 ACCEPT`, `policy DROP`.
fn words(step: &PathStep, by_handle: bool) -> String {
    let number = step.rule.map(|number| number.to_string());
    let handle = step.handle.map(|handle| format!("handle {handle}"));
    let which = if by_handle {
        handle.or(number)
    } else {
        number.or(handle)
    };
    let policy = step.policy.as_ref().map(|policy| format!("policy {policy}"));
    let which = policy
        .or(which)
        .unwrap_or_else(|| "(a rule that is gone)".to_owned());
    let times = step
        .times
        .filter(|&times| times > 1)
        .map(|times| format!("×{times}"));
    let parts = [Some(which), times, step.target.clone(), step.verdict.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
