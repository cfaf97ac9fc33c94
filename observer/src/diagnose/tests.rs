use super::*;
use crate::report::record::samples::{addr, policy_drop};
use crate::report::record::{self, Packet, Proto};

const KERNEL_REASONS: &str = include_str!("kernel-reasons.txt");

fn packet(family: PacketFamily, proto: Proto, dst: &str) -> Packet {
    Packet {
        family,
        proto: Some(proto),
        dst: Some(addr(dst)),
        dport: Some(80),
        ..policy_drop().packet
    }
}

fn facts(packet: &Packet) -> PacketFacts<'_> {
    PacketFacts {
        packet: Some(packet),
        in_dev: Some("eth0"),
        ethertype: Some(0x800),
        pkt_type: Some(PktType::Host),
        ..PacketFacts::default()
    }
}

fn explained(name: &str, symbol: Option<&str>) -> Explanation {
    let packet = packet(PacketFamily::Ip, Proto::TCP, "10.224.2.16");
    reason(name, symbol, &facts(&packet))
}

#[test]
fn every_reason_of_every_kernel_has_words() {
    for line in KERNEL_REASONS.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(' ').next().expect("a name");
        assert!(
            is_unspecified(name) || by_reason(name).is_some(),
            "{name} is not in the catalogue"
        );
    }
}

#[test]
fn no_reason_and_no_function_stands_in_the_catalogue_twice() {
    let mut reasons: Vec<_> = all_reasons().map(|(name, _)| *name).collect();
    let mut symbols: Vec<_> = all_symbols()
        .flat_map(|(names, _)| names.iter().copied())
        .collect();
    for list in [&mut reasons, &mut symbols] {
        list.sort_unstable();
        let twice: Vec<_> = list.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

#[test]
fn sentences_are_plain_text_of_one_line() {
    for meaning in all_reasons()
        .map(|row| &row.1)
        .chain(all_symbols().map(|row| &row.1))
    {
        let text = template::sentence(meaning, &PacketFacts::default());
        assert!(!text.contains(['{', '}', '\n']) && !text.contains("  "), "{text}");
        assert!(!meaning.says.ends_with('.'), "{text}");
    }
}

/// The causes that people ask for by name, each as kernels report it.
#[test]
fn the_causes_people_ask_for_are_named() {
    let cases = [
        (
            "IP_INNOROUTES",
            "ip_error",
            Layer::Routing,
            "No route to 10.224.2.16",
        ),
        (
            "IP_OUTNOROUTES",
            "__ip_queue_xmit",
            Layer::Routing,
            "no route to 10.224.2.16",
        ),
        (
            "NOT_SPECIFIED",
            "ip_error",
            Layer::Routing,
            "unreachable, prohibit or blackhole",
        ),
        ("NOT_SPECIFIED", "dst_discard_out", Layer::Routing, "blackhole"),
        (
            "IP_RPFILTER",
            "ip_rcv_finish_core.isra.0",
            Layer::Routing,
            "Reverse-path filter",
        ),
        (
            "NOT_SPECIFIED",
            "ip_rcv_finish_core.isra.0",
            Layer::Routing,
            "martian",
        ),
        ("IP_LOCAL_SOURCE", "ip_rcv_finish_core", Layer::Routing, "martian"),
        (
            "NEIGH_FAILED",
            "arp_error_report",
            Layer::Neighbour,
            "Nobody answers ARP",
        ),
        (
            "NOT_SPECIFIED",
            "ndisc_error_report",
            Layer::Neighbour,
            "Nobody answers ARP",
        ),
        (
            "QUEUE_PURGE",
            "neigh_flush_dev",
            Layer::Neighbour,
            "waited for ARP",
        ),
        ("IP_INHDR", "ip_forward", Layer::Routing, "TTL"),
        ("IP_INHDR", "ip6_forward", Layer::Routing, "TTL"),
        (
            "NO_SOCKET",
            "tcp_v4_rcv",
            Layer::Socket,
            "nothing listens on 10.224.2.16:80",
        ),
        ("TCP_LISTEN_OVERFLOW", "tcp_v4_rcv", Layer::Socket, "accept queue"),
        ("NOT_SPECIFIED", "tcp_v4_rcv", Layer::Socket, "accept queue"),
        (
            "PKT_TOO_BIG",
            "ip_forward",
            Layer::Routing,
            "may not be fragmented",
        ),
        (
            "NOT_SPECIFIED",
            "ip_fragment",
            Layer::Routing,
            "may not be fragmented",
        ),
        ("TCP_CSUM", "tcp_v4_rcv", Layer::Socket, "checksum"),
        ("IP_CSUM", "ip_rcv_core", Layer::Routing, "checksum"),
        (
            "TC_INGRESS",
            "__netif_receive_skb_core",
            Layer::Tc,
            "ingress of eth0",
        ),
        ("XDP", "do_xdp_generic", Layer::Xdp, "XDP program on eth0"),
        ("NOT_SPECIFIED", "veth_xdp_rcv_skb", Layer::Xdp, "XDP"),
        ("QDISC_DROP", "__dev_queue_xmit", Layer::Tc, "queueing discipline"),
        ("NOT_SPECIFIED", "kfree_skb_list_reason", Layer::Device, "down"),
        ("DEV_READY", "tun_net_xmit", Layer::Device, "down"),
        ("FULL_RING", "tun_net_xmit", Layer::Device, "full"),
        ("NOT_SPECIFIED", "veth_xmit", Layer::Device, "queue is full"),
        ("NETFILTER_DROP", "nf_hook_slow", Layer::Netfilter, "netfilter"),
        ("NOT_SPECIFIED", "nft_do_chain", Layer::Netfilter, "netfilter"),
    ];
    for (name, symbol, layer, words) in cases {
        let explanation = explained(name, Some(symbol));
        assert_eq!(explanation.layer, layer, "{name} {symbol}");
        assert!(
            explanation.text.contains(words),
            "{name} {symbol}: {}",
            explanation.text
        );
        assert!(explanation.loss, "{name} {symbol}");
    }
}

#[test]
fn a_closed_udp_port_is_a_loss_but_a_broadcast_that_nobody_wants_is_not() {
    let closed = packet(PacketFamily::Ip, Proto::UDP, "10.224.2.16");
    let text = reason("NO_SOCKET", Some("__udp4_lib_rcv"), &facts(&closed));
    assert!(
        text.loss && text.text.contains("No UDP socket is bound to 10.224.2.16:80"),
        "{text:?}"
    );
    for dst in ["255.255.255.255", "224.0.0.251"] {
        let many = packet(PacketFamily::Ip, Proto::UDP, dst);
        assert!(
            !reason("NO_SOCKET", Some("__udp4_lib_rcv"), &facts(&many)).loss,
            "{dst}"
        );
    }
    let directed = PacketFacts {
        pkt_type: Some(PktType::Broadcast),
        ..facts(&closed)
    };
    assert!(!reason("NO_SOCKET", None, &directed).loss);
}

#[test]
fn what_nobody_misses_is_no_loss() {
    let cases = [
        ("OTHERHOST", "ip_rcv_core"),
        ("CONSUMED", "napi_consume_skb"),
        ("NOT_SPECIFIED", "packet_rcv"),
        ("SOCKET_FILTER", "tpacket_rcv"),
        ("PACKET_SOCK_ERROR", "packet_rcv"),
        ("TCP_OLD_ACK", "tcp_rcv_established"),
        ("TCP_OLD_DATA", "tcp_data_queue"),
        ("TCP_OFOMERGE", "tcp_data_queue_ofo"),
        ("QUEUE_PURGE", "skb_queue_purge_reason"),
        ("NOT_SPECIFIED", "netlink_broadcast_filtered"),
        ("NOT_SPECIFIED", "ip6_mc_input"),
        ("NOT_SPECIFIED", "tcp_rcv_state_process"),
    ];
    for (name, symbol) in cases {
        assert!(!explained(name, Some(symbol)).loss, "{name} {symbol}");
    }
}

#[test]
fn what_the_bridge_could_not_flood_is_a_loss_only_if_this_host_sent_it() {
    let pod = packet(PacketFamily::Ip, Proto::TCP, "10.224.2.16");
    let with = |pkt_type| {
        reason(
            "",
            Some("br_flood"),
            &PacketFacts {
                pkt_type,
                ..facts(&pod)
            },
        )
        .loss
    };
    assert!(with(Some(PktType::Host)));
    assert!(!with(Some(PktType::OtherHost)));
    assert!(!with(None));
}

#[test]
fn a_bridge_without_a_port_is_no_vxlan_device() {
    let explanation = explained("NO_TX_TARGET", Some("br_dev_xmit"));
    assert!(
        explanation.text.starts_with("The bridge has no port") && explanation.loss,
        "{explanation:?}"
    );
    let explanation = explained("NO_TX_TARGET", Some("vxlan_xmit"));
    assert!(
        explanation.text.starts_with("The VXLAN device"),
        "{explanation:?}"
    );
    let group = packet(PacketFamily::Ip6, Proto::ICMPV6, "ff02::16");
    assert!(!reason("NO_TX_TARGET", Some("br_dev_xmit"), &facts(&group)).loss);
}

#[test]
fn an_icmpv6_message_that_6_1_has_handled_is_no_loss() {
    let message = |icmp_type| Packet {
        icmp_type: Some(icmp_type),
        ..packet(PacketFamily::Ip6, Proto::ICMPV6, "fd00::2")
    };
    for icmp_type in [1, 4, 128, 129, 133, 135, 136, 137, 143] {
        let message = message(icmp_type);
        assert!(!reason("NOT_SPECIFIED", Some("icmpv6_rcv"), &facts(&message)).loss);
        assert!(
            reason("ICMP_CSUM", Some("icmpv6_rcv"), &facts(&message)).loss,
            "{icmp_type}"
        );
    }
    for icmp_type in [100, 200] {
        assert!(reason("NOT_SPECIFIED", Some("icmpv6_rcv"), &facts(&message(icmp_type))).loss);
    }
    assert!(explained("NOT_SPECIFIED", Some("icmp_rcv")).loss);
}

#[test]
fn the_end_of_a_connection_that_is_closed_already_is_no_loss() {
    let loses = |flags| {
        let segment = Packet {
            tcp_flags: Some(record::TcpFlags(flags)),
            ..packet(PacketFamily::Ip, Proto::TCP, "10.224.2.16")
        };
        reason("NOT_SPECIFIED", Some("tcp_v4_rcv"), &facts(&segment)).loss
    };
    assert!(!loses(0x11) && !loses(0x14), "FIN, RST");
    assert!(
        loses(0x19) && loses(0x18) && loses(0x10),
        "data, the last ACK of a handshake"
    );
}

#[test]
fn groups_that_nobody_here_has_joined_and_what_hosts_send_by_themselves_are_no_loss() {
    let group = packet(PacketFamily::Ip, Proto::UDP, "224.0.0.251");
    assert!(!reason("NOT_SPECIFIED", Some("ip_rcv_finish_core"), &facts(&group)).loss);
    let queue = |packet: &Packet| reason("QDISC_DROP", Some("__dev_queue_xmit"), &facts(packet)).loss;
    assert!(queue(&group));
    assert!(!queue(&packet(PacketFamily::Ip, Proto::IGMP, "224.0.0.22")));
    let solicitation = |src: &str| Packet {
        icmp_type: Some(135),
        src: Some(addr(src)),
        ..packet(PacketFamily::Ip6, Proto::ICMPV6, "ff02::1:ff00:2")
    };
    assert!(!queue(&solicitation("::")));
    assert!(queue(&solicitation("fd00::1")));
}

#[test]
fn frames_of_unknown_protocols_are_noise_unless_they_are_ip() {
    let lldp = Packet {
        family: PacketFamily::Other,
        ..Packet::default()
    };
    assert!(!reason("UNHANDLED_PROTO", None, &facts(&lldp)).loss);
    assert!(explained("UNHANDLED_PROTO", None).loss);
}

#[test]
fn messages_between_programs_are_no_loss_but_a_packet_without_a_route_is() {
    let facts = PacketFacts {
        ethertype: Some(0),
        ..PacketFacts::default()
    };
    assert!(!reason("SOCKET_RCVBUFF", Some("sock_queue_rcv_skb"), &facts).loss);
    assert!(!reason("", Some("never_heard_of"), &facts).loss);
    assert!(reason("IP_OUTNOROUTES", Some("__ip_queue_xmit"), &facts).loss);
}

#[test]
fn an_unknown_reason_is_named_as_it_is() {
    let explanation = explained("SKB_DROP_REASON_BRAND_NEW", Some("some_function.cold"));
    assert_eq!(
        (explanation.layer, explanation.confidence),
        (Layer::Other, Confidence::Unknown)
    );
    assert_eq!(
        explanation.text,
        "The kernel's reason is BRAND_NEW, freed in some_function(); this version has no words for it."
    );
    let nameless = explained("NOT_SPECIFIED", None);
    assert_eq!(nameless.confidence, Confidence::Unknown);
    assert!(nameless.loss);
}

#[test]
fn a_reason_makes_it_exact_and_a_function_alone_inferred() {
    assert_eq!(
        explained("SKB_DROP_REASON_IP_RPFILTER", None).confidence,
        Confidence::Exact
    );
    assert_eq!(
        explained("SKB_DROP_REASON_NOT_SPECIFIED", Some("arp_error_report")).confidence,
        Confidence::Inferred
    );
}

#[test]
fn reasons_to_skip_in_the_kernel_are_never_a_loss_for_any_function() {
    let names: Vec<_> = reasons_without_loss().collect();
    assert!(
        names.contains(&"OTHERHOST") && names.contains(&"TCP_OLD_ACK"),
        "{names:?}"
    );
    assert!(
        !names.contains(&"QUEUE_PURGE") && !names.contains(&"NO_SOCKET"),
        "{names:?}"
    );
}
