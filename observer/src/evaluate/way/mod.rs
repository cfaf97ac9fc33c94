//! A packet's whole way: hook after hook, and at each of them what is registered there by its priority, tables of iptables and
//! base chains of nf_tables alike, with conntrack and routing between (`enum nf_ip_hook_priorities`,
//! include/uapi/linux/netfilter_ipv4.h).

mod chain;
mod nft_packet;
mod phases;
mod same_priority;
mod table;
mod traveller;

use std::rc::Rc;

use super::around::Surroundings;
use super::nftables::{self, Evaluator};
use super::packet::Packet;
use super::table::Table;
use super::walk::{Bounds, Doubt, Place, Step, Verdict};
use crate::report::record::Hook;
use traveller::Traveller;

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

/// All that is asked.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    /// Tables of iptables, of one family.
    pub tables: &'a [Table],
    /// What else nf_tables holds.
    pub nft: Option<&'a Evaluator<'a>>,
}

/// A way from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Way {
    /// Tables and base chains in the order in which they were asked.
    pub stops: Vec<Stop>,
    /// How it ended.
    pub end: End,
    /// The packet at the end.
    pub packet: Packet,
    /// What to know about it.
    pub notes: Vec<String>,
}

impl Way {
    /// The tables of iptables that were asked.
    pub fn passages(&self) -> impl Iterator<Item = &Passage> {
        self.stops.iter().filter_map(|stop| match stop {
            Stop::Table(passage) => Some(&**passage),
            Stop::Chain(_) => None,
        })
    }
}

/// What was asked at a hook.
#[derive(Clone, Debug)]
pub enum Stop {
    /// A table of iptables.
    Table(Box<Passage>),
    /// A base chain of nf_tables.
    Chain(Box<ChainPassage>),
}

impl Stop {
    /// The hook.
    pub fn hook(&self) -> Hook {
        match self {
            Self::Table(passage) => passage.hook,
            Self::Chain(passage) => passage.hook,
        }
    }
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

/// A base chain of nf_tables that was asked.
#[derive(Clone, Debug)]
pub struct ChainPassage {
    /// The hook.
    pub hook: Hook,
    /// The base chain: its policy's place.
    pub base: nftables::Place,
    /// Its own priority.
    pub priority: i64,
    /// Rules, and what came of it.
    pub path: nftables::Path,
    /// The assumptions that the outcome rests on: all ways that come to it have them.
    pub rests_on: Vec<nftables::Assumption>,
    /// The packet before.
    pub before: Packet,
    /// The packet afterwards.
    pub after: Packet,
}

/// How a way ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a socket of this host.
    Delivered,
    /// Out by a device; `None` if it is not known by which.
    Left(Option<Rc<str>>),
    /// At a rule or policy of the last stop's table.
    Dropped(Place),
    /// At a rule or policy of nf_tables.
    DroppedByNft(nftables::Place),
    /// No route.
    Nowhere(&'static str),
    /// It is not known: why.
    Open(String),
}

/// Goes the whole way. `packet` has the devices that it comes in and leaves by, as far as they are known, and what conntrack
/// will say of it.
pub fn ways(
    asked: InForce<'_>,
    packet: &Packet,
    course: Course,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Vec<Way> {
    let traveller = Traveller {
        asked,
        course,
        around,
        given: packet.clone(),
    };
    traveller.all(bounds)
}
