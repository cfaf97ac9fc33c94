//! nf_tables' rulesets, as the tool lists them and as the kernel applies them: random ones against random packets, with the
//! kernel's own trace as the truth.

mod conditions;
mod frames;
mod generate;
mod house;
mod iptables;
mod judge;
mod netlink;
mod packets;
mod random;
mod render;
mod wire;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use observer::ruleset::nftables::listing::{Handles, Ruleset};

use crate::exec;
use crate::kernel::trace::{Rulebook, Run, Tracer};
use crate::netns::Netns;
use crate::run_dir::RunDir;
use crate::traffic::RawSocket;
use house::House;
use judge::Judgement;
use packets::Sent;
use random::Random;

pub use netlink::{Corpus, compare as compare_netlink, print as print_netlink, record as record_netlink};
pub use render::run as render;
pub use wire::Family as FrameFamily;

/// Ends the way of every packet that lives, so that its trace is known to be complete.
const LAST_TABLE: &str = "lab-last";
/// A packet that has not been traced after this long is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first source port; the others follow.
const FIRST_PORT: u16 = 20_000;

/// A random ruleset of nft's own, as `nft -f` takes it.
pub(crate) fn make_ruleset(seed: u64) -> String {
    generate::ruleset(&mut Random::new(seed))
}

/// How much is to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// What chance begins with.
    pub seed: u64,
    /// How many rulesets.
    pub rulesets: usize,
    /// How many packets for each.
    pub packets: usize,
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    exact: usize,
    possible: usize,
    /// One text for each packet of which the evaluator was wrong.
    wrong: Vec<String>,
    unloadable: usize,
}

/// Evaluates random packets against random rulesets and sends them: of the families of IP, or of one that sees frames. True if
/// the kernel never disagreed.
pub fn evaluate(run: &RunDir, frames: Option<FrameFamily>, amount: Amount) -> Result<bool> {
    let started = Instant::now();
    println!("seed {}", amount.seed);
    let tally = tally(run, frames, amount)?;
    tally.wrong.iter().for_each(|wrong| println!("--- {wrong}"));
    println!(
        "{} exact, {} possible, {} wrong, in {:.1} s; {} of {} rulesets could not be loaded",
        tally.exact,
        tally.possible,
        tally.wrong.len(),
        started.elapsed().as_secs_f64(),
        tally.unloadable,
        amount.rulesets
    );
    Ok(tally.wrong.is_empty())
}

/// Of what the evaluator was wrong: a text for each packet.
pub fn wrong(run: &RunDir, frames: Option<FrameFamily>, amount: Amount) -> Result<Vec<String>> {
    Ok(tally(run, frames, amount)?.wrong)
}

fn tally(run: &RunDir, frames: Option<FrameFamily>, amount: Amount) -> Result<Tally> {
    let mut tally = Tally::default();
    match frames {
        Some(family) => frames::evaluate(run, family, amount, &mut tally)?,
        None => of_ip(run, amount, &mut tally)?,
    }
    if tally.exact == 0 {
        bail!("no packet was evaluated exactly: nothing was tested");
    }
    Ok(tally)
}

fn of_ip(run: &RunDir, amount: Amount, tally: &mut Tally) -> Result<()> {
    let house = House::build(run)?;
    let tracer = Tracer::start(&house.router, None)?;
    for round in 0..amount.rulesets {
        let seed = amount.seed.wrapping_add(round as u64);
        try_ruleset(&house, &tracer, seed, amount.packets, tally)?;
    }
    Ok(())
}

fn try_ruleset(house: &House, tracer: &Tracer, seed: u64, packets: usize, tally: &mut Tally) -> Result<()> {
    let mut random = Random::new(seed);
    let text = generate::ruleset(&mut random);
    let router = Some(&house.router);
    if let Err(error) = load(house, &text) {
        tally.unloadable += 1;
        eprintln!("seed {seed}: {error:#}");
        return Ok(());
    }
    exec::output(router, "conntrack", &["-F"], "")?;
    let listed = exec::run(router, "nft", &["-j", "list", "ruleset"], "")?;
    let mut ruleset = Ruleset::read(&listed).context("the ruleset just listed")?;
    ruleset.tables.retain(|table| !table.name.starts_with("lab-"));
    let book = Rulebook::of_nftables(&house.router)?;
    tracer.nft_runs(&book)?;
    for index in 0..packets {
        let number = FIRST_PORT + index as u16;
        let sent = packets::packet(&mut random, number);
        let runs = follow(house, tracer, &book, &sent)?;
        match judge::judge(&ruleset, &sent.packet, &runs) {
            Judgement::Exact => tally.exact += 1,
            Judgement::Possible => tally.possible += 1,
            Judgement::Wrong(why) => {
                tally.wrong.push(format!(
                    "seed {seed}, packet {index}: {why}\n{:?}\n{}",
                    sent.packet,
                    ruleset.text(Handles::Shown)
                ));
            }
        }
    }
    Ok(())
}

fn load(house: &House, text: &str) -> Result<()> {
    let text = format!("{}{text}{}", flush(house)?, last_table());
    load_in(&house.router, &text).map(drop)
}

/// Loads a ruleset without those of its rules that nft refuses: what is put together by chance may contradict itself. What was loaded.
pub fn load_in(netns: &Netns, text: &str) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    loop {
        let text = lines.join("\n");
        let output = exec::output(Some(netns), "nft", &["-f", "-"], &text)?;
        if output.status.success() {
            return Ok(text);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        // `/dev/stdin:85:28-36: Error: …`
        let places = stderr
            .lines()
            .filter_map(|line| line.split(':').nth(1)?.parse().ok());
        let mut refused: Vec<usize> = places.filter(|line| (1..=lines.len()).contains(line)).collect();
        refused.sort_unstable();
        refused.dedup();
        if refused.is_empty() {
            bail!(
                "nft refuses the ruleset: {}",
                stderr.lines().next().unwrap_or_default()
            );
        }
        for line in refused.into_iter().rev() {
            lines.remove(line - 1);
        }
    }
}

/// Deletes the tables of the last round: not the one that marks packets.
fn flush(house: &House) -> Result<String> {
    let tables = exec::run(Some(&house.router), "nft", &["list", "tables"], "")?;
    let old = tables.lines().filter(|line| !line.contains("lab-trace"));
    Ok(old.map(|line| format!("delete {line}\n")).collect())
}

fn last_table() -> String {
    let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority 1000; counter; }}\n");
    format!(
        "table inet {LAST_TABLE} {{\n{}{}}}\n",
        chain("input"),
        chain("postrouting")
    )
}

/// Sends a packet and waits for the end of its trace.
fn follow(house: &House, tracer: &Tracer, book: &Rulebook, sent: &Sent) -> Result<Vec<Run>> {
    house.sender.run(|| {
        let socket = RawSocket::open(sent.dst.is_ipv4())?;
        socket.send(&sent.bytes, sent.dst).context("cannot send")
    })?;
    let deadline = Instant::now() + PATIENCE;
    let mut runs: Vec<Run> = Vec::new();
    loop {
        // What is sent back is another packet; neighbours are looked for, too.
        let is_it = |run: &Run| {
            let ident = &run.packet;
            let is_sent = ident.sport == Some(sent.number) && Some(ident.proto) == sent.packet.protocol;
            is_sent && ident.dst != sent.src
        };
        let new = tracer.nft_runs(book)?.into_iter().filter(is_it);
        runs.extend(new);
        let last = runs.last();
        let is_over =
            last.is_some_and(|run| run.table == LAST_TABLE || run.verdict.as_deref() == Some("DROP"));
        if is_over {
            runs.retain(|run| run.table != LAST_TABLE);
            return Ok(runs);
        }
        if Instant::now() > deadline {
            bail!(
                "the kernel did not tell what became of {:?}: {runs:?}",
                sent.packet
            );
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
