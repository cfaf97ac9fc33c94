//! Whole rulesets that real programs wrote: each rule and policy that drops has its owner.

use std::fs;
use std::path::Path;

use super::world::World;

const KUBE_PROXY: &str = include_str!("../../../../../tests/rules/kubeproxy.nft");
const FIREWALLD: &str = include_str!("../../../../../tests/rules/firewalld.nft");
const BASES: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];
const SEED: &str = include_str!("../../../../../tests/rules/seed.rules");

/// Who is named for each rule of a ruleset that drops or rejects.
fn owners(world: impl Fn() -> World) -> Vec<(String, Option<String>)> {
    let ends = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let by_nft = words.contains(&"drop") || words.contains(&"reject");
        by_nft || text.contains(" -j DROP") || text.contains(" -j REJECT")
    };
    let all = world();
    let ending = all.rules().filter(|(_, text)| ends(text));
    ending
        .map(|(place, text)| {
            // Of a rule in a base chain the way there is known, and of what it asks of conntrack the answer.
            let chain = text.split(' ').nth(1).filter(|chain| BASES.contains(chain));
            let world = world().rule_at(place, chain.as_slice());
            let is_invalid = text.contains("--ctstate INVALID");
            let world = if is_invalid { world.invalid(0x10) } else { world };
            (text.to_owned(), world.told().0)
        })
        .collect()
}

#[test]
fn every_dropping_rule_of_kube_proxys_tables_is_kube_proxys() {
    for table in ["ip kube-proxy", "ip6 kube-proxy"] {
        let from = KUBE_PROXY.find(&format!("table {table}")).expect("the table");
        let listed = KUBE_PROXY[from..].split("\n}").next().expect("its end");
        let found = owners(|| World::nft(listed));
        assert!(found.len() >= 3, "{found:?}");
        for (text, who) in found {
            let who = who.unwrap_or_else(|| panic!("nobody for {text}"));
            assert!(
                who.starts_with("kube-proxy") && !who.contains("wrote this"),
                "{text}: {who}"
            );
        }
    }
}

#[test]
fn every_dropping_rule_of_firewallds_table_is_firewallds() {
    let from = FIREWALLD.find("table inet firewalld").expect("the table");
    let found = owners(|| World::nft(&FIREWALLD[from..]));
    assert!(found.len() > 10, "{found:?}");
    for (text, who) in found {
        let who = who.unwrap_or_else(|| panic!("nobody for {text}"));
        assert!(who.starts_with("firewalld"), "{text}: {who}");
    }
}

#[test]
fn every_dropping_rule_of_the_seeds_nodes_has_its_owner() {
    let found = owners(|| World::iptables(SEED));
    assert!(found.len() >= 3, "{found:?}");
    for (text, who) in found {
        let who = who.unwrap_or_else(|| panic!("nobody for {text}"));
        let wanted = if text.contains("DOCKER") { "Docker" } else { "kube" };
        assert!(who.contains(wanted), "{text}: {who}");
    }
}

/// What Debian's programs write through iptables, and rules in the shape of Calico's; of the whole ruleset each rule that ends a packet.
#[test]
fn every_dropping_rule_of_a_program_is_that_programs() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/saved");
    for (file, wanted, at_least) in [
        ("calico-legacy.v4.save", "Calico", 9),
        ("fail2ban-legacy.v4.save", "fail2ban", 5),
        ("firewalld-legacy.v4.save", "firewalld", 10),
        ("libvirt-legacy.v4.save", "libvirt", 4),
        ("ufw-legacy.v4.save", "ufw", 7),
    ] {
        let saved = fs::read_to_string(data.join(file)).expect("a file");
        let found = owners(|| World::iptables(&saved));
        assert!(found.len() >= at_least, "{file}: {found:?}");
        for (text, who) in found {
            let who = who.unwrap_or_else(|| panic!("{file}: nobody for {text}"));
            let says = who.split(" (known by").next().unwrap_or_default();
            assert!(says.contains(wanted), "{file}: {text}: {who}");
        }
    }
}
