//! When to look at rulesets again. The kernel side says that counters are being allocated or were freed; the new
//! ruleset is in force a moment later, so it is looked for several times.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long after a hint a namespace is looked at.
const LOOKS: [Duration; 9] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(8),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(400),
];

/// What to look at, and when.
#[derive(Default)]
pub struct Changes {
    /// By namespace: since when, and how often it has been looked at.
    due: BTreeMap<u64, (Instant, usize)>,
}

impl Changes {
    /// The kernel side spoke of a namespace.
    pub fn hint(&mut self, net: u64) {
        self.due.insert(net, (Instant::now(), 0));
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        self.due
            .values()
            .filter_map(|(since, looks)| Some(*since + *LOOKS.get(*looks)?))
            .min()
    }

    /// The namespaces to look at now.
    pub fn take_due(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (net, (since, looks)) in &mut self.due {
            let before = *looks;
            while LOOKS.get(*looks).is_some_and(|after| *since + *after <= now) {
                *looks += 1;
            }
            if *looks != before {
                due.push(*net);
            }
        }
        self.due.retain(|_, (_, looks)| *looks < LOOKS.len());
        due
    }
}
