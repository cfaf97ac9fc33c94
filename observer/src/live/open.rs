//! Opening the live source: types, symbols, programs, rulesets, filter.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use observer_common::{Baseline, CHUNK_BYTES, Filter, SNAPSHOT_DEPTH};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::asked::Asked;
use super::cases::Cases;
use super::changes::Changes;
use super::clock;
use super::echo::Echo;
use super::filter::{self, Namespaces};
use super::flood::Flood;
use super::line::{Known, Teller};
use super::memory::release_memory;
use super::modules::Modules;
use super::opened::Opened;
use super::paths::Paths;
use super::services::ByRules;
use super::totals::Totals;
use crate::capture::Copied;
use crate::cli::progress::Progress;
use crate::cli::watch::WatchConfig;
use crate::kernel::{Programs, Room, Symbols, Types, possible_cpus};
use crate::privilege::{self, Task};
use crate::report::record::{Event, FilterInfo, Line, Start, Time};
use crate::ruleset::Store;

/// Memory that the kernel may spend on baselines, over all CPUs.
const BASELINE_BYTES: u64 = 32 << 20;
/// Room for so many groups of counters, however many CPUs there are.
const LEAST_ROOM: u32 = 1024;
/// More than any machine needs.
const MOST_ROOM: u32 = 16_384;
/// Per-CPU allocations of rulesets that are watched.
const BLOCKS: u32 = 65_536;
/// Memory that the kernel may spend on copies of counters, over all CPUs.
const COPY_BYTES: u64 = 16 << 20;
/// Chunks for the counters of one hook: 1,792 counters each.
const LEAST_CHUNKS: u32 = 2;
/// As many as the largest tables that are of use need.
const MOST_CHUNKS: u32 = 16;
/// Runs of counters, over all namespaces.
const RUNS: u32 = 16_384;
/// Ring buffer for paths: some ten thousand hooks.
const PATH_RING_BYTES: u32 = 8 << 20;
/// `CAP_SYS_ADMIN`, `CAP_PERFMON`, `CAP_BPF`: include/uapi/linux/capability.h
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// The live source.
pub struct Live {
    pub(super) programs: Programs,
    pub(super) store: Store,
    pub(super) symbols: Symbols,
    pub(super) types: Types,
    pub(super) teller: Teller,
    pub(super) by_rules: ByRules,
    /// What the kernel side lets pass is held against.
    pub(super) asked: Asked,
    pub(super) namespaces: Namespaces,
    pub(super) filter: Filter,
    pub(super) path_filter: Filter,
    pub(super) paths: Paths,
    pub(super) changes: Changes,
    pub(super) totals: Totals,
    pub(super) flood: Flood,
    pub(super) ready: AsyncFd<OwnedFd>,
    /// When to look without being woken.
    pub(super) echo: Echo,
    /// Lines that are finished.
    pub(super) lines: VecDeque<Line>,
    /// Whether the bytes of packets are wanted.
    pub(super) captures: bool,
    /// Bytes of the packet whose drop comes next, by CPU.
    pub(super) copied: HashMap<u32, Copied>,
    /// The modules that were there when symbols were read.
    pub(super) modules: Modules,
    /// When rulesets are looked at without a hint; `None` where the kernel gives hints.
    pub(super) poll: Option<Instant>,
    pub(super) started_ns: u64,
    pub(super) missed_before: u64,
    pub(super) lost_told: u64,
    pub(super) has_misremembered: bool,
    pub(super) lost_since: Time,
}

impl Live {
    /// Loads and attaches everything; the first line is ready when it returns.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open(config: &WatchConfig) -> Result<Self> {
        privileged()?;
        let cases = config
            .keep_disagreements
            .as_deref()
            .map(Cases::open)
            .transpose()?;
        // The slow files are read beside everything else, and so are the rulesets. Whatever fails meanwhile, their threads have ended when
        // this returns: one that goes on would keep rights that are given up next.
        let Opened {
            programs,
            store,
            symbols,
            types,
            reasons,
            devices,
            modules,
        } = {
            let _progress = Progress::new("reading the kernel's types and rules");
            Opened::open(room(config))?
        };
        let records = programs
            .events
            .as_fd()
            .try_clone_to_owned()
            .context("cannot wait for the kernel's records")?;
        let mut teller = Teller::new(node(), reasons, devices, cases);
        let mut by_rules = ByRules::default();
        let known = Known {
            store: &store,
            symbols: &symbols,
            programs: &programs,
        };
        let found = by_rules.completed(&mut teller, &known, config)?;
        let narrowed = config.narrowed(&found)?;
        let mut namespaces = Namespaces::default();
        let filter = filter::build(&narrowed, &mut namespaces, &symbols, &teller.reasons)?;
        let mut live = Self {
            // SAFETY: the descriptor is owned, and is never closed before the `AsyncFd` is dropped.
            ready: unsafe { AsyncFd::register_with_interest(records, Interest::READABLE) }
                .map_err(|_| anyhow::anyhow!("cannot wait for the kernel's records"))?,
            echo: Echo::default(),
            store,
            teller,
            by_rules,
            asked: Asked::of(&narrowed, &mut namespaces)?,
            namespaces,
            filter,
            path_filter: Filter::new(),
            paths: Paths::new(config),
            changes: Changes::default(),
            totals: Totals::default(),
            flood: Flood::new(programs.room().records()),
            lines: VecDeque::new(),
            captures: config.pcap.is_some(),
            copied: HashMap::new(),
            modules,
            poll: None,
            started_ns: clock::monotonic_ns(),
            missed_before: 0,
            lost_told: 0,
            has_misremembered: false,
            lost_since: Time::now(),
            symbols,
            types,
            programs,
        };
        live.attach(narrowed.info)?;
        Ok(live)
    }

    fn attach(&mut self, filter: FilterInfo) -> Result<()> {
        let not_loss = self.teller.reasons.without_loss();
        self.programs.set_not_loss(&not_loss)?;
        self.poll = (!self.gives_hints()).then(Instant::now);
        self.missed_before = self.programs.missed();
        self.programs.set_allowance(&self.flood.begins())?;
        self.filter.enabled = 1;
        self.programs.set_filter(&self.filter)?;
        // The ring buffer of paths may be mapped now, and all of it counts.
        release_memory();
        let mut notes = self.start_paths()?;
        notes.extend(privilege::costs(Task::Packets));
        self.started_ns = clock::monotonic_ns();
        self.lines.push_back(self.start_line(filter, notes));
        self.types.release();
        release_memory();
        Ok(())
    }

    /// Whether the kernel side notices by itself that rulesets change.
    fn gives_hints(&self) -> bool {
        let attached = self.programs.attached();
        possible_cpus() > 1 && attached.iter().filter(|name| name.contains("percpu")).count() == 2
    }

    fn start_line(&self, filter: FilterInfo, notes: Vec<String>) -> Line {
        let start = Start {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel_release(),
            filter,
            probes: self.programs.probes(),
            attribution: attribution(self.paths.can_trace()),
            notes,
        };
        Line::new(
            Time::now(),
            self.teller.node.clone(),
            Event::Start(Box::new(start)),
        )
    }
}

/// What answers to expect, by backend, with probes on the way of packets or without.
pub fn attribution(with_paths: bool) -> std::collections::BTreeMap<String, String> {
    let native = if with_paths {
        "exact"
    } else {
        "exact for rules that count; inferred for rules that do not, or unknown, with the candidates"
    };
    [("legacy", "exact"), ("iptables-nft", "exact"), ("nft", native)]
        .into_iter()
        .map(|(backend, expected)| (backend.to_owned(), expected.to_owned()))
        .collect()
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// This host's name.
pub fn node() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.nodename().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// # Errors
/// This process may not load eBPF programs.
pub fn privileged() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|caps| u64::from_str_radix(caps.trim(), 16).ok()) else {
        return Ok(());
    };
    if effective & SYS_ADMIN != 0 || effective & (PERFMON | BPF) == PERFMON | BPF {
        return Ok(());
    }
    if nix::unistd::geteuid().is_root() {
        let lacks = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")]
            .into_iter()
            .filter(|(capability, _)| effective & capability == 0)
            .map(|(_, name)| name)
            .collect::<Vec<_>>()
            .join(" and ");
        bail!("this process lacks {lacks}: in a container, add what is missing or run it privileged")
    }
    bail!("observer needs to load eBPF programs, which this user may not: run it with sudo")
}

/// # Errors
/// The kernel has no `bpf_loop()`, which the programs call: it is older than 5.17.
pub fn young_enough(types: &Types) -> Result<()> {
    // include/uapi/linux/bpf.h; a kernel that does not describe it is left to the verifier.
    let helpers = types.enumeration("bpf_func_id");
    if !helpers.is_empty() && !helpers.iter().any(|(name, _)| name == "BPF_FUNC_loop") {
        bail!("this kernel is too old for observer's programs: it has no bpf_loop() (Linux 5.17 has)");
    }
    Ok(())
}

/// The error of a program that the kernel refuses, in one line.
pub fn refused(error: anyhow::Error) -> anyhow::Error {
    log::debug!("{error:?}");
    let denied = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let denied = denied
        .into_iter()
        .any(|cause| cause.raw_os_error() == Some(libc::EPERM));
    if denied {
        return anyhow::anyhow!(
            "the kernel refuses eBPF programs that read its memory: lockdown mode confidentiality, or a container without \
             CAP_BPF and CAP_PERFMON; `observer check` says more"
        );
    }
    // The verifier's log has thousands of lines.
    let first = error
        .chain()
        .map(|cause| cause.to_string())
        .map(|text| first_line(&text))
        .collect::<Vec<_>>();
    anyhow::anyhow!("{}", first.join(": "))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// # Errors
/// The kernel's symbols cannot be read, or it hides their addresses.
pub fn load_symbols() -> Result<Symbols> {
    let symbols = Symbols::load().context("cannot read /proc/kallsyms: is /proc mounted?")?;
    if symbols.is_empty() {
        bail!(
            "the kernel hides its symbols: run observer as root or with CAP_SYSLOG, and set kernel.kptr_restrict to 1 or 0"
        );
    }
    Ok(symbols)
}

fn room(config: &WatchConfig) -> Room {
    let cpus = u64::from(possible_cpus().max(1));
    let groups = BASELINE_BYTES / size_of::<Baseline>() as u64 / cpus;
    let chunks = COPY_BYTES / u64::from(CHUNK_BYTES * SNAPSHOT_DEPTH) / cpus;
    Room {
        groups: u32::try_from(groups)
            .unwrap_or(MOST_ROOM)
            .clamp(LEAST_ROOM, MOST_ROOM),
        blocks: BLOCKS,
        runs: RUNS,
        chunks: u32::try_from(chunks)
            .unwrap_or(MOST_CHUNKS)
            .clamp(LEAST_CHUNKS, MOST_CHUNKS),
        path_bytes: PATH_RING_BYTES,
        snaplen: config.pcap.as_ref().map_or(0, |_| u32::from(config.snaplen)),
    }
}
