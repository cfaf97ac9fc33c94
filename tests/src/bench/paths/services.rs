//! The rules of a node with many services: the seed's, and as kube-proxy writes them so many more.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

/// Where the seed's services begin: the new ones come before them.
const FIRST_SERVICE: &str = "-A KUBE-SERVICES ";
/// The port of every service and of its pod.
pub(super) const PORT: u16 = 80;

/// A service's address.
pub(super) fn cluster_ip(service: usize) -> Ipv4Addr {
    address([10, 109, 0, 0], service)
}

/// The address of its pod.
pub(super) fn pod(service: usize) -> Ipv4Addr {
    address([10, 244, 0, 0], service)
}

fn address(net: [u8; 4], number: usize) -> Ipv4Addr {
    // Below 65,536, and none of them ends with 0 or 255.
    let low = (number % 250 + 2) as u8;
    let high = (number / 250) as u8;
    Ipv4Addr::new(net[0], net[1], high, low)
}

/// `seed` with `count` services more, each with a pod in the network that the seed's rules let through.
pub(super) fn add(seed: &str, count: usize) -> Result<String> {
    let mut chains = String::new();
    let mut rules = String::new();
    let mut portals = String::new();
    for number in 0..count {
        let (service, pod) = (cluster_ip(number), pod(number));
        let name = format!("bench/service-{number}");
        writeln!(chains, ":KUBE-SVC-BENCH{number:011} - [0:0]")?;
        writeln!(chains, ":KUBE-SEP-BENCH{number:011} - [0:0]")?;
        writeln!(
            rules,
            "-A KUBE-SVC-BENCH{number:011} -m comment --comment \"{name}\" -j KUBE-SEP-BENCH{number:011}"
        )?;
        writeln!(
            rules,
            "-A KUBE-SEP-BENCH{number:011} -s {pod}/32 -m comment --comment \"{name}\" -j KUBE-MARK-MASQ"
        )?;
        writeln!(
            rules,
            "-A KUBE-SEP-BENCH{number:011} -p udp -m comment --comment \"{name}\" -m udp -j DNAT --to-destination {pod}:{PORT}"
        )?;
        writeln!(
            portals,
            "-A KUBE-SERVICES -d {service}/32 -p udp -m comment --comment \"{name} cluster IP\" -m udp --dport {PORT} \
             -j KUBE-SVC-BENCH{number:011}"
        )?;
    }
    let nat = seed.find("*nat\n").context("the seed has no nat table")? + "*nat\n".len();
    let at = seed
        .find(FIRST_SERVICE)
        .filter(|at| *at > nat)
        .context("the seed's nat table has no services")?;
    Ok([
        &seed[..nat],
        &chains,
        &seed[nat..at],
        &rules,
        &portals,
        &seed[at..],
    ]
    .concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_come_before_the_seeds_own_and_after_its_chains() {
        let text = add("*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j X\nCOMMIT\n", 2).expect("add");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with(":KUBE-SVC-BENCH") && lines[5] == ":KUBE-SERVICES - [0:0]");
        assert!(lines[13].contains("-d 10.109.0.3/32"), "{text}");
        assert_eq!(lines[14..], ["-A KUBE-SERVICES -j X", "COMMIT"]);
    }

    #[test]
    fn addresses_are_all_different() {
        let all: std::collections::BTreeSet<_> = (0..2000).map(cluster_ip).collect();
        assert_eq!(all.len(), 2000);
    }
}
