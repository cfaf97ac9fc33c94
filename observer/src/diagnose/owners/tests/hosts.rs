//! ufw, firewalld and fail2ban.

use super::check;
use super::world::World;
use crate::report::record::Proto;

const UFW: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-before-forward - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit - [0:0]
:ufw-not-local - [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -s 192.0.2.7/32 -j DROP
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
-A ufw-not-local -j DROP
COMMIT
";

#[test]
fn ufws_policies_lead_to_ufws_own_words() {
    let world = World::iptables(UFW).policy("filter", "FORWARD");
    check(
        &world,
        "ufw denies what is routed through this host unless a rule allows it (known by FORWARD's jump to \
         ufw-before-forward)",
        Some("ufw route allow in on flannel.1 out on cni0"),
    );
    check(
        &world.devices("eth0", "eth1"),
        "ufw denies what is routed",
        Some("ufw route allow in on eth0 out on eth1 to 10.224.2.16 port 80 proto tcp"),
    );
    let world = World::iptables(UFW).policy("filter", "INPUT").devices("eth0", "");
    check(
        &world,
        "ufw denies what comes in to this host",
        Some("ufw allow in on eth0 from 10.224.0.0 to any port 80 proto tcp"),
    );
    check(
        &world.packet("10.0.0.9", "10.0.0.1", Proto::ICMP, None),
        "ufw denies what comes in",
        Some("ufw allow in on eth0 from 10.0.0.9"),
    );
}

#[test]
fn where_both_docker_and_ufw_set_the_policy_both_are_named() {
    let both = UFW
        .replace(":ufw-not-local", ":DOCKER-USER - [0:0]\n:ufw-not-local")
        .replace(
            "-A FORWARD -j ufw",
            "-A FORWARD -j DOCKER-USER\n-A FORWARD -j ufw",
        );
    let world = World::iptables(&both).policy("filter", "FORWARD");
    check(
        &world,
        "ufw, which is here too, may have set it as well (known by FORWARD's jump to DOCKER-USER and FORWARD's jump \
         to ufw-before-forward)",
        Some("ufw route allow in on flannel.1 out on cni0 to 10.224.2.16"),
    );
}

#[test]
fn ufws_own_rules_are_told_apart() {
    let of = |text: &str, path: &[&str]| World::iptables(UFW).rule(text, path);
    let input = ["INPUT", "ufw-before-input"];
    check(
        &of(
            "-A ufw-user-input -s 192.0.2.7/32 -j DROP",
            &["INPUT", "ufw-user-input"],
        ),
        "Somebody on this host gave ufw this rule",
        Some("ufw status numbered"),
    );
    check(
        &of(
            "-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable",
            &["INPUT", "ufw-user-limit"],
        ),
        "ufw limits how often",
        Some("ufw status numbered"),
    );
    check(
        &of(
            "-A ufw-before-input -m conntrack --ctstate INVALID -j DROP",
            &input,
        )
        .invalid(0x10),
        "ufw drops what conntrack calls INVALID",
        Some("sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1"),
    );
    check(
        &of(
            "-A ufw-not-local -j DROP",
            &["INPUT", "ufw-before-input", "ufw-not-local"],
        ),
        "an address that is none of its own",
        Some("ip route get 10.224.2.16"),
    );
    check(
        &of("-A ufw-skip-to-policy-input -j DROP", &["INPUT"]),
        "what Windows hosts announce",
        Some("iptables-legacy -nvL ufw-skip-to-policy-input --line-numbers"),
    );
}

const FIREWALLD: &str = "table inet firewalld {
chain filter_INPUT {
type filter hook input priority filter + 10; policy accept;
ct state invalid drop
jump filter_INPUT_ZONES
reject with icmpx admin-prohibited
}
chain filter_FORWARD {
type filter hook forward priority filter + 10; policy accept;
jump filter_FORWARD_ZONES
reject with icmpx admin-prohibited
}
chain filter_INPUT_ZONES {
goto filter_IN_public
}
chain filter_FORWARD_ZONES {
goto filter_FWD_public
}
chain filter_IN_public {
jump filter_IN_public_deny
meta l4proto { icmp, ipv6-icmp } accept
reject with icmpx admin-prohibited comment \"zone\"
}
chain filter_IN_public_deny {
ip saddr 192.0.2.200 tcp dport 6443 reject with icmp port-unreachable
}
chain filter_FWD_public {
reject with icmpx admin-prohibited comment \"forward\"
}
chain filter_IN_policy_web-in_deny {
tcp dport 81 reject
}
}";

#[test]
fn firewalls_zones_are_named_with_the_line_that_opens_a_port_in_them() {
    let of = |text: &str, path: &[&str]| World::nft(FIREWALLD).rule(text, path);
    let rejected = "reject with icmpx admin-prohibited comment \"zone\"";
    let world = of(
        rejected,
        &["filter_INPUT", "filter_INPUT_ZONES", "filter_IN_public"],
    )
    .devices("eth0", "");
    check(
        &world,
        "zone public does not allow this in (known by table firewalld",
        Some("firewall-cmd --zone=public --add-port=80/tcp"),
    );
    assert!(world.hints()[1].text.contains("--permanent"));
    let icmp = world.packet("10.0.0.9", "10.0.0.1", Proto::ICMP, None);
    check(
        &icmp,
        "zone public",
        Some("firewall-cmd --list-all --zone=public"),
    );
    check(
        &of(
            "ip saddr 192.0.2.200 tcp dport 6443 reject with icmp port-unreachable",
            &[
                "filter_INPUT",
                "filter_INPUT_ZONES",
                "filter_IN_public",
                "filter_IN_public_deny",
            ],
        ),
        "a rule for zone public refuses this",
        Some("firewall-cmd --list-all --zone=public"),
    );
    check(
        &of("tcp dport 81 reject", &["filter_INPUT"]),
        "policy web-in refuses this",
        Some("firewall-cmd --info-policy=web-in"),
    );
}

#[test]
fn what_firewalld_does_not_forward_between_pods_is_put_into_zone_trusted() {
    let world = World::nft(FIREWALLD).rule(
        "reject with icmpx admin-prohibited comment \"forward\"",
        &["filter_FORWARD", "filter_FORWARD_ZONES", "filter_FWD_public"],
    );
    check(
        &world,
        "zone public does not let this be forwarded",
        Some("firewall-cmd --zone=trusted --change-interface=flannel.1"),
    );
    check(
        &world.devices("eth0", "cni0"),
        "zone public",
        Some("firewall-cmd --list-all --zone=public"),
    );
}

#[test]
fn firewallds_iptables_rules_need_firewallds_chains() {
    let saved = "*filter\n:INPUT ACCEPT [0:0]\n:INPUT_direct - [0:0]\n:INPUT_ZONES - [0:0]\n:IN_public - [0:0]\n\
        -A INPUT -j INPUT_direct\n-A INPUT -j INPUT_ZONES\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n\
        -A INPUT_ZONES -g IN_public\n-A IN_public -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n";
    let zone = "-A IN_public -j REJECT --reject-with icmp-host-prohibited";
    let world = World::iptables(saved).rule(zone, &["INPUT", "INPUT_ZONES", "IN_public"]);
    check(
        &world,
        "zone public does not allow this in",
        Some("firewall-cmd --zone=public --add-port=80/tcp"),
    );
    let last = "-A INPUT -j REJECT --reject-with icmp-host-prohibited";
    let world = World::iptables(saved).rule(last, &["INPUT"]).devices("eth0", "");
    check(
        &world,
        "no zone allows this in",
        Some("firewall-cmd --get-zone-of-interface=eth0"),
    );
    // A chain of that name and the same last rule, as a host without firewalld may have them.
    let alone = "*filter\n:INPUT ACCEPT [0:0]\n:IN_public - [0:0]\n-A INPUT -j IN_public\n\
        -A INPUT -j REJECT --reject-with icmp-host-prohibited\n-A IN_public -j DROP\nCOMMIT\n";
    let world = World::iptables(alone).rule("-A IN_public -j DROP", &["INPUT", "IN_public"]);
    assert!(world.hints().is_empty(), "{:?}", world.hints());
    check(
        &World::iptables(alone).rule(last, &["INPUT"]),
        "No program",
        Some("iptables-legacy -nvL INPUT --line-numbers"),
    );
}

#[test]
fn fail2bans_jails_are_named_in_both_its_forms() {
    let saved = "*filter\n:INPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\n\
        -A f2b-sshd -s 10.224.0.0/32 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
    let banned = "-A f2b-sshd -s 10.224.0.0/32 -j REJECT --reject-with icmp-port-unreachable";
    let unban = Some("fail2ban-client set sshd unbanip 10.224.0.0");
    let world = World::iptables(saved).rule(banned, &["INPUT", "f2b-sshd"]);
    check(&world, "fail2ban has banned 10.224.0.0 (jail sshd)", unban);
    let listed = "table inet f2b-table {\nchain f2b-chain {\ntype filter hook input priority filter - 1; policy accept;\n\
        tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable\n}\n}";
    let banned = "tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable";
    check(
        &World::nft(listed).rule(banned, &["f2b-chain"]),
        "jail sshd",
        unban,
    );
}
