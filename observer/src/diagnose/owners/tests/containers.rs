//! Docker, podman, CNI plugins and libvirt.

use super::check;
use super::world::World;
use crate::report::record::Proto;

/// As Docker 20.10 writes them.
const DOCKER: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br-noicc -j DOCKER
-A FORWARD -i br-noicc -o br-noicc -j DROP
-A DOCKER -d 172.28.0.2/32 ! -i br-web -o br-web -p tcp -m tcp --dport 443 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 ! -s 172.29.0.0/16 -o br-int -j DROP
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o br-0123456789ab -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o br-web -j DROP
-A DOCKER-USER -s 192.0.2.7/32 -j DROP
COMMIT
";

/// As Docker 28 writes them.
const DOCKER_28: &str = "*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 192.168.0.2/32 ! -i br-dummy -j DROP
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-INTERNAL - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i br-dummy -o br-dummy -j DROP
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i br-dummy -o br-dummy -j DROP
-A DOCKER-INTERNAL ! -d 192.168.0.0/24 -i br-int -j DROP
COMMIT
";

const PERMANENT: &str = "to keep it: iptables-persistent, or a systemd unit with After=docker.service";

#[test]
fn the_seeds_case_docker_sets_forwards_policy_and_leaves_docker_user_to_its_users() {
    let world = World::iptables(DOCKER).policy("filter", "FORWARD");
    check(
        &world,
        "Docker sets this policy: what no rule accepts is not forwarded (known by \
         FORWARD's jump to DOCKER-USER).",
        Some("iptables-legacy -I DOCKER-USER -i flannel.1 -o cni0 -j ACCEPT"),
    );
    assert!(world.hints()[1].text.contains(PERMANENT), "{:?}", world.hints());
}

#[test]
fn from_outside_only_the_packets_own_port_is_opened() {
    let world = World::iptables(DOCKER)
        .policy("filter", "FORWARD")
        .devices("eth0", "docker0");
    check(
        &world,
        "Docker sets this policy",
        Some("iptables-legacy -I DOCKER-USER -i eth0 -o docker0 -d 10.224.2.16 -p tcp --dport 80 -j ACCEPT"),
    );
    let world = world.packet("10.0.0.1", "172.17.0.2", Proto::ICMP, None);
    check(
        &world,
        "Docker sets this policy",
        Some("iptables-legacy -I DOCKER-USER -i eth0 -o docker0 -d 172.17.0.2 -j ACCEPT"),
    );
}

#[test]
fn in_another_namespace_the_command_goes_there_and_without_a_way_there_is_none() {
    let mut world = World::iptables(DOCKER).policy("filter", "FORWARD");
    world.enter = Some("ip netns exec node02 ");
    let command = "ip netns exec node02 iptables-legacy -I DOCKER-USER -i flannel.1 -o cni0 -j ACCEPT";
    check(&world, "Docker", Some(command));
    world.enter = None;
    check(&world, "Docker", None);
}

#[test]
fn a_policy_without_dockers_jump_is_not_dockers() {
    let unused = DOCKER.replace("-A FORWARD -j DOCKER-USER\n", "");
    let world = World::iptables(&unused).policy("filter", "FORWARD");
    check(
        &world,
        "No program that observer knows sets this policy",
        Some("iptables-legacy -nvL FORWARD --line-numbers"),
    );
    // Nor is that of another chain.
    let world = World::iptables(&DOCKER.replace(":INPUT ACCEPT", ":INPUT DROP")).policy("filter", "INPUT");
    check(
        &world,
        "No program",
        Some("iptables-legacy -nvL INPUT --line-numbers"),
    );
}

#[test]
fn a_device_that_a_shell_would_run_is_in_no_command() {
    for name in ["$(reboot)", "a b", "x;y", "eth+", "-A"] {
        let world = World::iptables(DOCKER)
            .policy("filter", "FORWARD")
            .devices(name, "cni0");
        check(
            &world,
            "Docker sets this policy",
            Some("iptables-legacy -nvL FORWARD --line-numbers"),
        );
    }
}

#[test]
fn isolation_of_networks_leads_to_the_network_it_was_going_to() {
    let path = ["FORWARD", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2"];
    let world = World::iptables(DOCKER)
        .rule("-A DOCKER-ISOLATION-STAGE-2 -o br-0123456789ab -j DROP", &path)
        .devices("docker0", "br-0123456789ab");
    check(
        &world,
        "Docker isolates its networks: docker0 and br-0123456789ab are bridges of two of them",
        Some("docker network inspect 0123456789ab"),
    );
    let world = World::iptables(DOCKER)
        .rule("-A DOCKER-ISOLATION-STAGE-2 -o br-web -j DROP", &path)
        .devices("docker0", "br-web");
    check(&world, "Docker isolates its networks", Some("docker network ls"));
}

#[test]
fn internal_networks_icc_and_the_users_own_rules_are_told_apart() {
    let world = World::iptables(DOCKER).rule(
        "-A DOCKER-ISOLATION-STAGE-1 ! -s 172.29.0.0/16 -o br-int -j DROP",
        &["FORWARD", "DOCKER-ISOLATION-STAGE-1"],
    );
    check(&world, "closes an internal network", Some("docker network ls"));
    let world = World::iptables(DOCKER)
        .rule("-A FORWARD -i br-noicc -o br-noicc -j DROP", &["FORWARD"])
        .devices("br-noicc", "br-noicc");
    check(
        &world,
        "enable_icc is false (known by what the rule matches and chain DOCKER in filter)",
        Some("iptables-legacy -I DOCKER-USER -i br-noicc -o br-noicc -s 10.224.0.0 -d 10.224.2.16 -j ACCEPT"),
    );
    let world = World::iptables(DOCKER).rule(
        "-A DOCKER-USER -s 192.0.2.7/32 -j DROP",
        &["FORWARD", "DOCKER-USER"],
    );
    check(
        &world,
        "Somebody on this host wrote this rule",
        Some("iptables-legacy -nvL DOCKER-USER --line-numbers"),
    );
}

#[test]
fn the_chains_of_newer_docker_are_known() {
    let of = |text: &str, path: &[&str]| World::iptables(DOCKER_28).rule(text, path);
    check(
        &of(
            "-A DOCKER ! -i br-dummy -o br-dummy -j DROP",
            &["FORWARD", "DOCKER-FORWARD", "DOCKER-BRIDGE", "DOCKER"],
        ),
        "nobody from outside br-dummy reach a container's port that is not published",
        Some("docker ps"),
    );
    check(
        &of(
            "-A DOCKER-FORWARD -i br-dummy -o br-dummy -j DROP",
            &["FORWARD", "DOCKER-FORWARD"],
        ),
        "keeps the containers of br-dummy apart",
        Some("iptables-legacy -I DOCKER-USER -i flannel.1 -o cni0 -s 10.224.0.0 -d 10.224.2.16 -j ACCEPT"),
    );
    check(
        &of(
            "-A DOCKER-INTERNAL ! -d 192.168.0.0/24 -i br-int -j DROP",
            &["FORWARD", "DOCKER-FORWARD", "DOCKER-INTERNAL"],
        ),
        "closes an internal network",
        Some("docker network ls"),
    );
    check(
        &of(
            "-A PREROUTING -d 192.168.0.2/32 ! -i br-dummy -j DROP",
            &["PREROUTING"],
        ),
        "address a container directly",
        Some("docker ps"),
    );
    // The same rule in raw on a host without Docker's chain is nobody's.
    let alone =
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 192.168.0.2/32 ! -i br-dummy -j DROP\nCOMMIT\n";
    let world = World::iptables(alone).rule(
        "-A PREROUTING -d 192.168.0.2/32 ! -i br-dummy -j DROP",
        &["PREROUTING"],
    );
    check(
        &world,
        "No program",
        Some("iptables-legacy -t raw -nvL PREROUTING --line-numbers"),
    );
}

#[test]
fn dockers_nftables_rules_are_known_by_table_and_comment() {
    let listed = r#"table ip docker-bridges {
chain filter-FORWARD {
type filter hook forward priority filter; policy accept;
oifname vmap @filter-forward-in-jumps
}
chain filter-forward-in__br-dummy {
iifname "br-dummy" counter packets 0 bytes 0 drop comment "ICC"
counter packets 0 bytes 0 drop comment "UNPUBLISHED PORT DROP"
}
}"#;
    let path = ["filter-FORWARD", "filter-forward-in__br-dummy"];
    let unpublished = "counter packets 0 bytes 0 drop comment \"UNPUBLISHED PORT DROP\"";
    let world = World::nft(listed).rule(unpublished, &path);
    check(&world, "port that is not published", Some("docker ps"));
    let icc = "iifname \"br-dummy\" counter packets 0 bytes 0 drop comment \"ICC\"";
    let world = World::nft(listed).rule(icc, &path);
    check(&world, "enable_icc is false", Some("docker network ls"));
    // The comment alone says nothing.
    let mine = listed.replace("docker-bridges", "mine");
    let world = World::nft(&mine).rule(icc, &path);
    check(
        &world,
        "No program",
        Some("nft 'list chain ip mine filter-forward-in__br-dummy'"),
    );
}

#[test]
fn a_table_of_nft_with_dockers_chain_is_edited_with_nft() {
    let listed = "table ip filter {\nchain FORWARD {\ntype filter hook forward priority filter; policy drop;\n\
        jump DOCKER-USER\n}\nchain DOCKER-USER {\nreturn\n}\n}";
    let world = World::nft(listed).policy("filter", "FORWARD");
    check(
        &world,
        "Docker sets this policy",
        Some("nft 'insert rule ip filter DOCKER-USER iifname \"flannel.1\" oifname \"cni0\" accept'"),
    );
}

#[test]
fn podman_and_cni_isolate_and_libvirt_keeps_strangers_out() {
    let saved = "*filter\n:FORWARD ACCEPT [0:0]\n:CNI-ISOLATION-STAGE-2 - [0:0]\n:NETAVARK_ISOLATION_2 - [0:0]\n\
        :LIBVIRT_FWI - [0:0]\n:LIBVIRT_FWO - [0:0]\n-A FORWARD -j LIBVIRT_FWI\n-A CNI-ISOLATION-STAGE-2 -o cni1 -j DROP\n\
        -A NETAVARK_ISOLATION_2 -o podman1 -j DROP\n-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable\n\
        -A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
    let cases = [
        (
            "-A CNI-ISOLATION-STAGE-2 -o cni1 -j DROP",
            "CNI plugin firewall isolates",
            "grep -r ingressPolicy /etc/cni/net.d",
        ),
        (
            "-A NETAVARK_ISOLATION_2 -o podman1 -j DROP",
            "podman isolates this network",
            "podman network ls",
        ),
        (
            "-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable",
            "takes no new connections from outside",
            "virsh net-list --all",
        ),
        (
            "-A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable",
            "is not let out",
            "virsh net-list --all",
        ),
    ];
    for (text, words, command) in cases {
        check(
            &World::iptables(saved).rule(text, &["FORWARD"]),
            words,
            Some(command),
        );
    }
    let listed = "table ip libvirt_network {\nchain forward {\ntype filter hook forward priority filter; policy accept;\n\
        jump guest_input\n}\nchain guest_input {\noif \"virbr0\" counter packets 8 bytes 844 reject\n}\n}";
    let world = World::nft(listed).rule(
        "oif \"virbr0\" counter packets 8 bytes 844 reject",
        &["forward", "guest_input"],
    );
    check(&world, "libvirt: a virtual network", Some("virsh net-list --all"));
}
