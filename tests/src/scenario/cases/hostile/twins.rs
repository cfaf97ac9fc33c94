//! Two chains whose names are no UTF-8 and look the same wherever they are shown: no rule of the one is told as the other's, and no text
//! is taken from a listing in which they cannot be told apart.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::super::run::{Lab, Place};
use super::super::ended::ended;
use crate::cluster::{Family, rules};
use crate::exec;
use crate::netns::Netns;
use crate::observer::Observer;
use crate::results::Outcome;

/// The chains, as a shell's printf takes them, and as both of them are told.
const CHAINS: [&str; 2] = [r"tw\377", r"tw\376"];
const TOLD: &str = "tw\u{fffd}";
/// For each port: the comment of the rule that drops it, its number in its own chain, and the packets that are sent.
const DROPPED: [(u16, &str, u64, u64); 2] = [(7, "of the one", 1, 3), (8, "second of the other", 2, 5)];

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let netns = Netns::create(&format!("{}twins", place.prefix))?;
    let tool = rules::tool(place.setup().backend, Family::Ip);
    exec::run(Some(&netns), "ip", &["link", "set", "lo", "up"], "")?;
    let [one, other] = CHAINS;
    let text = format!(
        "*filter\\n:{one} - [0:0]\\n:{other} - [0:0]\\n\
         -A OUTPUT -p udp -m udp --dport 7 -j {one}\\n-A OUTPUT -p udp -m udp --dport 8 -j {other}\\n\
         -A {one} -p udp -m comment --comment \"of the one\" -j DROP\\n\
         -A {other} -p udp -m udp --sport 1 -m comment --comment \"first of the other\" -j DROP\\n\
         -A {other} -p udp -m comment --comment \"second of the other\" -j DROP\\nCOMMIT\\n"
    );
    exec::shell(Some(&netns), &format!("printf '{text}' | {tool}-restore -w 30"))?;
    let args = ["watch", "-o", "json", "--netns", netns.name()].map(str::to_owned);
    let trace = place.work.join("stdout");
    let mut observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;
    netns.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        for (port, _, _, packets) in DROPPED {
            for _ in 0..packets {
                // The rule makes it an error.
                let _ = socket.send_to(b"x", ("127.0.0.1", port));
            }
        }
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    let (lines, mut failures) = ended(&mut observer, &trace, lab.patience * 2)?;
    let saved = exec::output(Some(&netns), &format!("{tool}-save"), &["-c"], "")?.stdout;
    failures.extend(told(&lines, &String::from_utf8_lossy(&saved))?);
    Ok(Outcome::of(failures))
}

/// Each drop has its own rule's number and comment, and as many have them as the kernel counted for that rule.
fn told(lines: &[Value], saved: &str) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let drops: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "drop").collect();
    for (port, comment, number, _) in DROPPED {
        let of_port = drops.iter().filter(|line| line["packet"]["dport"] == port);
        let (right, wrong): (Vec<&&Value>, Vec<&&Value>) = of_port.partition(|line| {
            let drop = &line["drop"];
            drop["chain"] == TOLD
                && drop["confidence"] == "exact"
                && drop["rule"]["comment"] == comment
                && drop["rule"]["number"] == number
                && drop["rule"]["text"]
                    .as_str()
                    .is_none_or(|text| text.contains(comment))
        });
        let counted = counted(saved, comment)?;
        if right.len() as u64 != counted || counted == 0 || !wrong.is_empty() {
            failures.push(format!(
                "the rule `{comment}` dropped {counted} packets, {} are told as its own; of the others one is {:?}",
                right.len(),
                wrong.first()
            ));
        }
    }
    Ok(failures)
}

/// How many packets the kernel counted for the rule with this comment.
fn counted(saved: &str, comment: &str) -> Result<u64> {
    let line = saved
        .lines()
        .find(|line| line.contains(&format!("\"{comment}\"")));
    let line = line.with_context(|| format!("no rule `{comment}` is saved"))?;
    let count = line.strip_prefix('[').and_then(|line| line.split_once(':'));
    count
        .and_then(|(count, _)| count.parse().ok())
        .with_context(|| format!("no counter: {line}"))
}
