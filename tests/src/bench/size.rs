//! Large rulesets: what it takes to read, model and ask them.

use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process;
use super::table::{Table, mib, ms};
use super::watching::Watching;
use crate::cluster::rules::{restore, tool};
use crate::cluster::{Backend, Cluster, Data, Family, Setup};
use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

const RULES: u32 = 50_000;
const ELEMENTS: u32 = 10_000;
/// One of so many rules drops what is sent to its port; so the last does.
const DROPS_EACH: u32 = 2_500;
/// The least of so many runs is told: others work on this machine, too.
const RUNS: usize = 5;
/// Rules of which it is not known whether they match, in front: each doubles the ways.
const DOUBTS: u32 = 5;
/// What no rule matches, so that all are asked.
const PACKET: [&str; 10] = [
    "--src",
    "192.0.2.1",
    "--dst",
    "172.16.0.1",
    "--proto",
    "tcp",
    "--port",
    "65535",
    "--hook",
    "forward",
];

/// Measures those with this in their name (`legacy`, `nft`, `native`) and prints a table.
pub fn run(data: &Data, observer: &Path, run: &RunDir, only: &str) -> Result<()> {
    let _alone = run.alone()?;
    let mut table = Table::default();
    for backend in [Backend::Legacy, Backend::Nft, Backend::Native]
        .into_iter()
        .filter(|backend| backend.word().contains(only))
    {
        let setup = Setup {
            backend,
            family: Family::Ip,
            prefix: format!("size-{}-{}-", backend.word(), std::process::id()),
        };
        let size = Size {
            observer,
            backend,
            cluster: Cluster::up(data, "router", &setup, run)?,
        };
        size.measure(&mut table)?;
    }
    println!("{table}");
    Ok(())
}

/// A cluster whose router is full of rules.
struct Size<'a> {
    observer: &'a Path,
    backend: Backend,
    cluster: Cluster,
}

impl Size<'_> {
    fn measure(&self, table: &mut Table) -> Result<()> {
        let what = match self.backend {
            Backend::Native => "50,000 nft rules, 4 sets of 10,000".to_owned(),
            of_iptables => format!("50,000 {} rules", tool(of_iptables, Family::Ip)),
        };
        self.load()?;
        let begun = Instant::now();
        let few = self.saved()?;
        let saving = begun.elapsed();
        let watching = Watching::start_with(self.observer, &["--netns", self.router()?.name()])?;
        let memory = process::memory(watching.pid())?;
        table.add(
            &format!("{what}: exec → `start` line of `watch`"),
            format!(
                "{}, {} at most, {} then",
                ms(watching.ready_after),
                mib(memory.most),
                mib(memory.resident)
            ),
            "< 300 ms, 50 MiB",
        );
        let told = self.drops(&watching)?;
        let memory = process::memory(watching.pid())?;
        table.add(
            &format!(
                "{what}: when drops by {} of them and the policy were told",
                told.drops - 1
            ),
            format!(
                "{} at most, {} then; {} named, {} with the rule's text, {} with near misses",
                mib(memory.most),
                mib(memory.resident),
                told.named,
                told.with_text,
                told.with_hints
            ),
            "< 50 MiB",
        );
        watching.end()?;
        let live = self.least(&[])?;
        let from_file = self.least(&["--ruleset", &few.path()])?;
        table.add(
            &format!("{what}: `explain --ruleset`, {} MB", few.bytes()? / 1_000_000),
            format!(
                "{} of processor time, {}",
                ms(from_file.used),
                mib(from_file.most)
            ),
            "< 2 s, 300 MiB",
        );
        table.add(
            &format!("{what}: `explain`, in force"),
            format!(
                "{}, {} of processor time with the tools that it runs; {}; the tool that lists the rules alone takes {}",
                ms(live.took),
                ms(live.used),
                mib(live.most),
                ms(saving)
            ),
            "< 2 s, 300 MiB",
        );
        self.doubt()?;
        let ways = 1 << DOUBTS;
        let many = self.least(&["--ruleset", &self.saved()?.path()])?;
        let once = many.used.saturating_sub(from_file.used) / (ways - 1);
        table.add(
            &format!("{what}: asked once more, near misses included"),
            format!("{:.2} ms", once.as_secs_f64() * 1e3),
            "< 5 ms",
        );
        Ok(())
    }

    fn router(&self) -> Result<&Netns> {
        self.cluster.node("router")
    }

    /// Has each rule that drops take one packet, and the policy one, and waits until all are told.
    fn drops(&self, watching: &Watching) -> Result<Told> {
        let server = self.cluster.names().fill("{{server}}")?;
        let mut told = Told::default();
        for port in (0..RULES)
            .filter(|rule| drops(*rule))
            .map(port)
            .chain([RULES + 1])
        {
            self.cluster.node("client")?.run(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
                socket
                    .send_to(b"drop", format!("{server}:{port}"))
                    .context("cannot send")
            })?;
            told.add(&watching.dropped(port)?);
        }
        Ok(told)
    }

    fn load(&self) -> Result<()> {
        let mut text = String::new();
        if self.backend == Backend::Native {
            native(&mut text)?;
            return exec::run(Some(self.router()?), "nft", &["-f", "-"], &text).map(drop);
        }
        text.push_str("*filter\n:FORWARD DROP [0:0]\n");
        for rule in 0..RULES {
            if drops(rule) {
                writeln!(text, "-A FORWARD -p udp -m udp --dport {} -j DROP", port(rule))?;
                continue;
            }
            writeln!(
                text,
                "-A FORWARD -s {} -d 172.16.0.0/16 -p tcp -m tcp --dport {} -j ACCEPT",
                address(10, rule),
                port(rule)
            )?;
        }
        text.push_str("COMMIT\n");
        restore(self.router()?, self.backend, Family::Ip, &text, true)
    }

    /// Adds rules that may match or not, and leave another packet behind each time.
    fn doubt(&self) -> Result<()> {
        for bit in (0..DOUBTS).map(|doubt| format!("{:#x}", 1 << doubt)) {
            let script = match self.backend {
                // Only a verdict parts the way.
                Backend::Native => {
                    "nft insert rule ip big forward numgen random mod 2 == 0 jump nothing".to_owned()
                }
                of_iptables => format!(
                    "{} -w 30 -I FORWARD -m statistic --mode random --probability 0.5 -j MARK --set-xmark {bit}/{bit}",
                    tool(of_iptables, Family::Ip)
                ),
            };
            exec::shell(Some(self.router()?), &script)?;
        }
        Ok(())
    }

    /// What the tool lists, in a file.
    fn saved(&self) -> Result<Saved> {
        let text = match self.backend {
            Backend::Native => exec::run(Some(self.router()?), "nft", &["-j", "list", "ruleset"], "")?,
            of_iptables => {
                let program = format!("{}-save", tool(of_iptables, Family::Ip));
                exec::run(Some(self.router()?), &program, &[], "")?
            }
        };
        let file = std::env::temp_dir().join(format!("{}.rules", self.router()?.name()));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Saved(file))
    }

    /// The least of several runs of `observer explain`.
    fn least(&self, options: &[&str]) -> Result<Run> {
        let mut least = self.explain(options)?;
        for _ in 1..RUNS {
            let run = self.explain(options)?;
            least = Run {
                took: least.took.min(run.took),
                used: least.used.min(run.used),
                most: least.most.max(run.most),
            };
        }
        Ok(least)
    }

    fn explain(&self, options: &[&str]) -> Result<Run> {
        let mut command = Command::new(self.observer);
        command.arg("explain").args(PACKET).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        exec::confine(&mut command, Some(self.router()?));
        let begun = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", self.observer.display()))?;
        wait(child.id(), begun)
    }
}

/// A file that goes when it is not needed any more.
struct Saved(PathBuf);

impl Saved {
    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn bytes(&self) -> Result<u64> {
        Ok(fs::metadata(&self.0)?.len())
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How drops were told.
#[derive(Default)]
struct Told {
    drops: usize,
    named: usize,
    with_text: usize,
    with_hints: usize,
}

impl Told {
    fn add(&mut self, line: &serde_json::Value) {
        self.drops += 1;
        self.named += usize::from(line["drop"]["confidence"] != "unknown");
        self.with_text += usize::from(line["drop"]["rule"]["text"].is_string());
        let mut hints = line["hints"].as_array().into_iter().flatten();
        self.with_hints += usize::from(hints.any(|hint| hint["kind"] == "near-miss"));
    }
}

/// What a run took.
struct Run {
    took: Duration,
    /// Of processors, with that of programs that were run and waited for.
    used: Duration,
    /// Resident at most, in bytes.
    most: u64,
}

/// Waits for a child, and asks what it used.
fn wait(pid: u32, begun: Instant) -> Result<Run> {
    let mut status = 0;
    // SAFETY: all zeros are a value of this struct of numbers.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are written to and outlive the call.
    let waited = unsafe { libc::wait4(i32::try_from(pid)?, &raw mut status, 0, &raw mut used) };
    let took = begun.elapsed();
    if waited < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot wait for observer");
    }
    if !std::process::ExitStatus::from_raw(status).success() {
        bail!("observer explain failed");
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(Run {
        took,
        used: time(used.ru_utime) + time(used.ru_stime),
        most: used.ru_maxrss.unsigned_abs() * 1024,
    })
}

/// Addresses, networks, pairs of address and port, and a verdict map; six of ten rules ask none of them.
fn native(text: &mut String) -> Result<()> {
    set(text, "table ip big {\nset addresses { type ipv4_addr", |one| {
        address(10, 2 * one)
    })?;
    set(text, "set networks { type ipv4_addr; flags interval", |one| {
        format!("{}/25", address(11, one << 8))
    })?;
    set(text, "set pairs { type ipv4_addr . inet_service", |one| {
        format!("{} . {}", address(10, 3 * one), one + 1)
    })?;
    text.push_str("chain leaf { accept; }\nchain nothing { }\n");
    set(
        text,
        "map services { type ipv4_addr . inet_proto . inet_service : verdict",
        |one| format!("{} . tcp . 80 : goto leaf", address(12, one)),
    )?;
    text.push_str("chain forward { type filter hook forward priority 0; policy drop;\n");
    for rule in 0..RULES {
        match rule % 10 {
            _ if drops(rule) => writeln!(text, "udp dport {} drop", port(rule))?,
            6 => writeln!(text, "ip saddr @addresses tcp dport {} accept", port(rule))?,
            7 => writeln!(text, "ip daddr @networks tcp dport {} accept", port(rule))?,
            8 => text.push_str("ip daddr . tcp dport @pairs counter accept\n"),
            9 => text.push_str("ip daddr . meta l4proto . th dport vmap @services\n"),
            _ => writeln!(
                text,
                "ip saddr {} tcp dport {} accept",
                address(10, rule),
                port(rule)
            )?,
        }
    }
    text.push_str("}\n}\n");
    Ok(())
}

/// Whether a rule drops what is sent to its port.
fn drops(rule: u32) -> bool {
    rule % DROPS_EACH == DROPS_EACH - 1
}

/// Each rule has its own.
fn port(rule: u32) -> u32 {
    rule + 1
}

/// A set with its elements.
fn set(text: &mut String, head: &str, element: impl Fn(u32) -> String) -> Result<()> {
    let elements: Vec<String> = (0..ELEMENTS).map(element).collect();
    writeln!(text, "{head}; elements = {{ {} }}\n}}", elements.join(", "))?;
    Ok(())
}

/// The address with this number of a network of eight bits.
fn address(network: u8, number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("{network}.{b}.{c}.{d}")
}
