//! `kill -9` while probes are on the way of packets: on the way up, at work, while they come on for a flow and go off again, and on
//! the way down. After each nothing of it is held of the kernel, and packets go on as the rules say; in the end rules, parameters and
//! namespaces are what they were. `OBSERVER_KILLS` makes it more.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::super::run::{Lab, Place};
use super::{belongings, changed, left_behind};
use crate::cage::Cage;
use crate::cluster::Cluster;
use crate::exec;
use crate::kernel::{held, probes, stats};
use crate::netns::Netns;
use crate::observer::{Invocation, Observer, read_lines};
use crate::results::Outcome;
use crate::traffic::{self, Udp};

/// How often it is killed in each part of its life.
const USUAL: u32 = 2;
/// Where nobody said how often, it is not begun once more after this long: an emulated machine is slow.
const LONG: Duration = Duration::from_secs(20);
/// Says how often.
const VARIABLE: &str = "OBSERVER_KILLS";
/// Without counters: by the tracepoint alone drops at port 9 are not named exactly, and the probes come on for their flow.
const RULES: &str = "table inet lab { chain inner { udp dport 9 drop; }; \
    chain forward { type filter hook forward priority 0; udp dport 10 counter drop; udp dport 8-9 jump inner; }; }";
/// What is answered, what dies by the rule without a counter, and what by the one with it.
const ECHO: u16 = 7;
const SILENT: u16 = 9;
const COUNTED: u16 = 10;
/// What the probes on live packets make of it all, and what needs them for one flow only.
const ALWAYS: [&str; 3] = ["--probes", "path", "--all"];
const ARMED: [&str; 2] = ["--probes", "drops"];
/// How often the lab looks.
const TICK: Duration = Duration::from_millis(5);
/// Between two packets of those that always go by.
const PAUSE: Duration = Duration::from_millis(2);
/// What programs may set for the whole machine, and whether the kernel has complained.
const PARAMETERS: [&str; 6] = [
    "bpf_stats_enabled",
    "ftrace_enabled",
    "kptr_restrict",
    "perf_event_paranoid",
    "tainted",
    "unprivileged_bpf_disabled",
];

pub(in super::super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    if !probes::path() {
        return Ok(Outcome::Skipped(
            "this kernel lets no program observe paths".into(),
        ));
    }
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "router", &place.setup(), &lab.run)?;
    let router = cluster.node("router")?;
    exec::run(Some(router), "nft", &["-f", "-"], RULES)?;
    let (things, set) = (belongings(&cluster, program)?, parameters(router)?);
    let ruleset = exec::run(Some(router), "nft", &["-s", "list", "ruleset"], "")?;
    let over = AtomicBool::new(false);
    let mut failures = std::thread::scope(|scope| {
        let always = scope.spawn(|| send_until(&cluster, &over));
        let failures = Trial::new(lab, place, program, &cluster).and_then(Trial::play);
        over.store(true, Ordering::Relaxed);
        always
            .join()
            .map_err(|_| anyhow::anyhow!("a thread that sends panicked"))??;
        failures
    })?;
    failures.extend(left_behind(lab, &cluster, program, &things)?);
    let now = parameters(router)?;
    failures.extend(
        set.symmetric_difference(&now)
            .map(|one| format!("a parameter was or is: {one}")),
    );
    if exec::run(Some(router), "nft", &["-s", "list", "ruleset"], "")? != ruleset {
        failures.push("the rules are not what they were".to_owned());
    }
    Ok(Outcome::of(failures))
}

/// What was held when it was killed: otherwise nothing was tested.
#[derive(Default)]
struct Seen {
    kills: u32,
    objects: u32,
    probes: u32,
    /// The rule that turns the trace key on, in a namespace of observer's own.
    key: u32,
}

/// How long each part of a life takes when nobody kills it.
#[derive(Clone, Copy)]
struct Spans {
    start: Duration,
    on: Duration,
    off: Duration,
    end: Duration,
}

struct Trial<'a> {
    lab: &'a Lab,
    place: &'a Place<'a>,
    program: &'a Path,
    cluster: &'a Cluster,
    trace: PathBuf,
    before: BTreeSet<String>,
    /// Datagrams for which nobody listened at the server: a rule let them through.
    arrived: u64,
    failures: Vec<String>,
    seen: Seen,
}

impl<'a> Trial<'a> {
    fn new(lab: &'a Lab, place: &'a Place<'a>, program: &'a Path, cluster: &'a Cluster) -> Result<Self> {
        Ok(Self {
            lab,
            place,
            program,
            cluster,
            trace: place.work.join("stdout"),
            before: held::now()?,
            arrived: stats::read(cluster.node("server")?, "Udp.NoPorts")?,
            failures: Vec::new(),
            seen: Seen::default(),
        })
    }

    fn play(mut self) -> Result<Vec<String>> {
        let asked = std::env::var(VARIABLE).ok();
        let kills = match &asked {
            Some(text) => text
                .parse()
                .with_context(|| format!("{VARIABLE}={text:?} is no number of kills"))?,
            None => USUAL,
        };
        let most = if asked.is_some() { Duration::MAX } else { LONG };
        // What was found before an error is told, too.
        if let Err(error) = self.kill_all(kills, most) {
            self.failures.push(format!("{error:#}"));
        }
        let Seen {
            kills,
            objects,
            probes,
            key,
        } = self.seen;
        println!(
            "        {kills} kills: {objects} with BPF objects, {probes} with probes on live packets, {key} with the trace key"
        );
        if !held::shows_probes() || objects * 2 < kills || probes * 3 < kills || key == 0 {
            self.failures.push(format!(
                "of {kills} kills it had BPF objects at {objects}, probes at {probes}, the trace key at {key}: not enough was tested"
            ));
        }
        Ok(self.failures)
    }

    fn kill_all(&mut self, kills: u32, most: Duration) -> Result<()> {
        let begun = Instant::now();
        let spans = self.whole_life()?;
        for kill in 0..kills {
            if kill > 0 && begun.elapsed() > most {
                break;
            }
            let part = |span: Duration| span * (2 * kill + 1) / (2 * kills);
            let observer = self.start(&ALWAYS)?;
            std::thread::sleep(part(spans.start));
            self.kill("while it starts", observer)?;

            let observer = self.watching(&ALWAYS)?;
            std::thread::sleep(part(spans.on));
            self.kill("while it watches", observer)?;

            let observer = self.watching(&ARMED)?;
            let flow = self.flow()?;
            flow.send(b"x").context("cannot send")?;
            std::thread::sleep(part(spans.on));
            self.kill("while probes come on", observer)?;

            let observer = self.watching(&ARMED)?;
            let flow = self.flow()?;
            self.arm(&flow)?;
            flow.send(b"x").context("cannot send")?;
            std::thread::sleep(part(spans.off));
            self.kill("while probes go off", observer)?;

            let observer = self.watching(&ALWAYS)?;
            observer.signal(Signal::SIGINT)?;
            std::thread::sleep(part(spans.end));
            self.kill("while it ends", observer)?;
        }
        Ok(())
    }

    /// Once without a kill: how long everything takes, and that probes come on and go off at all.
    fn whole_life(&mut self) -> Result<Spans> {
        let mut time = Instant::now();
        let mut lap = || std::mem::replace(&mut time, Instant::now()).elapsed();
        let mut observer = self.watching(&ARMED)?;
        let start = lap();
        let flow = self.flow()?;
        self.arm(&flow)?;
        let on = lap();
        flow.send(b"x").context("cannot send")?;
        self.wait_for("are off again")?;
        let off = lap();
        observer.signal(Signal::SIGINT)?;
        observer.wait(self.lab.patience)?;
        Ok(Spans {
            start,
            on,
            off,
            end: lap(),
        })
    }

    fn start(&self, more: &[&str]) -> Result<Observer> {
        let args = ["watch", "-o", "json", "--dst", "10.0.0.0/8"].iter().chain(more);
        let args: Vec<String> = args.map(|word| (*word).to_owned()).collect();
        Observer::start(&Invocation {
            program: self.program,
            args: &args,
            cage: &Cage::default(),
            directory: self.place.work,
        })
    }

    fn watching(&self, more: &[&str]) -> Result<Observer> {
        let mut observer = self.start(more)?;
        observer.wait_for_start(&self.trace, self.lab.patience * 3)?;
        Ok(observer)
    }

    /// A flow of its own: for one that was armed for a short while ago the probes do not come on.
    fn flow(&self) -> Result<UdpSocket> {
        let to = self.cluster.names().fill(&format!("{{{{server}}}}:{SILENT}"))?;
        self.cluster.node("client")?.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
            socket.connect(to.as_str()).context("cannot connect")?;
            Ok(socket)
        })
    }

    /// Sends a packet for whose flow the probes come on, and waits until they are.
    fn arm(&self, flow: &UdpSocket) -> Result<()> {
        flow.send(b"x").context("cannot send")?;
        self.wait_for("are on for flow")
    }

    fn wait_for(&self, text: &str) -> Result<()> {
        let is_it = |line: &Value| {
            line["kind"] == "probes" && line["text"].as_str().is_some_and(|it| it.contains(text))
        };
        let begun = Instant::now();
        while !read_lines(&self.trace)?.iter().any(is_it) {
            anyhow::ensure!(
                begun.elapsed() < self.lab.patience * 3,
                "observer does not say that probes {text}"
            );
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Kills it, and looks whether packets go on at once, and whether what it held is gone in time.
    fn kill(&mut self, when: &str, mut observer: Observer) -> Result<()> {
        let now = held::now()?;
        let has =
            |is_it: &dyn Fn(&str) -> bool| u32::from(now.difference(&self.before).any(|one| is_it(one)));
        self.seen.kills += 1;
        self.seen.objects += has(&|one| one.starts_with("bpf"));
        self.seen.probes += has(&held::is_probe);
        self.seen.key += has(&|one| held::is_use_of(one, "nf_tables"));
        // It may have ended by then.
        let _ = observer.signal(Signal::SIGKILL);
        observer.wait(self.lab.patience)?;
        self.go_on().with_context(|| format!("killed {when}"))?;
        let left = changed(self.lab, &self.before, held::now)?;
        self.failures
            .extend(left.into_iter().map(|one| format!("killed {when}: {one}")));
        Ok(())
    }

    /// What is to be answered is, and what is to die does.
    fn go_on(&mut self) -> Result<()> {
        self.flow()?.send(b"x").context("cannot send")?;
        let echo: Udp = serde_json::from_value(
            json!({"from": "client", "to": "10.77.2.2", "port": ECHO, "outcome": ["answered"]}),
        )?;
        traffic::send(self.cluster.node("client")?, &echo)?;
        let arrived = stats::read(self.cluster.node("server")?, "Udp.NoPorts")?;
        anyhow::ensure!(arrived == self.arrived, "a packet passed that a rule drops");
        Ok(())
    }
}

/// Packets that are answered, and packets that are counted and die.
fn send_until(cluster: &Cluster, over: &AtomicBool) -> Result<()> {
    let to = [ECHO, COUNTED].map(|port| format!("10.77.2.2:{port}"));
    cluster.node("client")?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        while !over.load(Ordering::Relaxed) {
            for to in &to {
                socket.send_to(b"x", to.as_str()).context("cannot send")?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    })
}

/// The kernel's parameters that may matter to packets: those of the lab's own namespace, those of a node, some of the machine.
fn parameters(node: &Netns) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let net = Path::new("/proc/sys/net");
    read_below(net, "here", &mut found);
    found.extend(node.run(|| {
        let mut found = BTreeSet::new();
        read_below(net, node.name(), &mut found);
        Ok(found)
    })?);
    for name in PARAMETERS {
        let value = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
        found.insert(format!("kernel.{name} = {}", value.trim()));
    }
    Ok(found)
}

/// Those in a directory of /proc/sys; how many connections there are is none.
fn read_below(directory: &Path, whose: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_below(&path, whose, found);
        } else if !path.ends_with("nf_conntrack_count")
            && let Ok(value) = fs::read_to_string(&path)
        {
            found.insert(format!("{whose}: {} = {}", path.display(), value.trim()));
        }
    }
}
