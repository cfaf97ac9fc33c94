//! A packet's whole way: hook after hook, table after table, with conntrack and routing between
//! (`enum nf_ip_hook_priorities`, include/uapi/linux/netfilter_ipv4.h).

use std::rc::Rc;

use super::around::{Route, Surroundings};
use super::packet::{Conn, Dev, Kinds, Packet};
use super::table::Table;
use super::walk::{Bounds, Doubt, Outcome, Place, Step, Verdict, walk};
use crate::report::record::{CtState, Hook};

/// Where a way begins, and where it leads if that is not left to the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It arrives; the routes say where it goes.
    Arriving,
    /// It arrives and is forwarded.
    Forward,
    /// It arrives and is for this host.
    Input,
    /// It comes from this host.
    Output,
}

/// A way from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Way {
    /// Tables in the order in which they were asked.
    pub passages: Vec<Passage>,
    /// How it ended.
    pub end: End,
    /// The packet at the end.
    pub packet: Packet,
    /// What to know about it.
    pub notes: Vec<String>,
}

/// A table that was asked.
#[derive(Clone, Debug)]
pub struct Passage {
    /// The hook.
    pub hook: Hook,
    /// The table's index.
    pub table: usize,
    /// The rules that matched, and the policy.
    pub steps: Vec<Step>,
    /// Every doubt on the way, in order.
    pub doubts: Vec<Doubt>,
    /// Those that the outcome rests on: all ways that come to it have them.
    pub rests_on: Vec<Doubt>,
    /// The packet before.
    pub before: Packet,
    /// The packet afterwards.
    pub after: Packet,
    /// What came of it.
    pub verdict: Verdict,
}

/// How a way ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a socket of this host.
    Delivered,
    /// Out by a device; `None` if it is not known by which.
    Left(Option<Rc<str>>),
    /// At a rule or policy of the last passage's table.
    Dropped(Place),
    /// No route.
    Nowhere(&'static str),
    /// It is not known: why.
    Open(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A hook begins.
    Enter(Hook),
    /// A table is asked.
    Table(Hook, usize),
    /// Conntrack looks at the packet.
    Conntrack,
    /// A packet that has arrived is routed.
    Route,
    /// A packet of this host whose address or mark has changed is routed again.
    Reroute,
}

/// `NF_IP_PRI_CONNTRACK`
const CONNTRACK: i32 = -200;

/// Goes the whole way. `packet` has the devices that it comes in and leaves by, as far as they are known, and what conntrack
/// will say of it.
pub fn ways(
    tables: &[Table],
    packet: &Packet,
    course: Course,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Vec<Way> {
    let mut phases = Vec::new();
    match course {
        Course::Output => {
            of_hook(tables, Hook::Output, &mut phases);
            phases.push(Phase::Reroute);
            of_hook(tables, Hook::Postrouting, &mut phases);
        }
        Course::Arriving | Course::Forward | Course::Input => {
            of_hook(tables, Hook::Prerouting, &mut phases);
            phases.push(Phase::Route);
        }
    }
    let traveller = Traveller {
        tables,
        course,
        around,
        given: packet.clone(),
    };
    traveller.all(phases, bounds)
}

/// Conntrack and tables of a hook by their priorities; of the same priority in the order that they were given.
fn of_hook(tables: &[Table], hook: Hook, phases: &mut Vec<Phase>) {
    phases.push(Phase::Enter(hook));
    let mut found: Vec<(i32, Phase)> = tables
        .iter()
        .enumerate()
        .filter_map(|(index, table)| {
            let base = table.chains.get(table.base(hook)?)?.base?;
            Some((base.priority, Phase::Table(hook, index)))
        })
        .collect();
    if matches!(hook, Hook::Prerouting | Hook::Output) {
        found.push((CONNTRACK, Phase::Conntrack));
    }
    found.sort_by_key(|(priority, _)| *priority);
    phases.extend(found.into_iter().map(|(_, phase)| phase));
}

struct Traveller<'a> {
    tables: &'a [Table],
    course: Course,
    around: &'a dyn Surroundings,
    /// Real devices, and what conntrack will say.
    given: Packet,
}

#[derive(Clone)]
struct Pending {
    passages: Vec<Passage>,
    packet: Packet,
    notes: Vec<String>,
    /// The device that it really leaves by.
    out_dev: Dev,
    hook: Hook,
    phases: Rc<Vec<Phase>>,
    at: usize,
}

impl Pending {
    fn end(self, end: End) -> Way {
        Way {
            passages: self.passages,
            end,
            packet: self.packet,
            notes: self.notes,
        }
    }

    fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }
}

impl Traveller<'_> {
    fn all(&self, phases: Vec<Phase>, bounds: &mut Bounds) -> Vec<Way> {
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
        let mut waiting = vec![Pending {
            passages: Vec::new(),
            packet,
            notes: Vec::new(),
            out_dev: self.given.out_dev.clone(),
            hook: Hook::Prerouting,
            phases: Rc::new(phases),
            at: 0,
        }];
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

    /// Goes on until the way ends or parts.
    fn go(&self, mut pending: Pending, waiting: &mut Vec<Pending>, done: &mut Vec<Way>, bounds: &mut Bounds) {
        while let Some(phase) = pending.phases.get(pending.at).copied() {
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
                Phase::Table(hook, index) => match self.table(pending, hook, index, waiting, done, bounds) {
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

    /// What rules at a hook see of the devices, and what having come there says of the destination.
    fn enter(&self, pending: &mut Pending, hook: Hook) {
        pending.hook = hook;
        let packet = &mut pending.packet;
        let (came_in, leaves) = (self.given.in_dev.clone(), pending.out_dev.clone());
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

    fn conntrack(&self, pending: &mut Pending) {
        let conn = &mut pending.packet.conn;
        if conn.may_be_untracked {
            *conn = Conn::default();
        } else if conn.state != Some(CtState::Untracked) {
            conn.clone_from(&self.given.conn);
        }
    }

    /// Where a packet that has arrived goes on.
    fn route(&self, pending: &mut Pending) -> Option<End> {
        let route = match self.course {
            Course::Input => Some(Route::Local),
            Course::Forward => match self.around.route(&pending.packet) {
                Some(Route::Out(device)) if self.given.out_dev == Dev::Unknown => Some(Route::Out(device)),
                _ => None,
            },
            _ => self.around.route(&pending.packet),
        };
        let mut phases = Vec::new();
        match route {
            Some(Route::Local) => of_hook(self.tables, Hook::Input, &mut phases),
            Some(Route::Nowhere(why)) => return Some(End::Nowhere(why)),
            None if self.course == Course::Arriving => {
                return Some(End::Open("where it is routed to is not known".to_owned()));
            }
            route => {
                if let Some(Route::Out(device)) = route {
                    pending.out_dev = Dev::Named(device);
                }
                of_hook(self.tables, Hook::Forward, &mut phases);
                of_hook(self.tables, Hook::Postrouting, &mut phases);
            }
        }
        (pending.phases, pending.at) = (Rc::new(phases), 0);
        None
    }

    fn reroute(&self, pending: &mut Pending) {
        let (given, now) = (&self.given, &pending.packet);
        if (given.dst, given.dport, given.mark) == (now.dst, now.dport, now.mark) {
            return;
        }
        pending.out_dev = match self.around.route(now) {
            Some(Route::Out(device)) => Dev::Named(device),
            Some(Route::Local) => Dev::named("lo"),
            _ => Dev::Unknown,
        };
    }

    /// Asks a table; returns the way if it goes on alone.
    fn table(
        &self,
        mut pending: Pending,
        hook: Hook,
        index: usize,
        waiting: &mut Vec<Pending>,
        done: &mut Vec<Way>,
        bounds: &mut Bounds,
    ) -> Option<Pending> {
        let table = self.tables.get(index)?;
        if is_nat(table, hook) {
            match pending.packet.conn.state {
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
        let outcomes = walk(table, hook, &pending.packet, self.around, bounds);
        let outcomes = merged(outcomes, bounds.merges);
        let mut next: Option<Pending> = None;
        for (outcome, rests_on) in outcomes {
            let mut way = pending.clone();
            way.passages.push(Passage {
                hook,
                table: index,
                steps: outcome.steps,
                doubts: outcome.doubts,
                rests_on,
                before: pending.packet.clone(),
                after: outcome.packet.clone(),
                verdict: outcome.verdict.clone(),
            });
            way.packet = outcome.packet;
            match outcome.verdict {
                Verdict::Drop(place) => done.push(way.end(End::Dropped(place))),
                Verdict::Open(_, why) => done.push(way.end(End::Open(why))),
                Verdict::Accept(_) => waiting.extend(next.replace(way)),
            }
        }
        next
    }
}

fn is_nat(table: &Table, hook: Hook) -> bool {
    let base = table.base(hook).and_then(|chain| table.chains.get(chain)?.base);
    base.is_some_and(|base| base.is_nat)
}

/// Ways that come to the same are one: it rests on the doubts that they have in common.
fn merged(outcomes: Vec<Outcome>, merges: bool) -> Vec<(Outcome, Vec<Doubt>)> {
    let mut kept: Vec<(Outcome, Vec<Doubt>)> = Vec::new();
    for outcome in outcomes {
        match kept
            .iter_mut()
            .find(|(known, _)| merges && is_same(known, &outcome))
        {
            Some((_, rests_on)) => rests_on.retain(|doubt| outcome.doubts.contains(doubt)),
            None => {
                let rests_on = outcome.doubts.clone();
                kept.push((outcome, rests_on));
            }
        }
    }
    kept
}

/// To whoever is dropped in the same place it does not matter how; who lives must be the same afterwards.
fn is_same(one: &Outcome, other: &Outcome) -> bool {
    match (&one.verdict, &other.verdict) {
        (Verdict::Accept(_), Verdict::Accept(_)) => one.packet == other.packet,
        (one, other) => one == other,
    }
}
