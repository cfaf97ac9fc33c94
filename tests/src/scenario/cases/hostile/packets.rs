//! Thousands of packets that lie, sent to a router that drops them in several tables: each rule is told of as often as the kernel
//! counted it at the most, and with what is not known and what was lost not less; the output is valid and steers no terminal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::super::check;
use super::super::super::run::{Lab, Place};
use super::super::ended::ended;
use super::forge::{Forge, IPV4};
use super::link::Link;
use super::screen::complaint;
use crate::cluster::rules::{self, Counters};
use crate::cluster::{Cluster, Family};
use crate::kernel::{probes, stats};
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;

/// How many are sent, of both families together.
const PACKETS: usize = 4000;
/// As many where paths are observed: a virtual machine, which is slow.
const FOLLOWED: usize = 600;
/// So many at once; then observer may catch up.
const BATCH: usize = 200;
const BETWEEN: Duration = Duration::from_millis(10);
/// What they are made from.
const SEED: u64 = 20_261_127;
/// What observer may grow by meanwhile: twice its ring buffer.
const MOST_KIB: u64 = 16 * 1024;
/// The router's hardware address on the sender's side.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0x77, 1];
/// All hosts of a link.
const EVERYBODY: [u8; 6] = [0xff; 6];
/// How many failures of one kind are shown.
const SHOWN: usize = 3;

/// Rules that look at every part of a packet: `-m icmp`, `-p tcp --tcp-flags` drop by themselves what is too short for them, and
/// conntrack puts fragments together before any rule sees them.
const RULES: &str = "*raw\n:PREROUTING ACCEPT [0:0]\n\
    -A PREROUTING -i near -p udp -m length --length 0:60 -j DROP\n\
    -A PREROUTING -i near -m length --length 60000:65535 -j DROP\n\
    COMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:WEB - [0:0]\n\
    -A INPUT -i near -p {icmp} -j DROP\n\
    -A INPUT -i near -p tcp -m tcp --tcp-flags SYN,FIN SYN,FIN -j DROP\n\
    -A INPUT -i near -j DROP\n\
    -A FORWARD -m conntrack --ctstate INVALID -j DROP\n\
    -A FORWARD -p tcp -j WEB\n\
    -A FORWARD -p udp -m udp --dport 4789 -j DROP\n\
    -A FORWARD -p 47 -j REJECT\n\
    -A WEB -p tcp -m tcp --dport 80 --tcp-flags SYN SYN -j DROP\n\
    -A WEB -m length --length 0:100 -j DROP\nCOMMIT\n";

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    cluster.ip(
        "router",
        "link set near down\nlink set near address 02:00:00:00:77:01 mtu 65535\nlink set near up\n\
         addr replace fd77:1::1/64 dev near nodad\n",
    )?;
    cluster.ip("client", "link set eth0 mtu 65535\n")?;
    for (family, icmp) in FAMILIES {
        let text = RULES.replace("{icmp}", icmp);
        rules::restore(
            cluster.node("router")?,
            place.setup().backend,
            family,
            &text,
            true,
        )?;
    }
    let trace = place.work.join("trace.json");
    let name = cluster.node("router")?.name().to_owned();
    let words = ["watch", "--netns", &name, "--write", &trace.to_string_lossy()].map(str::to_owned);
    let mut observer = Observer::watch(program, &words, place.work, &trace, lab.patience * 3)?;
    let resident = observer::resident_kib(observer.pid())?;
    let before = Kernels::read(&cluster)?;
    let packets = if probes::path() { FOLLOWED } else { PACKETS };
    send(&cluster, packets)?;
    settle(&trace, lab.patience)?;
    let after = Kernels::read(&cluster)?;
    let grown = observer::resident_kib(observer.pid())?.saturating_sub(resident);
    let (lines, mut failures) = ended(&mut observer, &trace, lab.patience * 2)?;
    // The hosts of a link talk by themselves, too: what they said until the end may have been told, and need not have been.
    let ended = Kernels::read(&cluster)?;
    if grown > MOST_KIB {
        failures.push(format!("it grew by {grown} KiB"));
    }
    failures.extend(complaint("stdout", &observer.stdout()));
    failures.extend(complaint("stderr", &observer.stderr()));
    let written = std::fs::read(&trace).context("the trace is gone")?;
    failures.extend(match String::from_utf8(written) {
        Ok(text) => complaint("the trace", &text),
        Err(error) => Some(format!("the trace is no UTF-8: {error}")),
    });
    let schema = lab.schema.as_ref();
    let wrong = lines
        .iter()
        .filter_map(|line| check::against_schema(line, schema));
    failures.extend(wrong.take(SHOWN));
    failures.extend(judge(
        &cluster,
        &lines,
        [&before, &after, &ended],
        packets as u64,
    )?);
    Ok(Outcome::of(failures))
}

const FAMILIES: [(Family, &str); 2] = [(Family::Ip, "icmp"), (Family::Ip6, "ipv6-icmp")];

/// What the kernel has counted in the router.
struct Kernels {
    rules: BTreeMap<&'static str, Counters>,
    /// IPv4 headers whose checksum was wrong.
    wrong_sums: u64,
}

impl Kernels {
    fn read(cluster: &Cluster) -> Result<Self> {
        let router = cluster.node("router")?;
        let backend = cluster.setup().backend;
        let mut of_family = BTreeMap::new();
        for (family, _) in FAMILIES {
            of_family.insert(family.word(), rules::counters(router, backend, family)?);
        }
        Ok(Self {
            rules: of_family,
            wrong_sums: stats::read(router, "IpExt.InCsumErrors")?,
        })
    }
}

fn send(cluster: &Cluster, packets: usize) -> Result<()> {
    let names = cluster.names();
    let v4 = |word: &str| -> Result<[u8; 4]> { octets(names.fill(word)?.parse()?) };
    // The cluster's names are of one family; these are the same hosts in the other.
    let v6 = |text: &str| -> Result<[u8; 16]> { octets(text.parse()?) };
    let mut forge = Forge::new(
        SEED,
        (v4("{{client}}")?, [v4("{{server}}")?, v4("{{router}}")?]),
        (v6("fd77:1::2")?, [v6("fd77:2::2")?, v6("fd77:1::1")?]),
    );
    cluster.node("client")?.run(|| {
        let link = Link::open("eth0")?;
        let mut sent = 0;
        for number in 1..=packets {
            let packet = forge.packet();
            let to = if packet.is_for_us { ROUTER } else { EVERYBODY };
            sent += usize::from(link.send(&packet.bytes, packet.ethertype, to).is_ok());
            if number % BATCH == 0 {
                std::thread::sleep(BETWEEN);
            }
        }
        anyhow::ensure!(
            sent > packets * 9 / 10,
            "only {sent} of {packets} packets could be sent"
        );
        Ok(())
    })
}

fn octets<const N: usize>(address: IpAddr) -> Result<[u8; N]> {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.try_into().ok().context("an address of the other family")
}

/// Waits until nothing more is told.
fn settle(trace: &Path, patience: Duration) -> Result<()> {
    let (begun, mut told) = (Instant::now(), usize::MAX);
    while begun.elapsed() < patience {
        let now = read_lines(trace)?.len();
        if now == told {
            break;
        }
        told = now;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn judge(
    cluster: &Cluster,
    lines: &[Value],
    [before, after, ended]: [&Kernels; 3],
    packets: u64,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let inode = cluster.node("router")?.inode()?;
    let here: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "drop" && line["netns"]["inode"] == inode)
        .collect();
    let lost: u64 = lines
        .iter()
        .filter(|line| line["kind"] == "lost")
        .filter_map(|line| line["count"].as_u64())
        .sum();
    for (family, rules) in &after.rules {
        let of_rules =
            |line: &&&Value| line["drop"]["layer"] == "netfilter" && line["packet"]["family"] == *family;
        let theirs: Vec<&&Value> = here.iter().filter(of_rules).collect();
        let exact = theirs
            .iter()
            .filter(|line| line["drop"]["confidence"] == "exact")
            .count() as u64;
        let mut dropped = 0;
        for (place, counted) in rules.iter().filter(|(_, counted)| counted.drops()) {
            let told: Vec<&&&Value> = theirs.iter().filter(|line| names(line, place)).collect();
            let earlier = before.rules[family].get(place).map_or(0, |it| it.packets);
            dropped += counted.packets - earlier;
            let most = ended.rules[family].get(place).map_or(0, |it| it.packets);
            if told.len() as u64 > most {
                failures.push(format!(
                    "{family}: {place} dropped {most} packets, and {} are said to have been: {}",
                    told.len(),
                    told[0]
                ));
            }
        }
        let all = theirs.len() as u64;
        if all + lost < dropped {
            failures.push(format!(
                "{family}: rules dropped {dropped} packets, {all} were told of and {lost} counted as lost"
            ));
        }
        if exact * 10 < dropped * 8 || dropped < packets / 10 {
            failures.push(format!(
                "{family}: of {dropped} packets that rules dropped only {exact} are told as exact"
            ));
        }
    }
    let of_sums = here
        .iter()
        .filter(|line| line["drop"]["reason"] == "IP_CSUM")
        .count() as u64;
    let counted = after.wrong_sums - before.wrong_sums;
    if of_sums > ended.wrong_sums || of_sums + lost < counted || counted == 0 {
        failures.push(format!(
            "{counted} packets had a wrong checksum, of {of_sums} it is said, {lost} were lost"
        ));
    }
    Ok(failures)
}

/// Whether a line says that its packet was dropped there.
fn names(line: &Value, place: &rules::Place) -> bool {
    let drop = &line["drop"];
    let is_there = drop["table"] == place.table.as_str() && drop["chain"] == place.chain.as_str();
    is_there
        && drop["confidence"] != "unknown"
        && match place.rule {
            Some(number) => drop["rule"]["number"] == number,
            None => drop["cause"] == "policy",
        }
}

/// The ethertype that the lab and the kernel call the same.
const _: () = assert!(IPV4 == libc::ETH_P_IP as u16);
