//! Two observers at once: each tells everything, as if it were alone.

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::check;
use super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::matching::matches;
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Udp};

/// How many packets are dropped.
const PACKETS: u32 = 20;

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let text = "*filter\n:INNER - [0:0]\n-A FORWARD -p udp -j INNER\n-A INNER -p udp -m udp --dport 8 -j DROP\n\
                -A INNER -p udp -m udp --dport 9 -j DROP\nCOMMIT\n";
    cluster.restore("router", text, true)?;

    let mut both = Vec::new();
    for (name, filter) in [("one", ["--dst", "10.77.2.0/24"]), ("two", ["--port", "9"])] {
        let directory = place.work.join(name);
        std::fs::create_dir_all(&directory)?;
        let args = ["watch", "-o", "json", filter[0], filter[1]].map(str::to_owned);
        let observer = Observer::watch(
            program,
            &args,
            &directory,
            &directory.join("stdout"),
            lab.patience * 3,
        )?;
        both.push((name, observer));
    }
    let udp: Udp = serde_json::from_value(
        json!({"from": "client", "to": "10.77.2.2", "port": 9, "count": PACKETS, "outcome": ["silence"]}),
    )?;
    traffic::send(cluster.node("client")?, &udp)?;

    let mut failures = Vec::new();
    for (name, mut observer) in both {
        observer.signal(Signal::SIGINT)?;
        let status = observer.wait(lab.patience * 2)?;
        let lines = read_lines(observer.stdout_path())?;
        let found = lines.iter().filter(|line| matches(&pattern(), line)).count();
        let code = observer::code(status);
        if code != 0 || found != PACKETS as usize {
            failures.push(format!(
                "observer {name} ended with {code} and told of {found} packets, not {PACKETS}"
            ));
        }
        let none = Value::Null;
        let wrong = check::totals(&lines, lines.last().unwrap_or(&none));
        failures.extend(wrong.into_iter().map(|one| format!("observer {name}: {one}")));
    }
    Ok(Outcome::of(failures))
}

fn pattern() -> Value {
    json!({"kind": "drop", "packet": {"dport": 9},
           "drop": {"chain": "INNER", "rule": {"number": 2}, "hook": "FORWARD", "confidence": "exact"}})
}
