//! All base chains of a hook, in the order in which the kernel calls them.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::conntrack::Tracked;
use super::load::At;
use super::packet::{CtState, Device, IpFamily, Packet};
use super::path::{Assumption, Evaluation, Outcome, Path, Place};
use super::prepared::PreparedTable;
use super::value::Truth;
use super::walk::Walk;
use crate::ruleset::nftables::listing::{BaseChain, Chain, Family, Rule, Ruleset, Table};

/// `NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`: chains of type nat are called by one function of the hook, in the order of
/// their own priorities.
const NAT_DST: i64 = -100;
const NAT_SRC: i64 = 100;
/// More paths are not followed from base chain to base chain.
const MOST_PATHS: usize = 256;
/// `IPS_CONFIRMED`: not the connection's first packet.
const CONFIRMED: u32 = 1 << 3;

/// A ruleset that packets can be evaluated against.
pub struct Evaluator<'a> {
    pub(super) ruleset: &'a Ruleset,
    pub(super) tables: Vec<PreparedTable<'a>>,
    tracked: Tracked,
}

/// A base chain by its indices.
#[derive(Clone, Copy, Debug)]
pub struct Called<'a> {
    /// The table.
    pub table: usize,
    /// The chain.
    pub chain: usize,
    /// What makes it a base chain.
    pub base: &'a BaseChain,
}

impl Called<'_> {
    /// Whether it is asked to translate a connection's first packet.
    pub fn is_nat(self) -> bool {
        self.base.kind == "nat"
    }

    /// The priority at which the hook calls it, then that among chains of type nat.
    pub fn order(self) -> (i64, i64) {
        let priority = self.base.priority;
        match (self.is_nat(), self.base.hook.as_str()) {
            (true, "prerouting" | "output") => (NAT_DST, priority),
            (true, _) => (NAT_SRC, priority),
            (false, _) => (priority, 0),
        }
    }
}

impl<'a> Evaluator<'a> {
    /// Makes a ruleset ready.
    pub fn new(ruleset: &'a Ruleset) -> Self {
        Self {
            ruleset,
            tables: ruleset.tables.iter().map(PreparedTable::of).collect(),
            tracked: Tracked::of(ruleset),
        }
    }

    /// The same for packets that came before the ruleset was listed. Rules with these handles ask more than is listed.
    #[must_use]
    pub fn past(&self, in_part: &HashSet<u64>) -> Self {
        let tables = self.tables.iter();
        Self {
            ruleset: self.ruleset,
            tables: tables.map(|table| table.past(in_part)).collect(),
            tracked: self.tracked,
        }
    }

    /// The same where other rules than these need conntrack.
    #[must_use]
    pub fn tracked_by_others(self, v4: bool, v6: bool) -> Self {
        let tracked = self.tracked.or(v4, v6);
        Self { tracked, ..self }
    }

    /// Evaluates a packet against all base chains of a hook of IP: `prerouting`, `input`, `forward`, `output` or
    /// `postrouting`, in the order of [`Self::called`].
    pub fn hook(&self, hook: &str, packet: &Packet) -> Evaluation {
        self.through(&self.called(hook, packet.ip_family()), packet)
    }

    /// Evaluates a frame against all base chains of a hook of the family bridge, arp or netdev; with netdev's ingress and egress
    /// also inet's. Which device a chain is of is not looked at: nft 1.0.6 does not list it as JSON.
    pub fn of_frames(&self, family: Family, hook: &str, packet: &Packet) -> Evaluation {
        let mut called: Vec<_> = self.base_chains().filter(|one| one.base.hook == hook).collect();
        called.retain(|one| {
            let of = self.ruleset.tables[one.table].family;
            of == family || (family == Family::Netdev && of == Family::Inet)
        });
        called.sort_by_key(|one| (one.order(), Reverse((one.table, one.chain))));
        self.through(&called, packet)
    }

    /// The base chains of a hook of IP that may see packets of a family, in the order in which they are called. Of the same
    /// priority the one that was registered last is called first (`nf_hook_entries_grow`, net/netfilter/core.c). In a table chains
    /// are registered in the order in which they are listed; of tables that is only likely.
    pub fn called(&self, hook: &str, family: Option<IpFamily>) -> Vec<Called<'a>> {
        let mut called: Vec<_> = self.base_chains().filter(|one| one.base.hook == hook).collect();
        called.retain(|one| may_see(self.ruleset.tables[one.table].family, family));
        called.sort_by_key(|one| (one.order(), Reverse((one.table, one.chain))));
        called
    }

    /// Evaluates a packet against one base chain. `rules` is how many may still be asked.
    pub fn ask(&self, one: Called<'a>, packet: &Packet, rules: &mut usize) -> Evaluation {
        self.go_through(&[one], packet, rules)
    }

    /// Evaluates a packet against one base chain. No path if there is no such base chain.
    pub fn base_chain(&self, family: Family, table: &str, chain: &str, packet: &Packet) -> Evaluation {
        let called = self.find(family, table, chain);
        called.map(|one| self.through(&[one], packet)).unwrap_or_default()
    }

    /// The base chain with this name.
    pub(super) fn find(&self, family: Family, table: &str, chain: &str) -> Option<Called<'a>> {
        self.base_chains().find(|one| {
            let of = &self.ruleset.tables[one.table];
            of.family == family && of.name == table && of.chains[one.chain].name == chain
        })
    }

    /// The table of a place.
    pub fn table(&self, place: Place) -> Option<&'a Table> {
        self.ruleset.tables.get(place.table)
    }

    /// A base chain as a person names it: `inet lab forward`.
    pub fn name(&self, called: Called<'_>) -> String {
        let place = Place {
            table: called.table,
            chain: called.chain,
            rule: None,
        };
        match (self.table(place), self.chain(place)) {
            (Some(table), Some(chain)) => format!("{} {} {}", table.family.name(), table.name, chain.name),
            _ => String::new(),
        }
    }

    /// The chain of a place.
    pub fn chain(&self, place: Place) -> Option<&'a Chain> {
        self.table(place)?.chains.get(place.chain)
    }

    /// The rule of a place; none for a policy.
    pub fn rule(&self, place: Place) -> Option<&'a Rule> {
        self.chain(place)?.rules.get(place.rule?)
    }

    /// The rule of a place as nft writes it, or the policy: `policy drop`.
    pub fn text(&self, place: Place) -> Option<String> {
        let table = self.table(place)?;
        match self.rule(place) {
            Some(rule) => Some(rule.text(table.family)),
            None => {
                let base = self.chain(place)?.base.as_ref()?;
                Some(format!("policy {}", base.policy.as_deref().unwrap_or("accept")))
            }
        }
    }

    /// What is assumed, as nft writes the statements: `limit rate 5/second`.
    pub fn assumed(&self, assumption: &Assumption) -> Vec<String> {
        let (Some(table), Some(rule)) = (self.table(assumption.place), self.rule(assumption.place)) else {
            return Vec::new();
        };
        let statements = assumption.statements.iter();
        statements
            .filter_map(|index| rule.statements.get(*index))
            .map(|statement| statement.text(table.family))
            .collect()
    }

    fn base_chains(&self) -> impl Iterator<Item = Called<'a>> {
        let tables = self.ruleset.tables.iter().enumerate();
        let active = tables.filter(|(_, table)| !table.flags.iter().any(|flag| flag == "dormant"));
        active.flat_map(|(table, listed)| {
            let chains = listed.chains.iter().enumerate();
            chains.filter_map(move |(chain, listed)| {
                let base = listed.base.as_ref()?;
                Some(Called { table, chain, base })
            })
        })
    }

    fn through(&self, called: &[Called<'a>], packet: &Packet) -> Evaluation {
        let mut unbounded = usize::MAX;
        self.go_through(called, packet, &mut unbounded)
    }

    fn go_through(&self, called: &[Called<'a>], packet: &Packet, rules: &mut usize) -> Evaluation {
        let mut alive = vec![Path {
            packet: packet.clone(),
            outcome: Some(Outcome::Accept),
            ..Path::default()
        }];
        let mut ended = Vec::new();
        for one in called {
            let mut next = Vec::new();
            for path in alive {
                let runs = self.runs(*one, &path);
                if runs != Truth::Yes {
                    next.push(path.clone());
                }
                if runs != Truth::No {
                    next.extend(self.follow(*one, path, runs, rules));
                }
            }
            let (on, over): (Vec<_>, Vec<_>) = next
                .into_iter()
                .partition(|path| path.outcome == Some(Outcome::Accept));
            ended.extend(over);
            alive = alike_once(on);
            cut(&mut alive, &mut ended);
        }
        ended.extend(alive);
        Evaluation { paths: ended }
    }

    fn follow(&self, one: Called<'a>, mut path: Path, runs: Truth, rules: &mut usize) -> Vec<Path> {
        let before = path.decided_by;
        path.outcome = None;
        path.missed.clear();
        path.led.clear();
        path.came = Some((path.packet.clone(), one.table, one.chain));
        if runs == Truth::Unknown {
            let place = Place {
                table: one.table,
                chain: one.chain,
                rule: None,
            };
            path.assume(place, Vec::new(), true);
        }
        let mut paths = self.walk(one, None).follow(path, rules);
        // A policy that lets a packet live decides nothing if a rule did before.
        for path in &mut paths {
            let by_policy = path.decided_by.is_some_and(|place| place.rule.is_none());
            if by_policy && path.outcome == Some(Outcome::Accept) && before.is_some() {
                path.decided_by = before;
            }
        }
        paths
    }

    /// A base chain to walk; `forced` is a rule that is taken to match when it is met first.
    pub(super) fn walk(&self, one: Called<'a>, forced: Option<Place>) -> Walk<'_> {
        let table = &self.tables[one.table];
        Walk {
            table,
            table_index: one.table,
            base: one.chain,
            at: At {
                family: table.table.family,
                hook: &one.base.hook,
                priority: one.order().0,
            },
            accepts: one.base.policy.as_deref() != Some("drop"),
            forced,
        }
    }

    /// A base chain by its indices.
    pub(super) fn base(&self, table: usize, chain: usize) -> Option<Called<'a>> {
        let base = self.ruleset.tables.get(table)?.chains.get(chain)?.base.as_ref()?;
        Some(Called { table, chain, base })
    }

    /// Whether the kernel calls the chain for the packet.
    fn runs(&self, one: Called<'a>, path: &Path) -> Truth {
        let table = &self.ruleset.tables[one.table];
        let active = if table.may_be_dormant {
            Truth::Unknown
        } else {
            Truth::Yes
        };
        let family = match table.family {
            Family::Ip => is_family(&path.packet, IpFamily::V4),
            Family::Ip6 => is_family(&path.packet, IpFamily::V6),
            _ => Truth::Yes,
        };
        let tracked = match self.tracked.has(path.packet.ip_family()) {
            true => Truth::Yes,
            false => Truth::Unknown,
        };
        let nat = match one.is_nat() {
            true => runs_nat(path, &one.base.hook).and(tracked),
            false => Truth::Yes,
        };
        active.and(family).and(nat)
    }
}

/// Chains of type nat see the first packet of a connection, until one of them translates it (`nf_nat_inet_fn()`).
fn runs_nat(path: &Path, hook: &str) -> Truth {
    let connection = &path.packet.connection;
    if path.is_translated {
        return Truth::No;
    }
    // From this host to itself the packet was in OUTPUT before.
    let from_here = matches!(&path.packet.input, Device::Named(name) if name == "lo");
    match connection.state {
        None => Truth::Unknown,
        Some(CtState::New | CtState::Related) if hook == "prerouting" && from_here => Truth::Unknown,
        Some(CtState::New | CtState::Related) => {
            match (
                connection.status.known() & CONFIRMED,
                connection.status.value() & CONFIRMED,
            ) {
                (0, _) => Truth::Unknown,
                (_, confirmed) => Truth::from(confirmed == 0),
            }
        }
        Some(_) => Truth::No,
    }
}

fn is_family(packet: &Packet, family: IpFamily) -> Truth {
    packet
        .ip_family()
        .map_or(Truth::Unknown, |known| Truth::from(known == family))
}

fn may_see(table: Family, packet: Option<IpFamily>) -> bool {
    match table {
        Family::Ip => packet != Some(IpFamily::V6),
        Family::Ip6 => packet != Some(IpFamily::V4),
        Family::Inet => true,
        Family::Arp | Family::Bridge | Family::Netdev => false,
    }
}

/// Paths that leave with the same packet go on as one: the first, which then depends on nothing that tells them apart.
fn alike_once(paths: Vec<Path>) -> Vec<Path> {
    let mut once: Vec<Path> = Vec::new();
    for path in paths {
        let alike = |other: &&mut Path| {
            other.packet == path.packet
                && other.is_translated == path.is_translated
                && other.is_cut == path.is_cut
                && other.steps == path.steps
        };
        match once.iter_mut().find(alike) {
            Some(other) => other.assumptions.retain(|one| path.assumptions.contains(one)),
            None => once.push(path),
        }
    }
    once
}

/// What is not followed may end in any way.
fn cut(alive: &mut Vec<Path>, ended: &mut Vec<Path>) {
    let room = MOST_PATHS.saturating_sub(ended.len()).max(1);
    if alive.len() > room {
        let mut rest = alive.swap_remove(room);
        alive.truncate(room);
        rest.outcome = Some(Outcome::Unknown);
        rest.is_cut = true;
        ended.push(rest);
    }
}
