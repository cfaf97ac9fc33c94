//! What is read of nf_tables over netlink is what nft lists of it, and of tables of iptables what iptables-nft-save prints: rulesets
//! that programs wrote, most of nft's language, and random ones.

use anyhow::Result;

use super::super::run::{Lab, Place};
use crate::nftables::{Corpus, compare_netlink};
use crate::results::Outcome;

const SEED: u64 = 2026;
const RULESETS: usize = 12;

/// Files that go with the sources.
macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        [$(($path.to_owned(), include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $path)).to_owned())),+]
    };
}

pub(super) fn run(lab: &Lab, _: &Place) -> Result<Outcome> {
    // Of these every rule must be read, and every table of iptables be told without the tool.
    let whole = files![
        "tests/rules/firewalld.nft",
        "tests/rules/kubeproxy.nft",
        "tests/rules/kubeproxy.rules",
        "tests/rules/late.rules",
        "tests/rules/seed.nft",
        "tests/rules/seed.rules",
        "observer/src/ruleset/nftables/listing/samples/families.txt",
        "observer/tests-data/nft/hard-cases.nft",
        "observer/tests-data/saved/calico-nft.v4.save",
        "observer/tests-data/saved/cilium-nft.v4.save",
        "observer/tests-data/saved/docker20-bridges-legacy.v4.save",
        "observer/tests-data/saved/fail2ban-nft.v4.save",
        "observer/tests-data/saved/fail2ban-nft.v6.save",
        "observer/tests-data/saved/firewalld-legacy.v4.save",
        "observer/tests-data/saved/firewalld-legacy.v6.save",
        "observer/tests-data/saved/kubeproxy-iptables-legacy.v4.save",
        "observer/tests-data/saved/kubeproxy-iptables-legacy.v6.save",
        "observer/tests-data/saved/libvirt-nft.v4.save",
        "observer/tests-data/saved/libvirt-nft.v6.save",
        "observer/tests-data/saved/podman-nft.v4.save",
        "observer/tests-data/saved/podman-nft.v6.save",
        "observer/tests-data/saved/told-nft.v4.save",
        "observer/tests-data/saved/told-nft.v6.save",
        "observer/tests-data/saved/ufw-nft.v4.save",
        "observer/tests-data/saved/ufw-nft.v6.save",
    ];
    // These have of everything some, also of what is not read.
    let most = files![
        "observer/src/ruleset/nftables/listing/samples/expressions.txt",
        "observer/src/ruleset/nftables/listing/samples/sets.txt",
        "observer/src/ruleset/nftables/listing/samples/statements.txt",
    ];
    let first = compare_netlink(
        &lab.run,
        &Corpus {
            files: &whole,
            seed: SEED,
            rulesets: RULESETS,
        },
    )?;
    let second = compare_netlink(
        &lab.run,
        &Corpus {
            files: &most,
            seed: SEED,
            rulesets: 0,
        },
    )?;
    // What nft wrote into a table with a name of iptables' is no table of iptables.
    let not_told = first.not_told.into_iter().filter(|one| !one.contains(".nft: "));
    let failures: Vec<String> = [first.in_part, not_told.collect(), first.wrong, second.wrong].concat();
    Ok(Outcome::of(failures))
}
