//! When turning the key on might do harm: on kernels that give each traced packet an identity, `nft_trace_init` asks for
//! the packet's flow hash, and the packet keeps it (net/netfilter/nf_tables_trace.c, v5.19 … v6.18).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::super::netlink::{Batch, Socket, attributes, messages};
use super::super::{Symbols, Types};
use crate::privilege::capabilities::{self, SYS_ADMIN, SYS_PTRACE};

// include/uapi/linux/netlink.h, rtnetlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTA_NH_ID: u16 = 30;
const RTN_UNICAST: u8 = 1;
/// Size of `struct rtmsg`, and where its type is.
const RTMSG_BYTES: usize = 12;
const RTM_TYPE: usize = 7;

/// A reason not to turn the key on. Printed, it says what and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `fib_multipath_hash` (net/ipv4/route.c) and `rt6_multipath_hash` (net/ipv6/route.c) take the hash that a packet
    /// has already, when the policy is 1: with another hash, another path.
    #[error(
        "net.{}.fib_multipath_hash_policy is 1 and a route has several next hops in network namespace {netns}: tracing \
         nf_tables might move flows to another path, so native nft rules without counters are named by the verdict \
         functions instead",
        family.sysctl()
    )]
    Multipath {
        /// Whose routes.
        family: Family,
        /// Inode of the namespace.
        netns: u64,
    },
    /// `__skb_flow_dissect` warns of a packet with neither device nor socket, where it is not told the namespace.
    #[error(
        "kernel.panic_on_warn is 1 and this kernel may warn when nf_tables is traced (it lacks __skb_get_hash_net): \
         native nft rules without counters are named by the verdict functions instead"
    )]
    PanicOnWarn,
}

/// A family of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    Ipv4,
    /// IPv6
    Ipv6,
}

impl Family {
    const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    fn sysctl(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    fn number(self) -> u8 {
        match self {
            // AF_INET, AF_INET6 (include/linux/socket.h)
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }
}

/// What was looked at before the key was allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Namespaces whose routes were looked at: those that a process lives in or `ip netns` has a name for. None on a
    /// kernel that leaves packets as they are. One that is made later is not looked at.
    pub namespaces: usize,
    /// Namespaces that could not be entered.
    pub unreadable: usize,
}

/// Whether the key may be turned on.
///
/// # Errors
/// It might change the way of packets, or panic this machine.
pub fn gates(symbols: &Symbols, types: &mut Types) -> Result<Checked, Refusal> {
    if !gives_a_hash(types) {
        return Ok(Checked::default());
    }
    let told_the_namespace = symbols.range("__skb_get_hash_net").is_some();
    warning(told_the_namespace, sysctl)?;
    let namespaces = namespaces();
    // A thread of its own, because it goes through the namespaces.
    let unreadable = namespaces.len();
    let thread = thread::Builder::new()
        .name("trace-gates".to_owned())
        .spawn(move || walk(&namespaces));
    if let Some(looked) = thread.ok().and_then(|thread| thread.join().ok()) {
        return looked;
    }
    Ok(Checked {
        unreadable,
        ..walk(&[])?
    })
}

/// Whether tracing gives each packet a flow hash; so it is believed where the structure is unknown.
fn gives_a_hash(types: &mut Types) -> bool {
    const MODULE: Option<&str> = Some("nf_tables");
    types.size(MODULE, "nft_traceinfo").is_none() || types.offset(MODULE, "nft_traceinfo.skbid").is_some()
}

fn warning(told_the_namespace: bool, sysctl: impl Fn(&str) -> Option<u32>) -> Result<(), Refusal> {
    if !told_the_namespace && sysctl("kernel/panic_on_warn").is_some_and(|value| value != 0) {
        return Err(Refusal::PanicOnWarn);
    }
    Ok(())
}

/// The parameters of the namespace that the calling thread is in.
fn sysctl(name: &str) -> Option<u32> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    text.trim().parse().ok()
}

/// Goes through the namespaces with the calling thread.
fn walk(paths: &[PathBuf]) -> Result<Checked, Refusal> {
    let mut checked = Checked::default();
    // The namespace that this program was started in needs no privilege, and comes first.
    let mut seen: HashSet<u64> = HashSet::new();
    if let Ok(own) = fs::metadata("/proc/thread-self/ns/net") {
        multipath(own.ino(), sysctl, several_next_hops)?;
        seen.insert(own.ino());
        checked.namespaces += 1;
    }
    for path in paths {
        let Ok(file) = capabilities::with(SYS_PTRACE, || File::open(path)) else {
            // It ended in the meantime.
            continue;
        };
        let Ok(inode) = file.metadata().map(|data| data.ino()) else {
            continue;
        };
        if !seen.insert(inode) {
            continue;
        }
        let entered = capabilities::with(SYS_ADMIN, || setns(file.as_fd(), CloneFlags::CLONE_NEWNET));
        if entered.is_err() {
            checked.unreadable += 1;
            continue;
        }
        multipath(inode, sysctl, several_next_hops)?;
        checked.namespaces += 1;
    }
    Ok(checked)
}

/// A namespace with the policy and with such a route; routes that cannot be listed are taken for such.
fn multipath(
    netns: u64,
    sysctl: impl Fn(&str) -> Option<u32>,
    several_next_hops: impl Fn(Family) -> io::Result<bool>,
) -> Result<(), Refusal> {
    for family in Family::ALL {
        let policy = sysctl(&format!("net/{}/fib_multipath_hash_policy", family.sysctl()));
        if policy == Some(1) && several_next_hops(family).unwrap_or(true) {
            return Err(Refusal::Multipath { family, netns });
        }
    }
    Ok(())
}

/// A file for each namespace, some of them more than once.
fn namespaces() -> Vec<PathBuf> {
    let entries = |path: &str| fs::read_dir(path).into_iter().flatten().flatten();
    let named = entries("/run/netns").map(|entry| entry.path());
    let mut seen = HashSet::new();
    let lived_in = entries("/proc")
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .map(|entry| entry.path().join("ns/net"))
        .filter(|path| fs::metadata(path).is_ok_and(|data| seen.insert(data.ino())));
    // Raised once for all of them.
    capabilities::with(SYS_PTRACE, || named.chain(lived_in).collect())
}

/// Whether any route of the calling thread's namespace, in any table, has several next hops.
fn several_next_hops(family: Family) -> io::Result<bool> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut fixed = [0; RTMSG_BYTES];
    fixed[0] = family.number();
    let mut ask = Batch::default();
    ask.message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, &fixed, |_| {});
    socket.send(&ask)?;
    loop {
        for message in messages(socket.receive()?) {
            if let Some(errno) = message.error() {
                return Err(io::Error::from_raw_os_error(errno));
            }
            if message.is_done() {
                return Ok(false);
            }
            if message.kind == RTM_NEWROUTE && is_multipath(message.payload) {
                return Ok(true);
            }
        }
    }
}

/// A group of next hops is shown by its number alone where `net.ipv4.nexthop_compat_mode` is 0 (`fib_dump_info`,
/// net/ipv4/fib_semantics.c): a number without a device may stand for several, and is taken for them.
fn is_multipath(route: &[u8]) -> bool {
    let found: Vec<u16> = attributes(route.get(RTMSG_BYTES..).unwrap_or_default())
        .map(|(kind, _)| kind)
        .collect();
    let unicast = route.get(RTM_TYPE) == Some(&RTN_UNICAST);
    found.contains(&RTA_MULTIPATH) || (unicast && found.contains(&RTA_NH_ID) && !found.contains(&RTA_OIF))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(family: &'static str, value: u32) -> impl Fn(&str) -> Option<u32> {
        move |name| (name == format!("net/{family}/fib_multipath_hash_policy")).then_some(value)
    }

    fn route(kind: u8, found: &[u16]) -> Vec<u8> {
        let mut fixed = [0; RTMSG_BYTES];
        fixed[RTM_TYPE] = kind;
        let mut batch = Batch::default();
        batch.message(RTM_NEWROUTE, 0, 1, &fixed, |attributes| {
            for kind in found {
                attributes.bytes(*kind, &[0; 4]);
            }
        });
        batch.bytes()[crate::kernel::netlink::HEADER_BYTES..].to_vec()
    }

    #[test]
    fn several_next_hops_matter_only_when_paths_are_chosen_by_the_packets_hash() {
        let refused = |family| Err(Refusal::Multipath { family, netns: 7 });
        assert_eq!(
            multipath(7, policy("ipv4", 1), |_| Ok(true)),
            refused(Family::Ipv4)
        );
        assert_eq!(
            multipath(7, policy("ipv6", 1), |_| Ok(true)),
            refused(Family::Ipv6)
        );
        assert_eq!(multipath(7, policy("ipv4", 1), |_| Ok(false)), Ok(()));
        for other in [0, 2, 3] {
            assert_eq!(multipath(7, policy("ipv4", other), |_| Ok(true)), Ok(()));
        }
        assert_eq!(
            multipath(7, |_| None, |_| Ok(true)),
            Ok(()),
            "a kernel without multipath routes"
        );
    }

    #[test]
    fn routes_that_cannot_be_listed_are_taken_for_the_worst() {
        let refused = multipath(7, policy("ipv4", 1), |_| Err(io::ErrorKind::TimedOut.into()));
        assert!(refused.is_err());
    }

    #[test]
    fn a_warning_matters_only_when_it_panics() {
        let panics = |value: u32| move |name: &str| (name == "kernel/panic_on_warn").then_some(value);
        assert_eq!(warning(false, panics(1)), Err(Refusal::PanicOnWarn));
        assert_eq!(warning(false, panics(0)), Ok(()));
        assert_eq!(warning(true, panics(1)), Ok(()));
    }

    #[test]
    fn a_route_with_several_next_hops_is_told_from_others() {
        assert!(is_multipath(&route(RTN_UNICAST, &[RTA_MULTIPATH])));
        assert!(is_multipath(&route(RTN_UNICAST, &[RTA_NH_ID])));
        assert!(!is_multipath(&route(RTN_UNICAST, &[RTA_OIF])));
        assert!(!is_multipath(&route(RTN_UNICAST, &[RTA_NH_ID, RTA_OIF])));
        assert!(!is_multipath(&route(6, &[RTA_NH_ID])), "a blackhole");
        assert!(!is_multipath(&[]));
    }

    /// In a namespace made by these commands, which a thread lives in: what is found from outside. Needs root.
    fn found_in(commands: &[&str]) -> Option<Result<Checked, Refusal>> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not run: needs root");
            return None;
        }
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
                for command in commands {
                    let mut words = command.split(' ');
                    let done = std::process::Command::new(words.next().expect("a command"))
                        .args(words)
                        .status();
                    assert!(done.expect("runs").success(), "{command}");
                }
                let path = PathBuf::from(format!("/proc/{}/ns/net", nix::unistd::gettid()));
                scope.spawn(move || walk(&[path])).join().expect("thread")
            });
            inside.join().ok()
        })
    }

    const DEVICES: [&str; 4] = [
        "ip link add here type veth peer name there",
        "ip link set here up",
        "ip link set there up",
        "ip address add 192.0.2.1/24 dev here",
    ];

    #[test]
    fn routes_of_another_namespace_are_looked_at() {
        let policy = |family: &str| format!("sysctl -q net.{family}.fib_multipath_hash_policy=1");
        let four = "ip route add 198.51.100.0/24 nexthop via 192.0.2.2 nexthop via 192.0.2.3";
        let six = "ip route add 2001:db8:2::/48 nexthop via fe80::2 dev here nexthop via fe80::3 dev here";
        let found = |more: &[&str]| found_in(&[DEVICES.as_slice(), more].concat());
        let Some(plain) = found(&[&policy("ipv4"), &policy("ipv6")]) else {
            return;
        };
        assert!(plain.is_ok_and(|checked| checked.unreadable == 0));
        assert!(found(&[four, six]).is_some_and(|found| found.is_ok()));
        for (family, route, commands) in [
            (Family::Ipv4, four, [policy("ipv4")]),
            (Family::Ipv6, six, [policy("ipv6")]),
        ] {
            let refused = found(&[route, &commands[0]]);
            assert!(
                matches!(refused, Some(Err(Refusal::Multipath { family: found, .. })) if found == family),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_group_of_next_hops_is_seen_behind_its_number() {
        let group = [
            "ip nexthop add id 1 via 192.0.2.2 dev here",
            "ip nexthop add id 2 via 192.0.2.3 dev here",
            "ip nexthop add id 3 group 1/2",
            "ip route add 198.51.100.0/24 nhid 3 table 7",
            "sysctl -q net.ipv4.fib_multipath_hash_policy=1",
            "sysctl -q net.ipv4.nexthop_compat_mode=0",
        ];
        let all = [DEVICES.as_slice(), &group].concat();
        let Some(refused) = found_in(&all) else { return };
        assert!(refused.is_err(), "{refused:?}");
        let shown = found_in(&all[..all.len() - 1]).expect("root");
        assert!(shown.is_err(), "{shown:?}");
        let mut single = all[..all.len() - 1].to_vec();
        single[DEVICES.len() + 3] = "ip route add 198.51.100.0/24 nhid 1";
        let allowed = found_in(&single).expect("root");
        assert!(allowed.is_ok(), "{allowed:?}");
    }

    #[test]
    fn a_refusal_is_one_line_that_says_what_and_what_it_costs() {
        let refusals = [
            Refusal::PanicOnWarn,
            Refusal::Multipath {
                family: Family::Ipv6,
                netns: 7,
            },
        ];
        for text in refusals.map(|refusal| refusal.to_string()) {
            assert!(!text.contains('\n'), "{text}");
            assert!(text.ends_with("named by the verdict functions instead"), "{text}");
        }
    }
}
