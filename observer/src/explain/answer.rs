//! A question, and its answer.

use super::owners::Owners;
use super::rules::Rules;
use super::{iptables, nft, passage};
use crate::evaluate::nftables::Evaluator;
use crate::evaluate::{
    Bounds, Course, Dev, InForce, Packet, Stop, Surroundings, Way, WayEnd, needs_conntrack, ways,
};
use crate::report::record::{
    AskedPacket, DropInfo, ExplainedWay, Explanation, Fate, Hint, Mark, Proto, TcpFlags,
};

/// So many near misses are told of one way.
const MOST_NEAR: usize = 5;
/// So many ways are told.
const MOST_WAYS: usize = 16;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The packet, with the devices that it comes in and leaves by, and what conntrack will say of it.
    pub packet: Packet,
    /// Where it begins and leads.
    pub course: Course,
}

/// Evaluates the rules.
pub fn answer(question: &Question, rules: &Rules, around: &dyn Surroundings) -> Explanation {
    let mut bounds = Bounds::default();
    let evaluator = evaluator(rules, question.packet.is_v6);
    let asked_of = InForce {
        tables: &rules.tables,
        nft: Some(&evaluator),
    };
    let mut found = ways(asked_of, &question.packet, question.course, around, &mut bounds);
    let mut notes = rules.notes.clone();
    if found.len() > MOST_WAYS {
        notes.push(format!(
            "{} ways are possible; {MOST_WAYS} of them are told",
            found.len()
        ));
        // What drops it is what was asked for.
        found.sort_by_key(|way| fate(&way.end) != Fate::Drop);
    }
    let verdict = verdict(&found);
    let owners = Owners::of(rules, question.packet.is_v6);
    let told = found.iter().take(MOST_WAYS);
    let ways = told
        .map(|way| explained(way, (rules, &evaluator, &owners), around, &mut bounds))
        .collect();
    Explanation {
        packet: asked(&question.packet),
        recorded: None,
        rulesets: rules.sources.clone(),
        verdict,
        ways,
        notes,
    }
}

fn fate(end: &WayEnd) -> Fate {
    match end {
        WayEnd::Delivered | WayEnd::Left(_) => Fate::Pass,
        WayEnd::Dropped(_) | WayEnd::DroppedByNft(_) | WayEnd::Nowhere(_) => Fate::Drop,
        WayEnd::Open(_) => Fate::Unknown,
    }
}

fn verdict(ways: &[Way]) -> Fate {
    let mut fates = ways.iter().map(|way| fate(&way.end));
    let Some(first) = fates.next() else {
        return Fate::Unknown;
    };
    if fates.all(|fate| fate == first) {
        first
    } else {
        Fate::Depends
    }
}

/// The rules of nf_tables' own, ready to be asked.
fn evaluator(rules: &Rules, is_v6: bool) -> Evaluator<'_> {
    let tracked = rules.tables.iter().any(needs_conntrack);
    Evaluator::new(&rules.nft).tracked_by_others(tracked && !is_v6, tracked && is_v6)
}

fn explained(
    way: &Way,
    (rules, evaluator, owners): (&Rules, &Evaluator<'_>, &Owners),
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> ExplainedWay {
    let mut told = ExplainedWay {
        verdict: fate(&way.end),
        text: end_text(way),
        notes: way.notes.clone(),
        ..ExplainedWay::default()
    };
    for stop in &way.stops {
        match stop {
            Stop::Table(one) => {
                told.path.push(passage::of_table(one, rules));
                let rests_on = one.rests_on.iter();
                told.depends_on
                    .extend(rests_on.filter_map(|doubt| iptables::dependence(doubt, one, rules)));
            }
            Stop::Chain(one) => {
                told.path.push(nft::passage(one, evaluator));
                let rests_on = one.rests_on.iter();
                told.depends_on
                    .extend(rests_on.filter_map(|assumption| nft::dependence(assumption, one, evaluator)));
            }
        }
    }
    match (&way.end, way.stops.last()) {
        (WayEnd::Dropped(place), Some(Stop::Table(last))) => {
            told.drop = iptables::drop_info(*place, last, rules);
            told.hints = iptables::hints(last, rules, around, bounds, MOST_NEAR);
            told.hints.extend(whose(told.drop.as_ref(), &last.before, owners));
        }
        (WayEnd::DroppedByNft(place), Some(Stop::Chain(last))) => {
            told.drop = nft::drop_info(*place, last, evaluator);
            told.hints = nft::hints(last, evaluator, MOST_NEAR);
            told.hints.extend(whose(told.drop.as_ref(), &last.before, owners));
        }
        _ => {}
    }
    told
}

fn whose(drop: Option<&DropInfo>, packet: &Packet, owners: &Owners) -> Vec<Hint> {
    drop.map(|drop| owners.hints(drop, packet)).unwrap_or_default()
}

fn end_text(way: &Way) -> String {
    match &way.end {
        WayEnd::Delivered => "it reaches this host's sockets".to_owned(),
        WayEnd::Left(Some(device)) => format!("it leaves by {device}"),
        WayEnd::Left(None) => "it passes all of netfilter's rules".to_owned(),
        WayEnd::Dropped(_) | WayEnd::DroppedByNft(_) => "netfilter drops it".to_owned(),
        WayEnd::Nowhere(why) => format!("it is not routed: {why}"),
        WayEnd::Open(why) => format!("it cannot be told: {why}"),
    }
}

fn asked(packet: &Packet) -> AskedPacket {
    let device = |dev: &Dev| match dev {
        Dev::Named(name) => Some(name.to_string()),
        _ => None,
    };
    AskedPacket {
        family: packet.family(),
        proto: packet.proto.map(Proto),
        src: packet.src,
        sport: packet.sport,
        dst: packet.dst,
        dport: packet.dport,
        tcp_flags: packet.tcp_flags.map(TcpFlags),
        icmp_type: packet.icmp_type,
        mark: packet.mark.map(Mark),
        ct_state: packet.conn.state,
        in_dev: device(&packet.in_dev),
        out_dev: device(&packet.out_dev),
    }
}
