//! What Prometheus sees is what the kernel counted, by rule and with its text, whatever a comment holds; and who connects and says
//! nothing keeps neither drops nor others waiting.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::super::run::{Lab, Place};
use crate::cluster::rules::{self, Place as RulePlace};
use crate::cluster::{Backend, Cluster};
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;
use crate::rights::{self, Watched};

/// Packets that the router forwards, to each of the two ports, and of its own.
const SENT: [usize; 3] = [7, 3, 5];
/// More than observer serves at a time.
const SILENT: usize = 6;
/// The second rule's comment would end a label and make a sample of its own.
const RULES: &str = "*filter\n-A FORWARD -p udp -m udp --dport 9 -j DROP\n\
    -A FORWARD -p udp -m udp --dport 10 -m comment --comment \"x\\\"} 7 \\\\ y\" -j DROP\n\
    -A OUTPUT -p udp -m udp --dport 9 -j DROP\nCOMMIT\n";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let setup = place.setup();
    let cluster = Cluster::up(&lab.data, "router", &setup, &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let address = free()?;
    let name = address.to_string();
    let args = [
        "watch",
        "-o",
        "json",
        "--port",
        "9",
        "--port",
        "10",
        "--metrics",
        &name,
    ]
    .map(str::to_owned);
    let trace = place.work.join("stdout");
    let mut observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;
    let mut failures = rights::failures(observer.pid(), Watched::Packets, lab.patience)?;
    let silent = (0..SILENT)
        .map(|_| TcpStream::connect(address))
        .collect::<std::io::Result<Vec<_>>>()
        .context("observer does not listen")?;
    for (node, port, count) in [
        ("client", 9, SENT[0]),
        ("client", 10, SENT[1]),
        ("router", 9, SENT[2]),
    ] {
        send(&cluster, node, port, count)?;
    }
    let sent: u64 = SENT.iter().sum::<usize>() as u64;
    let page = wait(address, sent, lab.patience)?;
    drop(silent);

    let counted = rules::counters(cluster.node("router")?, setup.backend, setup.family)?;
    let identities = cluster.identities()?;
    let (inode, netns) = identities.get("router").context("no router")?;
    // What iptables-nft wrote may be told in nft's words, where the tool's are not known.
    let in_words_of_the_tool = setup.backend == Backend::Legacy;
    judge(
        &page,
        &counted,
        in_words_of_the_tool,
        &[inode.to_string(), netns.clone()],
        &mut failures,
    );
    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(lab.patience * 2)?);
    if code != 0 {
        failures.push(format!(
            "observer ended with {code}: {}",
            observer.stderr().trim()
        ));
    }
    let lines = read_lines(&trace)?;
    let exact = lines.last().and_then(|line| line["exact"].as_u64());
    if exact != Some(sent) {
        failures.push(format!("{sent} packets died, the summary has {exact:?} as exact"));
    }
    Ok(Outcome::of(failures))
}

/// An address of the loopback at which nobody listens.
pub(super) fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    listener.local_addr().context("a socket without an address")
}

fn send(cluster: &Cluster, node: &str, port: u16, count: usize) -> Result<()> {
    let to = cluster.names().fill(&format!("{{{{server}}}}:{port}"))?;
    cluster.node(node)?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        for _ in 0..count {
            // What netfilter drops on its way out is an error of the sender's.
            let _ = socket.send_to(b"metrics", &to);
        }
        Ok(())
    })
}

/// The page, once it has all of them, and the totals of the kernel side have come, too.
fn wait(address: SocketAddr, sent: u64, patience: Duration) -> Result<String> {
    let begun = Instant::now();
    loop {
        let page = scrape(address)?;
        let told: u64 = samples(&page, "observer_drops_total").values().sum();
        let seen: u64 = samples(&page, "observer_kernel_drops_total").values().sum();
        if told >= sent && seen >= sent {
            return Ok(page);
        }
        if begun.elapsed() > patience {
            bail!("of {sent} packets that died {told} are told, and {seen} of the kernel's seen: {page}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn scrape(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("observer does not listen")?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    if !head.starts_with("HTTP/1.1 200 ") || !body.ends_with("# EOF\n") {
        bail!("the answer is no page of metrics: {answer}");
    }
    Ok(body.to_owned())
}

/// The samples of a family by their labels, as they are written.
fn samples(page: &str, family: &str) -> BTreeMap<String, u64> {
    page.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(family)?;
            (labels.is_empty() || labels.starts_with('{'))
                .then(|| Some((labels.to_owned(), value.parse().ok()?)))?
        })
        .collect()
}

/// The port that the rule asks for.
fn port(text: &str) -> &str {
    let after = text.split_once("--dport ").map_or("", |(_, after)| after);
    after.split(' ').next().unwrap_or_default()
}

fn judge(
    page: &str,
    counted: &BTreeMap<RulePlace, rules::Counted>,
    in_words_of_the_tool: bool,
    netns: &[String],
    failures: &mut Vec<String>,
) {
    let mut series = samples(page, "observer_drops_total");
    for (place, counted) in counted.iter().filter(|(_, counted)| counted.drops()) {
        // As OpenMetrics escapes a label's value.
        let text = counted.text.replace('\\', "\\\\").replace('"', "\\\"");
        let wanted = [
            format!("table=\"{}\"", place.table),
            format!("chain=\"{}\"", place.chain),
            if in_words_of_the_tool {
                format!("rule=\"{text}\"")
            } else {
                format!("dport {} ", port(&counted.text))
            },
            "confidence=\"exact\"".to_owned(),
        ];
        let mine: Vec<String> = series
            .keys()
            .filter(|labels| wanted.iter().all(|label| labels.contains(label)))
            .cloned()
            .collect();
        let told: u64 = mine.iter().filter_map(|labels| series.remove(labels)).sum();
        if told != counted.packets {
            failures.push(format!(
                "{place} counted {}, the metrics say {told}: {page}",
                counted.packets
            ));
        }
        let is_there = |labels: &String| {
            netns
                .iter()
                .any(|name| labels.contains(&format!("netns=\"{name}\"")))
        };
        if !mine.iter().all(is_there) {
            failures.push(format!("{place}: not in {netns:?} but {mine:?}"));
        }
    }
    if !series.is_empty() {
        failures.push(format!("the kernel's counters know nothing of {series:?}"));
    }
}
