//! What is read of rules over netlink, against what nft lists of the same rules: the models must be the same, and so must the text.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use observer::kernel::netlink::Batch;
use observer::ruleset::nftables::listing::{Element, Expression, Family, Rule, Ruleset, Statement, Table};
use observer::ruleset::nftables::netlink::{Of, list_and_tell, list_here};

use super::iptables;

use super::random::Random;
use super::{generate, load_in};
use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// What differs is listed so often again: elements of sets grow older between two listings.
const RETRIES: usize = 3;
/// `struct nfgenmsg`
const NFGENMSG_BYTES: usize = 4;

/// Rulesets to load.
pub struct Corpus<'a> {
    /// Files for `nft -f`, or, if their name ends with `.save` or `.rules`, for `iptables-nft-restore`.
    pub files: &'a [(String, String)],
    /// Of random rulesets the first one's seed.
    pub seed: u64,
    /// And how many there are.
    pub rulesets: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    rulesets: usize,
    /// Rules that were compared.
    pub rules: usize,
    /// Rulesets that were not read whole, and what of them.
    pub in_part: Vec<String>,
    /// Tables of iptables-nft, that were compared with what iptables-nft-save prints.
    pub of_iptables: usize,
    /// Those that were not told, and what in them is not known.
    pub not_told: Vec<String>,
    /// What differs.
    pub wrong: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.in_part.iter().chain(&self.not_told).chain(&self.wrong) {
            writeln!(f, "{line}")?;
        }
        write!(
            f,
            "{} rulesets with {} rules; {} rulesets are read in part; {} tables of iptables, {} more are not told; {} parts differ",
            self.rulesets,
            self.rules,
            self.in_part.len(),
            self.of_iptables,
            self.not_told.len(),
            self.wrong.len()
        )
    }
}

/// Loads each ruleset in a namespace of its own, and compares.
pub fn compare(run: &RunDir, corpus: &Corpus<'_>) -> Result<Tally> {
    let mut tally = Tally::default();
    for (index, (name, text)) in corpus.files.iter().enumerate() {
        let netns = namespace(run, &format!("file-{index}"))?;
        load(&netns, name, text).with_context(|| name.clone())?;
        tally.compare(&netns, name)?;
    }
    for round in 0..corpus.rulesets {
        let seed = corpus.seed.wrapping_add(round as u64);
        let netns = namespace(run, &format!("seed-{round}"))?;
        load_in(&netns, &generate::ruleset(&mut Random::new(seed)))?;
        tally.compare(&netns, &format!("seed {seed}"))?;
    }
    if tally.rules == 0 {
        bail!("no rule was read: nothing was tested");
    }
    Ok(tally)
}

/// Compares, and prints what came of it. True if nothing differs.
pub fn print(run: &RunDir, corpus: &Corpus<'_>) -> Result<bool> {
    let tally = compare(run, corpus)?;
    println!("{tally}");
    Ok(tally.wrong.is_empty())
}

/// Loads one ruleset, and writes the kernel's messages about it to a file.
pub fn record(run: &RunDir, (name, text): &(String, String), to: &Path) -> Result<bool> {
    let netns = namespace(run, "record")?;
    load(&netns, name, text)?;
    let mut batch = Batch::default();
    netns.run(|| {
        let mut tell = |message: &observer::kernel::netlink::Message<'_>| {
            let (fixed, attributes) = message
                .payload
                .split_at(NFGENMSG_BYTES.min(message.payload.len()));
            batch.message(message.kind, 0, 0, &[fixed, attributes].concat(), |_| {});
        };
        list_and_tell(Of::All, &mut tell).context("cannot list over netlink")
    })?;
    std::fs::write(to, batch.bytes()).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

/// A namespace with devices that rules name.
fn namespace(run: &RunDir, what: &str) -> Result<Netns> {
    let name = format!("lab-netlink-{what}-{}", std::process::id());
    run.will_name(&name)?;
    let netns = Netns::create(&name)?;
    let script = "ip link set lo up
                  ip link add eth0 type veth peer name eth1
                  ip link add in0 type veth peer name out0";
    exec::shell(Some(&netns), script)?;
    Ok(netns)
}

fn load(netns: &Netns, name: &str, text: &str) -> Result<()> {
    if !(name.ends_with(".save") || name.ends_with(".rules")) {
        return load_in(netns, &without_handles(text)).map(drop);
    }
    let (tool, family) = match name.contains(".v6.") {
        true => ("ip6tables-nft-restore", "inet6"),
        false => ("iptables-nft-restore", "inet"),
    };
    // Rules ask sets of ipset that must be there; which members they have is not read.
    let asked = text.split("--match-set ").skip(1);
    let sets: BTreeSet<&str> = asked.filter_map(|rest| rest.split(' ').next()).collect();
    for set in sets {
        exec::run(
            Some(netns),
            "ipset",
            &["create", set, "hash:net", "family", family],
            "",
        )?;
    }
    exec::run(Some(netns), tool, &[], text).map(drop)
}

fn without_handles(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split(" # handle ").next().unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Tally {
    fn compare(&mut self, netns: &Netns, name: &str) -> Result<()> {
        let mut seen = look(netns)?;
        for _ in 0..RETRIES {
            if !seen.differences.is_empty() {
                seen = look(netns)?;
            }
        }
        self.rulesets += 1;
        self.rules += seen.rules;
        let rules = seen.in_words.join("; ");
        let unread = seen
            .unread
            .map(|unread| format!("{name}: not read: {unread}: {rules}"));
        self.in_part.extend(unread);
        let tables = iptables::compare(netns)?;
        self.of_iptables += tables.compared;
        let not_told = tables.not_told.iter();
        self.not_told
            .extend(not_told.map(|one| format!("{name}: not told: {one}")));
        let wrong = tables.wrong.iter();
        self.wrong.extend(wrong.map(|one| format!("{name}: {one}")));
        let differences = seen.differences.iter();
        self.wrong.extend(differences.map(|one| format!("{name}: {one}")));
        Ok(())
    }
}

/// What came of one comparison.
#[derive(Default)]
struct Seen {
    rules: usize,
    unread: Option<String>,
    /// Rules that were not read, as nft lists them.
    in_words: Vec<String>,
    differences: Vec<String>,
}

fn look(netns: &Netns) -> Result<Seen> {
    let json = exec::run(Some(netns), "nft", &["-j", "list", "ruleset"], "")?;
    let mut theirs = Ruleset::read(&json)?;
    let listed = netns.run(|| list_here(Of::All).context("cannot list over netlink"))?;
    let mut seen = Seen {
        unread: (!listed.unread.is_none()).then(|| listed.unread.to_string()),
        ..Seen::default()
    };
    let mut ours = listed.ruleset;
    as_json_tells(&mut ours);
    as_json_tells(&mut theirs);
    seen.differ("tables", &ours.tables.len(), &theirs.tables.len());
    for (our, their) in ours.tables.iter().zip(&theirs.tables) {
        seen.table(our, their);
    }
    Ok(seen)
}

impl Seen {
    fn differ(&mut self, what: &str, ours: &impl fmt::Debug, theirs: &impl fmt::Debug) {
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        if ours != theirs {
            self.differences.push(format!("{what}\n-{theirs}\n+{ours}"));
        }
    }

    /// What was not read, and says so, is compared with nothing.
    fn table(&mut self, our: &Table, their: &Table) {
        let is_whole = self.unread.is_none();
        self.differ(
            "table",
            &(our.family, &our.name, our.handle),
            &(their.family, &their.name, their.handle),
        );
        for their in &their.objects {
            match our
                .objects
                .iter()
                .find(|one| (&one.name, one.handle) == (&their.name, their.handle))
            {
                Some(one) => self.differ("object", one, their),
                None if is_whole => self.differences.push(format!("object {} is missing", their.name)),
                None => {}
            }
        }
        self.differ("flowtables", &our.flowtables, &their.flowtables);
        for their in &their.sets {
            match our.set(&their.name) {
                Some(one) => self.differ("set", one, their),
                None if is_whole => self.differences.push(format!("set {} is missing", their.name)),
                None => {}
            }
        }
        self.differ("chains", &our.chains.len(), &their.chains.len());
        for (one, other) in our.chains.iter().zip(&their.chains) {
            self.differ(
                "chain",
                &(&one.name, one.handle, &one.base),
                &(&other.name, other.handle, &other.base),
            );
            self.differ("rules", &one.rules.len(), &other.rules.len());
            for (one, other) in one.rules.iter().zip(&other.rules) {
                self.rule(one, other, our.family);
            }
        }
    }

    fn rule(&mut self, one: &Rule, other: &Rule, family: Family) {
        let (text, theirs) = (one.text(family), other.text(family));
        if self.unread.is_some() && matches!(&*one.statements, [Statement::Unknown(_)]) {
            self.in_words.push(theirs);
            return;
        }
        self.rules += 1;
        let is_same = text == theirs;
        self.differ("rule", &text, &theirs);
        // What nft could not put into JSON it wrote as text.
        let mut statements = other.statements.iter();
        let is_text = statements.any(|one| matches!(one, Statement::Text(_)));
        if is_same && !is_text {
            self.differ("model", one, other);
        }
    }
}

/// Takes out what nft 1.0.6 does not put into its JSON, and what changes with time.
fn as_json_tells(ruleset: &mut Ruleset) {
    for table in &mut ruleset.tables {
        for chain in &mut table.chains {
            if let Some(base) = &mut chain.base {
                base.devices.clear();
            }
            chain
                .rules
                .iter_mut()
                .flat_map(|rule| &mut rule.statements)
                .for_each(in_order);
        }
        for set in &mut table.sets {
            set.auto_merge = false;
            set.flags.retain(|flag| flag != "dynamic");
            set.elements.iter_mut().for_each(forget_time);
        }
    }
}

fn forget_time(element: &mut Element) {
    if let Some(own) = &mut element.own {
        own.expires = own.expires.map(|_| 0);
    }
}

/// In which order nft lists `syn | ack` among others is chance.
fn in_order(statement: &mut Statement) {
    let (Statement::Match { right: data, .. } | Statement::Vmap { data, .. }) = statement else {
        return;
    };
    let Expression::Set(elements) = data else { return };
    if elements
        .iter()
        .any(|one| matches!(one.key, Expression::Binary { .. }))
    {
        elements.sort_by_cached_key(|one| format!("{one:?}"));
    }
}
