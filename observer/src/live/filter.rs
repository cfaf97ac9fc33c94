//! The person's filter in the kernel side's terms.

use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use ipnet::IpNet;
use observer_common::{Filter, MAX_FILTER, MAX_RANGES, Network};

use super::reasons::Reasons;
use crate::cli::filter::{FilterSpec, NetnsSpec};
use crate::cli::watch::Narrowed;
use crate::kernel::{NetnsNames, Symbols};
use crate::report::record::DropLine;

/// Functions of netfilter that free packets: what they free is netfilter's drop, whatever the reason says.
const FREE: [&str; 5] = [
    "nf_hook_slow",
    "nft_do_chain",
    "nf_queue",
    "nf_reinject",
    "nfqnl_reinject",
];

/// No address is in it: what is left of one under its mask is never this.
const NOBODY: Network = Network {
    addr: [u64::MAX; 2],
    mask: [0; 2],
};

/// Network namespaces that the person names, by their inodes at the start: one that goes later is not looked for again.
#[derive(Default)]
pub struct Namespaces(Vec<(NetnsSpec, u32)>);

impl Namespaces {
    /// # Errors
    /// It was not met before, and is not there.
    pub fn inode(&mut self, spec: &NetnsSpec) -> Result<u32> {
        if let Some((_, inode)) = self.0.iter().find(|(known, _)| known == spec) {
            return Ok(*inode);
        }
        let inode = inode(spec)?;
        self.0.push((spec.clone(), inode));
        Ok(inode)
    }
}

/// Turns a checked filter into the kernel side's; `enabled` is left 0.
///
/// # Errors
/// A namespace that is not there.
pub fn build(
    narrowed: &Narrowed,
    namespaces: &mut Namespaces,
    symbols: &Symbols,
    reasons: &Reasons,
) -> Result<Filter> {
    let spec = &narrowed.filter;
    let mut filter = Filter::new();
    filter.active = u32::from(!spec.is_empty());
    filter.dst_count = fill(&mut filter.dst, spec.dst.iter().map(network));
    filter.src_count = fill(&mut filter.src, spec.src.iter().map(network));
    filter.host_count = fill(&mut filter.hosts, spec.hosts.iter().map(network));
    filter.port_count = fill(&mut filter.ports, spec.ports.iter().map(|port| port.to_be()));
    filter.proto_count = fill(&mut filter.protos, spec.protos.iter().copied());
    filter.iface_count = fill(&mut filter.ifaces, spec.ifaces.iter().map(|name| iface(name)));
    if narrowed.is_nobody {
        filter.active = 1;
        filter.host_count = fill(&mut filter.hosts, std::iter::once(NOBODY));
    }
    let inodes = spec.netns.iter().map(|netns| namespaces.inode(netns));
    let inodes = inodes.collect::<Result<Vec<u32>>>()?;
    filter.netns_count = fill(&mut filter.netns, inodes.into_iter());
    filter.netfilter_drop = reasons.number("NETFILTER_DROP").unwrap_or(0);
    set_functions(&mut filter, symbols);
    filter.functions = 1;
    Ok(filter)
}

/// Where netfilter's functions lie: anew when a module was loaded.
pub fn set_functions(filter: &mut Filter, symbols: &Symbols) {
    filter.range_count = 0;
    for range in FREE
        .iter()
        .filter_map(|name| symbols.range(name))
        .take(MAX_RANGES)
    {
        filter.ranges[filter.range_count as usize] = range;
        filter.range_count += 1;
    }
    filter.hook_slow = symbols.range("nf_hook_slow").unwrap_or_default();
    filter.bridge_forward = symbols.range("__br_forward").unwrap_or_default();
    // Without it no stack is remembered. How frames lie on a stack was looked at on x86-64 alone.
    let trace_run = ["bpf_trace_run2", "bpf_trace_run3", "bpf_trace_run4"];
    filter.trace_run = cfg!(target_arch = "x86_64")
        .then(|| together(trace_run, symbols))
        .flatten()
        .unwrap_or_default();
}

/// The range of functions that lie one behind the other, as the kernel's source has them; `None` if they do not.
fn together<const N: usize>(names: [&str; N], symbols: &Symbols) -> Option<[u64; 2]> {
    let mut whole: Option<[u64; 2]> = None;
    for name in names {
        let range = symbols.range(name)?;
        let start = whole.map_or(range[0], |[start, _]| start);
        if whole.is_some_and(|[_, end]| end != range[0]) {
            return None;
        }
        whole = Some([start, range[1]]);
    }
    whole
}

/// The filter with its networks in the order that they had before, new ones last: while the kernel copies it, from its beginning to its
/// end, and packets are held against it, no network that stays is missing for a moment.
pub fn in_order_of(before: &Filter, mut filter: Filter) -> Filter {
    for (networks, count, before) in [
        (
            &mut filter.dst,
            filter.dst_count,
            &before.dst[..before.dst_count as usize],
        ),
        (
            &mut filter.src,
            filter.src_count,
            &before.src[..before.src_count as usize],
        ),
        (
            &mut filter.hosts,
            filter.host_count,
            &before.hosts[..before.host_count as usize],
        ),
    ] {
        let place = |network: &Network| before.iter().position(|known| known == network);
        networks[..count as usize].sort_by_key(|network| place(network).unwrap_or(usize::MAX));
    }
    filter
}

/// The filter that matches one flow, in whichever namespace, before and after NAT.
pub fn of_flow(person: Filter, line: &DropLine) -> Filter {
    let mut filter = of_nothing(person);
    let original = line.flow.as_ref().map(|flow| &flow.original);
    let sources = [line.packet.src, original.map(|tuple| tuple.src)];
    let destinations = [line.packet.dst, original.map(|tuple| tuple.dst)];
    let hosts =
        |ends: [Option<IpAddr>; 2]| ends.into_iter().flatten().map(|host| network(&IpNet::from(host)));
    filter.src_count = fill(&mut filter.src, hosts(sources));
    filter.dst_count = fill(&mut filter.dst, hosts(destinations));
    filter.proto_count = fill(
        &mut filter.protos,
        line.packet.proto.map(|proto| proto.0).into_iter(),
    );
    filter
}

/// A filter that matches all of these flows, and what has the source of one and the destination of another.
pub fn of_flows<'a>(person: Filter, flows: impl Iterator<Item = &'a Filter> + Clone) -> Filter {
    let mut filter = of_nothing(person);
    let lists = |of: fn(&Filter) -> &[Network]| flows.clone().flat_map(move |flow| of(flow).iter().copied());
    filter.src_count = fill(
        &mut filter.src,
        lists(|flow| &flow.src[..flow.src_count as usize]),
    );
    filter.dst_count = fill(
        &mut filter.dst,
        lists(|flow| &flow.dst[..flow.dst_count as usize]),
    );
    let protos = flows
        .clone()
        .flat_map(|flow| flow.protos[..flow.proto_count as usize].iter().copied());
    filter.proto_count = fill(&mut filter.protos, protos);
    filter
}

/// No condition but that there is one; where netfilter's functions lie is known.
fn of_nothing(person: Filter) -> Filter {
    Filter {
        active: 1,
        ranges: person.ranges,
        range_count: person.range_count,
        hook_slow: person.hook_slow,
        bridge_forward: person.bridge_forward,
        trace_run: person.trace_run,
        functions: person.functions,
        netfilter_drop: person.netfilter_drop,
        ..Filter::new()
    }
}

/// # Errors
/// A namespace that is not there.
pub fn check_namespaces(spec: &FilterSpec) -> Result<()> {
    spec.netns.iter().try_for_each(|netns| inode(netns).map(drop))
}

/// Inode of a namespace.
///
/// # Errors
/// There is none.
pub fn inode(spec: &NetnsSpec) -> Result<u32> {
    match spec {
        NetnsSpec::Name(name) => NetnsNames::inode_of(name).map_err(|_| {
            anyhow!("--netns {name:?}: no such network namespace; `ip netns` lists the named ones")
        }),
        NetnsSpec::Pid(pid) => NetnsNames::inode_of_process(*pid).map_err(|error| {
            anyhow!("--netns pid:{pid}: {error}; `lsns -t net` lists namespaces and their processes")
        }),
        NetnsSpec::Inode(inode) if NetnsNames::path(*inode).is_none() => {
            bail!("--netns {inode}: no such network namespace; `lsns -t net` lists them")
        }
        NetnsSpec::Inode(inode) => Ok(*inode),
    }
}

fn fill<T>(to: &mut [T], from: impl Iterator<Item = T>) -> u32 {
    let mut count = 0;
    for (to, from) in to.iter_mut().zip(from).take(MAX_FILTER) {
        *to = from;
        count += 1;
    }
    count
}

fn network(network: &IpNet) -> Network {
    let (bytes, prefix) = match network.network() {
        IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), network.prefix_len() + 96),
        IpAddr::V6(address) => (address.octets(), network.prefix_len()),
    };
    let mask = u128::MAX
        .checked_shl(128 - u32::from(prefix))
        .unwrap_or(0)
        .to_be_bytes();
    Network {
        addr: halves(bytes),
        mask: halves(mask),
    }
}

/// As the kernel side reads sixteen bytes: two words in memory order.
fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let mut halves = [[0; 8]; 2];
    halves[0].copy_from_slice(&bytes[..8]);
    halves[1].copy_from_slice(&bytes[8..]);
    halves.map(u64::from_ne_bytes)
}

fn iface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(of: &str, address: &str) -> bool {
        let of = network(&of.parse().expect("network"));
        let address = network(&IpNet::from(address.parse::<IpAddr>().expect("address")));
        (0..2).all(|half| address.addr[half] & of.mask[half] == of.addr[half])
    }

    fn filter_of(hosts: &[&str]) -> Filter {
        let mut filter = Filter::new();
        let hosts = hosts
            .iter()
            .map(|host| network(&host.parse().expect("a network")));
        filter.host_count = fill(&mut filter.hosts, hosts);
        filter
    }

    #[test]
    fn networks_that_stay_keep_their_order_and_new_ones_come_last() {
        let before = filter_of(&["10.0.0.5/32", "10.0.0.3/32", "10.0.0.4/32"]);
        let now = in_order_of(&before, filter_of(&["10.0.0.1/32", "10.0.0.4/32", "10.0.0.5/32"]));
        assert_eq!(now, filter_of(&["10.0.0.5/32", "10.0.0.4/32", "10.0.0.1/32"]));
    }

    #[test]
    fn functions_lie_together_or_are_not_believed_to() {
        let of = |text: &str| together(["run2", "run3"], &Symbols::parse(text));
        assert_eq!(of("10 t run2\n20 t run3\n40 t other\n"), Some([0x10, 0x40]));
        assert_eq!(of("10 t run2\n18 t between\n20 t run3\n40 t other\n"), None);
        assert_eq!(of("10 t run2\n40 t other\n"), None);
    }

    #[test]
    fn nobody_has_no_address() {
        for address in [
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address = network(&IpNet::from(address.parse::<IpAddr>().expect("address")));
            let is_in = (0..2).all(|half| address.addr[half] & NOBODY.mask[half] == NOBODY.addr[half]);
            assert!(!is_in);
        }
    }

    #[test]
    fn networks_of_both_families_are_tested_alike() {
        assert!(contains("10.224.0.0/16", "10.224.2.16"));
        assert!(!contains("10.224.0.0/16", "10.244.2.16"));
        assert!(contains("fd00::/64", "fd00::1"));
        assert!(!contains("fd00::/64", "fd00:0:0:1::1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(
            !contains("0.0.0.0/0", "fd00::1"),
            "an IPv4 network holds no IPv6 address"
        );
        assert!(contains("::/0", "fd00::1"));
        assert!(contains("192.0.2.1/32", "192.0.2.1"));
        assert!(!contains("192.0.2.1/32", "192.0.2.2"));
    }
}
