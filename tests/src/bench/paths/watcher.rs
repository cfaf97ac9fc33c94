//! Who watches: observer in its modes, and what else people use.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::watching::{End, Watching};
use super::road::Road;
use crate::exec;

/// Addresses that nobody sends to: TEST-NET-3.
const NOBODY: &[&str] = &["--dst", "203.0.113.0/24"];
const EVERYBODY: &[&str] = &["--dst", "10.0.0.0/8"];
/// An empty probe on each function that rules are run in.
const KPROBES: &[&str] = &[
    "bpftrace",
    "-e",
    "kprobe:nf_hook_slow {} kprobe:ipt_do_table {} kprobe:nft_do_chain {}",
];
/// Empty programs where path mode has its own: what no program there can be cheaper than.
const ENDS: &[&str] = &["bpftrace", "-e", "kfunc:nf_hook_slow {} kretfunc:nf_hook_slow {}"];
/// How long a program may take to say that it has begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a program says nothing: longer than it takes to begin.
const SETTLING: Duration = Duration::from_secs(2);

/// A way to watch.
pub(super) struct Watcher {
    pub(super) name: &'static str,
    /// The ratio that is wanted.
    pub(super) target: &'static str,
    kind: Kind,
}

enum Kind {
    /// `observer watch` with these options and a filter.
    Observer(&'static [&'static str], &'static [&'static str]),
    /// A program, a rule for it and its removal (nft), and whether it says when it has begun.
    Other {
        program: &'static [&'static str],
        before: &'static [&'static str],
        after: &'static [&'static str],
        speaks: bool,
    },
}

const PATHS: &[&str] = &["--probes", "path", "--budget", "100"];

const PATHS_OF_NOBODY: Watcher = observer("paths, filter matches nothing", ">= 0.90", PATHS, NOBODY);
const PATHS_OF_EVERYBODY: Watcher = observer(
    "paths, filter matches everything",
    ">= 0.5, 0 lost",
    PATHS,
    EVERYBODY,
);

pub(super) const LEGACY: &[Watcher] = &[
    observer(
        "drops, filter matches nothing",
        ">= 0.99",
        &["--probes", "drops"],
        NOBODY,
    ),
    observer(
        "drops, filter matches everything",
        ">= 0.99",
        &["--probes", "drops"],
        EVERYBODY,
    ),
    PATHS_OF_NOBODY,
    PATHS_OF_EVERYBODY,
    EMPTY_ENDS,
    BPFTRACE,
];

pub(super) const NFT: &[Watcher] = &[
    PATHS_OF_NOBODY,
    PATHS_OF_EVERYBODY,
    EMPTY_ENDS,
    BPFTRACE,
    // Those that change the rules come last.
    Watcher {
        name: "nft monitor trace, all packets",
        target: "",
        kind: Kind::Other {
            program: &["nft", "monitor", "trace"],
            before: &[
                "nft",
                "table ip bench { chain tracing { type filter hook prerouting priority -301; meta nftrace set 1; }; }",
            ],
            after: &["nft", "delete table ip bench"],
            speaks: false,
        },
    },
    Watcher {
        name: "xtables-monitor --trace, all packets",
        target: "",
        kind: Kind::Other {
            program: &["xtables-monitor", "--trace"],
            before: &["iptables-nft", "-t", "raw", "-A", "PREROUTING", "-j", "TRACE"],
            after: &["nft", "delete", "table", "ip", "raw"],
            speaks: false,
        },
    },
];

const BPFTRACE: Watcher = bpftrace("bpftrace, empty kprobes", KPROBES);
const EMPTY_ENDS: Watcher = bpftrace("bpftrace, empty fentry and fexit on nf_hook_slow", ENDS);

const fn bpftrace(name: &'static str, program: &'static [&'static str]) -> Watcher {
    Watcher {
        name,
        target: "",
        kind: Kind::Other {
            program,
            before: &[],
            after: &[],
            speaks: true,
        },
    }
}

const fn observer(
    name: &'static str,
    target: &'static str,
    options: &'static [&'static str],
    filter: &'static [&'static str],
) -> Watcher {
    Watcher {
        name,
        target,
        kind: Kind::Observer(options, filter),
    }
}

/// A watcher that watches.
pub(super) enum Running {
    Observer(Watching),
    Other(Child),
}

/// How it ended.
pub(super) enum Ended {
    Observer(End),
    /// Another, when it was asked to.
    Asked,
    /// Another, before that.
    GaveUp,
}

impl Watcher {
    pub(super) fn is_observer(&self) -> bool {
        matches!(self.kind, Kind::Observer(..))
    }

    pub(super) fn start(&self, road: &Road, observer: &Path) -> Result<Running> {
        match self.kind {
            Kind::Observer(options, filter) => {
                Watching::start_with(observer, &[options, filter].concat()).map(Running::Observer)
            }
            Kind::Other {
                program,
                before,
                speaks,
                ..
            } => {
                run(road, before)?;
                other(road, program, speaks).map(Running::Other)
            }
        }
    }

    /// Ends it, and takes its rule away.
    pub(super) fn end(&self, road: &Road, running: Running) -> Result<Ended> {
        match running {
            Running::Observer(watching) => watching.end_with_losses().map(Ended::Observer),
            Running::Other(mut child) => {
                let gave_up = child.try_wait()?;
                if gave_up.is_none() {
                    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
                    child.wait()?;
                }
                if let Kind::Other { after, .. } = self.kind {
                    run(road, after)?;
                }
                Ok(match gave_up {
                    Some(_) => Ended::GaveUp,
                    None => Ended::Asked,
                })
            }
        }
    }
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Observer(watching) => watching.pid(),
            Self::Other(child) => child.id(),
        }
    }
}

fn run(road: &Road, words: &[&str]) -> Result<()> {
    let Some((program, args)) = words.split_first() else {
        return Ok(());
    };
    exec::run(Some(road.router()?), program, args, "").map(drop)
}

/// Starts a program on the node; what it prints is read by nobody but until it has begun.
fn other(road: &Road, words: &[&str], speaks: bool) -> Result<Child> {
    let (program, args) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    command.stdout(if speaks { Stdio::piped() } else { Stdio::null() });
    exec::confine(&mut command, Some(road.router()?));
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {program}: is it installed?"))?;
    let Some(stdout) = child.stdout.take() else {
        std::thread::sleep(SETTLING);
        return Ok(child);
    };
    let (sender, begun) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    if let Err(error) = begun.recv_timeout(PATIENCE) {
        let _ = child.kill();
        let _ = child.wait();
        bail!("{program} did not begin: {error}");
    }
    // It says so before it does so.
    std::thread::sleep(SETTLING);
    Ok(child)
}
