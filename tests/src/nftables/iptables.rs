//! Tables of iptables-nft as they are read over netlink, against what iptables-nft-save prints of them: the models must be the same,
//! and so must the text.

use anyhow::{Context, Result};
use observer::ruleset::nftables::netlink::of_iptables_here;
use observer::ruleset::xtables::save::{self, Family, Table};

use crate::exec;
use crate::netns::Netns;

/// What came of it.
#[derive(Debug, Default)]
pub struct Compared {
    /// So many tables.
    pub compared: usize,
    /// Tables that are left to the tool.
    pub not_told: Vec<String>,
    /// What differs.
    pub wrong: Vec<String>,
}

/// Compares both families' tables.
pub fn compare(netns: &Netns) -> Result<Compared> {
    let mut seen = Compared::default();
    for (family, tool) in [
        (Family::Ip, "iptables-nft-save"),
        (Family::Ip6, "ip6tables-nft-save"),
    ] {
        let ours = netns.run(|| of_iptables_here(family, true).context("cannot list over netlink"))?;
        let text = exec::run(Some(netns), tool, &["-c"], "")?;
        let theirs = save::parse(&text).with_context(|| tool.to_owned())?;
        let is_told = |table: &Table| ours.not_told.iter().all(|(name, _)| **name != *table.name);
        let theirs: Vec<Table> = theirs.into_tables().filter(is_told).collect();
        seen.tables(tool, &ours.tables, &theirs);
        let not_told = ours.not_told.iter();
        seen.not_told
            .extend(not_told.map(|(name, what)| format!("{tool}: {name}: {what}")));
    }
    Ok(seen)
}

impl Compared {
    fn tables(&mut self, tool: &str, ours: &[Table], theirs: &[Table]) {
        let names = |tables: &[Table]| tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
        if names(ours) != names(theirs) {
            self.wrong.push(format!(
                "{tool}: tables\n-{:?}\n+{:?}",
                names(theirs),
                names(ours)
            ));
            return;
        }
        for (our, their) in ours.iter().zip(theirs) {
            self.compared += 1;
            let (text, theirs) = (our.to_string(), their.to_string());
            if text != theirs {
                let lines = text.lines().zip(theirs.lines());
                let first = lines.filter(|(our, their)| our != their).take(8);
                let first: Vec<String> = first.map(|(our, their)| format!("-{their}\n+{our}")).collect();
                self.wrong.push(format!(
                    "{tool}: {}: text, {} and {} lines\n{}",
                    our.name,
                    theirs.lines().count(),
                    text.lines().count(),
                    first.join("\n")
                ));
            } else if our != their {
                self.wrong
                    .push(format!("{tool}: {}: model\n{}", our.name, differing(our, their)));
            }
        }
    }
}

/// The first rules whose models differ.
fn differing(our: &Table, their: &Table) -> String {
    let rules = |table: &Table| -> Vec<String> {
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        rules.map(|rule| format!("{rule:?}")).collect()
    };
    let (ours, theirs) = (rules(our), rules(their));
    let pairs = ours.iter().zip(&theirs).filter(|(our, their)| our != their);
    let told: Vec<String> = pairs
        .take(3)
        .map(|(our, their)| format!("-{their}\n+{our}"))
        .collect();
    told.join("\n")
}
