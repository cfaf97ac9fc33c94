//! One record to one line of the trace.

use std::collections::HashMap;
use std::rc::Rc;

use observer_common::{DropEvent, Matched as CommonMatched, flag};

use super::clock;
use super::reasons::Reasons;
use crate::attribute::{Pending, Verdict, decide, hook_of, name};
use crate::diagnose::{self, PacketFacts, PktType};
use crate::kernel::{NetnsNames, Symbols};
use crate::report::record::{
    Backend, Confidence, DropInfo, DropLine, Event, Evidence, Hook, Layer, Line, Matched, Netns, Packet,
    TableFamily,
};
use crate::ruleset::text::Saved;
use crate::ruleset::{Snapshot, Store};
use crate::trace::{Flows, Services, device, packet};

/// So many tools' outputs are kept.
const MOST_SAVED: usize = 64;

/// What is needed to name a drop, and what is remembered from one to the next.
pub struct Teller {
    /// This host's name.
    pub node: String,
    /// Drop reasons.
    pub reasons: Reasons,
    /// Names of namespaces.
    pub names: NetnsNames,
    flows: Flows,
    pending: Pending,
    /// Tools' outputs, by the hash of all tables of that backend and family in a namespace.
    saved: HashMap<(u32, Backend, TableFamily, u64), Rc<Ruletext>>,
}

/// What a tool printed, and the Services in it.
#[derive(Default)]
struct Ruletext {
    saved: Saved,
    services: Services,
}

impl Teller {
    /// A teller that remembers nothing yet.
    pub fn new(node: String, reasons: Reasons) -> Self {
        Self {
            node,
            reasons,
            names: NetnsNames::default(),
            flows: Flows::default(),
            pending: Pending::default(),
            saved: HashMap::new(),
        }
    }

    /// The line for a record; `None` if it is no loss, or only keeps the counters' books straight.
    pub fn line(&mut self, event: &DropEvent, store: &Store, symbols: &Symbols) -> Option<Line> {
        let packet = packet(event);
        let symbol = symbols.of(event.location).map(|symbol| symbol.name);
        let by_netfilter = event.flags & flag::NETFILTER != 0;
        let mut scene = Scene {
            hook: None,
            snapshot: None,
        };
        let info = if by_netfilter {
            self.netfilter(event, store, symbols, symbol, &mut scene)
        } else {
            self.other(event, &packet, symbol)?
        };
        if event.flags & flag::BOOKKEEPING != 0 {
            return None;
        }
        let (in_dev, out_dev) = devices(event, by_netfilter.then_some(info.hook).flatten());
        let snapshot = scene.snapshot.or_else(|| store.current(event.net).cloned());
        let flow = self.flow(event, &packet, snapshot.as_deref(), info.hook);
        let drop = DropLine {
            netns: Some(Netns {
                inode: event.netns_inode,
                name: self.names.name(event.netns_inode),
            }),
            packet,
            in_dev,
            out_dev,
            flow,
            matched: matched(event.matched),
            drop: info,
            hints: Vec::new(),
        };
        Some(Line::new(
            clock::wall(event.time_ns),
            self.node.clone(),
            Event::Drop(Box::new(drop)),
        ))
    }

    fn netfilter(
        &mut self,
        event: &DropEvent,
        store: &Store,
        symbols: &Symbols,
        symbol: Option<&str>,
        scene: &mut Scene,
    ) -> DropInfo {
        let frames = &event.stack[..(event.stack_count as usize).min(event.stack.len())];
        let hook = hook_of(frames, symbols);
        let compared = store
            .at(event.net, event.generation)
            .or_else(|| store.current(event.net))
            .cloned();
        let mut info = match &compared {
            Some(snapshot) => {
                let mut verdict = decide(event, snapshot, hook, symbol.unwrap_or(""), &mut self.pending);
                check_number(&mut verdict, event, snapshot, store);
                self.named(event, snapshot, hook, &verdict)
            }
            None => unread(hook),
        };
        info.reason = self.reasons.name(event.reason);
        info.symbol = symbol.map(str::to_owned);
        scene.hook = hook;
        scene.snapshot = compared;
        info
    }

    fn named(
        &mut self,
        event: &DropEvent,
        snapshot: &Snapshot,
        hook: Option<Hook>,
        verdict: &Verdict,
    ) -> DropInfo {
        if event.flags & flag::BOOKKEEPING != 0 {
            return DropInfo::default();
        }
        let texts: Vec<Option<Rc<Ruletext>>> = (0..snapshot.tables.len()).map(|_| None).collect();
        let texts = self.texts(snapshot, verdict, texts);
        name(event, snapshot, hook, verdict, |table| {
            texts.get(table)?.as_ref().map(|text| &text.saved)
        })
    }

    /// The tools' output for the tables that a verdict speaks of.
    fn texts(
        &mut self,
        snapshot: &Snapshot,
        verdict: &Verdict,
        mut texts: Vec<Option<Rc<Ruletext>>>,
    ) -> Vec<Option<Rc<Ruletext>>> {
        for place in verdict.places() {
            let Some(table) = snapshot.tables.get(place.table) else {
                continue;
            };
            let text = self.text(snapshot, table.backend, table.family);
            texts[place.table] = Some(text).filter(|text| text.saved.fits(table));
        }
        texts
    }

    /// What the tool prints of a backend and family in a namespace; empty if it cannot be run.
    fn text(&mut self, snapshot: &Snapshot, backend: Backend, family: TableFamily) -> Rc<Ruletext> {
        let key = (snapshot.inode, backend, family, snapshot.hash(backend, family));
        if let Some(known) = self.saved.get(&key) {
            return Rc::clone(known);
        }
        let saved = Saved::run(snapshot.inode, backend, family).unwrap_or_default();
        let mut services = Services::default();
        services.add(saved.rules("nat"));
        let text = Rc::new(Ruletext { saved, services });
        if self.saved.len() >= MOST_SAVED {
            self.saved.clear();
        }
        self.saved.insert(key, Rc::clone(&text));
        text
    }

    fn flow(
        &mut self,
        event: &DropEvent,
        packet: &Packet,
        snapshot: Option<&Snapshot>,
        hook: Option<Hook>,
    ) -> Option<crate::report::record::Flow> {
        let is_v6 = event.protocol == 0x86dd_u16.to_be();
        let tracked = snapshot.is_some_and(|snapshot| is_tracked(snapshot, hook, is_v6));
        let mut flow = self.flows.flow(event, packet, tracked)?;
        if let Some(snapshot) = snapshot {
            flow.service = self.service(snapshot, &flow, packet, is_v6);
        }
        Some(flow)
    }

    fn service(
        &mut self,
        snapshot: &Snapshot,
        flow: &crate::report::record::Flow,
        packet: &Packet,
        is_v6: bool,
    ) -> Option<String> {
        let family = if is_v6 { TableFamily::Ip6 } else { TableFamily::Ip };
        let kube = |table: &&crate::ruleset::Table| {
            table.family == family && table.name == "nat" && table.chain("KUBE-SERVICES").is_some()
        };
        let backends: Vec<Backend> = snapshot
            .tables
            .iter()
            .filter(kube)
            .map(|table| table.backend)
            .collect();
        backends.into_iter().find_map(|backend| {
            self.text(snapshot, backend, family)
                .services
                .of(flow, packet)
                .map(str::to_owned)
        })
    }

    /// A drop that is not netfilter's; `None` if nothing was lost.
    fn other(&mut self, event: &DropEvent, packet: &Packet, symbol: Option<&str>) -> Option<DropInfo> {
        let reason = self.reasons.name(event.reason);
        let (in_dev, out_dev) = devices(event, None);
        let facts = PacketFacts {
            packet: Some(packet),
            in_dev: in_dev.as_deref(),
            out_dev: out_dev.as_deref(),
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

/// What was found out about a netfilter drop on the way.
struct Scene {
    hook: Option<Hook>,
    snapshot: Option<Rc<Snapshot>>,
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

/// Names of the devices that the packet came in by and was to leave by.
fn devices(event: &DropEvent, hook: Option<Hook>) -> (Option<String>, Option<String>) {
    let dev = device(&event.dev_name);
    let route = device(&event.route_name);
    match hook {
        Some(Hook::Prerouting | Hook::Input) => (dev, None),
        Some(Hook::Forward) => (dev, route),
        Some(Hook::Output) => (None, route.or(dev)),
        Some(Hook::Postrouting) => (None, dev.or(route)),
        _ if event.iif == 0 => (None, dev.or(route)),
        _ if event.iif == event.dev_ifindex => {
            // The route of a packet for this host leads to the loopback device.
            let out = route.filter(|name| name != "lo" && Some(name) != dev.as_ref());
            (dev, out)
        }
        _ => (None, dev.or(route)),
    }
}

fn matched(matched: u8) -> Option<Matched> {
    match matched {
        m if m == CommonMatched::Headers as u8 => Some(Matched::Headers),
        m if m == CommonMatched::Original as u8 => Some(Matched::Original),
        m if m == CommonMatched::Reply as u8 => Some(Matched::Reply),
        _ => None,
    }
}
