//! Which hooks a packet has passed. Records are kept by the packet's address as they came, and only taken apart when
//! somebody wants to know.
//!
//! An `sk_buff` keeps its address from a namespace to the next, into a tunnel and out of it; but the memory of one that
//! is gone is soon another's. So each record is compared with the one before: the same packet has the same identity
//! under NAT.

use std::collections::{HashMap, VecDeque};

use observer_common::{DropEvent, HEADER_BYTES, HookEvent, flag, hook_flag};

use crate::capture::{entered_ns, hook_event, skb_of};

/// More hooks than any packet passes: namespaces, bridges and tunnels included.
const MOST_HOOKS: usize = 64;
/// More records than any burst is worth.
const MOST_RECORDS: usize = 32_768;
/// So many of them of packets that were freed and are no loss: these are kept in full, 2.5 kB each.
const MOST_OVER: usize = 8192;
/// Between two hooks of a packet: a queue, a slow program.
const LONGEST_NS: u64 = 5_000_000_000;
/// A packet that lives is told when no hook has seen it for so long.
const QUIET_NS: u64 = 100_000_000;
/// `NEXTHDR_FRAGMENT`
const IPV6_FRAGMENT: u8 = 44;
/// `enum nf_inet_hooks`, `NFPROTO_IPV4`, `NFPROTO_IPV6`
const PREROUTING: u8 = 0;
const INPUT: u8 = 1;
const FORWARD: u8 = 2;
const OUTPUT: u8 = 3;
const POSTROUTING: u8 = 4;
/// `LOOPBACK_IFINDEX`
const LOOPBACK: u32 = 1;
const INET: [u8; 2] = [2, 10];

/// The ways of packets that are still going.
#[derive(Default)]
pub struct Ways {
    by_skb: HashMap<u64, VecDeque<Box<[u8]>>>,
    /// In the order they came: address and time.
    order: VecDeque<(u64, u64)>,
    /// Those of packets that were freed as if they were lost, and were not: see [`Ways::lived`].
    over: VecDeque<Way>,
    /// How many records they have.
    over_records: usize,
    /// Records that were let go unseen because there were too many.
    forgotten: u64,
}

/// The hooks that one packet has passed, in order.
pub type Way = Vec<Box<HookEvent>>;

impl Ways {
    /// Keeps a record.
    pub fn add(&mut self, record: &[u8]) {
        let (Some(skb), Some(time)) = (skb_of(record), entered_ns(record)) else {
            return;
        };
        let records = self.by_skb.entry(skb).or_default();
        // A hook within another (br_netfilter's within the bridge's) is left, and told, before the one around it.
        let is_within = |later: &[u8]| entered_ns(later).is_some_and(|entered| entered > time);
        let within = records.iter().rev().take_while(|later| is_within(later)).count();
        records.insert(records.len() - within, record.into());
        self.order.push_back((skb, time));
        while self.order.len() > MOST_RECORDS {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((skb, time)) = self.order.pop_front() else {
            return;
        };
        let Some(records) = self.by_skb.get_mut(&skb) else {
            return;
        };
        if records.front().and_then(|record| entered_ns(record)) == Some(time) {
            records.pop_front();
            self.forgotten += 1;
        }
        if records.is_empty() {
            self.by_skb.remove(&skb);
        }
    }

    /// The way of a packet that died, up to its death.
    pub fn of_drop(&mut self, event: &DropEvent) -> Way {
        let Some(records) = self.by_skb.get_mut(&event.skb) else {
            return Way::new();
        };
        // What came after is of the next packet in the same memory.
        let is_earlier = |record: &[u8]| entered_ns(record).is_some_and(|at| at <= event.time_ns);
        let end = records.partition_point(|record| is_earlier(record));
        let way = way_before(records, end);
        if !way.last().is_some_and(|last| is_of(last, event)) {
            return Way::new();
        }
        // Of packets that lived and had this memory before, what is there is still to be told.
        records.drain(end - way.len()..end);
        if records.is_empty() {
            self.by_skb.remove(&event.skb);
        }
        way
    }

    /// Takes the way of a death back, if it was no loss: the packet had done its part (on Linux 6.1, each ICMPv6 message that
    /// the host has taken in). It is told in its turn, like those of other packets that live.
    pub fn lived(&mut self, way: Way) {
        self.over_records += way.len();
        self.over.extend(Some(way).filter(|way| !way.is_empty()));
        while self.over_records > MOST_OVER
            && let Some(oldest) = self.over.pop_front()
        {
            self.over_records -= oldest.len();
            self.forgotten += oldest.len() as u64;
        }
    }

    /// Ways that no hook has added to for a while, or `all` of them; each with its records in order.
    pub fn finished(&mut self, now_ns: u64, all: bool) -> Vec<Way> {
        let is_quiet = |time_ns: u64| all || now_ns.saturating_sub(time_ns) >= QUIET_NS;
        let is_over = |way: &Way| way.last().is_none_or(|last| is_quiet(last.time_ns));
        let over = self.over.iter().take_while(|way| is_over(way)).count();
        let mut finished: Vec<Way> = self.over.drain(..over).collect();
        self.over_records -= finished.iter().map(Vec::len).sum::<usize>();
        for records in self.by_skb.values_mut() {
            let first = records.front().and_then(|record| entered_ns(record));
            if !first.is_none_or(is_quiet) {
                continue;
            }
            let ways = split(records);
            let over = ways.iter().take_while(|way| is_over(way)).count();
            if over == ways.len() {
                records.clear();
            } else {
                let told: usize = ways[..over].iter().map(Vec::len).sum();
                records.drain(..told);
            }
            finished.extend(ways.into_iter().take(over));
        }
        self.by_skb.retain(|_, records| !records.is_empty());
        finished.sort_by_key(|way| way.first().map(|event| event.time_ns));
        self.forget_empty();
        finished
    }

    /// Lets go of what is too old to belong to a packet that still lives.
    pub fn forget_old(&mut self, now_ns: u64) {
        while let Some((_, time)) = self.order.front()
            && now_ns.saturating_sub(*time) > LONGEST_NS
        {
            self.forget_oldest();
        }
    }

    fn forget_empty(&mut self) {
        if self.by_skb.is_empty() {
            self.order.clear();
        }
    }
}

/// Whether the packet that passed this hook last is the one that died.
fn is_of(last: &HookEvent, event: &DropEvent) -> bool {
    if event.time_ns.saturating_sub(last.time_ns) >= LONGEST_NS {
        return false;
    }
    let header = &event.header[..(event.header_bytes as usize).min(HEADER_BYTES)];
    let died = Identity::of(header);
    let in_tunnel = last.flags & hook_flag::TUNNEL != 0;
    let is_its = died.is_some()
        && ((is_same(died, Identity::of(before(last))) && ends_fit(last, header, Next::Death))
            || (in_tunnel && is_same(died, Identity::of(&last.other))));
    // Else it was wrapped or unwrapped since its last hook.
    is_its || is_written_with(last, event)
}

/// Whether the kernel side wrote this record just before that of the death.
fn is_written_with(last: &HookEvent, event: &DropEvent) -> bool {
    event.flags & flag::PATH != 0 && last.flags & hook_flag::FREED != 0 && last.cpu == event.cpu
}

/// The way whose last record stands before `end`.
fn way_before(records: &VecDeque<Box<[u8]>>, end: usize) -> Way {
    let mut way = Way::new();
    for record in records.range(..end).rev().take(MOST_HOOKS) {
        match (hook_event(record), way.last()) {
            (Some(event), Some(next)) if follows(&event, next) => way.push(event),
            (Some(event), None) => way.push(event),
            _ => break,
        }
    }
    way.reverse();
    way
}

/// The packets that had this address one after the other.
fn split(records: &VecDeque<Box<[u8]>>) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for event in records.iter().filter_map(|record| hook_event(record)) {
        match ways.last_mut() {
            Some(way) if way.len() < MOST_HOOKS && way.last().is_some_and(|last| follows(last, &event)) => {
                way.push(event);
            }
            _ => ways.push(vec![event]),
        }
    }
    ways
}

/// Whether `next` is the same packet as `last`, further on its way.
fn follows(last: &HookEvent, next: &HookEvent) -> bool {
    let is_dead = last.flags & hook_flag::FREED != 0 || last.returned < 0;
    let is_tunnel = next.flags & hook_flag::TUNNEL != 0;
    // A packet is made here, unless it only goes into a tunnel here.
    let is_new = INET.contains(&next.pf) && next.hook == OUTPUT && next.first == 0 && !is_tunnel;
    let again =
        last.pf == next.pf && last.hook == next.hook && last.net == next.net && last.entries == next.entries;
    // What was not made here comes to POSTROUTING from a device. Without hooks on OUTPUT it is the first to see a packet.
    let leaves_where_made =
        INET.contains(&next.pf) && next.hook == POSTROUTING && next.in_ifindex == 0 && !is_tunnel;
    let was_elsewhere = leaves_where_made && last.net != next.net;
    !is_dead
        && !is_the_next_for_this_host(last, next)
        && (!is_new || again)
        && !was_elsewhere
        && next.time_ns.saturating_sub(last.time_ns) < LONGEST_NS
        && is_same(Identity::of(before(last)), Identity::of(before(next)))
        && ends_fit(last, before(next), Next::of(next, last))
}

/// Whether both came to INPUT of one namespace: no packet does twice, unless the first was what carried the second. Where no
/// other hook has functions, the next packet of a connection is told from the last by this alone.
fn is_the_next_for_this_host(last: &HookEvent, next: &HookEvent) -> bool {
    let is_here = |event: &HookEvent| INET.contains(&event.pf) && event.hook == INPUT;
    is_here(last)
        && is_here(next)
        && last.net == next.net
        && next.first == 0
        && last.flags & hook_flag::TUNNEL == 0
}

/// What comes after a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// PREROUTING of the same namespace, by another device than the loopback device: mostly of a packet that has just come in.
    Anew,
    /// Another hook.
    Hook,
    /// The packet's death.
    Death,
}

impl Next {
    fn of(next: &HookEvent, last: &HookEvent) -> Self {
        let is_anew = INET.contains(&next.pf)
            && next.hook == PREROUTING
            && next.net == last.net
            && next.in_ifindex != LOOPBACK
            && INET.contains(&last.pf);
        if is_anew { Self::Anew } else { Self::Hook }
    }
}

/// Whether a packet of which no identification tells (IPv6 has none) can be the one that passed a hook, by its addresses and
/// ports and its hop limit: NAT changes the destination in PREROUTING and OUTPUT, the source in INPUT and POSTROUTING
/// (`HOOK2MANIP`, net/netfilter/nf_nat_core.c), and nobody gives a packet more hops to live. Who rewrites otherwise makes
/// another packet of it here: its way is told in parts.
fn ends_fit(last: &HookEvent, header: &[u8], next: Next) -> bool {
    let (Some(was), Some(is)) = (Ends::of(before(last)), Ends::of(header)) else {
        return true;
    };
    let (same_source, same_destination) = (was.source == is.source, was.destination == is.destination);
    let fits = match last.hook {
        // On a bridge, at a device.
        _ if !INET.contains(&last.pf) => same_source || same_destination,
        _ if next == Next::Anew && last.hook != PREROUTING => same_source && same_destination,
        PREROUTING | OUTPUT | FORWARD => same_source,
        INPUT => same_source || same_destination,
        _ => same_destination,
    };
    fits && is.hops <= was.hops
}

/// Where a packet without an identification comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends<'a> {
    source: (&'a [u8], Option<&'a [u8]>),
    destination: (&'a [u8], Option<&'a [u8]>),
    hops: u8,
}

impl<'a> Ends<'a> {
    /// None for fragments, and for what has an identification.
    fn of(header: &'a [u8]) -> Option<Self> {
        let identity = Identity::of(header)?;
        if identity.ip_id != 0 || identity.is_fragment {
            return None;
        }
        let (addresses, length, at, hops) = match identity.version {
            4 => (12, 4, usize::from(header[0] & 0xf) * 4, *header.get(8)?),
            _ => (8, 16, 40, *header.get(7)?),
        };
        // TCP, UDP: a NAT of ICMP changes the identifier on both sides.
        let has_ports = matches!(identity.proto, 6 | 17);
        let port = |at: usize| header.get(at..at + 2).filter(|_| has_ports);
        Some(Self {
            source: (header.get(addresses..addresses + length)?, port(at)),
            destination: (
                header.get(addresses + length..addresses + 2 * length)?,
                port(at + 2),
            ),
            hops,
        })
    }
}

/// The packet as it entered the hook; within a tunnel, the inner one.
pub fn before(event: &HookEvent) -> &[u8] {
    &event.before[..(event.before_bytes as usize).min(event.before.len())]
}

/// How long the packet is, from its IP header on. In a tunnel the record has the length of what is around it, and its own header
/// says its own, unless it is longer than that can say (BIG TCP).
pub fn len_bytes(event: &HookEvent) -> u32 {
    let header = before(event);
    let be16 = |at: usize| {
        let bytes = header.get(at..at + 2)?.try_into().ok()?;
        Some(u32::from(u16::from_be_bytes(bytes))).filter(|len| *len > 0)
    };
    let own = match header.first().map(|first| first >> 4) {
        _ if event.flags & hook_flag::TUNNEL == 0 => None,
        Some(4) => be16(2),
        Some(6) => be16(4).map(|len| len + 40),
        _ => None,
    };
    own.unwrap_or(event.len_bytes)
}

/// What NAT, forwarding and tunnels leave as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    version: u8,
    proto: u8,
    /// IPv4's identification; IPv6: 0.
    ip_id: u16,
    /// TCP: sequence number. UDP: length. ICMP: identifier is NAT's to change; the sequence number.
    transport: u32,
    /// Whether it is one of several parts: put together, it has another length and another transport header.
    is_fragment: bool,
}

/// Whether both are one packet, in parts or whole.
fn is_same(a: Option<Identity>, b: Option<Identity>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) if a.is_fragment || b.is_fragment => {
            // IPv6 says what it carries behind the header of the fragment.
            a.version == b.version && a.ip_id == b.ip_id && (a.version == 6 || a.proto == b.proto)
        }
        (a, b) => a == b,
    }
}

impl Identity {
    fn of(header: &[u8]) -> Option<Self> {
        let first = *header.first()?;
        let (version, proto, ip_id, at, is_fragment) = match first >> 4 {
            4 => {
                let ip_id = u16::from_be_bytes([*header.get(4)?, *header.get(5)?]);
                // More to come, or not the first.
                let part = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]) & 0x3fff;
                let at = usize::from(first & 0xf) * 4;
                (4, *header.get(9)?, ip_id, at, part != 0)
            }
            6 => {
                let next = *header.get(6)?;
                (6, next, 0, 40, next == IPV6_FRAGMENT)
            }
            _ => return None,
        };
        let be32 = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let be16 = |at: usize| {
            Some(u32::from(u16::from_be_bytes(
                header.get(at..at + 2)?.try_into().ok()?,
            )))
        };
        let transport = match proto {
            6 => be32(at + 4),
            17 => be16(at + 4),
            1 | 58 => be16(at + 6),
            _ => None,
        };
        Some(Self {
            version,
            proto,
            ip_id,
            transport: transport.unwrap_or(0),
            is_fragment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{blank, blank_hook, bytes};

    const SYN: [u8; 40] = [
        0x45, 0, 0, 60, 0x12, 0x67, 0x40, 0, 63, 6, 0, 0, 10, 224, 0, 0, 10, 224, 2, 16, // IPv4
        0xa1, 0x12, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0x02, 0xff, 0xff, 0, 0, 0, 0, // TCP
    ];

    fn at(hook: u8, time_ns: u64, change: impl FnOnce(&mut HookEvent)) -> Vec<u8> {
        let mut event = blank_hook();
        event.skb = 7;
        event.pf = 2;
        event.hook = hook;
        event.time_ns = time_ns;
        event.returned = 1;
        event.before[..40].copy_from_slice(&SYN);
        event.before_bytes = 40;
        change(&mut event);
        bytes(&event)
    }

    fn death(time_ns: u64) -> DropEvent {
        let mut event = blank();
        event.skb = 7;
        event.time_ns = time_ns;
        event.header[..40].copy_from_slice(&SYN);
        event.header_bytes = 40;
        event
    }

    fn hooks(way: &Way) -> Vec<u8> {
        way.iter().map(|event| event.hook).collect()
    }

    #[test]
    fn nat_and_another_namespace_do_not_make_another_packet() {
        let mut ways = Ways::default();
        ways.add(&at(3, 1, |_| {}));
        ways.add(&at(4, 2, |event| event.before[19] = 99));
        ways.add(&at(0, 3, |event| (event.net, event.before[8]) = (5, 62)));
        assert_eq!(hooks(&ways.of_drop(&death(4))), [3, 4, 0]);
        assert!(ways.of_drop(&death(5)).is_empty(), "it died once");
    }

    #[test]
    fn a_packet_in_a_tunnel_is_as_long_as_its_own_header_says() {
        let mut event = *hook_event(&at(0, 1, |event| event.len_bytes = 110)).expect("a record");
        assert_eq!(len_bytes(&event), 110, "it is in none");
        event.flags |= hook_flag::TUNNEL;
        assert_eq!(len_bytes(&event), 60);
        event.before[2..4].fill(0);
        assert_eq!(len_bytes(&event), 110, "it does not say");
        (event.before[0], event.before[5]) = (0x60, 20);
        event.before[4] = 0;
        assert_eq!(len_bytes(&event), 60);
        event.before_bytes = 3;
        assert_eq!(len_bytes(&event), 110, "cut off");
    }

    /// What the oracle found: IPv6 has no identification, and two datagrams of the same length in the same memory were one.
    #[test]
    fn packets_without_an_identification_are_told_apart_by_their_ends() {
        let datagram = |sport: u8, hops: u8| -> [u8; 48] {
            let mut header = [0; 48];
            (header[0], header[6], header[7]) = (0x60, 17, hops);
            (header[8], header[23]) = (0xfd, 2);
            (header[24], header[39]) = (0xfd, 3);
            (header[41], header[43], header[45]) = (sport, 53, 8);
            header
        };
        let record = |hook: u8, time_ns: u64, header: [u8; 48]| {
            at(hook, time_ns, |event| {
                event.pf = 10;
                event.before[..48].copy_from_slice(&header);
                event.before_bytes = 48;
                event.in_ifindex = 4;
            })
        };
        let mut translated = datagram(1, 63);
        translated[39] = 9;
        // One that is forwarded, and then another's to the same destination, or the next of the same.
        for (next, ways_told) in [(datagram(2, 64), 2), (datagram(1, 64), 2)] {
            let mut ways = Ways::default();
            let records = [
                (0, datagram(1, 64)),
                (2, datagram(1, 63)),
                (4, datagram(1, 63)),
                (0, next),
            ];
            for (time, (hook, header)) in records.into_iter().enumerate() {
                ways.add(&record(hook, time as u64 + 1, header));
            }
            assert_eq!(ways.finished(u64::MAX, true).len(), ways_told);
        }
        let mut ways = Ways::default();
        for (time, (hook, header)) in [(0, datagram(1, 64)), (2, translated), (4, translated)]
            .into_iter()
            .enumerate()
        {
            ways.add(&record(hook, time as u64 + 1, header));
        }
        assert_eq!(ways.finished(u64::MAX, true).len(), 1, "one that is translated");
        let mut ways = Ways::default();
        ways.add(&record(0, 1, datagram(1, 64)));
        let mut other = death(2);
        other.header[..48].copy_from_slice(&datagram(2, 64));
        other.header_bytes = 48;
        assert!(ways.of_drop(&other).is_empty(), "another died");
    }

    #[test]
    fn a_retransmission_in_the_same_memory_is_another_packet() {
        let mut ways = Ways::default();
        ways.add(&at(3, 1, |event| event.before[5] = 1));
        ways.add(&at(3, 2, |_| {}));
        ways.add(&at(4, 3, |_| {}));
        assert_eq!(hooks(&ways.of_drop(&death(4))), [3, 4]);
        let mut ways = Ways::default();
        ways.add(&at(3, 1, |_| {}));
        ways.add(&at(3, 2, |event| event.entries = 1));
        assert_eq!(ways.finished(u64::MAX, false).len(), 2, "made here twice");
    }

    #[test]
    fn what_leaves_a_host_without_having_come_in_was_made_there() {
        let mut ways = Ways::default();
        for packet in 0..2 {
            ways.add(&at(4, 10 * packet + 1, |event| event.net = 1));
            ways.add(&at(0, 10 * packet + 2, |event| {
                (event.net, event.returned) = (2, 0)
            }));
        }
        let told = ways.finished(u64::MAX, false);
        assert_eq!(told.iter().map(hooks).collect::<Vec<_>>(), [[4, 0], [4, 0]]);
        let mut ways = Ways::default();
        ways.add(&at(0, 1, |event| event.net = 1));
        ways.add(&at(4, 2, |event| (event.net, event.in_ifindex) = (2, 7)));
        assert_eq!(hooks(&ways.of_drop(&death(3))), [0, 4], "it came in by a device");
    }

    #[test]
    fn of_a_burst_in_the_same_memory_each_death_has_its_own_way() {
        let mut ways = Ways::default();
        for packet in 0..3 {
            ways.add(&at(0, 10 * packet + 1, |event| event.before[5] = packet as u8));
            ways.add(&at(2, 10 * packet + 2, |event| {
                (event.before[5], event.flags) = (packet as u8, hook_flag::FREED);
            }));
        }
        for packet in 0..3 {
            let mut event = death(10 * packet + 3);
            event.header[5] = packet as u8;
            assert_eq!(hooks(&ways.of_drop(&event)), [0, 2], "{packet}");
        }
        assert!(ways.by_skb.is_empty());
    }

    #[test]
    fn a_packet_that_lived_is_still_told_when_the_next_in_its_memory_dies() {
        let mut ways = Ways::default();
        ways.add(&at(3, 1, |event| event.before[5] = 1));
        ways.add(&at(4, 2, |event| event.before[5] = 1));
        ways.add(&at(3, 3, |_| {}));
        ways.add(&at(4, 4, |_| {}));
        assert_eq!(hooks(&ways.of_drop(&death(5))), [3, 4]);
        let told = ways.finished(u64::MAX, true);
        assert_eq!(told.iter().map(hooks).collect::<Vec<_>>(), [[3, 4]]);
        assert_eq!(told[0][0].before[5], 1, "the one that lived");
    }

    #[test]
    fn the_first_of_many_packets_in_the_same_memory_is_told_like_the_last() {
        let mut ways = Ways::default();
        for packet in 0..100 {
            ways.add(&at(3, 2 * packet, |event| event.before[5] = packet as u8));
            ways.add(&at(4, 2 * packet + 1, |event| event.before[5] = packet as u8));
        }
        let later = QUIET_NS + 150;
        let told = ways.finished(later, false);
        assert_eq!(told.len(), 75, "the others may go on");
        assert_eq!(ways.by_skb[&7].len(), 50);
        let told = [told, ways.finished(later, true)].concat();
        let first_and_last = [told[0][0].before[5], told[99][0].before[5]];
        assert_eq!((told.len(), first_and_last), (100, [0, 99]));
    }

    #[test]
    fn a_hook_around_the_one_it_died_in_is_part_of_its_way() {
        let mut ways = Ways::default();
        ways.add(&at(2, 3, |event| event.flags = hook_flag::FREED));
        ways.add(&at(2, 2, |event| (event.pf, event.returned) = (7, 0)));
        ways.add(&at(0, 1, |event| event.pf = 7));
        let way = ways.of_drop(&death(4));
        assert_eq!(way.iter().map(|event| event.pf).collect::<Vec<_>>(), [7, 7, 2]);
        assert!(ways.by_skb.is_empty());
    }

    /// Linux 6.1 frees each ICMPv6 message that it has acted on as if it dropped it.
    #[test]
    fn a_death_that_was_no_loss_leaves_a_way_to_be_told() {
        let mut ways = Ways::default();
        let echo = |hook: u8, time_ns: u64, sequence: u8| {
            at(hook, time_ns, |event| {
                event.before[..48].copy_from_slice(&echo_request(sequence));
                event.before_bytes = 48;
                event.pf = 10;
            })
        };
        ways.add(&echo(0, 1, 1));
        ways.add(&echo(1, 2, 1));
        let mut event = death(3);
        event.header[..48].copy_from_slice(&echo_request(1));
        event.header_bytes = 48;
        let way = ways.of_drop(&event);
        assert_eq!(hooks(&way), [0, 1]);
        ways.lived(way);
        // The next has its memory, and a packet that came before it in other memory lives.
        ways.add(&echo(0, 4, 1));
        ways.add(&at(3, 0, |event| event.skb = 8));
        assert!(ways.finished(5, false).is_empty(), "each in its turn");
        let told = ways.finished(QUIET_NS + 4, false);
        assert_eq!(
            told.iter().map(hooks).collect::<Vec<_>>(),
            [vec![3], vec![0, 1], vec![0]]
        );
        assert!(ways.finished(u64::MAX, true).is_empty(), "once");
    }

    #[test]
    fn deaths_that_were_no_loss_do_not_pile_up() {
        let mut ways = Ways::default();
        for time in 0..(MOST_OVER as u64 + 10) {
            ways.add(&at(1, time, |_| {}));
            let way = ways.of_drop(&death(time));
            ways.lived(way);
        }
        ways.lived(Way::new());
        let told = ways.finished(u64::MAX, true);
        assert_eq!((told.len(), told[0][0].time_ns), (MOST_OVER, 10));
        assert_eq!(ways.over_records, 0);
    }

    fn echo_request(sequence: u8) -> [u8; 48] {
        let mut header = [0; 48];
        (header[0], header[5], header[6], header[7]) = (0x60, 8, 58, 64);
        (header[8], header[23], header[24], header[39]) = (0xfd, 1, 0xfd, 2);
        (header[40], header[47]) = (128, sequence);
        header
    }

    /// Three datagrams of one connection in the same memory, in a namespace that has functions on INPUT alone, were one way.
    #[test]
    fn no_packet_comes_to_the_host_twice() {
        let datagram = |time_ns: u64, change: fn(&mut HookEvent)| {
            at(INPUT, time_ns, |event| {
                (event.before[4], event.before[5], event.before[9]) = (0, 0, 17);
                change(event);
            })
        };
        let mut ways = Ways::default();
        for time in 1..4 {
            ways.add(&datagram(time, |_| {}));
        }
        assert_eq!(ways.finished(u64::MAX, true).len(), 3);
        let mut ways = Ways::default();
        ways.add(&datagram(1, |event| event.flags = hook_flag::TUNNEL));
        ways.add(&datagram(2, |_| {}));
        assert_eq!(
            ways.finished(u64::MAX, true).len(),
            1,
            "what carried it comes first"
        );
    }

    #[test]
    fn another_packets_way_is_never_told_for_a_death() {
        let mut ways = Ways::default();
        ways.add(&at(3, 1, |event| event.before[5] = 1));
        assert!(ways.of_drop(&death(2)).is_empty());
        ways.add(&at(3, 1, |_| {}));
        assert!(ways.of_drop(&death(LONGEST_NS + 1)).is_empty(), "long ago");
    }

    #[test]
    fn what_has_the_memory_after_a_death_keeps_its_own_way() {
        let mut ways = Ways::default();
        let path = |mut event: DropEvent| {
            event.flags = observer_common::flag::PATH;
            event
        };
        ways.add(&at(3, 1, |event| event.flags = hook_flag::FREED));
        ways.add(&at(0, 3, |_| {}));
        ways.add(&at(1, 4, |event| event.flags = hook_flag::FREED));
        assert_eq!(hooks(&ways.of_drop(&path(death(2)))), [3]);
        assert_eq!(hooks(&ways.of_drop(&path(death(5)))), [0, 1]);
    }

    #[test]
    fn a_packet_in_a_tunnel_is_still_itself() {
        let mut ways = Ways::default();
        ways.add(&at(4, 1, |_| {}));
        ways.add(&at(3, 2, |event| event.flags = hook_flag::TUNNEL));
        ways.add(&at(0, 3, |_| {}));
        assert_eq!(hooks(&ways.of_drop(&death(4))), [4, 3, 0]);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let mut ways = Ways::default();
        for skb in 0..(MOST_RECORDS as u64 + 10) {
            ways.add(&at(3, skb, |event| event.skb = skb + 100));
        }
        assert_eq!(ways.by_skb.len(), MOST_RECORDS);
        for time in 0..200 {
            ways.add(&at(0, time, |_| {}));
        }
        assert_eq!(ways.of_drop(&death(200)).len(), MOST_HOOKS, "of one way");
        assert_eq!(ways.by_skb[&7].len(), 200 - MOST_HOOKS);
        ways.forget_old(u64::MAX);
        assert!(ways.by_skb.is_empty() && ways.order.is_empty());
    }

    #[test]
    fn a_packet_put_together_from_fragments_is_still_itself() {
        let mut ways = Ways::default();
        ways.add(&at(0, 1, |event| {
            event.before[6] = 0x20;
            event.before[24] = 9;
        }));
        ways.add(&at(1, 2, |_| {}));
        assert_eq!(hooks(&ways.of_drop(&death(3))), [0, 1]);
        ways.add(&at(0, 1, |event| (event.before[6], event.before[5]) = (0x20, 1)));
        assert!(ways.of_drop(&death(3)).is_empty(), "a part of another packet");
    }

    #[test]
    fn headers_cut_anywhere_do_no_harm() {
        for len in 0..SYN.len() {
            Identity::of(&SYN[..len]);
        }
        Identity::of(&[0x6f; 41]);
    }
}
