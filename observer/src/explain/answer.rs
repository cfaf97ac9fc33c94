//! A question, and its answer.

use super::passage::passage;
use super::rules::Rules;
use crate::diagnose::{hint_rule, near_miss, target};
use crate::evaluate::{
    Ask, AskConn, Bounds, Course, Dev, Doubt, Packet, Passage, Place, Surroundings, Truth, Way, WayEnd,
    near_misses, ways,
};
use crate::report::record::{
    AskedPacket, Cause, Confidence, Dependence, DropInfo, Evidence, ExplainedWay, Explanation, Fate, Layer,
    Mark, PacketFamily, Proto, Rule, TcpFlags,
};
use crate::ruleset::xtables::save::Action;

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
    let mut found = ways(
        &rules.tables,
        &question.packet,
        question.course,
        around,
        &mut bounds,
    );
    let mut notes = rules.notes.clone();
    if found.len() > MOST_WAYS {
        notes.push(format!(
            "{} ways are possible; {MOST_WAYS} of them are told",
            found.len()
        ));
        // What drops it is what was asked for.
        found.sort_by_key(|way| !matches!(way.end, WayEnd::Dropped(_)));
    }
    let verdict = verdict(&found);
    let told = found.iter().take(MOST_WAYS);
    let ways = told
        .map(|way| explained(way, rules, around, &mut bounds))
        .collect();
    Explanation {
        packet: asked(&question.packet),
        rulesets: rules.sources.clone(),
        verdict,
        ways,
        notes,
    }
}

fn fate(end: &WayEnd) -> Fate {
    match end {
        WayEnd::Delivered | WayEnd::Left(_) => Fate::Pass,
        WayEnd::Dropped(_) | WayEnd::Nowhere(_) => Fate::Drop,
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

fn explained(way: &Way, rules: &Rules, around: &dyn Surroundings, bounds: &mut Bounds) -> ExplainedWay {
    let mut told = ExplainedWay {
        verdict: fate(&way.end),
        text: end_text(way),
        path: way.passages.iter().map(|one| passage(one, rules)).collect(),
        notes: way.notes.clone(),
        ..ExplainedWay::default()
    };
    for one in &way.passages {
        told.depends_on.extend(
            one.rests_on
                .iter()
                .filter_map(|doubt| dependence(doubt, one, rules)),
        );
    }
    if let (WayEnd::Dropped(place), Some(last)) = (&way.end, way.passages.last()) {
        told.drop = drop_info(*place, last, rules);
        told.hints = hints(last, rules, around, bounds);
    }
    told
}

fn end_text(way: &Way) -> String {
    match &way.end {
        WayEnd::Delivered => "it reaches this host's sockets".to_owned(),
        WayEnd::Left(Some(device)) => format!("it leaves by {device}"),
        WayEnd::Left(None) => "it passes all of netfilter's rules".to_owned(),
        WayEnd::Dropped(_) => "netfilter drops it".to_owned(),
        WayEnd::Nowhere(why) => format!("it is not routed: {why}"),
        WayEnd::Open(why) => format!("it cannot be told: {why}"),
    }
}

fn dependence(doubt: &Doubt, passage: &Passage, rules: &Rules) -> Option<Dependence> {
    let table = rules.tables.get(passage.table)?;
    let rule = table
        .chains
        .get(doubt.place.chain)?
        .rules
        .get(doubt.place.rule?)?;
    let open = rule
        .conditions
        .iter()
        .filter(|condition| condition.holds(&passage.before) == Truth::Unknown);
    let mut because: Vec<String> = open
        .map(|condition| match &condition.ask {
            Ask::Open(open) => open.why.to_owned(),
            Ask::Conn(of_conn) => match &of_conn.ask {
                AskConn::Open(_) => "the connection's state is not known so closely".to_owned(),
                _ => "what conntrack has of it is not known".to_owned(),
            },
            _ => format!("whether it has {} is not known", condition.needs()),
        })
        .collect();
    because.dedup();
    Some(Dependence {
        rule: hint_rule(rules.saved.get(passage.table)?, doubt.place)?,
        matches: doubt.matched,
        because: because.join("; "),
    })
}

fn drop_info(at: Place, passage: &Passage, rules: &Rules) -> Option<DropInfo> {
    let table = rules.saved.get(passage.table)?;
    let chain = table.chains.get(at.chain)?;
    let held_by = rules.held_by(passage.table);
    let mut info = DropInfo {
        layer: Layer::Netfilter,
        reason: "NETFILTER_DROP".to_owned(),
        hook: Some(passage.hook),
        tool: held_by.map(|(tool, _)| tool),
        backend: held_by.map(|(_, backend)| backend),
        family: held_by.and(table.family.map(super::rules::table_family)),
        table: Some(table.name.to_string()),
        chain: Some(chain.name.to_string()),
        chain_path: chain_path(passage, at, rules),
        confidence: Confidence::Inferred,
        evidence: vec![Evidence::Replay],
        ..DropInfo::default()
    };
    match at
        .rule
        .and_then(|rule| chain.rules.get(rule).zip(u32::try_from(rule + 1).ok()))
    {
        Some((rule, number)) => {
            info.cause = Some(Cause::Rule);
            info.rule = Some(Rule {
                number: Some(number),
                handle: None,
                text: Some(table.text(at.chain, rule)),
                comment: rule.comment().map(str::to_owned),
                target: target(table, &rule.action),
            });
        }
        None => {
            info.cause = Some(Cause::Policy);
            info.policy = Some("DROP".to_owned());
        }
    }
    Some(info)
}

/// The chains from the base chain down to the one that it died in.
fn chain_path(passage: &Passage, at: Place, rules: &Rules) -> Vec<String> {
    let Some(table) = rules.saved.get(passage.table) else {
        return Vec::new();
    };
    let mut stack: Vec<usize> = Vec::new();
    for step in &passage.steps {
        let chain = step.place.chain;
        match stack.iter().position(|known| *known == chain) {
            Some(depth) => stack.truncate(depth + 1),
            None if stack.is_empty() => stack.push(chain),
            None => {}
        }
        let rule = step
            .place
            .rule
            .and_then(|rule| table.chains.get(chain)?.rules.get(rule));
        if let Some(Action::Jump(to) | Action::Goto(to)) = rule.map(|rule| &rule.action) {
            stack.push(*to);
        }
    }
    if stack.last() != Some(&at.chain) {
        return Vec::new();
    }
    let names = stack.iter().filter_map(|chain| table.chains.get(*chain));
    names.map(|chain| chain.name.to_string()).collect()
}

fn hints(
    last: &Passage,
    rules: &Rules,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Vec<crate::report::record::Hint> {
    let (Some(table), Some(saved)) = (rules.tables.get(last.table), rules.saved.get(last.table)) else {
        return Vec::new();
    };
    let way = (&last.before, last.doubts.as_slice());
    let near = near_misses(table, last.hook, way, around, bounds, MOST_NEAR);
    near.iter().filter_map(|near| near_miss(near, saved)).collect()
}

fn asked(packet: &Packet) -> AskedPacket {
    let device = |dev: &Dev| match dev {
        Dev::Named(name) => Some(name.to_string()),
        _ => None,
    };
    AskedPacket {
        family: if packet.is_v6 {
            PacketFamily::Ip6
        } else {
            PacketFamily::Ip
        },
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
