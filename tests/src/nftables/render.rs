//! What the tool lists as JSON, read and written again, against what it lists as text.

use std::path::Path;

use anyhow::{Context, Result};
use observer::ruleset::nftables::listing::{Handles, Ruleset, as_json_tells};

use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// What differs is listed so often again.
const RETRIES: usize = 3;

/// Loads each file of rules in a namespace of its own, lists it both ways, and compares. True if all are the same.
pub fn run(run: &RunDir, files: &[impl AsRef<Path>]) -> Result<bool> {
    let mut all = true;
    for (index, file) in files.iter().enumerate() {
        let file = file.as_ref();
        let name = format!("lab-nft-render-{}-{index}", std::process::id());
        run.will_name(&name)?;
        let netns = Netns::create(&name)?;
        exec::shell(
            Some(&netns),
            "ip link set lo up; ip link add eth0 type veth peer name eth1",
        )?;
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        exec::run(Some(&netns), "nft", &["-f", "-"], &text)?;
        let mut differences = compare(&netns)?;
        // Elements of sets grow older between the two listings: a second that begins there is not a difference.
        for _ in 0..RETRIES {
            if !differences.is_empty() {
                differences = compare(&netns)?;
            }
        }
        println!("{}: {} lines differ", file.display(), differences.len());
        differences.iter().for_each(|line| println!("{line}"));
        all &= differences.is_empty();
    }
    Ok(all)
}

/// Lines that differ, but for what nft leaves out of its JSON.
fn compare(netns: &Netns) -> Result<Vec<String>> {
    let json = exec::run(Some(netns), "nft", &["-j", "list", "ruleset"], "")?;
    let text = exec::run(Some(netns), "nft", &["-a", "list", "ruleset"], "")?;
    let text = as_json_tells(&text);
    let written = Ruleset::read(&json)?.text(Handles::Shown);
    let pairs = text
        .lines()
        .zip(written.lines())
        .filter(|(listed, ours)| listed != ours);
    let mut differences: Vec<_> = pairs
        .map(|(listed, ours)| format!("-{listed}\n+{ours}"))
        .collect();
    if differences.is_empty() && text != written {
        differences.push("one has more lines than the other".to_owned());
    }
    Ok(differences)
}
