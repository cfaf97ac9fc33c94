//! Near misses of the packets that iptables' rules drop: the rules in force are asked once more, by the evaluator, and only
//! if it comes to what the kernel has decided anything is said. Where it does not, the kernel is right.

use std::collections::HashMap;

use super::budget::PerSecond;
use super::model::Model;
use super::replay::{Looked, saved_instead};
use super::ruletext::Ruletext;
use super::sets::AskedSets;
use crate::diagnose::near_miss;
use crate::evaluate::{
    Bounds, Conn, Dev, Kinds, NearMiss, Packet, Place, Table, Unknown, Verdict, near_misses, walk,
};
use crate::report::record::{Cause, CtState, DropInfo, DropLine, Flow, Hook, Nat, PacketFamily, TableFamily};
use crate::ruleset::ipset::Sets;

/// So many are told of one drop.
const MOST: usize = 3;
/// So many answers are kept.
const MOST_KEPT: usize = 256;
/// So many rules are asked within a second of drops: some milliseconds. What comes after that is told without near misses.
const RULES_A_SECOND: usize = 500_000;
/// Different ways through one table.
const WAYS: usize = 16;

/// The ruleset's text and table, the place of the drop, the packet, whether the kernel is held against it, and the second in which
/// sets of ipset were read.
type Key = (u64, String, Place, Packet, bool, Option<u64>);

/// What was found, and what may still be looked for.
pub struct NearMisses {
    kept: HashMap<Key, Looked>,
    sets: AskedSets,
    rules: PerSecond<usize>,
}

impl Default for NearMisses {
    fn default() -> Self {
        Self {
            kept: HashMap::new(),
            sets: AskedSets::default(),
            rules: PerSecond::new(RULES_A_SECOND),
        }
    }
}

impl NearMisses {
    /// Hints for a drop; none if the evaluator does not agree with the kernel. `check`: whether the kernel is sure, and the rules
    /// surely were in force. `read` lists sets of ipset by their names.
    pub fn of(
        &mut self,
        drop: &DropLine,
        text: &Ruletext,
        time_ns: u64,
        check: bool,
        read: impl FnOnce(&[String]) -> Option<Sets>,
    ) -> Looked {
        let Some((model, hook, place)) = subject(&drop.drop, text) else {
            return Looked::default();
        };
        let packet = packet(drop, hook);
        let with_sets = self.sets.table(text, &model, time_ns, read);
        let key = (
            text.serial,
            drop.drop.table.clone().unwrap_or_default(),
            place,
            packet.clone(),
            check,
            with_sets.as_ref().map(|with| with.second),
        );
        if let Some(known) = self.kept.get(&key) {
            return known.clone();
        }
        let mut bounds = Bounds {
            ways: WAYS,
            rules: self.rules.left(time_ns),
            ..Bounds::default()
        };
        let before = bounds.rules;
        let seen = (hook, &packet, place);
        let mut found = with_sets.and_then(|with| look(&with.table, &model, seen, &mut bounds));
        if found.is_none() {
            found = look(&model.table, &model, seen, &mut bounds);
        }
        if check && found.is_none() && bounds.rules > 0 {
            let instead = saved_instead(&model, drop, hook, place, &mut bounds);
            found = Some(Looked {
                instead,
                ..Looked::default()
            });
        }
        let found = found.unwrap_or_default();
        self.rules.spend(before - bounds.rules);
        if bounds.rules == 0 {
            return found;
        }
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(key, found.clone());
        found
    }
}

/// None if the evaluator does not agree with the kernel.
fn look(
    table: &Table,
    model: &Model,
    (hook, packet, place): (Hook, &Packet, Place),
    bounds: &mut Bounds,
) -> Option<Looked> {
    let outcomes = walk(table, hook, packet, &Unknown, bounds);
    let mut outcomes = outcomes.iter();
    let way = outcomes.find(|outcome| outcome.verdict == Verdict::Drop(place))?;
    let near = near_misses(table, hook, (packet, &way.doubts), &Unknown, bounds, MOST);
    let telling = near.iter().filter(|near| near.distance <= NearMiss::TELLING);
    let hints = telling.filter_map(|near| near_miss(near, model));
    Some(Looked::near(hints.collect()))
}

/// The table that dropped, the hook, and the place in it, if iptables' rules did.
fn subject(info: &DropInfo, text: &Ruletext) -> Option<(std::rc::Rc<Model>, Hook, Place)> {
    let (hook, table, chain) = (info.hook?, info.table.as_deref()?, info.chain.as_deref()?);
    // Only a connection's first packet asks the nat table, and whether this is one is not told.
    if table == "nat" || !matches!(info.family?, TableFamily::Ip | TableFamily::Ip6) {
        return None;
    }
    let model = text.model(table)?;
    let chain = model.chain(chain)?;
    let rule = match info.cause? {
        Cause::Policy => None,
        Cause::Rule => {
            let number = usize::try_from(info.rule.as_ref()?.number?).ok()?;
            Some(number.checked_sub(1)?)
        }
        Cause::Hook => return None,
    };
    Some((model, hook, Place { chain, rule }))
}

/// What is known of the packet, as the rules of that hook see it.
pub fn packet(drop: &DropLine, hook: Hook) -> Packet {
    let seen = &drop.packet;
    let device = |name: &Option<String>| name.as_deref().map_or(Dev::Unknown, Dev::named);
    let (in_dev, out_dev) = match hook {
        Hook::Prerouting | Hook::Input => (device(&drop.in_dev), Dev::Absent),
        Hook::Output => (Dev::Absent, device(&drop.out_dev)),
        Hook::Forward => (device(&drop.in_dev), device(&drop.out_dev)),
        _ => (Dev::Unknown, device(&drop.out_dev)),
    };
    let ours = Kinds::LOCAL
        .with(Kinds::BROADCAST)
        .with(Kinds::MULTICAST)
        .with(Kinds::ANYCAST);
    let alone = |addr: Option<std::net::IpAddr>| addr.map_or(Kinds::ANY, Kinds::of_address);
    let dst_kinds = match hook {
        Hook::Input => alone(seen.dst).within(ours),
        Hook::Forward => alone(seen.dst).without(Kinds::LOCAL.with(Kinds::BROADCAST)),
        _ => alone(seen.dst),
    };
    Packet {
        is_v6: seen.family == PacketFamily::Ip6,
        src: seen.src,
        dst: seen.dst,
        proto: seen.proto.map(|proto| proto.0),
        sport: seen.sport,
        dport: seen.dport,
        tcp_flags: seen.tcp_flags.map(|flags| flags.0),
        icmp_type: seen.icmp_type,
        icmp_code: seen.icmp_code,
        is_fragment: Some(seen.frag_offset.is_some()),
        len_bytes: Some(seen.len),
        ttl: seen.ttl,
        mark: Some(seen.mark.0),
        in_dev,
        out_dev,
        src_kinds: alone(seen.src),
        dst_kinds,
        conn: conn(drop.flow.as_ref()),
        // What is found is kept for packets that are the same.
        at: None,
    }
}

fn conn(flow: Option<&Flow>) -> Conn {
    let Some(flow) = flow else {
        return Conn::default();
    };
    // Without a reply there is no connection, only headers taken as one.
    let has_entry = flow.reply.is_some();
    let translated = |nat| has_entry.then(|| flow.nat.contains(&nat));
    Conn {
        state: flow.ct_state,
        mark: None,
        original: has_entry.then(|| flow.original.clone()),
        reply: flow.reply.clone(),
        is_reply: (flow.ct_state == Some(CtState::New)).then_some(false),
        snat: translated(Nat::Snat),
        dnat: translated(Nat::Dnat),
        may_be_untracked: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples::policy_drop;
    use crate::ruleset::ipset;
    use crate::ruleset::text::Saved;

    const SEED: &str = include_str!("../../../tests/rules/seed.rules");

    fn none(names: &[String]) -> Option<Sets> {
        unreachable!("no set is asked: {names:?}")
    }

    const WITH_SETS: &str = "*filter\n:FORWARD DROP\n\
        -A FORWARD -m set --match-set KUBE-SRC-A src -j ACCEPT\n\
        -A FORWARD -p udp -m set --match-set KUBE-SRC-B src -j ACCEPT\nCOMMIT";

    /// What is told of the seed's packet, from 10.224.0.0, where the sets are so.
    fn with(rules: &str, sets: &str, time_ns: u64, near: &mut NearMisses) -> Looked {
        let text = Ruletext::of(Saved::parse(rules));
        let read = |names: &[String]| {
            assert_eq!(names, ["KUBE-SRC-A", "KUBE-SRC-B"], "each once");
            let mut read = Sets::default();
            read.add(ipset::parse(sets).expect("sets"));
            Some(read)
        };
        near.of(&policy_drop(), &text, time_ns, true, read)
    }

    const LACKING: &str = "create KUBE-SRC-A hash:ip family inet\nadd KUBE-SRC-A 10.1.2.3\n\
        create KUBE-SRC-B hash:ip family inet\n";

    #[test]
    fn a_set_that_has_not_the_packet_is_a_near_miss() {
        let found = with(WITH_SETS, LACKING, 0, &mut NearMisses::default());
        let texts: Vec<_> = found.hints.iter().map(|hint| hint.text.as_str()).collect();
        assert_eq!(
            texts,
            ["needs src in set KUBE-SRC-A (1 entry), 10.224.0.0 is not in it"]
        );
        assert_eq!(found.instead, None);
    }

    #[test]
    fn a_set_that_may_have_been_otherwise_then_says_nothing_and_proves_nothing() {
        let mut near = NearMisses::default();
        let expires = LACKING.replace("hash:ip family inet", "hash:ip family inet timeout 60");
        assert_ne!(expires, LACKING);
        assert_eq!(with(WITH_SETS, &expires, 0, &mut near), Looked::default());
        // It has the packet now: it was added since, and the kernel is right.
        let added = LACKING.replace("10.1.2.3", "10.224.0.0");
        assert_ne!(added, LACKING);
        assert_eq!(
            with(WITH_SETS, &added, 1_000_000_000, &mut near),
            Looked::default()
        );
        let changed = WITH_SETS.replace("\nCOMMIT", "\n-A FORWARD -j SET --add-set KUBE-SRC-A src\nCOMMIT");
        assert_ne!(changed, WITH_SETS);
        let text = Ruletext::of(Saved::parse(&changed));
        let found = NearMisses::default().of(&policy_drop(), &text, 0, true, none);
        assert_eq!(found, Looked::default());
    }

    #[test]
    fn sets_are_read_again_each_second_and_no_answer_outlives_them() {
        let mut near = NearMisses::default();
        assert_eq!(with(WITH_SETS, LACKING, 0, &mut near).hints.len(), 1);
        let added = LACKING.replace("10.1.2.3", "10.224.0.0");
        assert_eq!(
            with(WITH_SETS, &added, 5, &mut near).hints.len(),
            1,
            "not again in this second"
        );
        assert_eq!(
            with(WITH_SETS, &added, 1_000_000_000, &mut near),
            Looked::default()
        );
    }

    /// The drop of the seed's case, as `watch` tells it, in these rules.
    fn looked(rules: &str, check: bool) -> Looked {
        let text = Ruletext::of(Saved::parse(rules));
        let mut drop = policy_drop();
        drop.hints.clear();
        let mut near = NearMisses::default();
        let found = near.of(&drop, &text, 0, check, none);
        near.rules.spend(RULES_A_SECOND);
        assert_eq!(
            near.of(&drop, &text, 1, check, none),
            found,
            "what is known needs no time"
        );
        found
    }

    #[test]
    fn the_seeds_rules_are_found_and_nothing_else() {
        let found = looked(SEED, true);
        let texts: Vec<_> = found.hints.iter().map(|hint| hint.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "needs src 10.244.0.0/16, packet has 10.224.0.0; one digit differs: 10.244, 10.224",
                "needs dst 10.244.0.0/16, packet has 10.224.2.16; one digit differs: 10.244, 10.224",
            ]
        );
        assert_eq!(found.instead, None);
    }

    #[test]
    fn where_kernel_and_replay_are_at_odds_that_is_said_and_nothing_else() {
        let accepts = SEED.replace(":FORWARD DROP", ":FORWARD ACCEPT");
        assert_ne!(accepts, SEED);
        let found = looked(&accepts, true);
        assert_eq!((found.hints, found.instead), (Vec::new(), Some(Vec::new())));
        assert_eq!(
            looked(&accepts, false),
            Looked::default(),
            "the kernel is not sure, or the rules were others"
        );
    }

    #[test]
    fn where_the_replay_is_not_sure_it_is_not_at_odds() {
        let drops = "-A FORWARD -m limit --limit 5/sec -j ACCEPT";
        let limited = format!("*filter\n:FORWARD ACCEPT\n{drops}\n-A FORWARD -j DROP\nCOMMIT");
        let instead = looked(&limited, true).instead.expect("at odds");
        assert_eq!(instead[0].rule, Some(2), "the kernel said the policy");
        let unknown = limited.replace("-A FORWARD -j DROP", "-A FORWARD -j NFQUEUE");
        assert_eq!(looked(&unknown, true), Looked::default());
    }

    #[test]
    fn a_mark_that_the_table_sets_itself_is_not_what_the_packet_came_with() {
        let marks = "*filter\n:FORWARD DROP\n-A FORWARD -m mark --mark 0x0 -j ACCEPT\n-A FORWARD -j MARK --set-xmark 0x0/0xffffffff\nCOMMIT";
        assert_eq!(looked(marks, true).instead, None);
        let not_set = marks.replace("-j MARK --set-xmark 0x0/0xffffffff", "-j LOG");
        assert_eq!(looked(&not_set, true).instead, Some(Vec::new()));
    }

    #[test]
    fn what_everybody_lacks_is_no_news() {
        let ordinary = "*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i lo -j ACCEPT\nCOMMIT";
        assert_eq!(looked(ordinary, true), Looked::default());
    }

    #[test]
    fn what_was_not_asked_for_lack_of_time_is_asked_again() {
        let text = Ruletext::of(Saved::parse(SEED));
        let drop = policy_drop();
        let mut near = NearMisses::default();
        near.rules.spend(RULES_A_SECOND);
        assert_eq!(near.of(&drop, &text, 0, true, none), Looked::default());
        assert_eq!(near.of(&drop, &text, 1_000_000_000, true, none).hints.len(), 2);
    }
}
