//! One record to one line of the trace.

use std::net::IpAddr;
use std::rc::Rc;

use observer_common::{DropEvent, Matched as CommonMatched, flag, hook_flag};

use super::cases::{Cases, Printed};
use super::clock;
use super::devices::devices;
use super::evaluators::{Evaluators, Prepared};
use super::hints;
use super::near_misses::NearMisses;
use super::nft_misses::NftMisses;
use super::reasons::Reasons;
use super::replay::{Listed, Looked, Replay, disagreement, in_part};
use super::ruletext::{Ruletext, Ruletexts, in_force};
use super::sets::read_in;
use super::way::{path, snapshot_of};
use crate::attribute::{
    Culprit, Death, Pending, Question, Replayed, Site, Verdict, decide, name, prove, site_of, tool,
};
use crate::diagnose::{self, PacketFacts, PktType};
use crate::kernel::{DeviceLayout, NetnsNames, Programs, Symbols};
use crate::report::record::{
    Backend, Confidence, DropInfo, DropLine, Event, Evidence, Flow, Hook, Layer, Line, Mark, Matched, Netns,
    Packet, PacketFamily, PathLine, TableFamily, Tool,
};
use crate::ruleset::text::{run_save, run_tool};
use crate::ruleset::{Snapshot, Store, Table};
use crate::trace::{Flows, Seen, Way, before, headers, len_bytes, packet};

/// What is known of the kernel at the moment.
pub struct Known<'a> {
    /// Rulesets.
    pub store: &'a Store,
    /// Functions.
    pub symbols: &'a Symbols,
    /// Programs, and memory through them.
    pub programs: &'a Programs,
}

/// What is needed to name a drop, and what is remembered from one to the next.
pub struct Teller {
    /// This host's name.
    pub node: String,
    /// Drop reasons.
    pub reasons: Reasons,
    /// Names of namespaces.
    pub names: NetnsNames,
    device_layout: Option<DeviceLayout>,
    flows: Flows,
    /// Of packets that live.
    passes: Flows,
    pending: Pending,
    texts: Ruletexts,
    hints: NearMisses,
    nft_hints: NftMisses,
    replay: Replay,
    evaluators: Evaluators,
    /// Where packets and rules are kept of which a replay is at odds with the kernel.
    cases: Option<Cases>,
}

/// What was decided of netfilter's drops.
struct Judged {
    info: DropInfo,
    /// What the tool prints of the culprit's table.
    text: Option<Rc<Ruletext>>,
    /// What it was concluded from; none in a namespace that was not read.
    by: Option<(Verdict, Rc<Snapshot>)>,
}

impl Known<'_> {
    /// Whether a snapshot is what is in force right now.
    pub fn is_in_force(&self, snapshot: &Snapshot) -> bool {
        self.store.is_in_force(self.programs, self.symbols, snapshot)
    }
}

impl Teller {
    /// The addresses of a service, as the rules of one namespace have them; `None` where these could not be asked for.
    pub(super) fn addresses_of(
        &mut self,
        known: &Known<'_>,
        snapshot: &Snapshot,
        service: &str,
    ) -> Option<Vec<IpAddr>> {
        self.texts.addresses_of(known, snapshot, service)
    }

    /// A teller that remembers nothing yet.
    pub fn new(
        node: String,
        reasons: Reasons,
        device_layout: Option<DeviceLayout>,
        cases: Option<Cases>,
    ) -> Self {
        Self {
            node,
            reasons,
            names: NetnsNames::default(),
            device_layout,
            flows: Flows::default(),
            passes: Flows::default(),
            pending: Pending::default(),
            texts: Ruletexts::default(),
            hints: NearMisses::default(),
            nft_hints: NftMisses::default(),
            replay: Replay::default(),
            evaluators: Evaluators::default(),
            cases,
        }
    }

    /// The line for a record; `None` if it is no loss, or only keeps the counters' books straight.
    pub fn line(&mut self, event: &DropEvent, way: &Way, known: &Known<'_>) -> Option<Line> {
        let packet = packet(event);
        let symbol = known.symbols.of(event.location).map(|symbol| symbol.name);
        let by_netfilter = event.flags & flag::NETFILTER != 0;
        let site = if by_netfilter {
            site_of(frames(event), event.location, known.symbols)
        } else {
            None
        };
        let (in_dev, out_dev) = devices(event, site, self.came_in(event, known));
        let snapshot = known
            .store
            .at(event.net, event.generation)
            .or_else(|| known.store.current(event.net));
        let Judged { info, mut text, by } = if by_netfilter {
            self.netfilter(event, way, known, snapshot, symbol, site)
        } else {
            Judged {
                info: self.other(event, &packet, symbol, in_dev.as_deref(), out_dev.as_deref())?,
                text: None,
                by: None,
            }
        };
        if event.flags & flag::BOOKKEEPING != 0 {
            return None;
        }
        let flow = self.flow(event, known, &packet, snapshot.map(Rc::as_ref), info.hook);
        let netns = Netns {
            inode: event.netns_inode,
            name: self.names.name(event.netns_inode),
        };
        let mut drop = DropLine {
            netns: Some(netns),
            packet,
            in_dev,
            out_dev,
            flow,
            matched: matched(event.matched),
            names: None,
            path: path(way, &mut self.names, known),
            drop: info,
            hints: Vec::new(),
            bytes: None,
        };
        if let Some((verdict, of)) = &by
            && let Some(site) = site
            && let Some(replayed) = self.replay(event, &mut drop, (verdict, of), site, known)
        {
            text = replayed;
        }
        // Only what the kernel itself says of rules that surely were in force is held against them.
        let check = drop.drop.confidence == Confidence::Exact
            && event.flags & flag::STALE == 0
            && site.is_some_and(|site| !site.bridged);
        let named = snapshot.filter(|_| drop.drop.confidence != Confidence::Unknown);
        let by_nft =
            named.and_then(|snapshot| Some((snapshot.as_ref(), asked_as_listed(&drop.drop, snapshot)?)));
        let looked = match (by_nft, text) {
            (Some(table), _) => self.nft_hints(&drop, table, known, event.time_ns, check),
            (None, Some(text)) => {
                let read = |names: &[String]| read_in(event.netns_inode, names);
                self.hints.of(&drop, &text, event.time_ns, check, read)
            }
            (None, None) => Looked::default(),
        };
        drop.hints = looked.hints;
        if let Some(instead) = looked.instead {
            drop.drop.disagreement = Some(disagreement(instead, true));
        }
        let snapshots = [snapshot, known.store.current(event.net)].map(|snapshot| snapshot.map(Rc::as_ref));
        drop.hints.extend(hints::owner(&drop, snapshots, &mut self.names));
        let mut line = Line::new(
            clock::wall(event.time_ns),
            self.node.clone(),
            Event::Drop(Box::new(drop)),
        );
        if let Some((_, snapshot)) = &by {
            self.keep(&mut line, snapshot, known);
        }
        Some(line)
    }

    /// Keeps a drop of which a replay is at odds with the kernel, and says how to see it again.
    fn keep(&mut self, line: &mut Line, snapshot: &Snapshot, known: &Known<'_>) {
        let Some((drop, disagreement)) = line
            .as_drop()
            .and_then(|drop| Some((drop, drop.drop.disagreement.clone()?)))
        else {
            return;
        };
        let info = &drop.drop;
        let what = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            info.table, info.chain, info.rule, info.candidates, disagreement.replayed
        );
        let is_v6 = drop.packet.family == PacketFamily::Ip6;
        let Some(cases) = &mut self.cases else { return };
        let command = cases.keep(what, line, || printed(known, snapshot, is_v6));
        if let Event::Drop(drop) = &mut line.event
            && let Some(disagreement) = &mut drop.drop.disagreement
        {
            disagreement.command = command;
        }
    }

    /// The line for a packet that lives; `None` if its headers were not to be read.
    pub fn passed(&mut self, way: &Way, known: &Known<'_>) -> Option<Line> {
        let (first, last) = (way.first()?, way.last()?);
        let mut packet = headers(before(first))?;
        packet.len = len_bytes(first);
        packet.mark = Mark(first.mark_before);
        let has_conn = last.flags & hook_flag::CONN != 0 && last.flags & hook_flag::TUNNEL == 0;
        let seen = Seen {
            conn: has_conn.then_some(&last.conn),
            info: last.conn.info,
            inode: first.netns_inode,
        };
        let mut flow = self.passes.flow(&seen, &packet, false);
        if let (Some(flow), Some(snapshot)) = (&mut flow, snapshot_of(last, known)) {
            let is_v6 = packet.family == PacketFamily::Ip6;
            let family = if is_v6 { TableFamily::Ip6 } else { TableFamily::Ip };
            flow.service = self.texts.service(known, &snapshot, flow, &packet, family);
        }
        let netns = Netns {
            inode: first.netns_inode,
            name: self.names.name(first.netns_inode),
        };
        let line = PathLine {
            netns: Some(netns),
            packet,
            flow,
            matched: matched(last.matched),
            names: None,
            path: path(way, &mut self.names, known),
        };
        Some(Line::new(
            clock::wall(first.time_ns),
            self.node.clone(),
            Event::Path(Box::new(line)),
        ))
    }

    /// Near misses of a drop by rules that are asked as nft lists them, of the table with this index.
    fn nft_hints(
        &mut self,
        drop: &DropLine,
        (snapshot, index): (&Snapshot, usize),
        known: &Known<'_>,
        time_ns: u64,
        check: bool,
    ) -> Looked {
        let (texts, evaluators) = (&mut self.texts, &mut self.evaluators);
        let list = || prepared(texts, evaluators, known, snapshot, index);
        self.nft_hints.of(drop, snapshot.generation, time_ns, check, list)
    }

    /// Asks the rules which of the candidates it was. If one of them has to have been it, that is what the drop then says, and
    /// what the tool prints of its table is returned.
    fn replay(
        &mut self,
        event: &DropEvent,
        drop: &mut DropLine,
        (verdict, snapshot): (&Verdict, &Rc<Snapshot>),
        site: Site<'_>,
        known: &Known<'_>,
    ) -> Option<Option<Rc<Ruletext>>> {
        let symbol = drop.drop.symbol.clone().unwrap_or_default();
        let question = Question::of(verdict, event, snapshot, Some(site), &symbol)?;
        let (texts, evaluators) = (&mut self.texts, &mut self.evaluators);
        let list = |index: usize| {
            let table = snapshot.tables.get(index)?;
            if table.backend == Backend::Nft {
                return prepared(texts, evaluators, known, snapshot, index).map(Listed::Nft);
            }
            let place = verdict.places().into_iter().find(|place| place.table == index)?;
            let text = texts.of_places(known, snapshot, &[place]).swap_remove(index)?;
            text.model(&table.name).map(Listed::Saved)
        };
        let answer = self
            .replay
            .ask(&question, drop, (snapshot, site), event.time_ns, list);
        match answer {
            Replayed::Open => None,
            Replayed::By(verdict) => {
                let (info, text) = self.named(event, known, snapshot, Some(site.hook), &verdict);
                drop.drop = DropInfo {
                    reason: drop.drop.reason.clone(),
                    symbol: drop.drop.symbol.clone(),
                    ..info
                };
                Some(text)
            }
            Replayed::Disagrees(places) => {
                let verdict = Verdict {
                    culprit: Culprit::OneOf(places),
                    ..verdict.clone()
                };
                let (info, _) = self.named(event, known, snapshot, Some(site.hook), &verdict);
                drop.drop.disagreement = Some(disagreement(info.candidates, false));
                None
            }
        }
    }

    /// Name of the device that the packet first came in by, where it is not the one it has now.
    fn came_in(&self, event: &DropEvent, known: &Known<'_>) -> Option<String> {
        if event.iif == 0 || event.iif == event.dev_ifindex {
            return None;
        }
        self.device_layout
            .as_ref()?
            .name(&known.programs.memory, event.net, event.iif)
    }

    fn netfilter(
        &mut self,
        event: &DropEvent,
        way: &Way,
        known: &Known<'_>,
        snapshot: Option<&Rc<Snapshot>>,
        symbol: Option<&str>,
        site: Option<Site<'_>>,
    ) -> Judged {
        let hook = site.map(|site| site.hook);
        let mut judged = match snapshot {
            Some(snapshot) => {
                let mut verdict = decide(event, snapshot, site, symbol.unwrap_or(""), &mut self.pending);
                // The kernel side compares IP's hooks; the bridge's may have changed unseen.
                if verdict.is_of_functions() && !known.is_in_force(snapshot) {
                    verdict = Verdict::outdated();
                }
                check_number(&mut verdict, event, snapshot, known.store);
                let (verdict, snapshot) =
                    proved(verdict, event, way, snapshot, (site, symbol.unwrap_or("")), known);
                let (info, text) = self.named(event, known, &snapshot, hook, &verdict);
                Judged {
                    info,
                    text,
                    by: Some((verdict, snapshot)),
                }
            }
            None => Judged {
                info: unread(hook),
                text: None,
                by: None,
            },
        };
        judged.info.reason = self.reasons.name(event.reason);
        judged.info.symbol = symbol.map(str::to_owned);
        judged
    }

    fn named(
        &mut self,
        event: &DropEvent,
        known: &Known<'_>,
        snapshot: &Snapshot,
        hook: Option<Hook>,
        verdict: &Verdict,
    ) -> (DropInfo, Option<Rc<Ruletext>>) {
        if event.flags & flag::BOOKKEEPING != 0 {
            return (DropInfo::default(), None);
        }
        let places = verdict.places();
        let texts = self.texts.of_places(known, snapshot, &places);
        let info = name(event, snapshot, hook, verdict, |table| {
            texts.get(table)?.as_ref().map(|text| &text.saved)
        });
        let culprit = places.first().filter(|_| verdict.is_named());
        let text = culprit.and_then(|place| texts.get(place.table)?.clone());
        (info, text)
    }

    fn flow(
        &mut self,
        event: &DropEvent,
        known: &Known<'_>,
        packet: &Packet,
        snapshot: Option<&Snapshot>,
        hook: Option<Hook>,
    ) -> Option<Flow> {
        let is_v6 = event.protocol == 0x86dd_u16.to_be();
        let tracked = snapshot.is_some_and(|snapshot| is_tracked(snapshot, hook, is_v6));
        let mut flow = self.flows.flow(&Seen::of(event), packet, tracked)?;
        if let Some(snapshot) = snapshot {
            let family = if is_v6 { TableFamily::Ip6 } else { TableFamily::Ip };
            flow.service = self.texts.service(known, snapshot, &flow, packet, family);
        }
        Some(flow)
    }

    /// A drop that is not netfilter's; `None` if nothing was lost.
    fn other(
        &mut self,
        event: &DropEvent,
        packet: &Packet,
        symbol: Option<&str>,
        in_dev: Option<&str>,
        out_dev: Option<&str>,
    ) -> Option<DropInfo> {
        let reason = self.reasons.name(event.reason);
        let facts = PacketFacts {
            packet: Some(packet),
            in_dev,
            out_dev,
            ethertype: Some(u16::from_be(event.protocol)),
            pkt_type: PktType::from_bits(event.pkt_type),
        };
        let explanation = diagnose::reason(&reason, symbol, &facts);
        if !explanation.loss {
            return None;
        }
        let mut info = DropInfo {
            reason,
            symbol: symbol.map(str::to_owned),
            ..DropInfo::default()
        };
        explanation.fill(&mut info);
        Some(info)
    }
}

/// The index of the table that dropped the packet, if it is asked as nft lists it: it is one of nft's own, or nft wrote into one of
/// iptables' what iptables-nft-save would not show.
fn asked_as_listed(info: &DropInfo, snapshot: &Snapshot) -> Option<usize> {
    let is_its = |table: &Table| {
        table.backend == Backend::Nft
            && info.backend == Some(Backend::Nft)
            && Some(&table.name) == info.table.as_ref()
            && Some(table.family) == info.family
            && (tool(table) == Tool::Nft || table.is_beyond_iptables())
    };
    snapshot.tables.iter().position(is_its)
}

/// A table of nf_tables as nft lists it, made ready for being asked.
fn prepared(
    texts: &mut Ruletexts,
    evaluators: &mut Evaluators,
    known: &Known<'_>,
    snapshot: &Snapshot,
    index: usize,
) -> Option<Rc<Prepared>> {
    let table = snapshot.tables.get(index)?;
    // Not both rulesets at once.
    texts.forget_replaced(known, snapshot, table);
    evaluators.forget_let_go();
    let ruleset = texts.model(known, snapshot, index)?;
    Some(evaluators.of(ruleset, || in_part(table)))
}

/// The verdict that the packet's last hook proves, with the snapshot that it speaks of; else the one that there is.
fn proved(
    verdict: Verdict,
    event: &DropEvent,
    way: &Way,
    snapshot: &Rc<Snapshot>,
    (site, symbol): (Option<Site<'_>>, &str),
    known: &Known<'_>,
) -> (Verdict, Rc<Snapshot>) {
    let last = way.last().filter(|_| event.flags & flag::PATH != 0);
    let Some(last) = last else {
        return (verdict, Rc::clone(snapshot));
    };
    match snapshot_of(last, known) {
        // Indexes of rules are good within one snapshot only.
        Some(of_hook) if of_hook.generation == snapshot.generation || !verdict.is_named() => {
            let death = Death {
                site,
                symbol,
                is_watched: &|function| known.programs.sees_verdicts_of(function, last.time_ns),
            };
            (prove(verdict, event, last, &of_hook, &death), of_hook)
        }
        _ => (verdict, Rc::clone(snapshot)),
    }
}

/// All rules that a packet of this family may have met, as the tools print them, if the snapshot is in force.
fn printed(known: &Known<'_>, snapshot: &Snapshot, is_v6: bool) -> Option<Vec<Printed>> {
    let family = if is_v6 { TableFamily::Ip6 } else { TableFamily::Ip };
    let has = |wanted: Tool| snapshot.tables.iter().any(|table| tool(table) == wanted);
    in_force(known, snapshot, || {
        let mut printed = Vec::new();
        let mut add = |ending, text: Option<String>| printed.extend(text.map(|text| (ending, text)));
        if has(Tool::Nft) || has(Tool::IptablesNft) {
            add(
                "nft.json",
                run_tool(snapshot.inode, "nft", &["-j", "list", "ruleset"]),
            );
        }
        if has(Tool::IptablesNft) {
            add("nft.save", run_save(snapshot.inode, Backend::Nft, family, None));
        }
        if has(Tool::IptablesLegacy) {
            add(
                "legacy.save",
                run_save(snapshot.inode, Backend::Legacy, family, None),
            );
        }
        printed
    })
    .filter(|printed| !printed.is_empty())
}

/// The return addresses of a record.
fn frames(event: &DropEvent) -> &[u64] {
    &event.stack[..(event.stack_count as usize).min(event.stack.len())]
}

/// A rule of nf_tables keeps its counter when others are added around it: if the ruleset changed since it was read,
/// its number holds only if it has the same place now.
fn check_number(verdict: &mut Verdict, event: &DropEvent, compared: &Snapshot, store: &Store) {
    if event.flags & flag::STALE == 0 || !verdict.is_named() {
        return;
    }
    let Some(place) = verdict.places().first().copied() else {
        return;
    };
    if compared
        .tables
        .get(place.table)
        .is_none_or(|table| table.backend == Backend::Legacy)
    {
        return;
    }
    let same = store
        .current(event.net)
        .is_some_and(|now| now.same_place(compared, &place));
    if !same {
        verdict.confidence = Confidence::Inferred;
        verdict.note = Some("the ruleset had just changed");
    }
}

/// A drop in a namespace that was not read yet.
fn unread(hook: Option<Hook>) -> DropInfo {
    DropInfo {
        layer: Layer::Netfilter,
        hook,
        confidence: Confidence::Unknown,
        evidence: vec![Evidence::Symbol],
        note: Some("its namespace's ruleset had not been read yet".to_owned()),
        ..DropInfo::default()
    }
}

/// Whether conntrack has looked at every packet that comes to this hook.
fn is_tracked(snapshot: &Snapshot, hook: Option<Hook>, is_v6: bool) -> bool {
    let name = if is_v6 {
        "ipv6_conntrack_in"
    } else {
        "ipv4_conntrack_in"
    };
    matches!(hook, Some(Hook::Forward | Hook::Input))
        && snapshot
            .hooks
            .functions
            .iter()
            .any(|function| function.name == name)
}

fn matched(matched: u8) -> Option<Matched> {
    match matched {
        m if m == CommonMatched::Headers as u8 => Some(Matched::Headers),
        m if m == CommonMatched::Original as u8 => Some(Matched::Original),
        m if m == CommonMatched::Reply as u8 => Some(Matched::Reply),
        _ => None,
    }
}
