//! What is read of rules over netlink, against what nft lists of the same rules: the models must be the same, and so must the text.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use observer::ruleset::nftables::listing::{Element, Expression, Ruleset, Statement};
use observer::ruleset::nftables::netlink::{Of, list_here};

use super::generate;
use super::load_in;
use super::random::Random;
use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// What differs is listed so often again: elements of sets grow older between two listings.
const RETRIES: usize = 3;

/// Loads each file, and so many random rulesets, in namespaces of their own, and compares. True if all are the same.
pub fn run(run: &RunDir, files: &[impl AsRef<Path>], seed: u64, rulesets: usize) -> Result<bool> {
    let mut tally = Tally::default();
    for (index, file) in files.iter().enumerate() {
        let file = file.as_ref();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let netns = namespace(run, &format!("file-{index}"))?;
        let name = file.display().to_string();
        load(&netns, &name, &text).with_context(|| name.clone())?;
        tally.compare(&netns, &name)?;
    }
    for round in 0..rulesets {
        let seed = seed.wrapping_add(round as u64);
        let netns = namespace(run, &format!("seed-{round}"))?;
        load_in(&netns, &generate::ruleset(&mut Random::new(seed)))?;
        tally.compare(&netns, &format!("seed {seed}"))?;
    }
    println!(
        "{} rulesets with {} rules: {} read whole, {} in part, {} rules differ",
        tally.rulesets, tally.rules, tally.whole, tally.rulesets - tally.whole, tally.wrong
    );
    if tally.rules == 0 {
        bail!("no rule was read: nothing was tested");
    }
    Ok(tally.wrong == 0)
}

/// A namespace with devices that rules name.
fn namespace(run: &RunDir, what: &str) -> Result<Netns> {
    let name = format!("lab-netlink-{what}-{}", std::process::id());
    run.will_name(&name)?;
    let netns = Netns::create(&name)?;
    let script = "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link add in0 type veth peer name out0";
    exec::shell(Some(&netns), script)?;
    Ok(netns)
}

fn load(netns: &Netns, name: &str, text: &str) -> Result<()> {
    let is_saved = name.ends_with(".save") || name.ends_with(".rules");
    if !is_saved {
        return load_in(netns, &without_handles(text)).map(drop);
    }
    let tool = if name.contains(".v6.") { "ip6tables-nft-restore" } else { "iptables-nft-restore" };
    let family = if name.contains(".v6.") { "inet6" } else { "inet" };
    // Rules ask sets of ipset that must be there; which members they have is not read.
    let sets: BTreeSet<&str> = text.split("--match-set ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    for set in sets {
        exec::run(Some(netns), "ipset", &["create", set, "hash:net", "family", family], "")?;
    }
    exec::run(Some(netns), tool, &[], text).map(drop)
}

fn without_handles(text: &str) -> String {
    text.lines().map(|line| line.split(" # handle ").next().unwrap_or(line)).flat_map(|line| [line, "\n"]).collect()
}

#[derive(Default)]
struct Tally {
    rulesets: usize,
    rules: usize,
    whole: usize,
    wrong: usize,
}

impl Tally {
    fn compare(&mut self, netns: &Netns, name: &str) -> Result<()> {
        self.rulesets += 1;
        let mut seen = look(netns)?;
        for _ in 0..RETRIES {
            if !seen.differences.is_empty() {
                seen = look(netns)?;
            }
        }
        self.rules += seen.rules;
        self.wrong += seen.differences.len();
        match &seen.unread {
            None => self.whole += 1,
            Some(unread) => println!("{name}: not read: {unread}"),
        }
        for difference in &seen.differences {
            println!("{name}: {difference}");
        }
        Ok(())
    }
}

/// What came of one comparison.
struct Seen {
    rules: usize,
    unread: Option<String>,
    differences: Vec<String>,
}

fn look(netns: &Netns) -> Result<Seen> {
    let json = exec::run(Some(netns), "nft", &["-j", "list", "ruleset"], "")?;
    let mut theirs = Ruleset::read(&json)?;
    let listed = netns.run(|| list_here(Of::All).context("cannot list over netlink"))?;
    let mut ours = listed.ruleset;
    as_json_tells(&mut ours);
    as_json_tells(&mut theirs);
    let mut differences = Vec::new();
    let mut rules = 0;
    if ours.tables.len() != theirs.tables.len() {
        differences.push(format!("{} tables, nft lists {}", ours.tables.len(), theirs.tables.len()));
    }
    for (our, their) in ours.tables.iter().zip(&theirs.tables) {
        let mut differ = |what: &str, one: String, other: String| {
            if one != other {
                differences.push(format!("{what}\n-{other}\n+{one}"));
            }
        };
        differ("objects", format!("{:?}", our.objects), format!("{:?}", their.objects));
        differ("flowtables", format!("{:?}", our.flowtables), format!("{:?}", their.flowtables));
        differ("sets", format!("{}", our.sets.len()), format!("{}", their.sets.len()));
        for one in &our.sets {
            let Some(other) = their.set(&one.name) else { continue };
            differ("set", format!("{one:?}"), format!("{other:?}"));
        }
        differ("chains", format!("{}", our.chains.len()), format!("{}", their.chains.len()));
        for (one, other) in our.chains.iter().zip(&their.chains) {
            differ("chain", format!("{} {:?} {:?}", one.name, one.handle, one.base), format!("{} {:?} {:?}", other.name, other.handle, other.base));
            differ("rules", one.rules.len().to_string(), other.rules.len().to_string());
            for (one, other) in one.rules.iter().zip(&other.rules) {
                rules += 1;
                // What could not be read says so; nothing is compared with it.
                if matches!(one.statements.as_slice(), [Statement::Unknown(_)]) {
                    if std::env::var_os("OBSERVER_LAB_UNREAD").is_some() {
                        println!("unread: {}", other.text(our.family));
                    }
                    continue;
                }
                differ("rule", one.text(our.family), other.text(our.family));
                // What nft could not put into JSON it wrote as text.
                let is_text = other.statements.iter().any(|one| matches!(one, Statement::Text(_)));
                if !is_text && one.text(our.family) == other.text(our.family) {
                    differ("model", format!("{one:?}"), format!("{other:?}"));
                }
            }
        }
    }
    let unread = (!listed.unread.is_none()).then(|| listed.unread.to_string());
    Ok(Seen { rules, unread, differences })
}

/// Takes out what nft 1.0.6 does not put into its JSON, and what changes with time.
fn as_json_tells(ruleset: &mut Ruleset) {
    ruleset.version = None;
    for table in &mut ruleset.tables {
        table.flags.clear();
        (table.may_be_dormant, table.comment) = (false, None);
        for chain in &mut table.chains {
            chain.comment = None;
            chain.rules.iter_mut().flat_map(|rule| &mut rule.statements).for_each(in_order);
            if let Some(base) = &mut chain.base {
                base.devices.clear();
            }
        }
        for set in &mut table.sets {
            set.auto_merge = false;
            set.flags.retain(|flag| flag != "dynamic");
            set.elements.iter_mut().for_each(forget_time);
        }
    }
}

fn forget_time(element: &mut Element) {
    element.expires = element.expires.map(|_| 0);
}

/// In which order nft lists `syn | ack` among others is chance.
fn in_order(statement: &mut Statement) {
    let (Statement::Match { right: data, .. } | Statement::Vmap { data, .. }) = statement else {
        return;
    };
    let Expression::Set(elements) = data else { return };
    if elements.iter().any(|one| matches!(one.key, Expression::Binary { .. })) {
        elements.sort_by_cached_key(|one| format!("{one:?}"));
    }
}
