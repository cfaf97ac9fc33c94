//! Drops: attributed, and written as lines.

use std::hint::black_box;

use observer::attribute::{Pending, Site, decide, name};
use observer::capture::{Captured, decode};
use observer::report::record::{Backend, Confidence, Hook, Line, TableFamily};
use observer::report::{Look, Report as _, Text, json};
use observer::ruleset::{Base, Chain, Counter, Ending, Place, Policy, Rule, Snapshot, Step, Table};
use observer_common::{DropEvent, Moved};

use super::{Job, kernel};

const DROPS: u64 = 100;
const LINES: usize = 100;
/// Lines of a trace: drops with their rules and what was near.
const TRACE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/fuzz/seeds/drops.jsonl"));
const SITE: Site<'static> = Site {
    hook: Hook::Forward,
    family: TableFamily::Inet,
    bridged: false,
    function: None,
};

pub(super) fn jobs() -> Vec<Job> {
    let mut jobs: Vec<Job> = [10, 100, 1_000, 10_000, 50_000]
        .into_iter()
        .map(attributed)
        .collect();
    jobs.push(unseen(1_000));
    jobs.extend(lines());
    jobs
}

/// Each drop is that of the last rule of so many.
fn attributed(rules: usize) -> Job {
    let (snapshot, mut event, mut pending) = (snapshot(rules), event(), Pending::default());
    event.moved_count = 1;
    event.moved[0] = Moved {
        candidate: rules as u32 - 1,
        packets: 1,
        bytes: u64::from(event.len_bytes),
    };
    Job::new(
        format!("100 drops attributed, {rules} rules can drop"),
        move || {
            for _ in 0..DROPS {
                event.sequence += 1;
                let verdict = decide(&event, &snapshot, Some(SITE), "nf_hook_slow", &mut pending);
                assert_eq!(verdict.confidence, Confidence::Exact);
                black_box(name(&event, &snapshot, Some(Hook::Forward), &verdict, |_| None));
            }
        },
    )
}

/// No counter moved: all rules are candidates.
fn unseen(rules: usize) -> Job {
    let (snapshot, mut event, mut pending) = (snapshot(rules), event(), Pending::default());
    event.generation = snapshot.generation + 1;
    Job::new(
        format!("100 drops that no counter tells, {rules} rules can drop"),
        move || {
            for _ in 0..DROPS {
                event.sequence += 1;
                let verdict = decide(&event, &snapshot, Some(SITE), "nf_hook_slow", &mut pending);
                assert_eq!(verdict.confidence, Confidence::Unknown);
                black_box(name(&event, &snapshot, Some(Hook::Forward), &verdict, |_| None));
            }
        },
    )
}

fn lines() -> Vec<Job> {
    let read = || TRACE.lines().filter(|line| !line.is_empty());
    let parsed: Vec<Line> = read()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect();
    let again = parsed.clone();
    vec![
        Job::new("100 times two lines of a trace read", move || {
            for _ in 0..LINES {
                for line in read() {
                    black_box(serde_json::from_str::<Line>(black_box(line)).expect("a line"));
                }
            }
        }),
        Job::new("100 times two lines written as JSON", move || {
            for _ in 0..LINES {
                for line in &parsed {
                    black_box(json(black_box(line)).expect("is written"));
                }
            }
        }),
        Job::new("100 times two lines written as text", move || {
            for _ in 0..LINES {
                let mut out = Vec::new();
                let mut text = Text::new(&mut out, Look::plain(80));
                for line in &again {
                    text.line(black_box(line)).expect("memory takes it");
                }
                text.finish().expect("memory takes it");
                drop(text);
                black_box(out);
            }
        }),
    ]
}

/// A packet that netfilter dropped in FORWARD.
fn event() -> DropEvent {
    let Some(Captured::Drop(mut event)) = decode(&kernel::record()) else {
        panic!("the record is that of a drop");
    };
    event.protocol = 0x0800_u16.to_be();
    event.len_bytes = 60;
    event.generation = 1;
    *event
}

/// A chain of rules that drop.
fn snapshot(rules: usize) -> Snapshot {
    let counter = |number: usize| {
        Some(Counter {
            address: 0x1000 + 16 * number as u64,
            plain: false,
            bytes_first: false,
        })
    };
    let rule = |number: usize| Rule {
        step: Step::Drop,
        counter: counter(number),
        ..Rule::default()
    };
    let forward = Chain {
        name: "FORWARD".to_owned(),
        base: Some(Base {
            hook: Hook::Forward,
            priority: 0,
            policy: Policy::Accept,
            counter: counter(rules),
        }),
        rules: (0..rules).map(rule).collect(),
        ..Chain::default()
    };
    let place = |number: usize| Place {
        table: 0,
        chain: 0,
        rule: Some(number),
        ending: Ending::Certain,
    };
    Snapshot {
        generation: 1,
        order: (0..rules).collect(),
        tables: vec![Table {
            backend: Backend::Legacy,
            family: TableFamily::Ip,
            name: "filter".to_owned(),
            chains: vec![forward],
            hash: 0,
            address: 0,
        }],
        locations: vec![None],
        places: (0..rules).map(place).collect(),
        ..Snapshot::default()
    }
}
