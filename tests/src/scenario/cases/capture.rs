//! A capture is what other programs read: its bytes are the packets' own, from the link header on where there is one, no more than
//! were asked for, and each packet has its verdict.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGReader};

use super::super::run::{Lab, Place};
use crate::cluster::Cluster;
use crate::exec;
use crate::observer::{self, Observer};
use crate::results::Outcome;

/// What is captured of each packet, in bytes.
const SNAPLEN: usize = 128;
/// What each packet carries, in bytes: more than is captured.
const PAYLOAD: usize = 600;
/// Headers of IPv4 and UDP, in bytes.
const HEADERS: usize = 28;
const ETHERNET: usize = 14;

struct Packet {
    link: Linktype,
    device: String,
    netns: String,
    data: Vec<u8>,
    whole_len: usize,
    comment: String,
}

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let rules = "*filter\n-A FORWARD -p udp -m udp --dport 8 -j ACCEPT\n-A FORWARD -p udp -m udp --dport 9 -j DROP\n\
                 -A OUTPUT -p udp -m udp --dport 9 -j DROP\nCOMMIT\n";
    cluster.restore("router", rules, true)?;
    let file = place.work.join("drops.pcapng");
    let name = file.display().to_string();
    let args = [
        "watch",
        "-o",
        "json",
        "--port",
        "9",
        "--pcap",
        &name,
        "--snaplen",
        "128",
    ]
    .map(str::to_owned);
    let mut observer = Observer::watch(
        program,
        &args,
        place.work,
        &place.work.join("stdout"),
        lab.patience * 3,
    )?;
    let to = cluster.names().fill("{{server}}:9")?;
    send(&cluster, "client", &to, b'c')?;
    send(&cluster, "router", &to, b'r')?;
    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(lab.patience * 2)?);

    let mut failures = Vec::new();
    if code != 0 {
        failures.push(format!("observer ended with {code}"));
    }
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    if mode != 0o600 {
        failures.push(format!("the capture has mode {mode:o}"));
    }
    let packets = read(&file)?;
    let identities = cluster.identities()?;
    let inode = identities.get("router").context("no router")?.0.to_string();
    let client = exec::shell(Some(cluster.node("client")?), "ip -o link")?;
    judge(&packets, &inode, &client, &mut failures);
    wireshark(&file, &mut failures)?;
    Ok(Outcome::of(failures))
}

fn send(cluster: &Cluster, node: &str, to: &str, fill: u8) -> Result<()> {
    cluster.node(node)?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        // What netfilter drops on its way out is an error of the sender's.
        let _ = socket.send_to(&[fill; PAYLOAD], to);
        Ok(())
    })
}

fn judge(packets: &[Packet], inode: &str, client: &str, failures: &mut Vec<String>) {
    let [forwarded, own] = packets else {
        failures.push(format!("two packets died, the capture has {}", packets.len()));
        return;
    };
    let mut must = |holds: bool, what: String| {
        if !holds {
            failures.push(what);
        }
    };
    for (packet, fill, link, before) in [
        (forwarded, b'c', Linktype::ETHERNET, ETHERNET),
        (own, b'r', Linktype::RAW, 0),
    ] {
        let Packet { data, .. } = packet;
        must(
            packet.link == link,
            format!("{fill}: the bytes begin with {}, not {link}", packet.link),
        );
        must(
            packet.whole_len == before + HEADERS + PAYLOAD,
            format!("{fill}: is {} bytes long", packet.whole_len),
        );
        must(
            data.len() == SNAPLEN,
            format!("{fill}: {} bytes were kept", data.len()),
        );
        let payload = data.get(before + HEADERS..).unwrap_or_default();
        must(
            !payload.is_empty() && payload.iter().all(|byte| *byte == fill),
            format!("{fill}: the payload is not what was sent: {data:x?}"),
        );
        must(
            data.get(before) == Some(&0x45),
            format!("{fill}: no IPv4 header at {before}: {data:x?}"),
        );
        must(
            packet.netns.contains(inode),
            format!("{fill}: is of {}, not of {inode}", packet.netns),
        );
        must(
            packet.comment.contains("\nconfidence: exact\n"),
            format!("{fill}: its comment is {}", packet.comment),
        );
    }
    let from = forwarded.data.get(6..12).unwrap_or_default();
    let from: Vec<String> = from.iter().map(|byte| format!("{byte:02x}")).collect();
    must(
        client.contains(&from.join(":")),
        format!(
            "the frame is from {}, the client's devices are {client}",
            from.join(":")
        ),
    );
    for (packet, cause) in [(forwarded, "rule 2"), (own, "rule 1")] {
        let chain = if cause == "rule 2" { "FORWARD" } else { "OUTPUT" };
        let line = packet.comment.lines().next().unwrap_or_default();
        must(
            line.starts_with(&format!("observer: {cause}")) && line.ends_with(&format!("filter {chain}")),
            format!("{}: its comment is {}", packet.device, packet.comment),
        );
    }
}

/// What the packets of a capture have as their comments; an error unless it is whole to its end.
pub(super) fn verdicts(file: &Path) -> Result<Vec<String>> {
    Ok(read(file)?.into_iter().map(|packet| packet.comment).collect())
}

/// Reads it with another library than the one that wrote it.
fn read(file: &Path) -> Result<Vec<Packet>> {
    let mut reader =
        PcapNGReader::new(1 << 16, File::open(file)?).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    loop {
        match reader.next() {
            Ok((offset, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::InterfaceDescription(interface) => {
                        let text = |text: Option<Result<&str, _>>| {
                            text.and_then(Result::ok).unwrap_or_default().to_owned()
                        };
                        interfaces.push((
                            interface.linktype,
                            text(interface.if_name()),
                            text(interface.if_description()),
                        ));
                    }
                    Block::EnhancedPacket(packet) => {
                        let (link, device, netns) = interfaces
                            .get(packet.if_id as usize)
                            .cloned()
                            .context("a packet of no interface")?;
                        let comment = packet.options.iter().find(|it| it.code == OptionCode::Comment);
                        packets.push(Packet {
                            link,
                            device,
                            netns,
                            data: packet.data[..packet.caplen as usize].to_vec(),
                            whole_len: packet.origlen as usize,
                            comment: comment
                                .and_then(|it| it.as_str().ok())
                                .unwrap_or_default()
                                .to_owned(),
                        });
                    }
                    _ => {}
                }
                reader.consume(offset);
            }
            Ok(_) => bail!("no pcapng"),
            Err(PcapError::Eof) => return Ok(packets),
            Err(PcapError::Incomplete(_)) => reader.refill().map_err(|error| anyhow::anyhow!("{error:?}"))?,
            Err(error) => bail!("{error:?}"),
        }
    }
}

/// What people open it with.
fn wireshark(file: &Path, failures: &mut Vec<String>) -> Result<()> {
    let name = file.display().to_string();
    let fields = [
        "udp.dstport",
        "frame.len",
        "frame.cap_len",
        "frame.interface_name",
        "frame.comment",
    ];
    let mut args = vec!["-n", "-r", &name, "-T", "fields", "-E", "separator=|"];
    args.extend(fields.iter().flat_map(|field| ["-e", field]));
    let text = exec::run(None, "tshark", &args, "").context("tshark cannot read the capture")?;
    for (len, cause) in [
        (ETHERNET + HEADERS + PAYLOAD, "rule 2"),
        (HEADERS + PAYLOAD, "rule 1"),
    ] {
        let begin = format!("9|{len}|{SNAPLEN}|");
        let rest = text.split_once(&begin).map(|(_, rest)| rest);
        let is_told = rest.is_some_and(|rest| {
            rest.split_once('|')
                .is_some_and(|(_, comment)| comment.starts_with(&format!("observer: {cause}")))
        });
        if !is_told {
            failures.push(format!("tshark does not show the packet of {len} bytes: {text}"));
        }
    }
    Ok(())
}
