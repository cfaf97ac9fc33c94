//! kube-proxy and those who enforce NetworkPolicies.

use super::check;
use super::world::World;
use crate::report::record::{Layer, Proto, Tool};

const KUBE_PROXY: &str = r#"*filter
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-EXTERNAL-SERVICES -d 203.0.113.11/32 -p tcp -m comment --comment "ingress/edge-internal:https has no local endpoints" -m tcp --dport 443 -j DROP
-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-PROXY-FIREWALL -d 203.0.113.54/32 -p tcp -m comment --comment "db/postgres:pg traffic not accepted by KUBE-FW-FWVIFBLGT3OSRJP6" -m tcp --dport 5432 -j DROP
-A KUBE-SERVICES -d 10.104.88.12/32 -p tcp -m comment --comment "shop/orders:http has no endpoints" -m tcp --dport 8080 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-SERVICES -d 10.104.88.13/32 -p tcp -m comment --comment "shop/carts has no endpoints" -m tcp --dport 8080 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-SERVICES -d 10.104.88.14/32 -p tcp -m comment --comment "$(reboot)/x has no endpoints" -m tcp --dport 8080 -j REJECT --reject-with icmp-port-unreachable
COMMIT
"#;

fn kube_proxy(part: &str, path: &[&str]) -> World {
    let text = KUBE_PROXY
        .lines()
        .find(|line| line.contains(part))
        .expect("a rule");
    World::iptables(KUBE_PROXY).rule(text, path)
}

#[test]
fn a_service_without_endpoints_is_named_with_the_command_that_shows_them() {
    check(
        &kube_proxy("shop/orders:http", &["FORWARD", "KUBE-SERVICES"]),
        "Service shop/orders has no endpoints (known by the name of chain KUBE-SERVICES and the rule's comment)",
        Some("kubectl -n shop get endpointslices -l kubernetes.io/service-name=orders"),
    );
    check(
        &kube_proxy("shop/carts", &["FORWARD", "KUBE-SERVICES"]),
        "Service shop/carts has no endpoints",
        Some("kubectl -n shop get endpointslices -l kubernetes.io/service-name=carts"),
    );
}

#[test]
fn a_hostile_name_of_a_service_is_told_and_not_put_into_a_command() {
    let world = kube_proxy("$(reboot)", &["FORWARD", "KUBE-SERVICES"]);
    check(
        &world,
        "Service $(reboot)/x has no endpoints",
        Some("iptables-legacy -nvL KUBE-SERVICES --line-numbers"),
    );
}

#[test]
fn a_service_without_an_endpoint_on_this_node_and_a_client_outside_the_ranges_are_told_apart() {
    check(
        &kube_proxy("no local endpoints", &["FORWARD", "KUBE-EXTERNAL-SERVICES"]),
        "Service ingress/edge-internal has no endpoint on this node",
        Some("kubectl -n ingress get endpointslices -l kubernetes.io/service-name=edge-internal -o yaml"),
    );
    check(
        &kube_proxy("not accepted", &["FORWARD", "KUBE-PROXY-FIREWALL"]),
        "10.224.0.0 is not in loadBalancerSourceRanges of Service db/postgres",
        Some("kubectl -n db get service postgres -o yaml"),
    );
    check(
        &kube_proxy("marked packets", &["OUTPUT", "KUBE-FIREWALL"]),
        "The kubelet drops here what kube-proxy has marked",
        Some("iptables-legacy -t nat -S"),
    );
}

#[test]
fn an_invalid_answer_to_an_unseen_syn_is_an_asymmetric_route_and_other_segments_are_out_of_the_window() {
    let path = ["FORWARD", "KUBE-FORWARD"];
    let invalid = |flags| kube_proxy("INVALID", &path).invalid(flags);
    check(
        &invalid(0x12),
        "conntrack calls INVALID",
        Some("ip route get 10.224.0.0"),
    );
    let liberal = "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1";
    check(&invalid(0x10), "conntrack's INVALID", Some(liberal));
    let log = "sysctl -w net.netfilter.nf_conntrack_log_invalid=255";
    check(&invalid(0x03), "INVALID", Some(log));
    let icmp = invalid(0).packet("10.0.0.1", "10.0.0.2", Proto::ICMP, None);
    check(&icmp, "INVALID", Some(log));
}

#[test]
fn a_rule_that_asks_for_invalid_explains_nothing_about_a_packet_that_is_not() {
    let world = kube_proxy("INVALID", &["FORWARD", "KUBE-FORWARD"]);
    check(
        &world,
        "kube-proxy or the kubelet wrote this",
        Some("iptables-legacy -nvL KUBE-FORWARD --line-numbers"),
    );
}

#[test]
fn kube_proxys_nftables_mode_is_known_by_its_table() {
    let listed = r#"table ip kube-proxy {
chain filter-forward {
type filter hook forward priority dstnat - 10; policy accept;
ct state new jump service-endpoints-check
ct state new jump cluster-ips-check
}
chain service-endpoints-check {
ip daddr . meta l4proto . th dport vmap @no-endpoint-services
}
chain cluster-ips-check {
ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
}
chain firewall-PE3JXG7F-db/postgres/tcp/pg {
ip saddr != { 192.0.2.128/25, 198.51.100.0/24 } drop
}
chain reject-chain {
reject
}
}"#;
    let of = |text: &str, path: &[&str]| World::nft(listed).rule(text, path);
    check(
        &of(
            "reject",
            &["filter-forward", "service-endpoints-check", "reject-chain"],
        ),
        "Service nginx-test/nginx-service has no endpoints (known by table kube-proxy",
        Some("kubectl -n nginx-test get endpointslices -l kubernetes.io/service-name=nginx-service"),
    );
    let mut unnamed = of(
        "reject",
        &["filter-forward", "service-endpoints-check", "reject-chain"],
    );
    unnamed.line.flow = None;
    check(
        &unnamed,
        "the Service asked for has no endpoints",
        Some("nft 'list map ip kube-proxy no-endpoint-services'"),
    );
    check(
        &of(
            "ip daddr . meta l4proto . th dport vmap @no-endpoint-services",
            &["filter-forward", "service-endpoints-check"],
        ),
        "no endpoint on this node",
        Some("nft 'list map ip kube-proxy no-endpoint-services'"),
    );
    check(
        &of(
            "ip daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\"",
            &["filter-forward", "cluster-ips-check"],
        ),
        "is a ClusterIP, and no Service has this port there",
        Some("kubectl get services -A --field-selector spec.clusterIP=10.224.2.16"),
    );
    check(
        &of(
            "ip saddr != { 192.0.2.128/25, 198.51.100.0/24 } drop",
            &["filter-forward"],
        ),
        "loadBalancerSourceRanges of Service db/postgres",
        Some("kubectl -n db get service postgres -o yaml"),
    );
}

#[test]
fn kube_proxys_ipvs_mode_is_known_by_its_chains() {
    let saved = "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-IPVS-FILTER - [0:0]\n:KUBE-SOURCE-RANGES-FIREWALL - [0:0]\n\
        -A INPUT -m comment --comment \"kubernetes ipvs access filter\" -j KUBE-IPVS-FILTER\n\
        -A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable\n\
        -A KUBE-SOURCE-RANGES-FIREWALL -j DROP\nCOMMIT\n";
    let refused = "-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable";
    let world = World::iptables(saved).rule(refused, &["INPUT", "KUBE-IPVS-FILTER"]);
    check(&world, "none has this port", Some("ipvsadm -Ln"));
    let world = World::iptables(saved).rule("-A KUBE-SOURCE-RANGES-FIREWALL -j DROP", &["INPUT"]);
    check(
        &world,
        "loadBalancerSourceRanges of the Service at 10.224.2.16",
        Some("ipset list KUBE-LOAD-BALANCER-SOURCE-CIDR"),
    );
}

#[test]
fn calicos_default_deny_leads_to_the_pod_and_a_denying_policy_is_named() {
    let saved = r#"*filter
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali12d4a061371 - [0:0]
:cali-pi-_kGZqxTDOJVJUHSPJZn4 - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A cali-to-wl-dispatch -m comment --comment "cali:7KNphB1nNHw80nIO" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali12d4a061371 -m comment --comment "cali:8GyVV_Ej3xcXi3Ln" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
-A cali-pi-_kGZqxTDOJVJUHSPJZn4 -m comment --comment "cali:abc" -m comment --comment "NetworkPolicy shop/no-guests ingress" -j DROP
COMMIT
"#;
    let of = |part: &str| {
        let text = saved.lines().find(|line| line.contains(part)).expect("a rule");
        World::iptables(saved).rule(text, &["FORWARD", "cali-FORWARD"])
    };
    check(
        &of("End of tier"),
        "policies select the pod behind cali12d4a061371, and none lets this in",
        Some("kubectl get pods -A -o wide --field-selector status.podIP=10.224.2.16"),
    );
    check(
        &of("no-guests"),
        "a policy, shop/no-guests, denies this",
        Some("kubectl get networkpolicies.crd.projectcalico.org -A"),
    );
    check(
        &of("Unknown interface"),
        "knows no endpoint behind this device",
        Some("kubectl -n calico-system get pods -o wide -l k8s-app=calico-node"),
    );
}

#[test]
fn calicos_nftables_rules_say_the_same_behind_their_hash() {
    let listed = r#"table ip calico {
chain filter-FORWARD {
type filter hook forward priority filter; policy accept;
jump filter-cali-fw-cali12d4a061371
}
chain filter-cali-fw-cali12d4a061371 {
counter packets 3 bytes 252 drop comment "cali:8GyVV_Ej3xcXi3Ln; End of tier default. Drop if no policies passed packet"
}
}"#;
    let text = listed.lines().find(|line| line.contains("drop")).expect("a rule");
    let world = World::nft(listed).rule(text, &["filter-FORWARD", "filter-cali-fw-cali12d4a061371"]);
    check(
        &world,
        "none lets this out",
        Some("kubectl get pods -A -o wide --field-selector status.podIP=10.224.0.0"),
    );
}

#[test]
fn kube_routers_pods_are_named_by_the_comments_of_both_its_generations() {
    let saved = r#"*filter
:FORWARD ACCEPT [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-POD-FW-4GZX5WRDRJBWZSJM - [0:0]
-A FORWARD -m comment --comment "kube-router netpol" -j KUBE-ROUTER-FORWARD
-A KUBE-POD-FW-4GZX5WRDRJBWZSJM -m comment --comment "rule to REJECT traffic destined for POD name:web-1 namespace: shop" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-POD-FW-4GZX5WRDRJBWZSJM -m comment --comment "shop/web-2 reject" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
COMMIT
"#;
    for pod in ["web-1", "web-2"] {
        let text = saved.lines().find(|line| line.contains(pod)).expect("a rule");
        let world = World::iptables(saved).rule(
            text,
            &["FORWARD", "KUBE-ROUTER-FORWARD", "KUBE-POD-FW-4GZX5WRDRJBWZSJM"],
        );
        check(
            &world,
            &format!("NetworkPolicies select pod shop/{pod}"),
            Some("kubectl -n shop get networkpolicies"),
        );
    }
}

#[test]
fn weave_and_antrea_are_known_by_their_rules() {
    let saved = "*filter\n:FORWARD ACCEPT [0:0]\n:WEAVE-NPC - [0:0]\n:ANTREA-POL-INGRESSRULE1 - [0:0]\n\
        -A FORWARD -o weave -m comment --comment \"NOTE: this must go before '-j KUBE-FORWARD'\" -j WEAVE-NPC\n\
        -A FORWARD -o weave -j DROP\n\
        -A ANTREA-POL-INGRESSRULE1 -p tcp -m comment --comment \"Antrea: for rule r1, policy AntreaClusterNetworkPolicy:nodes\" -j DROP\nCOMMIT\n";
    let world = World::iptables(saved).rule("-A FORWARD -o weave -j DROP", &["FORWARD"]);
    check(
        &world,
        "no NetworkPolicy lets this in to a pod",
        Some("kubectl get pods -A -o wide --field-selector status.podIP=10.224.2.16"),
    );
    let text = saved
        .lines()
        .find(|line| line.contains("Antrea: for"))
        .expect("a rule");
    let world = World::iptables(saved).rule(text, &["FORWARD", "ANTREA-POL-INGRESSRULE1"]);
    check(
        &world,
        "rule r1 of AntreaClusterNetworkPolicy nodes",
        Some("kubectl get clusternetworkpolicies.crd.antrea.io nodes -o yaml"),
    );
    // The same rule of FORWARD on a host without Weave's chain is nobody's.
    let saved = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -o weave -j DROP\nCOMMIT\n";
    let world = World::iptables(saved).rule("-A FORWARD -o weave -j DROP", &["FORWARD"]);
    check(
        &world,
        "No program",
        Some("iptables-legacy -nvL FORWARD --line-numbers"),
    );
}

#[test]
fn rp_filter_on_an_overlay_device_leads_to_its_setting_and_on_a_network_card_to_nothing() {
    let world = || World::iptables("").reason(Layer::Routing, "IP_RPFILTER");
    check(
        &world().devices("flannel.1", ""),
        "flannel's overlay device: answers to 10.224.0.0 would leave by another one",
        Some("sysctl net/ipv4/conf/flannel.1/rp_filter net/ipv4/conf/all/rp_filter"),
    );
    check(
        &world().devices("vxlan.calico", ""),
        "Calico's overlay device",
        Some("sysctl net/ipv4/conf/vxlan.calico/rp_filter net/ipv4/conf/all/rp_filter"),
    );
    assert!(world().devices("eth0", "").hints().is_empty());
    assert!(
        World::iptables("")
            .reason(Layer::Routing, "IP_INNOROUTES")
            .devices("flannel.1", "")
            .hints()
            .is_empty()
    );
}

#[test]
fn a_drop_on_a_pods_device_is_ciliums_only_where_ciliums_chains_are() {
    let with = "*filter\n:FORWARD ACCEPT [0:0]\n:CILIUM_FORWARD - [0:0]\n-A FORWARD -m comment --comment \"cilium-feeder: CILIUM_FORWARD\" -j CILIUM_FORWARD\nCOMMIT\n";
    let without = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
    let of = |saved: &str| {
        World::iptables(saved)
            .reason(Layer::Tc, "TC_INGRESS")
            .devices("lxc5a1b2c3d4e5f", "")
    };
    check(
        &of(with),
        "Cilium's programs stand on this device",
        Some("kubectl -n kube-system exec ds/cilium -- cilium-dbg monitor --type drop"),
    );
    assert!(of(without).hints().is_empty());
}

#[test]
fn the_tool_that_made_the_table_is_the_one_that_shows_it() {
    let mut world = kube_proxy("$(reboot)", &["FORWARD", "KUBE-SERVICES"]);
    world.line.drop.tool = Some(Tool::IptablesNft);
    assert_eq!(
        world.ip6().told().1.as_deref(),
        Some("ip6tables-nft -nvL KUBE-SERVICES --line-numbers")
    );
}
