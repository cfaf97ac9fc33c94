//! Random rulesets of the families that see frames (bridge, netdev, arp, and inet's ingress) against random frames.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use observer::evaluate::nftables::{Bits, Device, Evaluator, Packet};
use observer::ruleset::nftables::listing::{Family as Of, Handles, Ruleset};

use super::generate::{PORTS, Table, V4, V6};
use super::judge::{self, Judgement, Stage};
use super::packets;
use super::random::Random;
use super::wire::{FAR_MAC, Family, IN, Mac, OUT, OWN, OWN_MAC, Wire};
use super::{Amount, FIRST_PORT, Tally, load_in};
use crate::exec;
use crate::kernel::trace::{Rulebook, Run, Tracer};
use crate::run_dir::RunDir;
use crate::traffic;

/// `PACKET_HOST`, `PACKET_OTHERHOST`
const HOST: u8 = 0;
const OTHER_HOST: u8 = 3;

/// Evaluates random frames against random rulesets of one family and sends them.
pub(super) fn evaluate(run: &RunDir, family: Family, amount: Amount, tally: &mut Tally) -> Result<()> {
    let wire = Wire::build(family, run)?;
    let tracer = Tracer::listen(&wire.netns)?;
    for round in 0..amount.rulesets {
        let seed = amount.seed.wrapping_add(round as u64);
        try_ruleset(&wire, &tracer, family, (seed, amount.packets), tally)
            .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

fn try_ruleset(
    wire: &Wire,
    tracer: &Tracer,
    family: Family,
    (seed, packets): (u64, usize),
    tally: &mut Tally,
) -> Result<()> {
    let mut random = Random::new(seed);
    let tables = exec::run(Some(&wire.netns), "nft", &["list", "tables"], "")?;
    let old = tables.lines().filter(|line| !line.contains("lab-trace"));
    let mut text: String = old.map(|line| format!("delete {line}\n")).collect();
    text.push_str(&ruleset(&mut random, family));
    if let Err(error) = load_in(&wire.netns, &text) {
        tally.unloadable += 1;
        eprintln!("seed {seed}: {error:#}\n{text}");
        return Ok(());
    }
    let listed = exec::run(Some(&wire.netns), "nft", &["-j", "list", "ruleset"], "")?;
    let mut ruleset = Ruleset::read(&listed).context("the ruleset just listed")?;
    ruleset.tables.retain(|table| !table.name.starts_with("lab-"));
    let book = Rulebook::of_nftables(&wire.netns)?;
    tracer.nft_runs(&book)?;
    let evaluator = Evaluator::new(&ruleset);
    for index in 0..packets {
        let frame = Frame::make(&mut random, family, FIRST_PORT + index as u16);
        if frame.is_own {
            wire.send(&frame.bytes)?;
        } else {
            wire.receive(&frame.bytes)?;
        }
        // Its way is over, and told of: what is told of others is what the kernel answers.
        let runs = tracer.nft_runs(&book)?;
        let of = |operation| -> Vec<Run> {
            let is_it = |run: &&Run| {
                run.packet.sport == Some(frame.number)
                    && (operation == ANY || run.packet.proto == 0 && run.packet.dport == Some(operation))
            };
            runs.iter().filter(is_it).cloned().collect()
        };
        let mut journeys = vec![(frame.packet.clone(), frame.stages.clone(), of(frame.operation))];
        let answer = of(ANSWER);
        if family == Family::Arp && !answer.is_empty() {
            // It leaves by the device that was asked by.
            let stage = Stage::new(Of::Arp, "output", Device::None, named(IN));
            journeys.push((link_packet(), vec![stage], answer));
        }
        for (packet, stages, runs) in journeys {
            match judge::judge_stages(&ruleset, &evaluator, &packet, &stages, &runs) {
                Judgement::Exact => tally.exact += 1,
                Judgement::Possible => tally.possible += 1,
                Judgement::Wrong(why) => {
                    tally.wrong.push(format!(
                        "seed {seed}, packet {index}: {why}\n{packet:?} {stages:?}\n{}",
                        ruleset.text(Handles::Shown)
                    ));
                }
            }
        }
    }
    Ok(())
}

fn named(device: &str) -> Device {
    Device::Named(device.to_owned())
}

/// `ARPOP_REQUEST`, `ARPOP_REPLY`, and what is not ARP.
const QUESTION: u16 = 1;
const ANSWER: u16 = 2;
const ANY: u16 = 0;

/// A frame that was made up.
struct Frame {
    /// Its source port, or the end of who asks.
    number: u16,
    operation: u16,
    bytes: Vec<u8>,
    /// Whether the bridge itself sends it.
    is_own: bool,
    packet: Packet,
    stages: Vec<Stage>,
}

impl Frame {
    fn make(random: &mut Random, family: Family, number: u16) -> Self {
        let is_own = family == Family::Bridge && random.one_in(5);
        let is_local = !is_own && random.one_in(4);
        let [high, low] = number.to_be_bytes();
        let asker: Mac = [2, 0, 0, 0, high, low];
        let is_arp = family == Family::Arp || (family == Family::Bridge && random.one_in(10));
        let to = match family {
            Family::Bridge if !is_local => FAR_MAC,
            _ => OWN_MAC,
        };
        let from = if is_own { OWN_MAC } else { asker };
        // Of a tagged frame that the bridge itself sends the kernel's trace shows no IP header to know it by.
        let has_tag = family == Family::Bridge && !is_own && random.one_in(8);
        let mut bytes = [to, from].concat();
        if has_tag {
            bytes.extend([0x81, 0, 0, 5]);
        }
        let mut packet = link_packet();
        if is_arp {
            bytes.extend([8, 6]);
            bytes.extend(question(asker));
        } else {
            let v6 = family == Family::Bridge && random.one_in(4);
            let made = ip_packet(random, (v6, is_local && family != Family::Bridge), number);
            bytes.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
            let ip = made.bytes();
            packet = packets::known(&made, ip.len());
            packet.connection = Default::default();
            packet.source_kinds = observer::evaluate::Kinds::ANY;
            packet.destination_kinds = observer::evaluate::Kinds::ANY;
            bytes.extend(ip);
        }
        packet.vlan_tag = Some(has_tag);
        packet.packet_type = match family {
            Family::Bridge if is_own => None,
            Family::Bridge if !is_local => Some(OTHER_HOST),
            _ => Some(HOST),
        };
        Self {
            number,
            operation: if is_arp { QUESTION } else { ANY },
            bytes,
            is_own,
            packet,
            stages: stages(family, is_own, is_local),
        }
    }
}

/// What is known of a frame that is no IP packet.
fn link_packet() -> Packet {
    Packet {
        mark: Bits::exact(0),
        vlan_tag: Some(false),
        ..Packet::default()
    }
}

fn ip_packet(random: &mut Random, (v6, to_own): (bool, bool), number: u16) -> traffic::Packet {
    let address = |random: &mut Random| -> IpAddr {
        let text = if v6 {
            random.pick(&V6[1..])
        } else {
            random.pick(&V4[1..])
        };
        text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    };
    let src = address(random);
    let mut dst = address(random);
    while dst == src {
        dst = address(random);
    }
    if to_own {
        dst = OWN.parse().unwrap_or(dst);
    }
    traffic::Packet {
        src,
        dst,
        sport: number,
        dport: *random.pick(&PORTS),
        ttl: *random.pick(&[64, 64, 61]),
        transport: match random.below(6) {
            0 => traffic::Transport::IcmpEcho { id: number },
            1 | 2 => traffic::Transport::Udp,
            _ => traffic::Transport::Tcp {
                flags: *random.pick(&[2, 2, 16, 18]),
            },
        },
        payload_bytes: random.below(3) * 20,
        bad_checksum: false,
    }
}

/// Who asks for the namespace's own address.
fn question(asker: Mac) -> Vec<u8> {
    let own = Ipv4Addr::new(10, 9, 0, 1).octets();
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.extend(asker);
    bytes.extend([10, 9, 0, 2, 0, 0, 0, 0, 0, 0]);
    bytes.extend(own);
    bytes
}

/// The hooks on a frame's way, with the devices that rules see there.
fn stages(family: Family, is_own: bool, is_local: bool) -> Vec<Stage> {
    match family {
        Family::Bridge => {
            let last = Stage::new(Of::Bridge, "postrouting", Device::None, named(OUT));
            if is_own {
                return vec![Stage::new(Of::Bridge, "output", Device::None, named(OUT)), last];
            }
            let first = Stage::new(Of::Bridge, "prerouting", named(IN), Device::None);
            if is_local {
                vec![first, Stage::new(Of::Bridge, "input", named(IN), Device::None)]
            } else {
                vec![
                    first,
                    Stage::new(Of::Bridge, "forward", named(IN), named(OUT)),
                    last,
                ]
            }
        }
        Family::Netdev => {
            let first = Stage::new(Of::Netdev, "ingress", named(IN), Device::None);
            if is_local {
                return vec![first];
            }
            let mut last = Stage::new(Of::Netdev, "egress", Device::None, named(OUT));
            last.has_routed = true;
            vec![first, last]
        }
        Family::Arp => vec![Stage::new(Of::Arp, "input", named(IN), Device::None)],
    }
}

/// Conditions on what only frames have.
const OF_FRAMES: [&str; 9] = [
    "ether saddr 02:00:00:00:4e:20",
    "ether daddr 02:00:00:00:08:09",
    "ether daddr != 02:00:00:00:09:01",
    "ether type ip",
    "ether type arp",
    "meta protocol ip",
    "meta protocol { ip, arp }",
    "vlan id 5",
    "ether type vlan",
];
const OF_BRIDGES: [&str; 4] = [
    "meta ibrname \"br0\"",
    "meta obrname \"br1\"",
    "meta pkttype host",
    "meta pkttype other",
];
const OF_ARP: [&str; 8] = [
    "arp operation request",
    "arp operation reply",
    "arp operation != request",
    "arp saddr ip 10.9.0.2",
    "arp daddr ip 10.9.0.1",
    "arp htype 1",
    "arp plen 4",
    "arp saddr ether 02:00:00:00:4e:20",
];
const OF_ALL: [&str; 10] = [
    "meta mark 0x1",
    "meta mark != 0x0",
    "meta mark & 0x2 == 0x2",
    "meta mark { 0x1, 0x10-0x20 }",
    "iifname \"in0\"",
    "iifname \"in*\"",
    "oifname \"out0\"",
    "oifname != \"out*\"",
    "numgen inc mod 3 < 2",
    "limit rate 1/second",
];

fn ruleset(random: &mut Random, family: Family) -> String {
    let mut text = String::new();
    let mut priorities = Vec::new();
    for index in 0..1 + random.below(3) {
        let of = match family {
            Family::Bridge => "bridge",
            Family::Netdev if random.one_in(3) => "inet",
            Family::Netdev => "netdev",
            Family::Arp => "arp",
        };
        table(random, &mut text, (index, of), &mut priorities);
    }
    text
}

fn table(
    random: &mut Random,
    text: &mut String,
    (index, family): (usize, &'static str),
    priorities: &mut Vec<(&'static str, i32)>,
) {
    let _ = writeln!(text, "table {family} t{index} {{");
    let regular = random.below(4);
    for chain in 0..regular {
        let _ = writeln!(text, "\tchain c{chain} {{\n\t}}");
    }
    if family != "arp" {
        super::generate::sets(random, text, regular);
    }
    for base in 0..1 + random.below(3) {
        let hook = match family {
            "bridge" => *random.pick(&[
                "prerouting",
                "input",
                "forward",
                "forward",
                "output",
                "postrouting",
            ]),
            "netdev" => *random.pick(&["ingress", "egress"]),
            "inet" => "ingress",
            _ => *random.pick(&["input", "output"]),
        };
        let priority = *random.pick(&[-300, -200, -150, -5, 0, 10, 200]);
        if priorities.contains(&(hook, priority)) {
            continue;
        }
        priorities.push((hook, priority));
        let device = match hook {
            "ingress" => format!(" device {IN}"),
            "egress" => format!(" device {OUT}"),
            _ => String::new(),
        };
        let policy = if random.one_in(4) { "drop" } else { "accept" };
        let _ = writeln!(
            text,
            "\tchain b{base} {{\n\t\ttype filter hook {hook}{device} priority {priority}; policy {policy};"
        );
        rules(
            random,
            text,
            family,
            (0..regular).map(|one| format!("c{one}")).collect(),
        );
        text.push_str("\t}\n");
    }
    for chain in 0..regular {
        let _ = writeln!(text, "\tchain c{chain} {{");
        rules(
            random,
            text,
            family,
            (chain + 1..regular).map(|one| format!("c{one}")).collect(),
        );
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
}

fn rules(random: &mut Random, text: &mut String, family: &'static str, targets: Vec<String>) {
    let has_ip = family != "arp";
    for _ in 0..random.below(7) {
        let mut words: Vec<String> = Vec::new();
        for _ in 0..random.below(3) {
            words.push(match random.below(6) {
                0 | 1 if has_ip => condition(random),
                2 if has_ip => (*random.pick(&OF_FRAMES)).to_owned(),
                3 if family == "bridge" => (*random.pick(&OF_BRIDGES)).to_owned(),
                4 if matches!(family, "arp" | "bridge") => (*random.pick(&OF_ARP)).to_owned(),
                _ => (*random.pick(&OF_ALL)).to_owned(),
            });
        }
        words.push("counter".to_owned());
        if random.one_in(4) {
            let changes = [
                "meta mark set 0x1",
                "meta mark set meta mark | 0x10",
                "meta mark set meta mark & 0xfffffff0",
                "meta mark set meta mark << 1",
            ];
            words.push((*random.pick(&changes)).to_owned());
        }
        let target = (!targets.is_empty()).then(|| random.pick(&targets).clone());
        words.push(match (random.below(12), target) {
            (0 | 1, _) => "accept".to_owned(),
            (2, _) => "drop".to_owned(),
            (3, _) => "return".to_owned(),
            (4 | 5, Some(target)) => format!("jump {target}"),
            (6, Some(target)) => format!("goto {target}"),
            (7, _) if has_ip => "tcp dport vmap @v".to_owned(),
            (8, Some(target)) if has_ip => {
                format!("meta l4proto vmap {{ tcp : jump {target}, icmp : accept }}")
            }
            (9, Some(target)) => format!("meta mark vmap {{ 0x0 : jump {target}, 0x1 : drop }}"),
            (10, _) if has_ip => "reject".to_owned(),
            _ => String::new(),
        });
        let _ = writeln!(text, "\t\t{}", words.join(" ").trim());
    }
}

/// One that also the families of IP have.
fn condition(random: &mut Random) -> String {
    Table::of_frames(random).condition()
}
