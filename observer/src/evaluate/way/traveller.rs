//! Going: from phase to phase, until the way ends or parts.

use std::rc::Rc;

use super::phases::{self, Asked, Phase, Who};
use super::{Course, End, InForce, Stop, Way};
use crate::evaluate::around::{Route, Surroundings};
use crate::evaluate::packet::{Conn, Dev, Kinds, Packet};
use crate::evaluate::walk::Bounds;
use crate::report::record::{CtState, Hook};

/// Whoever goes.
pub(super) struct Traveller<'a> {
    pub(super) asked: InForce<'a>,
    pub(super) course: Course,
    pub(super) around: &'a dyn Surroundings,
    /// Real devices, and what conntrack will say.
    pub(super) given: Packet,
}

/// A way as far as it was gone.
#[derive(Clone)]
pub(super) struct Pending<'a> {
    pub(super) stops: Vec<Stop>,
    pub(super) packet: Packet,
    notes: Vec<String>,
    /// The device that it really came in by.
    in_dev: Dev,
    /// The device that it really leaves by.
    out_dev: Dev,
    /// Whether it has gone out by the loopback device and come in again: with its connection, which nothing translates anew.
    has_looped: bool,
    hook: Hook,
    /// Whether something at this hook has translated its connection: then nothing else there is asked to.
    pub(super) is_translated: bool,
    /// Whether a packet of this host is to be routed again.
    pub(super) reroutes: bool,
    pub(super) phases: Rc<Vec<Phase<'a>>>,
    /// The next phase.
    pub(super) at: usize,
}

impl Pending<'_> {
    pub(super) fn end(self, end: End) -> Way {
        Way {
            stops: self.stops,
            end,
            packet: self.packet,
            notes: self.notes,
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }
}

/// What has come of asking somebody.
pub(super) enum Came<'a> {
    /// The way goes on.
    On(Pending<'a>),
    /// It has ended.
    Over(Way),
}

impl<'a> Traveller<'a> {
    /// All the ways.
    pub(super) fn all(&self, bounds: &mut Bounds) -> Vec<Way> {
        let mut waiting = vec![self.start()];
        let mut done = Vec::new();
        while let Some(pending) = waiting.pop() {
            if done.len() + waiting.len() >= bounds.ways {
                done.push(pending.end(End::Open(format!("there are more than {} ways", bounds.ways))));
                return done;
            }
            self.go(pending, &mut waiting, &mut done, bounds);
        }
        done
    }

    fn start(&self) -> Pending<'a> {
        let mut packet = self.given.clone();
        // Nobody has asked conntrack yet. What comes back over the loopback device has its connection already, and so have
        // some answers that the kernel makes by itself (`nf_ct_attach`).
        let is_fresh = match self.given.in_dev.name() {
            _ if self.course == Course::Output => self.given.conn.state == Some(CtState::New),
            Some(name) => name != "lo",
            None => false,
        };
        packet.conn = Conn {
            state: is_fresh.then_some(CtState::Invalid),
            ..Conn::default()
        };
        packet.src_kinds = packet.src.map_or(Kinds::ANY, |addr| self.around.kinds(addr));
        packet.dst_kinds = packet.dst.map_or(Kinds::ANY, |addr| self.around.kinds(addr));
        Pending {
            stops: Vec::new(),
            packet,
            notes: Vec::new(),
            in_dev: self.given.in_dev.clone(),
            out_dev: self.given.out_dev.clone(),
            has_looped: false,
            hook: Hook::Prerouting,
            is_translated: false,
            reroutes: false,
            phases: Rc::new(phases::first(self.asked, self.course, self.given.is_v6)),
            at: 0,
        }
    }

    /// Goes on until the way ends or parts.
    fn go(
        &self,
        mut pending: Pending<'a>,
        waiting: &mut Vec<Pending<'a>>,
        done: &mut Vec<Way>,
        bounds: &mut Bounds,
    ) {
        loop {
            let Some(phase) = pending.phases.get(pending.at).copied() else {
                if self.loops(&mut pending) {
                    continue;
                }
                break;
            };
            pending.at += 1;
            match phase {
                Phase::Enter(hook) => self.enter(&mut pending, hook),
                Phase::Conntrack => self.conntrack(&mut pending),
                Phase::Reroute => self.reroute(&mut pending),
                Phase::Route => {
                    if let Some(end) = self.route(&mut pending) {
                        done.push(pending.end(end));
                        return;
                    }
                }
                Phase::Ask(asked) => match self.ask(pending, asked, waiting, done, bounds) {
                    Some(next) => pending = next,
                    None => return,
                },
            }
        }
        let end = match pending.hook {
            Hook::Input => End::Delivered,
            _ => End::Left(match &pending.out_dev {
                Dev::Named(name) => Some(Rc::clone(name)),
                _ => None,
            }),
        };
        done.push(pending.end(end));
    }

    /// What this host sends to itself comes in again, with the route that it has (`loopback_xmit`, drivers/net/loopback.c).
    fn loops(&self, pending: &mut Pending<'a>) -> bool {
        let is_out = pending.hook == Hook::Postrouting && pending.out_dev.name() == Some("lo");
        if pending.has_looped || self.course != Course::Output || !is_out {
            return false;
        }
        pending.has_looped = true;
        pending.in_dev = pending.out_dev.clone();
        let phases = phases::looped(self.asked, self.given.is_v6);
        (pending.phases, pending.at) = (Rc::new(phases), 0);
        true
    }

    /// What rules at a hook see of the devices, and what having come there says of the destination.
    fn enter(&self, pending: &mut Pending<'_>, hook: Hook) {
        pending.hook = hook;
        pending.is_translated = false;
        let packet = &mut pending.packet;
        let (came_in, leaves) = (pending.in_dev.clone(), pending.out_dev.clone());
        (packet.in_dev, packet.out_dev) = match hook {
            Hook::Prerouting | Hook::Input => (came_in, Dev::Absent),
            Hook::Forward => (came_in, leaves),
            Hook::Output => (Dev::Absent, leaves),
            // Kernels differ: from 5.7 on rules see the device that a forwarded packet came in by.
            _ => (Dev::Unknown, leaves),
        };
        let ours = Kinds::LOCAL
            .with(Kinds::BROADCAST)
            .with(Kinds::MULTICAST)
            .with(Kinds::ANYCAST);
        let possible = match hook {
            Hook::Input => packet.dst_kinds.within(ours),
            Hook::Forward => packet.dst_kinds.without(Kinds::LOCAL.with(Kinds::BROADCAST)),
            _ => packet.dst_kinds,
        };
        if !possible.is_empty() {
            packet.dst_kinds = possible;
        }
    }

    fn conntrack(&self, pending: &mut Pending<'_>) {
        if pending.has_looped {
            return;
        }
        let conn = &mut pending.packet.conn;
        if conn.may_be_untracked {
            *conn = Conn::default();
        } else if conn.state != Some(CtState::Untracked) {
            conn.clone_from(&self.given.conn);
        }
    }

    /// Where a packet that has arrived goes on.
    fn route(&self, pending: &mut Pending<'a>) -> Option<End> {
        let route = match self.course {
            Course::Input => Some(Route::Local),
            Course::Forward => match self.around.route(&pending.packet) {
                Some(Route::Out(device)) if self.given.out_dev == Dev::Unknown => Some(Route::Out(device)),
                _ => None,
            },
            _ => self.around.route(&pending.packet),
        };
        let is_local = match route {
            Some(Route::Local) => true,
            Some(Route::Nowhere(why)) => return Some(End::Nowhere(why)),
            Some(Route::Out(device)) => {
                pending.out_dev = Dev::Named(device);
                false
            }
            None if self.course == Course::Arriving => {
                return Some(End::Open("where it is routed to is not known".to_owned()));
            }
            None => false,
        };
        let phases = phases::after_routing(self.asked, is_local, self.given.is_v6);
        (pending.phases, pending.at) = (Rc::new(phases), 0);
        None
    }

    fn reroute(&self, pending: &mut Pending<'_>) {
        if !pending.reroutes {
            return;
        }
        pending.out_dev = match self.around.route(&pending.packet) {
            Some(Route::Out(device)) => Dev::Named(device),
            Some(Route::Local) => Dev::named("lo"),
            _ => Dev::Unknown,
        };
    }

    /// Asks a table or base chain; returns the way if it goes on alone.
    fn ask(
        &self,
        mut pending: Pending<'a>,
        asked: Asked<'a>,
        waiting: &mut Vec<Pending<'a>>,
        done: &mut Vec<Way>,
        bounds: &mut Bounds,
    ) -> Option<Pending<'a>> {
        if asked.is_nat {
            match pending.packet.conn.state {
                _ if pending.is_translated || pending.has_looped => return Some(pending),
                Some(CtState::New) => {}
                None => {
                    let why = "whether its connection is new, and so translated, is not known";
                    done.push(pending.end(End::Open(why.to_owned())));
                    return None;
                }
                Some(CtState::Established | CtState::Related) => {
                    pending
                        .note("how its connection is translated is not known: addresses are taken as given");
                    return Some(pending);
                }
                Some(CtState::Invalid | CtState::Untracked) => return Some(pending),
            }
        }
        let came = match asked.who {
            Who::Table(index) => self.table(&pending, asked, index, bounds),
            Who::Chain(called) => self.chain(&pending, asked, called, bounds),
        };
        let mut next: Option<Pending<'a>> = None;
        for one in came {
            match one {
                Came::On(way) => waiting.extend(next.replace(way)),
                Came::Over(way) => done.push(way),
            }
        }
        next
    }
}
