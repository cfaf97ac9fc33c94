//! What a scenario does, step by step.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use serde::Deserialize;

use crate::cluster::{Backend, Cluster, Data, rules};
use crate::exec;
use crate::kernel::trace::{Run, Tracer};
use crate::kernel::{hook, link, tun, xdp};
use crate::observer::read_lines;
use crate::run_dir::RunDir;
use crate::stopwatch::Stopwatch;
use crate::traffic::{self, Http, Ping, Raw, Request, Tcp, Udp};

/// One step. In a file: `[[step]]`, `do = "udp"`, then the fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Step {
    /// UDP datagrams.
    Udp(Udp),
    /// TCP connections.
    Tcp(Tcp),
    /// An HTTP GET.
    Http(Http),
    /// ICMP echo requests.
    Ping(Ping),
    /// Hand-made packets.
    Raw(Raw),
    /// Restores rules.
    Rules(Rules),
    /// Runs `nft -f` in a node.
    Nft(InNode),
    /// Takes a node away.
    Remove(Node),
    /// Runs `ip -batch` in a node.
    Ip(InNode),
    /// Runs a shell script in a node.
    Shell(InNode),
    /// Runs a shell script in a node for as long as the cluster is up.
    Background(InNode),
    /// Gives a device an XDP program that drops everything.
    Xdp(Device),
    /// Gives a hook of the run's family a BPF program that drops everything.
    Bpf(InHook),
    /// Makes a tun device that nobody reads from.
    Tun(Device),
    /// Waits until a device has a carrier.
    Running(Device),
    /// Adds the nodes of another cluster file.
    Cluster(Add),
    /// Mounts a small tmpfs.
    Tmpfs(Tmpfs),
    /// Waits until observer has reported so many drops since it started.
    Reported(Reported),
    /// Sends UDP datagrams one by one until observer tells of a counter: then it knows the rules that are in force.
    Counted(Udp),
}

/// Rules for a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The node.
    pub node: String,
    /// Which iptables, if not that of the run.
    pub backend: Option<Backend>,
    /// Text in the format of iptables-save.
    pub text: String,
    /// Whether the tables named in the text are emptied first.
    #[serde(default = "yes")]
    pub flush: bool,
}

/// Lines for a tool, in a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InNode {
    /// The node.
    pub node: String,
    /// The lines.
    pub text: String,
}

/// A node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub node: String,
}

/// A device of a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The node.
    pub node: String,
    /// The device.
    pub device: String,
}

/// A hook of a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InHook {
    /// The node.
    pub node: String,
    /// The hook, `FORWARD`.
    pub hook: String,
    /// Where among its functions.
    pub priority: i32,
}

/// Another cluster file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Its name.
    pub name: String,
}

/// A small file system.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where.
    pub at: String,
    /// Its size, `16k`.
    pub size: String,
}

/// A number of drops.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// How many.
    pub drops: usize,
}

fn yes() -> bool {
    true
}

/// What steps work on.
pub struct Stage<'a> {
    /// The cluster.
    pub cluster: Cluster,
    /// The lab's files.
    pub data: &'a Data,
    /// This run.
    pub run: &'a RunDir,
    /// The trace that observer writes.
    pub trace: &'a Path,
    /// Whether an observer runs.
    pub observed: bool,
    /// The program under test, if there is one.
    pub program: Option<&'a Path>,
    /// How long to wait for something that must happen.
    pub patience: Duration,
    /// Where the time goes.
    pub watch: &'a Stopwatch,
    /// What listens to the kernel's traces, by node.
    pub tracers: BTreeMap<String, Tracer>,
}

impl Stage<'_> {
    /// Lets the kernel trace the packets of these nodes from now on.
    pub fn trace_nodes(&mut self, nodes: &[String]) -> Result<()> {
        let setup = self.cluster.setup();
        let legacy = (setup.backend == Backend::Legacy).then_some(setup.family);
        for node in nodes {
            let tracer =
                Tracer::start(self.cluster.node(node)?, legacy).with_context(|| format!("tracing {node}"))?;
            self.tracers.insert(node.clone(), tracer);
        }
        Ok(())
    }

    /// What the kernel's traces have said since the last call.
    pub fn traces(&self) -> Result<BTreeMap<String, Vec<Run>>> {
        let family = self.cluster.setup().family;
        self.tracers
            .iter()
            .map(|(node, tracer)| Ok((node.clone(), tracer.runs(self.cluster.node(node)?, family)?)))
            .collect()
    }
}

impl Step {
    /// Whether rules may be others when it is done.
    pub fn changes_rules(&self) -> bool {
        matches!(self, Self::Rules(_) | Self::Nft(_) | Self::Shell(_))
    }

    /// Does it.
    pub fn perform(&self, stage: &mut Stage) -> Result<()> {
        match self {
            Self::Udp(udp) => send(stage, &udp.from, udp, Some(udp.to)),
            Self::Tcp(tcp) => send(stage, &tcp.from, tcp, Some(tcp.to)),
            Self::Http(http) => send(stage, &http.from, http, Some(http.to)),
            Self::Ping(ping) => send(stage, &ping.from, ping, Some(ping.to)),
            Self::Raw(raw) => send(stage, &raw.from, raw, Some(raw.to)),
            Self::Rules(rules) => {
                let setup = stage.cluster.setup();
                let backend = rules.backend.unwrap_or(setup.backend);
                let netns = stage.cluster.node(&rules.node)?;
                rules::restore(netns, backend, setup.family, &rules.text, rules.flush)
            }
            Self::Nft(lines) => {
                let node = stage.cluster.node(&lines.node)?;
                exec::run(Some(node), "nft", &["-f", "-"], &lines.text).map(drop)
            }
            Self::Remove(at) => stage.cluster.remove(&at.node),
            Self::Ip(lines) => stage.cluster.ip(&lines.node, &lines.text),
            Self::Shell(lines) => exec::shell(Some(stage.cluster.node(&lines.node)?), &lines.text).map(drop),
            Self::Background(lines) => {
                let group = stage.cluster.background(&lines.node, &lines.text)?;
                stage.run.has_group(group)
            }
            Self::Xdp(at) => {
                let program = stage
                    .cluster
                    .node(&at.node)?
                    .run(|| xdp::drop_everything(&at.device))?;
                stage.cluster.hold(program);
                Ok(())
            }
            Self::Bpf(at) => {
                let family = stage.cluster.setup().family;
                let program = stage
                    .cluster
                    .node(&at.node)?
                    .run(|| hook::drop_everything(family, &at.hook, at.priority))?;
                stage.cluster.hold(program);
                Ok(())
            }
            Self::Tun(at) => {
                let device = stage.cluster.node(&at.node)?.run(|| tun::open(&at.device))?;
                stage.cluster.hold(device);
                Ok(())
            }
            Self::Running(at) => stage
                .cluster
                .node(&at.node)?
                .run(|| link::wait_until_running(&at.device)),
            Self::Cluster(add) => stage.cluster.add(stage.data, &add.name, stage.run),
            Self::Tmpfs(tmpfs) => mount_tmpfs(stage.run, Path::new(&tmpfs.at), &tmpfs.size),
            Self::Reported(reported) if stage.observed => wait_for_drops(stage, reported.drops),
            Self::Reported(_) => Ok(()),
            Self::Counted(udp) => send_until_counted(stage, udp),
        }
    }

    /// Whether packets come of it.
    pub fn sends(&self) -> bool {
        matches!(
            self,
            Self::Udp(_) | Self::Tcp(_) | Self::Http(_) | Self::Ping(_) | Self::Raw(_) | Self::Shell(_)
        )
    }

    /// Whether it fails when something expected does not happen.
    pub fn checks(&self) -> bool {
        match self {
            Self::Udp(udp) => !udp.wanted().is_empty(),
            Self::Tcp(tcp) => !tcp.wanted().is_empty(),
            Self::Http(http) => !http.wanted().is_empty(),
            Self::Ping(ping) => !ping.wanted().is_empty(),
            Self::Reported(_) | Self::Counted(_) => true,
            _ => false,
        }
    }
}

fn send(stage: &Stage, from: &str, request: &dyn Request, to: Option<IpAddr>) -> Result<()> {
    let to = to.map(|to| to.to_string()).unwrap_or_default();
    traffic::send(stage.cluster.node(from)?, request).with_context(|| format!("from {from} to {to}"))
}

/// Mounts a tmpfs of this size, `16k`, for as long as the run lasts.
pub(super) fn mount_tmpfs(run: &RunDir, at: &Path, size: &str) -> Result<()> {
    std::fs::create_dir_all(at)?;
    run.will_mount(at)?;
    let options = format!("size={size}");
    mount(
        Some("tmpfs"),
        at,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("cannot mount a tmpfs at {}", at.display()))
}

fn send_until_counted(stage: &Stage, udp: &Udp) -> Result<()> {
    /// Longer than from one reading to the next.
    const A_READING: Duration = Duration::from_secs(2);
    let counters = || -> Result<usize> {
        let lines = read_lines(stage.trace)?;
        Ok(lines.iter().filter(|line| line["kind"] == "counter").count())
    };
    let (begun, before) = (Instant::now(), counters()?);
    while stage.observed && begun.elapsed() < stage.patience {
        send(stage, &udp.from, udp, Some(udp.to))?;
        let sent = Instant::now();
        while sent.elapsed() < A_READING {
            if counters()? > before {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    if stage.observed {
        bail!("observer tells of no counter");
    }
    Ok(())
}

fn wait_for_drops(stage: &Stage, drops: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let seen = read_lines(stage.trace)?
            .iter()
            .filter(|line| line["kind"] == "drop")
            .count();
        if seen >= drops {
            return Ok(());
        }
        if begun.elapsed() > stage.patience {
            bail!("observer reported {seen} drops, expected {drops}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
