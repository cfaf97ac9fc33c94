//! Saved rules with the saved sets that they ask.

use std::path::{Path, PathBuf};

use super::*;
use crate::report::record::HintKind;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests-data");
const POD: &str = "cali12d4a061371";

fn told(rules: &str, sets: &[&str], packet: Packet) -> Explanation {
    let sets: Vec<PathBuf> = sets
        .iter()
        .map(|name| Path::new(DATA).join("ipset").join(name))
        .collect();
    let rules = Rules::read(&[Path::new(DATA).join("saved").join(rules)], &sets, Family::Ip).expect("rules");
    let question = Question {
        packet,
        course: Course::Forward,
    };
    answer(&question, &rules, &Unknown)
}

fn to_the_pod(src: &str) -> Packet {
    syn(src, "10.48.2.3", (Dev::named("eth0"), Dev::named(POD)))
}

#[test]
fn a_client_that_no_policy_selects_dies_and_is_told_the_set_that_it_is_not_in() {
    let told = told("calico-legacy.v4.save", &["calico.save"], to_the_pod("10.48.1.8"));
    assert_eq!(told.verdict, Fate::Drop, "{told:?}");
    let drop = told.ways[0].drop.as_ref().expect("a drop");
    let rule = drop
        .rule
        .as_ref()
        .and_then(|rule| rule.text.as_deref())
        .expect("a rule");
    assert!(rule.contains("End of tier default"), "{rule}");
    let near: Vec<_> = told.ways[0]
        .hints
        .iter()
        .filter(|hint| hint.kind == HintKind::NearMiss)
        .map(|hint| hint.text.as_str())
        .collect();
    assert_eq!(
        near[0],
        "needs src in set cali40s:oGhK39ts_FmAm2LzGHa9Lw4 (2 entries), 10.48.1.8 is not in it; then rule 2 of FORWARD accepts it"
    );
}

#[test]
fn a_client_that_a_policy_selects_lives() {
    let told = told("calico-legacy.v4.save", &["calico.save"], to_the_pod("10.48.1.7"));
    assert_eq!(told.verdict, Fate::Pass, "{told:?}");
}

#[test]
fn without_the_sets_it_depends_and_the_answer_names_them() {
    let told = told("calico-legacy.v4.save", &[], to_the_pod("10.48.1.8"));
    assert_eq!(told.verdict, Fate::Depends);
    let note = told
        .notes
        .iter()
        .find(|note| note.contains("--ipset"))
        .expect("a note");
    assert!(
        note.contains("cali40s:oGhK39ts_FmAm2LzGHa9Lw4") && !note.contains("cali40this-host"),
        "{note}"
    );
}

#[test]
fn what_fail2ban_has_banned_is_rejected() {
    let asked = |src: &str| {
        let question = Question {
            packet: syn(src, "192.0.2.10", (Dev::named("eth0"), Dev::Absent)),
            course: Course::Input,
        };
        let files = [Path::new(DATA).join("saved/fail2ban-nft.v4.save")];
        let sets = [Path::new(DATA).join("ipset/fail2ban.save")];
        let rules = Rules::read(&files, &sets, Family::Ip).expect("rules");
        answer(&question, &rules, &Unknown).verdict
    };
    assert_eq!(asked("203.0.113.5"), Fate::Drop);
    assert_eq!(asked("203.0.113.6"), Fate::Pass);
}
