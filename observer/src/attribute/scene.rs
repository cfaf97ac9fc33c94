//! One drop and the rules it may have met: which of them can have been it, by hook, family, device and the function that
//! freed the packet.

use observer_common::{DropEvent, MAX_MOVED};

use super::Site;
use super::culprit::Move;
use super::droppers::{is_on, is_v6, nat_is_open};
use crate::report::record::{Backend, Hook, TableFamily};
use crate::ruleset::{Place, Snapshot, Table};

/// Functions that free what nf_tables drops, on kernels where it frees at all.
pub(super) const NFT_FREES: &str = "nft_do_chain";
/// Frees what cannot be queued: nobody listens, or the queue is full (net/netfilter/nf_queue.c, v6.1 … v6.18).
pub(super) const QUEUE_FREES: &str = "nf_queue";
/// Free what the listener of a queue turned down, in whichever hook (v6.1, v6.12).
pub(super) const LISTENER_FREES: [&str; 3] = ["nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict"];
/// Targets that queue.
const QUEUES: [&str; 3] = ["NFQUEUE", "QUEUE", "queue"];
/// Targets and expressions that translate addresses.
const NATS: [&str; 8] = [
    "DNAT",
    "SNAT",
    "MASQUERADE",
    "REDIRECT",
    "NETMAP",
    "nat",
    "masq",
    "redir",
];
/// Headers that a device's egress sees before the packet, in bytes: none, Ethernet, Ethernet with a VLAN tag.
const LINK_HEADERS: [u64; 3] = [0, 14, 18];

/// A drop, and what was in force.
pub(super) struct Scene<'a> {
    pub(super) event: &'a DropEvent,
    pub(super) snapshot: &'a Snapshot,
    pub(super) site: Option<Site<'a>>,
    pub(super) symbol: &'a str,
}

impl Scene<'_> {
    pub(super) fn moves(&self) -> Vec<Move> {
        let count = (self.event.moved_count as usize).min(MAX_MOVED);
        let moved = self.event.moved[..count].iter();
        moved
            .filter_map(|moved| {
                let place = *self.snapshot.place(moved.candidate)?;
                Some(Move {
                    place,
                    packets: moved.packets,
                    bytes: moved.bytes,
                })
            })
            .collect()
    }

    /// Whether no other rule, counting or not, can have ended this packet where it was freed.
    pub(super) fn is_alone(&self, place: &Place) -> bool {
        let all = self.snapshot.places.iter().chain(&self.snapshot.uncounted);
        all.filter(|other| self.fits(other)).all(|other| other == place)
    }

    /// Whether a packet in this hook, of this family, freed by this function, can have met this rule.
    pub(super) fn fits(&self, place: &Place) -> bool {
        let Some(table) = self.snapshot.tables.get(place.table) else {
            return false;
        };
        self.family_fits(table.family)
            && self.freed_by(table, place)
            && self.site.is_none_or(|site| {
                let nft_family = site.nft_family();
                self.hook_fits(place, site)
                    && self.can_have_failed(table, place, site.hook)
                    && nft_family.is_none_or(|family| family == table.family)
            })
    }

    /// Whether a packet of this protocol in this hook comes to tables of that family.
    fn family_fits(&self, table: TableFamily) -> bool {
        let is_v6 = is_v6(self.event);
        let of_packet = match table {
            TableFamily::Ip => !is_v6,
            TableFamily::Ip6 => is_v6,
            _ => true,
        };
        let of_hook = self.site.is_none_or(|site| match (site.family, table) {
            (TableFamily::Inet, TableFamily::Ip | TableFamily::Ip6 | TableFamily::Inet) => true,
            (TableFamily::Netdev, TableFamily::Inet) => site.hook == Hook::Ingress,
            (family, table) => family == table,
        });
        of_packet && of_hook
    }

    /// Whether the function that freed the packet is the one that frees what this rule drops.
    fn freed_by(&self, table: &Table, place: &Place) -> bool {
        let target = Self::target(table, place);
        let queues = target.is_some_and(|target| QUEUES.contains(&target));
        let by_nft = table.backend == Backend::Nft;
        match self.symbol {
            NFT_FREES => by_nft && !queues,
            QUEUE_FREES => queues,
            symbol if LISTENER_FREES.contains(&symbol) => queues,
            _ => !(by_nft && self.snapshot.nft_frees),
        }
    }

    /// Whether a rule that translates can have failed to; true for every other rule.
    fn can_have_failed(&self, table: &Table, place: &Place, hook: Hook) -> bool {
        let is_nat = Self::target(table, place).is_some_and(|target| NATS.contains(&target));
        !is_nat || nat_is_open(self.event, hook)
    }

    fn target<'t>(table: &'t Table, place: &Place) -> Option<&'t str> {
        let rule = place.rule?;
        let rule = table.chains.get(place.chain)?.rules.get(rule)?;
        rule.target.as_deref()
    }

    /// Whether this hook leads to the rule; a device's hook only on that device.
    fn hook_fits(&self, place: &Place, site: Site<'_>) -> bool {
        if site.family != TableFamily::Netdev {
            return self.snapshot.is_reached_from(place.table, place.chain, site.hook);
        }
        let bases = self.snapshot.bases_of(place.table, place.chain);
        let Some(table) = self.snapshot.tables.get(place.table) else {
            return false;
        };
        let functions = &self.snapshot.hooks.functions;
        bases
            .iter()
            .filter_map(|base| table.chains.get(*base))
            .any(|base| {
                functions
                    .iter()
                    .any(|function| function.private == base.address && is_on(self.event, site, function))
            })
    }

    /// Exactly this packet was counted: at a device's egress with its link header.
    pub(super) fn is_this_packet(&self, moved: &Move) -> bool {
        let is_egress = self.site.is_some_and(|site| site.hook == Hook::Egress);
        let headers = if is_egress {
            &LINK_HEADERS[..]
        } else {
            &LINK_HEADERS[..1]
        };
        let len_bytes = u64::from(self.event.len_bytes);
        moved.packets == 1 && headers.iter().any(|header| moved.bytes == len_bytes + header)
    }

    /// Whether packets in this hook are held against rules.
    pub(super) fn meets_rules(&self, site: Site<'_>) -> bool {
        let tables = self.snapshot.tables.iter().enumerate();
        let frees = |table: &Table| table.backend == Backend::Nft && self.snapshot.nft_frees;
        let mut fitting = tables.filter(|(_, table)| self.family_fits(table.family) && !frees(table));
        fitting.any(|(index, table)| {
            let chains = table.chains.iter().enumerate();
            chains
                .filter(|(_, chain)| !chain.rules.is_empty())
                .any(|(chain, _)| self.snapshot.is_reached_from(index, chain, site.hook))
        })
    }
}
