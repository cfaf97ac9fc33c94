//! Rulesets: read, modelled, asked.

use std::fmt::Write as _;
use std::hint::black_box;

use observer::evaluate::{Conn, Course, Dev, Packet, Unknown};
use observer::explain::{Question, Rules, answer};
use observer::report::record::CtState;
use observer::ruleset::nftables::listing::{Handles, Ruleset};
use observer::ruleset::nftables::netlink;
use observer::ruleset::xtables::save::{self, Family};

use super::Job;

const RULES: u32 = 1_000;
/// The kernel's messages about rules that are hard to put together again.
const SENT: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../observer/tests-data/nft/hard-cases.netlink"
));
/// What nft lists of kube-proxy's rules.
const LISTED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../observer/src/ruleset/nftables/listing/samples/kubeproxy.json"
));

pub(super) fn jobs() -> Vec<Job> {
    let text = saved();
    let rules = modelled(&text);
    let question = question();
    vec![
        Job::new("1,000 rules of iptables-save read and modelled", move || {
            black_box(modelled(black_box(&text)));
        }),
        Job::new("1,000 rules of iptables asked, near misses included", move || {
            black_box(answer(black_box(&question), &rules, &Unknown));
        }),
        Job::new("rules of nft read from netlink's messages", || {
            black_box(netlink::read(black_box(SENT)));
        }),
        Job::new("rules of nft read from JSON", || {
            black_box(Ruleset::read(black_box(LISTED)).expect("is read"));
        }),
        Job::new("rules of nft written as text", {
            let ruleset = Ruleset::read(LISTED).expect("is read");
            move || drop(black_box(ruleset.text(Handles::Shown)))
        }),
    ]
}

fn modelled(text: &str) -> Rules {
    let mut rules = Rules::default();
    rules.add("a file", save::parse(text).expect("is read"), Family::Ip);
    rules.settle(Family::Ip);
    rules
}

/// Rules that let no packet of [`question`] through: each misses it by its address, its port or both.
fn saved() -> String {
    let mut text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n".to_owned();
    for rule in 0..RULES {
        writeln!(
            text,
            "-A FORWARD -s 10.{}.{}.0/24 -d 172.16.0.0/16 -p tcp -m tcp --dport {} -m conntrack --ctstate NEW -j ACCEPT",
            rule >> 8,
            rule & 255,
            rule + 1
        )
        .expect("memory takes it");
    }
    text.push_str("COMMIT\n");
    text
}

fn question() -> Question {
    let packet = Packet {
        src: Some([192, 0, 2, 1].into()),
        dst: Some([172, 16, 0, 1].into()),
        proto: Some(6),
        sport: Some(40_000),
        dport: Some(80),
        tcp_flags: Some(2),
        is_fragment: Some(false),
        in_dev: Dev::named("eth0"),
        out_dev: Dev::named("cni0"),
        conn: Conn {
            state: Some(CtState::New),
            ..Conn::default()
        },
        ..Packet::default()
    };
    Question {
        packet,
        course: Course::Forward,
    }
}
