//! Tables of iptables: as the tools print them, and as they lie in the kernel.

use std::net::IpAddr;
use std::rc::Rc;

use observer::evaluate::{Bounds, Conn, Course, Dev, InForce, Packet, Unknown, near_misses, ways, xtables};
use observer::explain::Rules;
use observer::report::record::{CtState, Hook, TableFamily};
use observer::ruleset::ipset::{self, Part, Sets};
use observer::ruleset::xtables::save::{self, Family};
use observer::ruleset::xtables::{Blob, Names, decode};

use super::{files, shown};

pub(super) fn saved() -> Vec<Vec<u8>> {
    files![
        "observer/tests-data/saved/docker20-bridges-legacy.v4.save",
        "observer/tests-data/saved/extensions-legacy.v4.save",
        "observer/tests-data/saved/extensions-legacy.v6.save",
        "observer/tests-data/saved/extensions-nft-counters.v4.save",
        "observer/tests-data/saved/extensions-nft.v6.save",
        "observer/tests-data/saved/kubeproxy-iptables-legacy.v4.save",
        "tests/rules/seed.rules",
    ]
}

pub(super) fn saved_sets() -> Vec<Vec<u8>> {
    files![
        "observer/tests-data/ipset/calico.save",
        "observer/tests-data/ipset/fail2ban.save",
        "observer/tests-data/ipset/firewalld.save",
        "observer/tests-data/ipset/types.save",
    ]
}

/// Each set has its own line, and is found by its name if there is but one of it.
pub(super) fn sets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(sets) = ipset::parse(&text) else {
        return;
    };
    assert!(sets.len() <= text.lines().count());
    let plain: Vec<_> = sets
        .iter()
        .filter(|set| set.unread().is_none() && !set.parts.contains(&Part::Set))
        .map(|set| (set.name.clone(), set.len()))
        .collect();
    let names: Vec<_> = sets.iter().map(|set| set.name.clone()).collect();
    let mut known = Sets::default();
    known.add(sets);
    for (name, len) in &plain {
        if names.iter().filter(|other| *other == name).count() == 1 {
            let asked = known.asked(name).expect("a set that was read");
            assert_eq!(asked.iter().map(|set| set.len()).sum::<usize>(), *len);
        }
    }
}

/// What is read is written and read again: the same. It is asked about a packet, and that ends; the answer is shown.
pub(super) fn save(data: &[u8]) {
    let Ok(document) = save::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    let written = document.to_string();
    let again = save::parse(&written).expect("what was written is read");
    assert_eq!(again.to_string(), written);
    for family in [Family::Ip, Family::Ip6] {
        let mut rules = Rules::default();
        rules.add("a file", document.clone(), family);
        rules.settle(family);
        shown::explained(packet(family == Family::Ip6), Course::Forward, &rules);
        let of_family = |table: &&save::Table| table.family.is_none_or(|of| of == family);
        let tables: Vec<_> = document
            .tables()
            .filter(of_family)
            .map(|table| xtables::table(table, &Sets::default()))
            .collect();
        let asked = InForce {
            tables: &tables,
            nft: None,
        };
        let packet = packet(family == Family::Ip6);
        let mut bounds = Bounds {
            rules: 100_000,
            ..Bounds::default()
        };
        ways(asked, &packet, Course::Forward, &Unknown, &mut bounds);
        for table in &tables {
            near_misses(table, Hook::Forward, (&packet, &[]), &Unknown, &mut bounds, 5);
        }
    }
}

/// A SYN that begins a connection.
pub(super) fn packet(is_v6: bool) -> Packet {
    let address = |v4: [u8; 4], v6: [u16; 8]| match is_v6 {
        true => IpAddr::from(v6),
        false => IpAddr::from(v4),
    };
    Packet {
        is_v6,
        src: Some(address([10, 224, 0, 0], [0xfd00, 0, 0, 0, 0, 0, 0, 1])),
        dst: Some(address([10, 224, 2, 16], [0xfd00, 0, 0, 0, 0, 0, 0, 2])),
        proto: Some(6),
        sport: Some(40_000),
        dport: Some(80),
        tcp_flags: Some(2),
        is_fragment: Some(false),
        in_dev: Dev::named("flannel.1"),
        out_dev: Dev::named("cni0"),
        conn: Conn {
            state: Some(CtState::New),
            ..Conn::default()
        },
        ..Packet::default()
    }
}

/// Names behind pointers: the standard target, the one that begins chains, and some that are known.
struct Kernel;

impl Names for Kernel {
    fn target(&mut self, address: u64) -> Option<Rc<str>> {
        let name = match address {
            STANDARD => "",
            ERROR => "ERROR",
            3 => "REJECT",
            4 => "NFQUEUE",
            _ => return None,
        };
        Some(name.into())
    }

    fn matching(&mut self, address: u64) -> Option<Rc<str>> {
        (address < 8).then(|| "comment".into())
    }
}

const STANDARD: u64 = 1;
const ERROR: u64 = 2;
/// `NF_ACCEPT`, `NF_DROP`, as a standard target has them.
const ACCEPT: i32 = -2;
const DROP: i32 = -1;

/// Begins with the family, whether there is one processor, and the offsets of each hook's first entry and policy.
pub(super) fn blob(data: &[u8]) {
    let Some((head, bytes)) = data.split_at_checked(42) else {
        return;
    };
    let five = |at: usize| {
        let mut words = head[at..].chunks_exact(4);
        std::array::from_fn(|_| {
            words
                .next()
                .and_then(|word| word.try_into().ok())
                .map_or(0, u32::from_ne_bytes)
        })
    };
    let family = match head[0] & 1 {
        0 => TableFamily::Ip,
        _ => TableFamily::Ip6,
    };
    let blob = Blob {
        bytes: bytes.to_vec(),
        hook_entry: five(2),
        underflow: five(22),
        address: 0xffff_8880_0000_0000,
        family,
        one_cpu: head[1] & 1 == 1,
    };
    if let Some(table) = decode("filter", &blob, &mut Kernel) {
        let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
        assert!(rules <= bytes.len(), "{rules} rules in {} bytes", bytes.len());
    }
}

/// Three hooks with a policy each, a rule that jumps, and a chain.
pub(super) fn blobs() -> Vec<Vec<u8>> {
    [(0, 112), (1, 168)]
        .map(|(family, head)| a_blob(family, head))
        .into()
}

fn a_blob(family: u8, head: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut entry = |target: u64, data: &[u8]| {
        let at = bytes.len() as u32;
        let mut entry = vec![0; head];
        entry.extend([0; 8]);
        entry.extend(target.to_ne_bytes());
        entry.extend([0; 16]);
        entry.extend(data);
        entry.resize(entry.len().next_multiple_of(8), 0);
        // `target_offset` and `next_offset` of ipt_entry and ip6t_entry.
        let offsets = if family == 0 { 88 } else { 140 };
        let lengths = [head as u16, entry.len() as u16].map(u16::to_ne_bytes);
        entry[offsets..offsets + 4].copy_from_slice(lengths.as_flattened());
        bytes.extend(entry);
        at
    };
    let hooks: Vec<u32> = [ACCEPT, DROP, ACCEPT]
        .map(|verdict| entry(STANDARD, &verdict.to_ne_bytes()))
        .into();
    let name = |text: &str| {
        let mut name = [0; 32];
        name[..text.len()].copy_from_slice(text.as_bytes());
        name
    };
    entry(ERROR, &name("KUBE-FORWARD"));
    entry(3, &[0; 8]);
    entry(STANDARD, &hooks[1].to_ne_bytes());
    entry(STANDARD, &(-5_i32).to_ne_bytes());
    entry(ERROR, &name("ERROR"));
    let mut input = vec![family, 0];
    for _ in 0..2 {
        input.extend(
            [u32::MAX, hooks[0], hooks[1], hooks[2], u32::MAX]
                .map(u32::to_ne_bytes)
                .as_flattened(),
        );
    }
    input.extend(bytes);
    input
}
