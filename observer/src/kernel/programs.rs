//! The eBPF object: loaded, told what it must know, attached, asked.

use std::fs;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, Program};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use aya_log::EbpfLogger;
use observer_common::{
    Allowance, BytesEvent, COUNTS, Count, DROP_FILTER, DropEvent, FOLDS, Filter, Fold, Group, MAX_REASONS,
    NftOffsets, Offsets, PATH_FILTER, PathMode, Run, SENT_STACK, SNAPSHOT_DEPTH, behind,
};

use super::batch::Batched;
use super::commands::{Command, Commands};
use super::loading::{self, DROPS, HINTS};
use super::path_probes::{HOOK, PathProbes};
use super::path_ring::PathRing;
use super::{Memory, Nets, Types, casts, possible_cpus};

/// Size of the ring buffer: room for a burst of some thousand drops.
pub const RING_BYTES: u32 = 2 << 20;
/// The same where each record has the packet's bytes before it.
pub const CAPTURE_RING_BYTES: u32 = 8 << 20;

/// A ring buffer that nothing is written to.
const SMALLEST_RING: u32 = 4096;

/// The object, built by `cargo xtask build`; empty in a build that only checks.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-ebpf.o"));

/// The loaded programs and their maps.
pub struct Programs {
    /// Kernel memory.
    pub memory: Memory,
    /// Records of what dies, and of rulesets.
    pub events: RingBuf<MapData>,
    /// Records of hooks that were passed.
    pub paths: PathRing,
    /// The programs' own diagnostics.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
    commands: Commands,
    ebpf: Arc<Mutex<Ebpf>>,
    pub(super) path_probes: PathProbes,
    attached: Vec<String>,
    filter: Array<MapData, Filter>,
    mode: Array<MapData, PathMode>,
    /// As the kernel has it.
    path_filter: Filter,
    path_mode: PathMode,
    not_loss: Array<MapData, u8>,
    /// What they know of namespaces.
    pub nets: Nets,
    blocks: HashMap<MapData, u64, u64>,
    groups: Batched<Group>,
    runs: Batched<Run>,
    nft: Array<MapData, NftOffsets>,
    allowance: Array<MapData, Allowance>,
    folded: PerCpuArray<MapData, Fold>,
    behind: PerCpuArray<MapData, u64>,
    counts: PerCpuArray<MapData, u64>,
    room: Room,
}

/// How much the maps hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Groups of counters of rules that can drop.
    pub groups: u32,
    /// Per-CPU allocations of rulesets that are watched.
    pub blocks: u32,
    /// Runs of counters to compare while a packet is in a hook.
    pub runs: u32,
    /// Elements for the copies of one hook's counters; 0: paths are not watched.
    pub chunks: u32,
    /// Bytes of the ring buffer for paths: a power of two.
    pub path_bytes: u32,
    /// How many bytes of each packet are copied for a capture; 0: there is none.
    pub snaplen: u32,
}

impl Room {
    fn event_bytes(self) -> u32 {
        if self.snaplen == 0 {
            RING_BYTES
        } else {
            CAPTURE_RING_BYTES
        }
    }

    /// How many records of drops the ring buffer has room for.
    pub fn records(self) -> u32 {
        // include/uapi/linux/bpf.h: `BPF_RINGBUF_HDR_SZ`, before each.
        const HEADER: usize = 8;
        let drop = DropEvent::LEN_NETFILTER + 8 * SENT_STACK + HEADER;
        let bytes = match self.snaplen {
            0 => 0,
            snaplen => offset_of!(BytesEvent, bytes) + (snaplen as usize).next_multiple_of(8) + HEADER,
        };
        self.event_bytes() / u32::try_from(drop + bytes).unwrap_or(u32::MAX)
    }

    /// Elements for the bytes of packets: one for each CPU, or where there is no capture the one that a map must have.
    fn copies(self) -> u32 {
        if self.snaplen == 0 {
            1
        } else {
            possible_cpus().max(1)
        }
    }
}

/// What will load the object.
pub struct Loader(EbpfLoader<'static>);

impl Loader {
    /// Aya reads the kernel's types and takes all of them apart for it, though the object asks for none of them, unless this thread can
    /// open no files.
    pub fn new() -> Self {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        Self(loader)
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

/// The programs that the verifier takes long for. They are loaded beside other things: nothing else may be asked of the object meanwhile.
pub struct Rest {
    ebpf: Arc<Mutex<Ebpf>>,
    btf: Btf,
}

impl Rest {
    /// Loads them. What watches the way of packets is loaded, too, if the kernel allows it: it must be put on at once when a drop
    /// cannot be named.
    ///
    /// # Errors
    /// The kernel refuses the program without which nothing is seen.
    pub fn load(self) -> Result<Loaded> {
        loading::load(&mut lock(&self.ebpf), &self.btf).map(Loaded)
    }
}

/// Says that [`Rest`] is loaded, and why fentry cannot be had, if so.
pub struct Loaded(Option<String>);

impl Programs {
    /// Loads the object with so much room, and of its programs those that read memory and watch rulesets. The rest comes next, and then
    /// [`Self::attach`]; until then no drop is seen.
    ///
    /// # Errors
    /// The build has no object, privilege is missing, or the kernel refuses the programs.
    pub fn load(loader: Loader, types: &mut Types, offsets: Offsets, room: Room) -> Result<(Self, Rest)> {
        if OBJECT.is_empty() {
            bail!("this binary was built without its eBPF object: build it with `cargo xtask build`");
        }
        let tracepoints = [DROPS].into_iter().chain(HINTS);
        let bytes = types.numbered(&tracepoints.collect::<Vec<_>>(), &[HOOK]);
        let btf =
            Btf::parse(&bytes, Endianness::default()).context("the kernel's types cannot be numbered")?;
        drop(bytes);
        let Loader(loader) = loader;
        let object = casts::resolve(OBJECT, offsets.cast_function)?;
        // It lives no longer than what it is told.
        let mut loader: EbpfLoader<'_> = loader;
        loader
            .override_global("OFFSETS", &offsets, true)
            .override_global("SNAPLEN", &room.snaplen, true)
            .map_max_entries("EVENTS", room.event_bytes())
            .map_max_entries("BYTES", room.copies())
            .override_global("CHUNKS_A_DEPTH", &room.chunks, true)
            .map_max_entries("PATHS", room.path_bytes.max(SMALLEST_RING))
            .map_max_entries("RUNS", room.runs.max(1))
            .map_max_entries("CHUNKS", (room.chunks * SNAPSHOT_DEPTH).max(1))
            .map_max_entries("GROUPS", room.groups)
            .map_max_entries("BASELINES", room.groups)
            .map_max_entries("BLOCKS", room.blocks);
        let mut ebpf = loader
            .load(&object)
            .context("the kernel refuses the eBPF object")?;
        loading::load_first(&mut ebpf, &btf)?;
        let programs = Self::with_maps(ebpf, room)?;
        let ebpf = Arc::clone(&programs.ebpf);
        Ok((programs, Rest { ebpf, btf }))
    }

    fn with_maps(mut ebpf: Ebpf, room: Room) -> Result<Self> {
        let commands = Commands::of(&mut ebpf)?;
        let logger = EbpfLogger::init(&mut ebpf).ok();
        let mut map = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the eBPF object has no map {name}"))
        };
        let events = RingBuf::try_from(map("EVENTS")?)?;
        let paths = PathRing::new(map("PATHS")?);
        let runs = Batched::new(map("RUNS")?)?;
        let nft = Array::try_from(map("NFT")?)?;
        let filter = Array::try_from(map("FILTER")?)?;
        // The programs' variables: there is one.
        let mode = Array::try_from(map(".bss")?)?;
        let not_loss = Array::try_from(map("NOT_LOSS")?)?;
        let nets = Nets::new(map("SLOTS")?, map("NETS")?)?;
        let blocks = HashMap::try_from(map("BLOCKS")?)?;
        let groups = Batched::new(map("GROUPS")?)?;
        let counts = PerCpuArray::try_from(map("COUNT")?)?;
        let allowance = Array::try_from(map("ALLOWANCE")?)?;
        let folded = PerCpuArray::try_from(map("FOLDED")?)?;
        let behind = PerCpuArray::try_from(map("BEHIND")?)?;
        let (window, orders) = (map("PEEK")?, map("ORDERS")?);
        let memory = Memory::new(commands.clone(), window, orders)?;
        Ok(Self {
            memory,
            events,
            paths,
            logger,
            commands,
            ebpf: Arc::new(Mutex::new(ebpf)),
            path_probes: PathProbes::default(),
            attached: Vec::new(),
            filter,
            mode,
            path_filter: Filter::new(),
            path_mode: PathMode::default(),
            not_loss,
            nets,
            blocks,
            groups,
            runs,
            nft,
            allowance,
            folded,
            behind,
            counts,
            room,
        })
    }

    /// How much the maps hold.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Tells the programs what to choose of what dies.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_filter(&mut self, filter: &Filter) -> Result<()> {
        self.filter
            .set(DROP_FILTER, filter, 0)
            .context("cannot set the filter")
    }

    /// Tells the programs what to choose of what passes hooks.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_path_filter(&mut self, filter: &Filter) -> Result<()> {
        self.filter
            .set(PATH_FILTER, filter, 0)
            .context("cannot set the filter of paths")?;
        let mut mode = self.path_mode;
        mode.enabled = filter.enabled;
        mode.is_plain = u32::from(filter.iface_count | filter.netns_count == 0);
        let as_before = Filter {
            traced: filter.traced,
            ..self.path_filter
        };
        // What was found not to match may match now; and what was remembered before the probes were off is old.
        if *filter != as_before {
            mode.epoch = mode.epoch.wrapping_add(1);
        }
        self.path_filter = *filter;
        self.set_mode(mode)
    }

    /// Has the programs on the way of packets measure themselves, or stop it (0). A number is used once.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_window(&mut self, window: u32) -> Result<()> {
        self.set_mode(PathMode {
            window,
            ..self.path_mode
        })
    }

    fn set_mode(&mut self, mode: PathMode) -> Result<()> {
        self.path_mode = mode;
        self.mode
            .set(0, mode, 0)
            .context("cannot tell the programs on the way of packets what to do")
    }

    /// Tells the programs where nf_tables' structures have their fields.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_nft_offsets(&mut self, offsets: &NftOffsets) -> Result<()> {
        self.nft
            .set(0, offsets, 0)
            .context("cannot tell the programs of nf_tables")
    }

    /// Puts runs of counters at `first` and after.
    ///
    /// # Errors
    /// There is no room.
    pub fn set_runs(&mut self, first: u32, runs: &[Run]) -> Result<()> {
        self.runs
            .set(first, runs)
            .context("no room for more runs of counters")
    }

    /// Tells the programs which reasons are no loss.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_not_loss(&mut self, reasons: &[u32]) -> Result<()> {
        for reason in reasons.iter().filter(|reason| **reason < MAX_REASONS) {
            self.not_loss
                .set(*reason, 1, 0)
                .context("cannot set the reasons that are no loss")?;
        }
        Ok(())
    }

    /// Attaches what notices that rulesets change, as far as it was loaded.
    pub fn attach_hints(&mut self) {
        for name in HINTS {
            match attach(&mut lock(&self.ebpf), name) {
                Ok(()) => self.attached.push(format!("tp_btf/{name}")),
                Err(error) => log::info!("no tracepoint {name}: {error:#}"),
            }
        }
    }

    /// Attaches what sees drops, once all is loaded.
    ///
    /// # Errors
    /// It cannot be attached: nothing can be seen.
    pub fn attach(&mut self, Loaded(refused): Loaded) -> Result<()> {
        self.path_probes = PathProbes::new(refused);
        attach(&mut lock(&self.ebpf), DROPS)
            .with_context(|| format!("cannot attach to the tracepoint {DROPS}"))?;
        self.attached.insert(0, format!("tp_btf/{DROPS}"));
        Ok(())
    }

    /// The object and the probes on the way of packets.
    pub(super) fn probing(&mut self) -> (MutexGuard<'_, Ebpf>, &mut PathProbes) {
        (lock(&self.ebpf), &mut self.path_probes)
    }

    /// Names of the probes that are attached.
    pub fn attached(&self) -> &[String] {
        &self.attached
    }

    /// Puts groups of counters at `first` and after.
    ///
    /// # Errors
    /// There is no room.
    pub fn set_groups(&mut self, first: u32, groups: &[Group]) -> Result<()> {
        self.groups
            .set(first, groups)
            .context("no room for more rules' counters")
    }

    /// Watches a per-CPU allocation of a namespace's rulesets: when it is freed, the ruleset is gone.
    pub fn watch_block(&mut self, block: u64, net: u64) {
        // A full map costs the early notice, not the truth: a stale ruleset is noticed at the next drop.
        let _ = self.blocks.insert(block, net, 0);
    }

    /// Whether an allocation is still watched: the kernel side stops when it is freed.
    pub fn is_watched(&self, block: u64) -> bool {
        self.blocks.get(&block, 0).is_ok()
    }

    /// No longer watches an allocation.
    pub fn forget_block(&mut self, block: u64) {
        // The kernel side removes it when it is freed.
        let _ = self.blocks.remove(&block);
    }

    /// Takes the baseline of a namespace's counters on each of these CPUs; the CPUs where it could not.
    pub fn take_baseline(&self, net: u64, cpus: &[u32]) -> Vec<u32> {
        cpus.iter()
            .copied()
            .filter(|cpu| !self.commands.run(Command::TakeBaseline, &[net], Some(*cpu)))
            .collect()
    }

    /// What the programs may still do.
    pub fn allowance(&self) -> Allowance {
        self.allowance.get(&0, 0).unwrap_or_default()
    }

    /// Says what they may do.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_allowance(&mut self, allowance: &Allowance) -> Result<()> {
        self.allowance
            .set(0, allowance, 0)
            .context("cannot tell the programs how much they may do")
    }

    /// The CPUs on which drops of this slot's namespace were only counted since the last look at its counters.
    pub fn fallen_behind(&self, slot: u32) -> Vec<u32> {
        let Ok(values) = self.behind.get(&slot, 0) else {
            return Vec::new();
        };
        let cpus = (0..).zip(values.iter());
        cpus.filter(|(_, value)| **value & behind::FELL != 0)
            .map(|(cpu, _)| cpu)
            .collect()
    }

    /// What was only counted in this epoch, on each CPU for itself.
    pub fn folded(&self, epoch: u64) -> Vec<Fold> {
        let first = if epoch & 1 == 0 { 0 } else { FOLDS };
        let all = (first..first + FOLDS).filter_map(|index| self.folded.get(&index, 0).ok());
        let is_of = |fold: &Fold| fold.epoch == epoch && fold.count > 0;
        all.flat_map(|values| values.iter().copied().filter(is_of).collect::<Vec<_>>())
            .collect()
    }

    /// Totals since the programs were loaded, indexed by [`observer_common::Count`].
    pub fn counts(&self) -> [u64; COUNTS as usize] {
        let mut totals = [0; COUNTS as usize];
        for (index, total) in (0..).zip(&mut totals) {
            if let Ok(values) = self.counts.get(&index, 0) {
                *total = values.iter().sum();
            }
        }
        totals
    }

    /// Nanoseconds that the programs on the way of packets ran, on all processors, in the windows that they were measured in.
    pub fn run_time_ns(&self) -> u64 {
        let values = self.counts.get(&(Count::RunTime as u32), 0);
        values.map_or(0, |values| values.iter().sum())
    }

    /// How often a tracepoint's program was not run because this CPU was in it already.
    pub fn missed(&self) -> u64 {
        let ebpf = lock(&self.ebpf);
        let Some(Program::BtfTracePoint(program)) = ebpf.program(DROPS) else {
            return 0;
        };
        let Ok(fd) = program.fd().map(|fd| fd.as_fd().as_raw_fd()) else {
            return 0;
        };
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("recursion_misses:"));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    ebpf.program_mut(name)
        .with_context(|| format!("the eBPF object has no program {name}"))
}

fn attach(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program: &mut BtfTracePoint = program(ebpf, name)?.try_into()?;
    program.attach()?;
    Ok(())
}

/// The object, which no one else has: a thread that panicked with it has not broken it.
fn lock(ebpf: &Mutex<Ebpf>) -> MutexGuard<'_, Ebpf> {
    ebpf.lock().unwrap_or_else(PoisonError::into_inner)
}
