//! `observer top` on a real terminal: the case observer was made for, found by keys; and everything as it was afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::exec;
use crate::observer::code;
use crate::results::Outcome;
use crate::rights::{self, Watched};
use crate::terminal::Terminal;

/// Rows and columns.
const USUAL: (u16, u16) = (24, 80);
/// The row that is selected at first: below three rows of totals, the views and the heading.
const FIRST_ROW: u16 = 5;
/// So many lines details have at most.
const MOST_LINES: usize = 100;
/// iptables-nft's table has its family before its name.
const CAUSE: [&str; 2] = ["policy DROP of ", "filter FORWARD"];
const ESCAPE: &str = "\u{1b}";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "seed", &place.setup(), &lab.run)?;
    // Of the two endpoints leave the one on node02: each request dies there.
    cluster.restore("master", "*nat\n-D KUBE-SVC-PIU4JA5FNNNHNOAJ 2\nCOMMIT\n", false)?;
    let directory = place.work.display().to_string();
    let args = ["top", "--dst", "10.224.0.0/16", "--freeze-dir", &directory];
    let mut page = Terminal::start(program, &args, USUAL, "xterm-256color")?;
    let before = page.modes()?;
    let patience = lab.patience;
    page.wait("the page", patience * 3, |it| {
        it.contains("observer top on ") && it.contains("no drops yet")
    })?;
    let mut failures = rights::failures(page.pid(), Watched::Packets, patience)?;
    if page.modes()? == before {
        failures.push("the terminal's modes are not set: keys would be echoed".to_owned());
    }

    ask(&cluster, 2)?;
    found(&mut page, patience, &mut failures)?;
    // To be looked at with --keep, beside what the other views show.
    fs::write(place.work.join("rows.txt"), page.screen())?;
    searched(&mut page, patience)?;
    paused(&mut page, &cluster, patience)?;
    resized(&mut page, patience)?;
    fs::write(place.work.join("large.txt"), page.screen())?;
    frozen(&mut page, program, place.work, patience, &mut failures)?;

    page.keys("q")?;
    let status = code(page.end(patience * 2)?);
    if status != 0 {
        failures.push(format!("it ended with {status}"));
    }
    if page.is_taken() || page.modes()? != before {
        failures.push("the terminal is not as it was".to_owned());
    }
    let screen = page.screen();
    if !screen.contains("packets died in") || !has_cause(&screen) {
        failures.push(format!("there is no summary on\n{screen}"));
    }
    Ok(Outcome::of(failures))
}

fn has_cause(text: &str) -> bool {
    CAUSE.iter().all(|part| text.contains(part))
}

/// Asks the service, which does not answer.
fn ask(cluster: &Cluster, seconds: u32) -> Result<()> {
    let seconds = seconds.to_string();
    let args = ["-sS", "--max-time", &seconds, "http://10.108.94.160/"];
    let output = exec::output(Some(cluster.node("master")?), "curl", &args, "")?;
    if output.status.success() {
        bail!("the service answered: nothing is tested");
    }
    Ok(())
}

/// The cause's row, and its details: the drop, and what to do about it.
fn found(page: &mut Terminal, patience: Duration, failures: &mut Vec<String>) -> Result<()> {
    page.wait("the cause's row", patience, |it| {
        let row = it.lines().nth(usize::from(FIRST_ROW)).unwrap_or_default();
        row.starts_with('>') && has_cause(row) && row.contains(" exact ")
    })?;
    if !page.is_reversed(FIRST_ROW) {
        failures.push("the selected row is not reversed".to_owned());
    }
    page.keys("\r")?;
    page.wait("the newest drop", patience, |it| {
        it.contains("DROP tcp 10.224.0.0:")
    })?;
    for part in ["needs src 10.244.0.0/16", "fix  ", "DOCKER-USER"] {
        scrolled(page, part, patience)?;
    }
    page.keys(ESCAPE)?;
    page.wait("the rows again", patience, |it| it.contains("[Causes 1]"))
}

/// Scrolls down until a part is to be seen.
fn scrolled(page: &mut Terminal, part: &str, patience: Duration) -> Result<()> {
    for _ in 0..MOST_LINES {
        if page
            .wait(part, Duration::from_millis(100), |it| it.contains(part))
            .is_ok()
        {
            return Ok(());
        }
        page.keys("j")?;
    }
    page.wait(part, patience, |it| it.contains(part))
}

fn searched(page: &mut Terminal, patience: Duration) -> Result<()> {
    page.keys("/no such thing")?;
    page.wait("no row", patience, |it| {
        it.contains("no row has this text") && it.contains("search: no such thing_")
    })?;
    page.keys("\u{7f}".repeat(20).as_str())?;
    page.keys("filter forward\r")?;
    page.wait("the row that was searched for", patience, |it| {
        it.contains("\"filter forward\": 1 of 1") && has_cause(it)
    })?;
    page.keys(ESCAPE)?;
    page.wait("no search", patience, |it| !it.contains("filter forward"))
}

/// The page stands still while packets are counted.
fn paused(page: &mut Terminal, cluster: &Cluster, patience: Duration) -> Result<()> {
    page.keys("p")?;
    page.wait("the pause", patience, |it| {
        it.lines().next().is_some_and(|row| row.ends_with("PAUSED"))
    })?;
    let total = |screen: &str| -> Option<u64> {
        let row = screen.lines().nth(1)?;
        row.split(' ').next()?.parse().ok()
    };
    let before = total(&page.screen()).context("no total")?;
    ask(cluster, 1)?;
    page.wait("what came meanwhile", patience, |it| {
        it.contains(" more since ") && !it.contains("(0 more") && total(it) == Some(before)
    })?;
    page.keys(" ")?;
    page.wait("all of them", patience, |it| {
        total(it).is_some_and(|now| now > before)
    })
}

fn resized(page: &mut Terminal, patience: Duration) -> Result<()> {
    page.resize(10, 40)?;
    page.wait("a small page", patience, |it| {
        it.lines().count() == 10
            && it
                .lines()
                .any(|row| row.starts_with("> ") && row.contains("policy DROP"))
    })?;
    page.keys("\t")?;
    page.wait("flows", patience, |it| it.contains("[Flows 1]"))?;
    page.resize(40, 120)?;
    page.wait("a large page", patience, |it| {
        it.lines().count() == 40
            && it.contains("→ 10.224.2.16:80, service nginx-test/nginx-service")
            && it.contains("? help")
    })
}

/// What is frozen is a trace that a report reads.
fn frozen(
    page: &mut Terminal,
    program: &Path,
    directory: &Path,
    patience: Duration,
    failures: &mut Vec<String>,
) -> Result<()> {
    page.keys("f")?;
    page.wait("that it is frozen", patience, |it| it.contains("frozen: "))?;
    let file = file(directory)?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    if mode != 0o600 {
        failures.push(format!("the file has mode {mode:o}"));
    }
    let report = exec::run(
        None,
        &program.to_string_lossy(),
        &["report", &file.to_string_lossy()],
        "",
    )?;
    if !has_cause(&report) || !report.contains("10.224.2.16:80") || report.contains("cut off") {
        failures.push(format!("the report of what was frozen is {report}"));
    }
    Ok(())
}

fn file(directory: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    files
        .into_iter()
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("observer-top-"))
        })
        .context("there is no frozen file")
}

/// Where there is no terminal, or a dumb one, one line says what to do.
pub(super) fn without_a_terminal(lab: &Lab, _place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let mut failures = Vec::new();
    let output = exec::output(None, &program.to_string_lossy(), &["top"], "")?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if code(output.status) != 2 || stderr.lines().count() != 1 || !stderr.contains("use observer watch") {
        failures.push(format!("without a terminal: {} {stderr}", output.status));
    }
    for term in ["dumb", ""] {
        let mut page = Terminal::start(program, &["top"], USUAL, term)?;
        let before = page.modes()?;
        let status = code(page.end(lab.patience)?);
        let words = page.screen().replace('\n', " ");
        if status != 2 || !words.contains("observer watch") || page.modes()? != before {
            failures.push(format!("TERM={term}: ended with {status}: {words}"));
        }
    }
    Ok(Outcome::of(failures))
}
