//! Rules and packets of the benchmarks.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use crate::cluster::{Backend, Cluster, Family, rules};

/// Packets for this port are dropped.
pub(super) const PORT: u16 = 9;
/// Nobody sends to this port and those after it.
const FIRST_PORT: usize = 10_000;

/// So many rules that can drop; in `FORWARD` one more, the last, that drops what is sent to `PORT`.
pub(super) fn rules(
    cluster: &Cluster,
    node: &str,
    backend: Backend,
    count: usize,
    chain: &str,
) -> Result<()> {
    rules_among(cluster, node, backend, [count, 0], chain)
}

/// As [`rules()`], and so many that cannot drop.
pub(super) fn rules_among(
    cluster: &Cluster,
    node: &str,
    backend: Backend,
    [count, living]: [usize; 2],
    chain: &str,
) -> Result<()> {
    let mut text = format!("*filter\n:{chain} ACCEPT [0:0]\n");
    for port in FIRST_PORT..FIRST_PORT + living {
        writeln!(text, "-A {chain} -p tcp -m tcp --dport {port} -j ACCEPT")?;
    }
    for port in FIRST_PORT..FIRST_PORT + count {
        writeln!(text, "-A {chain} -p udp -m udp --dport {port} -j DROP")?;
    }
    if chain == "FORWARD" {
        writeln!(text, "-A {chain} -p udp -m udp --dport {PORT} -j DROP")?;
    }
    text.push_str("COMMIT\n");
    rules::restore(cluster.node(node)?, backend, Family::Ip, &text, true)
}

/// Sends packets that die in the router, `pause` apart; returns when each was sent.
pub(super) fn drops(bench: &Bench, count: usize, pause: Duration) -> Result<Vec<Instant>> {
    let to = address(bench, PORT)?;
    bench.cluster.node("client")?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        let mut sent = Vec::with_capacity(count);
        for _ in 0..count {
            std::thread::sleep(pause);
            sent.push(Instant::now());
            // What came back for an earlier one is reported instead of sending this one: send it again.
            if socket.send_to(b"drop", to).is_err() {
                socket.send_to(b"drop", to).context("cannot send")?;
            }
        }
        Ok(sent)
    })
}

/// Sends packets that arrive and are answered, one after the other.
pub(super) fn alive(bench: &Bench, count: usize) -> Result<()> {
    let to = address(bench, 7)?;
    bench.cluster.node("client")?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        for _ in 0..count {
            socket.send_to(b"live", to).context("cannot send")?;
            socket.recv(&mut [0; 16]).context("no answer")?;
        }
        Ok(())
    })
}

fn address(bench: &Bench, port: u16) -> Result<SocketAddr> {
    Ok(format!("{}:{port}", bench.cluster.names().fill("{{server}}")?).parse()?)
}
