//! Devices that only containers and pods are behind, by the names that their makers give them.

use super::pattern::is_match;
use crate::report::record::DropLine;

/// Bridges, overlays and ends of veth pairs: Docker (bridge driver), CNI's bridge, flannel (vxlan, IPv6 vxlan), Calico
/// (workloads, vxlan, IP in IP), Cilium, kube-router, Weave, Antrea, podman.
const INSIDE: [&str; 22] = [
    "docker0",
    "br-{hex12}",
    "cni0",
    "cni-podman*",
    "cbr0",
    "flannel.*",
    "flannel-v6.*",
    "flannel-wg*",
    "cali*",
    "vxlan.calico",
    "vxlan-v6.calico",
    "tunl0",
    "wireguard.cali",
    "wg-v6.cali",
    "lxc*",
    "cilium_*",
    "kube-bridge",
    "weave",
    "vethwe-bridge",
    "antrea-gw0",
    "antrea-tun0",
    "podman*",
];

/// Whether both devices of a drop are such ones.
pub fn are_inside(line: &DropLine) -> bool {
    let is_inside = |name: &String| INSIDE.iter().any(|pattern| is_match(pattern, name));
    line.in_dev.as_ref().is_some_and(is_inside) && line.out_dev.as_ref().is_some_and(is_inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples::policy_drop;

    #[test]
    fn the_way_from_an_overlay_to_the_pods_bridge_is_inside_and_from_a_network_card_is_not() {
        let mut line = policy_drop();
        assert!(are_inside(&line), "flannel.1 to cni0");
        line.in_dev = Some("eth0".into());
        assert!(!are_inside(&line));
        line.in_dev = None;
        assert!(!are_inside(&line));
    }
}
