//! Near misses of the packets that nf_tables' own rules drop: as for those of iptables, only if the evaluator comes to what the
//! kernel has decided.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::budget::PerSecond;
use super::evaluators::Prepared;
use super::replay::{Looked, nft_instead};
use crate::diagnose::{nft_near_miss, nft_never_asked};
use crate::evaluate::NearMiss;
use crate::evaluate::nftables::{
    Bits, Connection, CtState, Device, Direction, Evaluator, Outcome, Packet, Path, Place, Tuple,
};
use crate::report::record::{self, Candidate, Cause, DropInfo, DropLine, Flow, Hint, Hook};
use crate::ruleset::nftables::listing::{Chain, Family, Ruleset, Table};

/// So many are told of one drop.
const MOST: usize = 3;
/// So many are looked at.
const LOOKED_AT: usize = 64;

/// So many answers are kept.
const MOST_KEPT: usize = 256;
/// So much time is taken for them in a second of drops; what comes after that is told without near misses.
const TIME_A_SECOND: Duration = Duration::from_millis(20);

/// What was found, and how long looking may take.
pub struct NftMisses {
    /// By ruleset, place and packet.
    kept: HashMap<String, Looked>,
    time: PerSecond<Duration>,
}

impl Default for NftMisses {
    fn default() -> Self {
        Self {
            kept: HashMap::new(),
            time: PerSecond::new(TIME_A_SECOND),
        }
    }
}

impl NftMisses {
    /// Hints for a drop at `time_ns` by a rule or policy of the ruleset that `list` finds; `generation` is its own. What is known
    /// takes no time. `check`: whether the kernel is sure, and the ruleset surely was in force.
    pub fn of(
        &mut self,
        drop: &DropLine,
        generation: u32,
        time_ns: u64,
        check: bool,
        list: impl FnOnce() -> Option<Rc<Prepared>>,
    ) -> Looked {
        let Some(hook) = drop.drop.hook else {
            return Looked::default();
        };
        let key = format!(
            "{generation} {check} {:?} {:?} {:?} {:?}",
            drop.drop.table,
            drop.drop.chain,
            drop.drop.rule.as_ref().and_then(|rule| rule.handle),
            packet(drop, hook)
        );
        if let Some(known) = self.kept.get(&key) {
            return known.clone();
        }
        if !self.time.has_left(time_ns) {
            return Looked::default();
        }
        let begun = Instant::now();
        let found = list().map(|prepared| look(drop, &prepared, check));
        self.time.spend(begun.elapsed());
        // Not to be had now, it may be for the next.
        let Some(found) = found else {
            return Looked::default();
        };
        if self.kept.len() >= MOST_KEPT {
            self.kept.clear();
        }
        self.kept.insert(key, found.clone());
        found
    }
}

/// No hints if the evaluator does not agree with the kernel.
fn look(drop: &DropLine, prepared: &Prepared, check: bool) -> Looked {
    let evaluator = prepared.now();
    match agreeing(evaluator, prepared.ruleset(), drop) {
        Some(path) => Looked::near(hints(evaluator, &path)),
        None if check => Looked {
            instead: instead(drop, prepared),
            ..Looked::default()
        },
        None => Looked::default(),
    }
}

/// Where the rules come to, if they surely do not come to what the kernel did.
fn instead(drop: &DropLine, prepared: &Prepared) -> Option<Vec<Candidate>> {
    let info = &drop.drop;
    let evaluator = prepared.past();
    let family = Family::named(info.family?.name())?;
    let table = info.table.as_deref()?;
    // Which of several base chains it was is not known.
    let [base] = bases(prepared.ruleset(), info)[..] else {
        return None;
    };
    let packet = packet(drop, info.hook?);
    nft_instead(evaluator, (family, table, base), &packet, |place| {
        is_place(evaluator, place, info)
    })
}

/// The base chains that may have led to where the packet died: the one that is known, else all of its table that the hook calls.
fn bases<'a>(ruleset: &'a Ruleset, info: &'a DropInfo) -> Vec<&'a str> {
    if let Some(base) = info.chain_path.first() {
        return vec![base];
    }
    let is_its = |table: &&Table| {
        let family = info.family.and_then(|family| Family::named(family.name()));
        Some(table.family) == family && Some(&table.name) == info.table.as_ref()
    };
    let chains = ruleset
        .tables
        .iter()
        .find(is_its)
        .map_or(&[][..], |table| &table.chains);
    let is_base = |chain: &&Chain| {
        let hook = chain.base.as_ref().map(|base| base.hook.as_str());
        hook.zip(info.hook)
            .is_some_and(|(name, hook)| hook.name().eq_ignore_ascii_case(name))
    };
    let called = || chains.iter().filter(is_base).map(|chain| chain.name.as_str());
    let itself = called().filter(|name| Some(*name) == info.chain.as_deref());
    // A base chain that is jumped to cannot be.
    let itself: Vec<&str> = itself.collect();
    if itself.is_empty() {
        called().collect()
    } else {
        itself
    }
}

fn hints(evaluator: &Evaluator<'_>, path: &Path) -> Vec<Hint> {
    let behind = nft_never_asked(path, evaluator);
    let mut near = evaluator.near_misses(path, LOOKED_AT);
    near.retain(|near| near.unknown == 0 && near.failing.len() == 1);
    let distance = |near: &_| -> u32 {
        let near: &crate::evaluate::nftables::NearMiss = near;
        near.failing.iter().map(|failing| failing.distance()).sum()
    };
    near.retain(|near| distance(near) <= NearMiss::TELLING);
    near.sort_by_key(distance);
    let near = near.iter().filter_map(|near| nft_near_miss(near, evaluator));
    behind.into_iter().chain(near).take(MOST).collect()
}

/// The way that ends where the kernel says that the packet died. `None`, too, if it may have come there from several base chains.
fn agreeing(evaluator: &Evaluator<'_>, ruleset: &Ruleset, drop: &DropLine) -> Option<Path> {
    let info = &drop.drop;
    let family = Family::named(info.family?.name())?;
    let table = info.table.as_deref()?;
    let packet = packet(drop, info.hook?);
    let way = |base: &str| {
        let evaluation = evaluator.base_chain(family, table, base, &packet);
        evaluation
            .paths
            .into_iter()
            .filter(|path| path.outcome == Some(Outcome::Drop) && !path.is_cut)
            .find(|path| {
                path.decided_by
                    .is_some_and(|place| is_place(evaluator, place, info))
            })
    };
    let mut ways = bases(ruleset, info).into_iter().filter_map(way);
    ways.next().filter(|_| ways.next().is_none())
}

fn is_place(evaluator: &Evaluator<'_>, place: Place, info: &DropInfo) -> bool {
    let chain = evaluator.chain(place).map(|chain| chain.name.as_str());
    let handle = evaluator.rule(place).and_then(|rule| rule.handle);
    let same = match info.cause {
        Some(Cause::Policy) => place.rule.is_none(),
        Some(Cause::Rule) => handle.is_some() && handle == info.rule.as_ref().and_then(|rule| rule.handle),
        _ => false,
    };
    same && chain == info.chain.as_deref()
}

/// What is known of the packet, as the rules of that hook see it.
pub fn packet(drop: &DropLine, hook: Hook) -> Packet {
    let seen = &drop.packet;
    let device = |name: &Option<String>| name.clone().map_or(Device::Unknown, Device::Named);
    let (input, output) = match hook {
        Hook::Prerouting | Hook::Input | Hook::Ingress => (device(&drop.in_dev), Device::None),
        Hook::Output => (Device::None, device(&drop.out_dev)),
        Hook::Forward => (device(&drop.in_dev), device(&drop.out_dev)),
        _ => (Device::Unknown, device(&drop.out_dev)),
    };
    Packet {
        protocol: seen.proto.map(|proto| proto.0),
        source: seen.src,
        destination: seen.dst,
        sport: seen.sport,
        dport: seen.dport,
        tcp_flags: seen.tcp_flags.map(|flags| flags.0),
        icmp_type: seen.icmp_type,
        icmp_code: seen.icmp_code,
        length_bytes: Some(seen.len),
        ttl: seen.ttl,
        later_fragment: Some(seen.frag_offset.is_some_and(|offset| offset > 0)),
        input,
        output,
        mark: Bits::exact(seen.mark.0),
        connection: drop.flow.as_ref().map(connection).unwrap_or_default(),
        ..Packet::default()
    }
}

fn connection(flow: &Flow) -> Connection {
    let tuple = |tuple: &record::Tuple| Tuple {
        source: Some(tuple.src),
        destination: Some(tuple.dst),
        sport: tuple.sport,
        dport: tuple.dport,
    };
    // Without a reply there is no connection, only headers taken as one.
    let Some(reply) = &flow.reply else {
        return Connection {
            state: flow.ct_state.map(state),
            ..Connection::default()
        };
    };
    Connection {
        state: flow.ct_state.map(state),
        direction: (flow.ct_state == Some(record::CtState::New)).then_some(Direction::Original),
        original: tuple(&flow.original),
        reply: tuple(reply),
        ..Connection::default()
    }
}

fn state(state: record::CtState) -> CtState {
    match state {
        record::CtState::New => CtState::New,
        record::CtState::Established => CtState::Established,
        record::CtState::Related => CtState::Related,
        record::CtState::Invalid => CtState::Invalid,
        record::CtState::Untracked => CtState::Untracked,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::report::record::samples::policy_drop;
    use crate::report::record::{Backend, Rule, TableFamily, Tool};

    const SLIP: &str = include_str!("../../tests-data/nft/slip.json");

    /// The seed's packet, dropped by the policy of a chain of nft's own.
    fn dropped(change: impl FnOnce(&mut DropLine)) -> DropLine {
        let mut drop = policy_drop();
        drop.drop = DropInfo {
            hook: Some(Hook::Forward),
            backend: Some(Backend::Nft),
            tool: Some(Tool::Nft),
            family: Some(TableFamily::Inet),
            table: Some("lab".to_owned()),
            chain: Some("forward".to_owned()),
            chain_path: vec!["forward".to_owned()],
            cause: Some(Cause::Policy),
            ..drop.drop
        };
        change(&mut drop);
        drop
    }

    fn prepared(json: &str) -> Rc<Prepared> {
        let ruleset = Ruleset::read(json).expect("a ruleset");
        Rc::new(Prepared::new(Rc::new(ruleset), HashSet::new()))
    }

    fn told(json: &str, drop: &DropLine) -> Vec<(Option<u64>, String)> {
        let hints = look(drop, &prepared(json), false).hints.into_iter();
        hints
            .map(|hint| (hint.rule.and_then(|rule| rule.rule.handle), hint.text))
            .collect()
    }

    #[test]
    fn what_is_a_digit_away_is_told_and_what_everybody_lacks_is_not() {
        let needs = "needs ip daddr 10.244.0.0/16, packet has 10.224.2.16; one digit differs: 10.244, 10.224";
        assert_eq!(told(SLIP, &dropped(|_| {})), [(Some(6), needs.to_owned())]);
    }

    #[test]
    fn a_rule_in_a_chain_that_was_jumped_to_has_its_base_chains_near_misses() {
        let in_inner = |handle| {
            dropped(|drop| {
                drop.packet.dport = Some(443);
                drop.drop.cause = Some(Cause::Rule);
                drop.drop.chain = Some("inner".to_owned());
                drop.drop.chain_path = vec!["forward".to_owned(), "inner".to_owned()];
                drop.drop.rule = Some(Rule {
                    handle: Some(handle),
                    ..Rule::default()
                });
            })
        };
        assert_eq!(told(SLIP, &in_inner(9)).len(), 1);
        assert_eq!(told(SLIP, &in_inner(8)), [], "the kernel says otherwise");
    }

    #[test]
    fn a_rule_to_which_several_ways_lead_has_near_misses_all_the_same() {
        // Behind a goto, or a map of verdicts, the kernel's memory alone does not tell the chains that were walked.
        let goes = SLIP.replace("\"jump\"", "\"goto\"");
        assert_ne!(goes, SLIP);
        let unknown = |hook| {
            dropped(|drop| {
                drop.packet.dport = Some(443);
                drop.drop.hook = Some(hook);
                drop.drop.cause = Some(Cause::Rule);
                drop.drop.chain = Some("inner".to_owned());
                drop.drop.chain_path.clear();
                drop.drop.rule = Some(Rule {
                    handle: Some(9),
                    ..Rule::default()
                });
            })
        };
        assert_eq!(told(SLIP, &unknown(Hook::Forward)).len(), 1);
        assert_eq!(told(&goes, &unknown(Hook::Forward)).len(), 1);
        assert_eq!(told(&goes, &unknown(Hook::Input)), [], "of another hook");
        let another = |policy| {
            let base = SLIP.find("{\"chain\":").expect("a chain");
            let mut two = SLIP.to_owned();
            two.insert_str(base, &format!("{{\"chain\": {{\"family\": \"inet\", \"table\": \"lab\", \"name\": \"second\", \"handle\": 20, \"type\": \"filter\", \"hook\": \"forward\", \"prio\": 5, \"policy\": \"accept\"}}}}, {policy}"));
            two
        };
        let jumps = "{\"rule\": {\"family\": \"inet\", \"table\": \"lab\", \"chain\": \"second\", \"handle\": 21, \"expr\": [{\"jump\": {\"target\": \"inner\"}}]}}, ";
        assert_eq!(told(&another(""), &unknown(Hook::Forward)).len(), 1);
        let inner =
            "{\"chain\": {\"family\": \"inet\", \"table\": \"lab\", \"name\": \"inner\", \"handle\": 2}}, ";
        let both = another("").replace(inner, &format!("{inner}{jumps}"));
        assert_ne!(both, another(""));
        assert_eq!(
            told(&both, &unknown(Hook::Forward)),
            [],
            "from which is not known"
        );
    }

    #[test]
    fn where_kernel_and_evaluator_are_at_odds_nothing_is_said() {
        let accepts = SLIP.replace("\"policy\": \"drop\"", "\"policy\": \"accept\"");
        assert_ne!(accepts, SLIP);
        assert_eq!(told(&accepts, &dropped(|_| {})), []);
        let elsewhere = dropped(|drop| drop.drop.table = Some("other".to_owned()));
        assert_eq!(told(SLIP, &elsewhere), []);
        let prepared = prepared(&accepts);
        let odds = |check| look(&dropped(|_| {}), &prepared, check).instead;
        assert_eq!(odds(true), Some(Vec::new()), "it would live");
        assert_eq!(
            odds(false),
            None,
            "the kernel is not sure, or the rules were others"
        );
    }

    #[test]
    fn an_answer_is_kept_and_the_time_for_others_is_bounded() {
        let mut near = NftMisses::default();
        let drop = dropped(|_| {});
        let prepared = prepared(SLIP);
        let listed = || Some(Rc::clone(&prepared));
        let hints = |near: &mut NftMisses, generation, time_ns, list: &dyn Fn() -> Option<Rc<Prepared>>| {
            near.of(&drop, generation, time_ns, false, list).hints.len()
        };
        assert_eq!(hints(&mut near, 1, 0, &listed), 1);
        assert_eq!(hints(&mut near, 2, 0, &|| None), 0, "another ruleset");
        near.time.spend(TIME_A_SECOND);
        let never = || unreachable!("it is known, or there is no time");
        assert_eq!(hints(&mut near, 1, 1, &never), 1, "what is known needs no time");
        assert_eq!(hints(&mut near, 2, 1, &never), 0, "there is no time");
        assert_eq!(hints(&mut near, 2, 1_000_000_000, &listed), 1);
    }
}
