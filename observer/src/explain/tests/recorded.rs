//! Packets out of a trace.

use std::path::PathBuf;

use super::*;
use crate::report::record::samples::{NOON, addr, lost_line, policy_drop};
use crate::report::record::{
    Backend, Cause, Change, CtState, DropInfo, DropLine, Event, Hook, Layer, Line, Mark, PathEvidence, Rule,
    Still, TableFamily, Tool, Tuple,
};
use crate::ruleset::nftables::listing::Ruleset;

const FIRST_ACCEPTS: &str = include_str!("../../../tests-data/nft/first-accepts.json");

/// The sample's drop as node02 itself knows its connection.
fn dropped() -> DropLine {
    let mut drop = policy_drop();
    let flow = drop.flow.as_mut().expect("a flow");
    flow.original = Tuple {
        src: addr("10.224.0.0"),
        sport: Some(41234),
        dst: addr("10.224.2.16"),
        dport: Some(80),
        icmp_id: None,
    };
    flow.nat.clear();
    drop
}

fn seed() -> Rules {
    let mut rules = Rules::default();
    rules.add("node02.save", save::parse(SEED).expect("parses"), Family::Ip);
    rules.settle(Family::Ip);
    rules
}

fn fixed(before: &str, after: &str) -> Rules {
    let text = SEED.replacen(before, after, 1);
    assert_ne!(text, SEED);
    let mut rules = Rules::default();
    rules.add("node02.save", save::parse(&text).expect("parses"), Family::Ip);
    rules.settle(Family::Ip);
    rules
}

fn native() -> Rules {
    let mut rules = Rules::default();
    let listed = Ruleset::read(FIRST_ACCEPTS).expect("a ruleset");
    rules.add_listed("node.json", listed, Family::Ip).expect("tables");
    rules.settle(Family::Ip);
    rules
}

/// A packet that a rule of nft's own has dropped.
fn dropped_by_nft(rule: Rule) -> DropLine {
    let mut drop = dropped();
    let flow = drop.flow.as_mut().expect("a flow");
    for dst in [
        drop.packet.dst.as_mut().expect("an address"),
        &mut flow.original.dst,
    ] {
        *dst = addr("10.77.2.2");
    }
    (drop.packet.dport, flow.original.dport) = (Some(9), Some(9));
    drop.drop = DropInfo {
        hook: Some(Hook::Forward),
        backend: Some(Backend::Nft),
        tool: Some(Tool::Nft),
        family: Some(TableFamily::Inet),
        table: Some("lab".to_owned()),
        chain: Some("late".to_owned()),
        cause: Some(Cause::Rule),
        rule: Some(rule),
        policy: None,
        ..drop.drop
    };
    drop
}

fn now(drop: &DropLine, rules: &Rules) -> (Still, String) {
    let Retold {
        packet,
        course,
        notes: _,
    } = Retold::of(drop);
    let told = answer(&Question { packet, course }, rules, &Unknown);
    let line = Line::new(NOON, "node02", Event::Drop(Box::new(drop.clone())));
    let recorded = compared(&line, 3, drop, &told);
    (recorded.now, recorded.text)
}

#[test]
fn a_policy_that_drops_still_is_the_same_and_one_that_was_changed_lets_it_live() {
    let drop = dropped();
    assert_eq!(
        now(&drop, &seed()),
        (Still::Same, "it still dies, by the same policy".to_owned())
    );
    let accepts = fixed(":FORWARD DROP", ":FORWARD ACCEPT");
    assert_eq!(now(&drop, &accepts).0, Still::Passes);
    let earlier = fixed("-A FORWARD ", "-A FORWARD -s 10.224.0.0/16 -j DROP\n-A FORWARD ");
    assert_eq!(now(&drop, &earlier).0, Still::Other);
    let limited = fixed(
        "-A FORWARD ",
        "-A FORWARD -m limit --limit 1/s -j ACCEPT\n-A FORWARD ",
    );
    assert_eq!(now(&drop, &limited).0, Still::Depends);
}

#[test]
fn a_rule_is_known_by_its_text_whatever_it_has_counted_and_wherever_it_stands() {
    let rule = |number, handle, text: &str| {
        dropped_by_nft(Rule {
            number: Some(number),
            handle: Some(handle),
            text: Some(text.to_owned()),
            ..Rule::default()
        })
    };
    let text = "tcp dport 9 counter packets 17 bytes 1020 drop comment \"no discard\"";
    assert_eq!(
        now(&rule(1, 7, text), &native()),
        (Still::Same, "it still dies, by the same rule".to_owned())
    );
    let (still, words) = now(&rule(4, 99, text), &native());
    assert_eq!(
        (still, words.as_str()),
        (
            Still::Same,
            "it still dies, by the same rule, now number 1 of its chain, then 4"
        )
    );
    assert_eq!(now(&rule(1, 99, "tcp dport 9 drop"), &native()).0, Still::Other);
    // The handle says so, the text otherwise.
    assert_eq!(now(&rule(1, 7, "tcp dport 9 drop"), &native()).0, Still::Unknown);
    let without_text = dropped_by_nft(Rule {
        handle: Some(7),
        ..Rule::default()
    });
    assert_eq!(now(&without_text, &native()).0, Still::Same);
}

#[test]
fn what_was_not_known_then_is_not_known_now() {
    let mut drop = dropped();
    drop.drop.confidence = Confidence::Unknown;
    assert_eq!(
        now(&drop, &seed()),
        (
            Still::Unknown,
            "it still dies; whether it did so there then is not known".to_owned()
        )
    );
    let mut drop = dropped();
    drop.drop = DropInfo {
        layer: Layer::Routing,
        reason: "IP_INNOROUTES".to_owned(),
        ..DropInfo::default()
    };
    let accepts = fixed(":FORWARD DROP", ":FORWARD ACCEPT");
    let (still, words) = now(&drop, &accepts);
    assert!(
        still == Still::Unknown && words.contains("IP_INNOROUTES"),
        "{words}"
    );
}

#[test]
fn its_way_begins_with_the_addresses_that_it_had_before_translation() {
    let mut drop = policy_drop();
    drop.packet.mark = Mark(0x4000);
    let retold = Retold::of(&drop);
    assert_eq!(retold.packet.dst, Some(addr("10.108.94.160")));
    assert_eq!(retold.packet.src, Some(addr("10.0.0.10")));
    assert_eq!(retold.packet.mark, None);
    assert!(retold.notes[0].contains("0x4000"), "{:?}", retold.notes);
    // The first change that was seen tells what it began with.
    drop.path = vec![crate::report::record::Passage {
        hook: Hook::Forward,
        changes: vec![Change::Mark {
            from: Mark(7),
            to: Mark(0x4000),
        }],
        ..passage()
    }];
    assert_eq!(Retold::of(&drop).packet.mark, Some(7));
    // Of a connection that is there its headers are taken.
    let set = |drop: &mut DropLine, state| drop.flow.as_mut().expect("a flow").ct_state = state;
    set(&mut drop, Some(CtState::Established));
    assert_eq!(Retold::of(&drop).packet.dst, Some(addr("10.224.2.16")));
    // Nobody has asked conntrack.
    set(&mut drop, None);
    let retold = Retold::of(&drop);
    assert_eq!(retold.packet.conn.state, Some(CtState::New));
    assert!(
        retold.notes[0].contains("first of its connection"),
        "{:?}",
        retold.notes
    );
    drop.packet.tcp_flags = Some(crate::report::record::TcpFlags(0x10));
    assert_eq!(Retold::of(&drop).packet.conn.state, None);
}

fn passage() -> crate::report::record::Passage {
    crate::report::record::Passage {
        at: None,
        hook: Hook::Prerouting,
        netns: None,
        in_dev: None,
        out_dev: None,
        node: None,
        outer: None,
        backend: None,
        family: None,
        table: None,
        chain: None,
        priority: None,
        verdict: None,
        steps: Vec::new(),
        changes: Vec::new(),
        evidence: PathEvidence::Observed,
        note: None,
    }
}

fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trace.json");
    std::fs::write(&path, text).expect("written");
    (directory, path)
}

#[test]
fn a_line_is_found_by_its_number_and_whatever_is_none_is_told_in_one_line() {
    let drop = Line::new(NOON, "node02", Event::Drop(Box::new(dropped())));
    let json = |line: &Line| serde_json::to_string(line).expect("serialises");
    let arp = json(&drop).replacen("\"family\":\"ip\"", "\"family\":\"arp\"", 1);
    let text = format!(
        "{}\n{}\nno json\n{arp}\n{}",
        json(&lost_line()),
        json(&drop),
        json(&drop)
    );
    let (_directory, path) = file(text.as_bytes());
    for number in [2, 5] {
        assert_eq!(read_drop(&path, number).expect("a drop").1, dropped());
    }
    for (number, part) in [
        (1, "tells of no drop"),
        (3, "none of observer's trace"),
        (4, "no IP packet"),
        (6, "fewer than 6 lines"),
        (u64::MAX, "give another --line"),
    ] {
        let error = format!("{:#}", read_drop(&path, number).expect_err(part));
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    let (_directory, path) = file(&[b'['; 17 << 20]);
    let error = format!("{:#}", read_drop(&path, 1).expect_err("too long"));
    assert!(error.contains("longer than any"), "{error}");
    let (_directory, path) = file(&[b'['; 1 << 20]);
    assert!(read_drop(&path, 1).is_err(), "nested without end");
}

#[test]
fn the_answer_says_what_was_then_and_what_is_now() {
    let drop = dropped();
    let Retold { packet, course, .. } = Retold::of(&drop);
    let mut told = answer(&Question { packet, course }, &seed(), &Unknown);
    let line = Line::new(NOON, "node02", Event::Drop(Box::new(drop.clone())));
    told.recorded = Some(compared(&line, 3, &drop, &told));
    let text = explanation(&told, Look::plain(100));
    assert!(text.contains("line 3, "), "{text}");
    assert!(
        text.contains("on node02: default policy DROP of filter FORWARD"),
        "{text}"
    );
    assert!(text.contains("NOW  it still dies, by the same policy"), "{text}");
    let json = serde_json::to_value(&told).expect("serialises");
    assert_eq!(json["recorded"]["now"], "same");
    assert_eq!(json["recorded"]["drop"]["chain"], "FORWARD");
}
