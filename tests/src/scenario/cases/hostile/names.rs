//! Everything that has a name has one that an enemy chose, as far as the tools and the kernel take it: escape sequences, marks of
//! writing direction, line feeds, bytes that are no UTF-8; for a namespace, a device, a chain, a set, comments and files. What the tools
//! do not take, tables, chains and sets of nf_tables with such bytes and with zeros, the kernel is sent by netlink.

use std::net::UdpSocket;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::super::run::{Lab, Place};
use super::super::super::{check, features};
use super::super::ended::ended;
use super::netlink;
use super::screen::complaint;
use crate::cluster::{Backend, Family};
use crate::exec;
use crate::netns::Netns;
use crate::observer::{self, Observer};
use crate::results::Outcome;

/// Turns the writing, clears the screen, and has a line of its own.
pub(super) const NAMESPACE: &str = "\u{202e}\u{1b}[2J\n\u{9b}1m";
/// 15 bytes at the most, without space, colon or slash: `dev_valid_name()`, net/core/dev.c.
const DEVICE: &str = "\u{1b}[7m\u{202e}\u{9b}\u{7f}";
/// 28 bytes at the most.
const CHAIN: &str = "\u{1b}]0;x\u{7}\u{202e}\u{200b}\u{9b}m";
/// 31 bytes at the most.
const SET: &str = "\u{1b}c\u{2066}\u{ad}set";
/// As a shell's printf takes them; then as they are to be told.
const COMMENT: (&str, &str) = (
    r"\377\376 \033[31m\342\200\256 \007\302\205",
    "\u{fffd}\u{fffd} \u{1b}[31m\u{202e} \u{7}\u{85}",
);
/// How many packets each rule drops.
const PACKETS: u16 = 5;
/// The ports of the two rules that drop.
pub(super) const BY_IPTABLES: u16 = 7919;
pub(super) const BY_NFT: u16 = 7920;

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    if let Some(why) = features::lacking(&["ipset create lab hash:ip".to_owned()], &lab.run)? {
        return Ok(Outcome::Skipped(why));
    }
    let netns = Netns::create(&format!("{}{NAMESPACE}", place.prefix))?;
    let tool = crate::cluster::rules::tool(place.setup().backend, Family::Ip);
    set_up(&netns, &tool)?;
    let trace = place.work.join("\u{1b}[8mtrace");
    let words = [
        "watch",
        "--dst",
        "10.99.0.0/16",
        "--write",
        &trace.to_string_lossy(),
    ]
    .map(str::to_owned);
    let mut observer = Observer::watch(program, &words, place.work, &trace, lab.patience * 3)?;
    for port in [BY_IPTABLES, BY_NFT] {
        netns.run(|| send(("10.99.0.1", "10.99.0.2"), port))?;
    }
    for table in &netlink::TABLES {
        netns.run(|| send(("10.99.1.1", "10.99.1.2"), table.port))?;
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (lines, mut failures) = ended(&mut observer, &trace, lab.patience * 2)?;
    failures.extend(complaint("stderr", &observer.stderr()));
    failures.extend(shown("watch", &observer.stdout()));
    let written = std::fs::read_to_string(&trace).context("the trace is no UTF-8")?;
    failures.extend(complaint("the trace", &written));
    let schema = lab.schema.as_ref();
    failures.extend(
        lines
            .iter()
            .filter_map(|line| check::against_schema(line, schema)),
    );
    failures.extend(told(netns.name(), place.setup().backend, &lines));
    failures.extend(told_of_netlink(&lines));
    failures.extend(asked(program, &netns, &trace, (&tool, &lines))?);
    Ok(Outcome::of(failures))
}

pub(super) fn set_up(netns: &Netns, tool: &str) -> Result<()> {
    let here = Some(netns);
    let veth = ["link", "add", DEVICE, "type", "veth", "peer", "name", "other"];
    exec::run(here, "ip", &veth, "")?;
    exec::run(here, "ip", &["addr", "add", "10.99.0.1/24", "dev", DEVICE], "")?;
    exec::run(here, "ip", &["link", "set", "other", "up"], "")?;
    exec::run(here, "ip", &["link", "set", DEVICE, "up"], "")?;
    exec::run(here, "ipset", &["create", SET, "hash:ip"], "")?;
    exec::run(here, "ipset", &["add", SET, "10.99.0.2"], "")?;
    let comment = COMMENT.0;
    let rules = format!(
        "*filter\\n:{CHAIN} - [0:0]\\n-A OUTPUT -p udp -m udp --dport {BY_IPTABLES} -j {CHAIN}\\n\
         -A {CHAIN} -m set --match-set {SET} dst -m comment --comment \"{comment}\" -j DROP\\nCOMMIT\\n"
    );
    let native = format!(
        "table inet lab {{ chain out {{ type filter hook output priority 10; \
         oifname {{ \"{DEVICE}\", \"other\" }} udp dport {BY_NFT} counter drop comment \"{comment}\"; }}; }}"
    );
    exec::shell(
        here,
        &format!("printf '{rules}' | {tool}-restore -w 30\nprintf '{native}\\n' | nft -f -"),
    )?;
    // A device whose name is no UTF-8.
    let octal = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("\\{byte:03o}"))
            .collect::<String>()
    };
    exec::shell(
        here,
        &format!(
            r#"device="$(printf '{}')"
            ip link add "$device" type veth peer name another
            ip addr add 10.99.1.1/24 dev "$device"
            ip link set another up
            ip link set "$device" up"#,
            octal(netlink::DEVICE)
        ),
    )?;
    netlink::load(netns)
}

fn send(by: (&str, &str), port: u16) -> Result<()> {
    let socket = UdpSocket::bind((by.0, 0))?;
    for _ in 0..PACKETS {
        // The rule makes it an error.
        let _ = socket.send_to(b"x", (by.1, port));
    }
    Ok(())
}

/// What was shown: nothing of it steers, and the device's name is there, escaped.
fn shown(what: &str, text: &str) -> Vec<String> {
    let mut failures: Vec<String> = complaint(what, text).into_iter().collect();
    if !text.contains("\\x1b") {
        failures.push(format!(
            "{what}: no name is shown, nothing was tested: {}",
            text.escape_debug()
        ));
    }
    failures
}

/// The drops of a port: as many as packets were sent, or that is a failure.
fn drops_of<'a>(lines: &'a [Value], port: u16, failures: &mut Vec<String>) -> Vec<&'a Value> {
    let of = |line: &&Value| line["kind"] == "drop" && line["packet"]["dport"] == port;
    let drops: Vec<&Value> = lines.iter().filter(of).collect();
    if drops.len() != usize::from(PACKETS) {
        failures.push(format!(
            "{} of {PACKETS} drops of port {port} are told",
            drops.len()
        ));
    }
    drops
}

/// The trace has each name as it is.
fn told(namespace: &str, backend: Backend, lines: &[Value]) -> Vec<String> {
    let mut failures = Vec::new();
    for (port, chain, text) in [(BY_IPTABLES, CHAIN, true), (BY_NFT, "out", false)] {
        let drops = drops_of(lines, port, &mut failures);
        for line in drops {
            let drop = &line["drop"];
            let is_right = drop["confidence"] == "exact"
                && drop["chain"] == chain
                && line["netns"]["name"] == namespace
                && line["out"] == DEVICE;
            let comment = &drop["rule"]["comment"];
            let has_comment = *comment == COMMENT.1
                && (!text || backend == Backend::Native || drop["rule"]["text"].is_string());
            // Elements of a set have names, too.
            let is_whole = text
                || drop["rule"]["text"]
                    .as_str()
                    .is_some_and(|it| it.contains(DEVICE));
            if !is_right || !has_comment || !is_whole {
                failures.push(format!("the rule of port {port} has other names: {line}"));
                break;
            }
        }
    }
    failures
}

/// The names that netlink brought: what is no UTF-8 is replaced, what comes after a zero is not there. Text and comment are as the rule
/// has them, or absent: never those of the rule with the same handle in the table that looks the same.
fn told_of_netlink(lines: &[Value]) -> Vec<String> {
    let mut failures = Vec::new();
    let replaced = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is = |value: &Value, wanted: &dyn Fn(&str) -> bool, must: bool| value.as_str().map_or(!must, wanted);
    for table in &netlink::TABLES {
        let port = table.port;
        let drops = drops_of(lines, port, &mut failures);
        let wrong = drops.into_iter().find(|line| {
            let (drop, rule) = (&line["drop"], &line["drop"]["rule"]);
            let is_right = drop["confidence"] == "exact"
                && drop["table"] == replaced(table.name)
                && drop["chain"] == replaced(table.chain)
                && rule["number"] == 2
                && line["out"] == replaced(netlink::DEVICE)
                && is(&rule["text"], &|text| text.contains(table.part), table.is_read)
                && is(
                    &rule["comment"],
                    &|comment| comment == replaced(netlink::COMMENT),
                    table.is_read,
                );
            !is_right
        });
        failures.extend(wrong.map(|line| format!("the rule of port {port} has other names: {line}")));
    }
    failures
}

/// What the other verbs show of the same names, of rules in force and of files.
fn asked(
    program: &std::path::Path,
    netns: &Netns,
    trace: &std::path::Path,
    (tool, lines): (&str, &[Value]),
) -> Result<Vec<String>> {
    let directory = trace.parent().context("no directory")?;
    let file = |name: &str| -> PathBuf { directory.join(name) };
    let (saved, sets) = (file("\u{1b}[2Jrules"), file("\u{202e}sets"));
    let words = |path: &PathBuf| path.to_string_lossy().into_owned();
    let raw =
        |tool: &str, args: &[&str]| exec::output(Some(netns), tool, args, "").map(|output| output.stdout);
    std::fs::write(&saved, raw(&format!("{tool}-save"), &["-c"])?)?;
    std::fs::write(&sets, raw("ipset", &["save"])?)?;
    let of_port = |port: u16| {
        let dropped = |line: &Value| line["kind"] == "drop" && line["packet"]["dport"] == port;
        lines.iter().position(dropped).map_or(1, |at| at + 1).to_string()
    };
    let (number, by_netlink) = (of_port(BY_IPTABLES), of_port(netlink::TABLES[1].port));
    let (trace, saved, sets) = (trace.to_string_lossy(), words(&saved), words(&sets));
    let port = BY_IPTABLES.to_string();
    let packet = [
        "--src",
        "10.99.0.1",
        "--dst",
        "10.99.0.2",
        "--proto",
        "udp",
        "--port",
        &port,
    ];
    let files = ["--ruleset", &saved, "--ipset", &sets];
    let missing = file("\u{1b}[2Jnone");
    let missing = words(&missing);
    let asked: [(&[&[&str]], i32); 7] = [
        (&[&["explain"], &packet, &["--hook", "output"]], 0),
        (&[&["explain"], &packet, &["--hook", "output"], &files], 0),
        (&[&["explain", "--from-trace", &trace, "--line", &number]], 0),
        (
            &[&["explain", "--from-trace", &trace, "--line", &number], &files],
            0,
        ),
        (&[&["explain", "--from-trace", &trace, "--line", &by_netlink]], 0),
        (&[&["explain"], &packet, &["--ruleset", &missing]], 2),
        (&[&["explain", "--from-trace", &saved, "--line", "1"]], 2),
    ];
    let mut failures = Vec::new();
    for (args, code) in asked {
        for format in ["text", "json"] {
            let args: Vec<&str> = args.concat().into_iter().chain(["-o", format]).collect();
            let output = exec::output(Some(netns), &program.to_string_lossy(), &args, "")?;
            let what = args.join(" ").escape_debug().to_string();
            let ended = observer::code(output.status);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            if ended != code || stderr.lines().count() != usize::from(code == 2) {
                failures.push(format!("{what} ended with {ended}: {}", stderr.escape_debug()));
            }
            let stdout = String::from_utf8(output.stdout).context("no UTF-8")?;
            failures.extend(complaint(&what, &stderr));
            if code != 0 || format == "json" {
                failures.extend(complaint(&what, &stdout));
                continue;
            }
            failures.extend(shown(&what, &stdout));
        }
    }
    failures.extend(reported(program, netns, &[&*trace, &*saved])?);
    Ok(failures)
}

/// What a report shows of a trace, and of a file that is none.
fn reported(program: &std::path::Path, netns: &Netns, files: &[&str]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for form in ["text", "json", "markdown", "html"] {
        let args = [&["report", "-o", form][..], files].concat();
        let output = exec::output(Some(netns), &program.to_string_lossy(), &args, "")?;
        let (ended, what) = (observer::code(output.status), format!("report -o {form}"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if ended != 0 || !stderr.is_empty() {
            failures.push(format!("{what} ended with {ended}: {}", stderr.escape_debug()));
        }
        let stdout = String::from_utf8(output.stdout).context("no UTF-8")?;
        failures.extend(complaint(&what, &stdout));
        if !stdout.contains("[2J") {
            failures.push(format!("{what}: no name is shown, nothing was tested"));
        }
    }
    Ok(failures)
}
