//! The probes on the way of live packets: when they are on, for whom, and what they may cost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use observer_common::{BY_TRACE, BY_VERDICTS, Count, DropEvent, Filter, MAX_FILTER, hook_flag};

use super::line::Known;
use super::open::Live;
use super::{clock, filter};
use crate::attribute::{alike, tool};
use crate::cli::watch::{Probes, WatchConfig};
use crate::kernel::budget::{Action, Budget, Permille};
use crate::kernel::trace_key::{TraceKey, gates, nf_tables_is_present};
use crate::kernel::{find_nft_offsets, first_line};
use crate::report::record::{
    Backend, Confidence, DropLine, Event, Layer, Line, Lost, ProbesLine, Time, Tool,
};
use crate::ruleset::{Policy, Snapshot, Table};
use crate::trace::{Way, Ways};

/// Tests set this to see the second rung of the ladder for nf_tables on a kernel that has the first.
const NO_TRACE_KEY: &str = "OBSERVER_NO_TRACE_KEY";
/// How often records of hooks are taken: the kernel side does not wake anybody for them.
const LOOK: Duration = Duration::from_millis(50);
/// How long the probes stay on for a flow: TCP repeats a SYN after 1, 3 and 7 s.
const ARMED: Duration = Duration::from_secs(10);
/// A flow that was armed for is not armed for again so soon.
const ARMED_AGAIN: Duration = Duration::from_secs(60);
/// So many flows are waited for at once: what their filters list must find room in one.
const MOST_WAITING: usize = MAX_FILTER / 2;
/// So many of them are remembered.
const MOST_ARMED: usize = 1024;

/// What is known of the ways of packets, and how they are watched.
pub struct Paths {
    /// What the person asked for.
    probes: Probes,
    /// Whether packets that live are told.
    all: bool,
    /// The ways of packets that are still going.
    pub(super) ways: Ways,
    key: Option<TraceKey>,
    /// Why nf_tables' trace hook is not watched, once that was found out.
    no_trace: Option<String>,
    /// Why the functions that write its verdicts are not either.
    no_verdicts: Option<String>,
    budget: Budget,
    /// How many windows were measured in.
    windows: u32,
    state: State,
    /// Flows that were armed for, and when.
    armed: HashMap<String, Instant>,
    next: Instant,
    lost_told: u64,
}

enum State {
    /// Nothing is attached.
    Off,
    /// For the person's filter.
    On,
    /// For these flows.
    Armed(Vec<Armed>),
    /// They cost too much, or cannot be attached.
    Given,
}

/// A flow whose next packet is waited for.
struct Armed {
    /// `flow.id` of the trace.
    flow: String,
    until: Instant,
    /// What matches it.
    filter: Filter,
}

impl Paths {
    /// As the person asked for it; nothing is attached yet.
    pub fn new(config: &WatchConfig) -> Self {
        Self {
            probes: wanted(config),
            all: config.all,
            ways: Ways::default(),
            key: None,
            no_trace: None,
            no_verdicts: None,
            budget: Budget::new(config.budget_permille),
            windows: 0,
            state: State::Off,
            armed: HashMap::new(),
            next: Instant::now(),
            lost_told: 0,
        }
    }

    /// Whether what nf_tables' rules do can be seen, if there are any.
    pub fn can_trace(&self) -> bool {
        (self.no_trace.is_none() || self.no_verdicts.is_none()) && matches!(self.state, State::On)
    }

    /// Whether a flow may be armed for: not twice within a short time. It is remembered.
    fn may_arm(&mut self, flow: &str) -> bool {
        let now = Instant::now();
        let last = self.armed.get(flow);
        if last.is_some_and(|since| now.duration_since(*since) < ARMED_AGAIN) {
            return false;
        }
        if self.armed.len() >= MOST_ARMED {
            self.armed.clear();
        }
        self.armed.insert(flow.to_owned(), now);
        true
    }

    /// What is not seen of nf_tables, in words.
    fn nft_note(&self) -> Option<String> {
        let no_trace = self.no_trace.as_ref()?;
        Some(match &self.no_verdicts {
            None => format!("of nf_tables' rules only those that give a verdict are seen: {no_trace}"),
            Some(no_verdicts) => {
                format!("nf_tables' rules without counters are not seen: {no_trace}; {no_verdicts}")
            }
        })
    }

    /// When there is something to look at.
    pub fn next(&self) -> Option<Instant> {
        match self.state {
            State::Off | State::Given => None,
            State::On | State::Armed(_) => {
                Some(self.budget.due().map_or(self.next, |due| due.min(self.next)))
            }
        }
    }
}

impl Live {
    /// Attaches the probes at start, if that is wanted; what is missing is returned in words.
    ///
    /// # Errors
    /// They were asked for by name and cannot be attached.
    pub(super) fn start_paths(&mut self) -> Result<Vec<String>> {
        if self.paths.probes == Probes::Drops {
            return Ok(Vec::new());
        }
        match self.turn_on(self.filter) {
            Ok(()) => {
                self.paths.state = State::On;
                Ok(self.paths.nft_note().into_iter().collect())
            }
            Err(error) if self.paths.probes == Probes::Path || self.paths.all => {
                bail!(
                    "this kernel allows no probes on the way of packets: {}; leave out --probes path and --all, \
                     `observer check` says more",
                    first_line(&error)
                )
            }
            Err(error) => {
                self.paths.state = State::Given;
                log::debug!("no path probes: {error:?}");
                let text = "this kernel allows no probes on the way of packets (`observer check` says why): drops are seen, \
                            the way to them is not";
                Ok(vec![text.to_owned()])
            }
        }
    }

    /// Attaches, for what this filter matches.
    fn turn_on(&mut self, filter: Filter) -> Result<()> {
        self.programs.attach_hooks()?;
        self.path_filter = Filter {
            enabled: 1,
            traced: 0,
            ..filter
        };
        self.refresh_trace();
        self.refresh_functions();
        self.programs.set_path_filter(&self.path_filter)?;
        self.watch_cost();
        Ok(())
    }

    /// What is asked for has changed.
    pub(super) fn refilter_paths(&mut self) -> Result<()> {
        if !matches!(self.paths.state, State::On) {
            return Ok(());
        }
        self.path_filter = Filter {
            enabled: self.path_filter.enabled,
            traced: self.path_filter.traced,
            ..self.filter
        };
        self.programs.set_path_filter(&self.path_filter)
    }

    /// Measures afresh: other programs are watched now.
    fn watch_cost(&mut self) {
        self.paths.budget.restart(Instant::now());
        self.set_window(0);
    }

    fn set_window(&mut self, window: u32) {
        if let Err(error) = self.programs.set_window(window) {
            log::warn!("{error:#}");
        }
    }

    /// Takes the probes off.
    fn turn_off(&mut self) {
        self.path_filter.enabled = 0;
        self.path_filter.traced = 0;
        let off = self
            .programs
            .set_path_filter(&self.path_filter)
            .and_then(|()| self.programs.detach_paths());
        if let Err(error) = off {
            log::warn!("cannot take the path probes off: {error:#}");
        }
        self.paths.key = None;
        self.watch_cost();
    }

    /// Watches nf_tables' trace hook if a ruleset has rules that no counter tells of, or else the functions that write its
    /// verdicts: call when rulesets or modules changed.
    pub(super) fn refresh_trace(&mut self) {
        if self.path_filter.enabled == 0 || self.programs.watches_trace() {
            return;
        }
        if !self.store.all().any(|snapshot| wants_trace(snapshot)) {
            return;
        }
        let was_noted = self.paths.no_trace.is_some();
        if !was_noted {
            match self.turn_trace_on() {
                Ok(()) => return self.watch_nft(BY_TRACE),
                Err(error) => {
                    log::debug!("{error:?}");
                    self.paths.no_trace = Some(first_line(&error));
                }
            }
        }
        if self.paths.no_verdicts.is_some() {
            return;
        }
        match self.turn_verdicts_on() {
            Ok(true) => self.watch_nft(BY_VERDICTS),
            Ok(false) => {}
            Err(error) => {
                log::debug!("{error:?}");
                self.paths.no_verdicts = Some(first_line(&error));
            }
        }
        if let Some(text) = self.paths.nft_note().filter(|_| !was_noted) {
            log::info!("{text}");
        }
    }

    /// Watches the functions of hooks that nothing but themselves can tell apart: call when hooks or modules changed.
    pub(super) fn refresh_functions(&mut self) {
        if self.path_filter.enabled == 0 {
            return;
        }
        let functions = self
            .store
            .all()
            .flat_map(|snapshot| alike(snapshot))
            .map(str::to_owned)
            .collect();
        match self.programs.attach_functions(&functions) {
            Ok(true) => self.watch_cost(),
            Ok(false) => {}
            Err(error) => log::info!("functions of hooks are not watched: {}", first_line(&error)),
        }
    }

    /// Modules went, also if they have come back: the kernel took the probes on their functions with them, and tells nobody. All
    /// such probes come off; `refresh_trace` and `refresh_functions` put on what rulesets and hooks then ask for. nf_tables does not
    /// go while the trace key is on, for which observer has a rule in it.
    pub(super) fn leave_modules(&mut self, gone: &[String]) {
        let was_on = match self.programs.detach_modules() {
            Ok(was_on) => was_on,
            Err(error) => {
                log::warn!("cannot take the probes off modules that went: {error:#}");
                true
            }
        };
        if !was_on {
            return;
        }
        if self.path_filter.traced == BY_VERDICTS {
            self.watch_nft(0);
        }
        self.tell_probes(format!(
            "unloaded while watched: {}; the probes on what is loaded of it again are put on anew, and until then rules are named \
             less surely",
            gone.join(", ")
        ));
    }

    /// Tells the programs in which way nf_tables is watched now.
    fn watch_nft(&mut self, how: u32) {
        self.path_filter.traced = how;
        if let Err(error) = self.programs.set_path_filter(&self.path_filter) {
            log::warn!("{error:#}");
        }
        self.watch_cost();
    }

    fn turn_verdicts_on(&mut self) -> Result<bool> {
        let offsets =
            find_nft_offsets(&mut self.types).context("this kernel does not describe nf_tables' types")?;
        self.programs.set_nft_offsets(&offsets)?;
        let functions = self
            .store
            .all()
            .flat_map(|snapshot| snapshot.expressions.functions())
            .collect();
        self.programs
            .attach_verdicts(&self.symbols, &functions, clock::monotonic_ns)
    }

    fn turn_trace_on(&mut self) -> Result<()> {
        if std::env::var_os(NO_TRACE_KEY).is_some() {
            bail!("{NO_TRACE_KEY} is set");
        }
        if self.paths.key.is_none() {
            gates(&self.symbols, &mut self.types)?;
        }
        let offsets =
            find_nft_offsets(&mut self.types).context("this kernel does not describe nf_tables' types")?;
        self.programs.set_nft_offsets(&offsets)?;
        self.programs.attach_trace()?;
        if self.paths.key.is_none() {
            match TraceKey::turn_on(nf_tables_is_present(&self.symbols)) {
                Ok(key) => self.paths.key = Some(key),
                Err(error) => {
                    self.programs.detach_trace()?;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Takes the records of hooks that are there.
    pub(super) fn drain_paths(&mut self) {
        while let Some(record) = self.programs.paths.take() {
            self.paths.ways.add(&record);
        }
    }

    /// What is due: records to take, packets that live to tell, the budget, the end of being armed.
    pub(super) fn look_at_paths(&mut self) {
        let now = Instant::now();
        if self.paths.next().is_none_or(|next| next > now) {
            return;
        }
        if self.paths.next <= now {
            self.paths.next = now + LOOK;
            self.drain_paths();
            self.tell_passed(false);
            self.tell_lost_hooks();
        }
        self.look_at_budget(now);
        self.disarm(|armed| armed.until <= now, "was not seen again");
    }

    /// The way of a packet that died.
    pub(super) fn way_of(&mut self, event: &DropEvent) -> Way {
        self.paths.ways.of_drop(event)
    }

    /// The way of a packet whose death was no loss: it is one of those that live.
    pub(super) fn lives(&mut self, way: Way) {
        if self.paths.all {
            self.paths.ways.lived(way);
        }
    }

    /// Tells the packets that no hook has seen for a while, or `all` of them.
    pub(super) fn tell_passed(&mut self, all: bool) {
        let now_ns = clock::monotonic_ns();
        if !self.paths.all {
            self.paths.ways.forget_old(now_ns);
            return;
        }
        for way in self.paths.ways.finished(now_ns, all) {
            // A packet that died is told by its death, or was no loss.
            if way.last().is_some_and(|last| last.flags & hook_flag::FREED != 0) {
                continue;
            }
            let known = Known {
                store: &self.store,
                symbols: &self.symbols,
                programs: &self.programs,
            };
            if let Some(line) = self.teller.passed(&way, &known) {
                self.lines.extend(self.asked.line(line, &way));
            }
        }
    }

    /// Says how many hooks were not recorded because user space was too slow.
    fn tell_lost_hooks(&mut self) {
        let lost = self.programs.counts()[Count::HookLost as usize];
        if lost <= self.paths.lost_told {
            return;
        }
        let line = Lost {
            count: lost - self.paths.lost_told,
            since: None,
            place: "path-ring-buffer".to_owned(),
            flow_count: None,
            flows: Vec::new(),
        };
        self.paths.lost_told = lost;
        self.push(Event::Lost(line));
    }

    fn look_at_budget(&mut self, now: Instant) {
        if self.paths.budget.due().is_none_or(|due| now < due) {
            return;
        }
        match self.paths.budget.read(now, self.programs.run_time_ns()) {
            Some(Action::StartWindow) => {
                self.paths.windows = self.paths.windows.wrapping_add(1).max(1);
                self.set_window(self.paths.windows);
                self.paths
                    .budget
                    .read(Instant::now(), self.programs.run_time_ns());
            }
            Some(Action::EndWindow(share)) => self.end_window(share),
            Some(Action::Over(share)) => {
                self.end_window(share);
                self.give_up(share.0);
            }
            None => {}
        }
    }

    fn end_window(&mut self, share: Permille) {
        self.set_window(0);
        log::debug!("path probes take {} of one CPU", percent(share.0));
    }

    fn give_up(&mut self, share_permille: u32) {
        self.turn_off();
        self.paths.state = State::Given;
        self.tell_probes(format!(
            "path probes are off: they took {} of one CPU, more than the budget; drops are still seen, and --budget gives \
             them more",
            percent(share_permille)
        ));
    }

    /// A drop that no counter names: watches its flow until it comes again, if nothing is watched now.
    pub(super) fn arm(&mut self, event: &DropEvent, line: &DropLine) {
        let waiting = match &self.paths.state {
            State::Off => 0,
            State::Armed(armed) => armed.len(),
            State::On | State::Given => return,
        };
        let Some(flow) = line.flow.as_ref().filter(|_| is_worth(line)) else {
            return;
        };
        if waiting >= MOST_WAITING || !self.paths.may_arm(&flow.id) {
            return;
        }
        let armed = Armed {
            flow: flow.id.clone(),
            until: Instant::now() + ARMED,
            filter: filter::of_flow(self.filter, line),
        };
        log::debug!("arming for {} after a drop on CPU {}", armed.flow, event.cpu);
        let text = format!(
            "path probes are on for flow {}: what drops it is named when it comes again",
            armed.flow
        );
        match self.add_armed(armed) {
            Ok(()) => self.tell_probes(text),
            Err(error) => {
                log::info!("cannot watch the flow's way: {error:#}");
                self.paths.state = State::Given;
            }
        }
    }

    fn add_armed(&mut self, armed: Armed) -> Result<()> {
        if let State::Armed(waiting) = &mut self.paths.state {
            waiting.push(armed);
            return self.set_armed_filter();
        }
        self.turn_on(armed.filter)?;
        self.paths.state = State::Armed(vec![armed]);
        Ok(())
    }

    /// The filter that matches every flow that is waited for.
    fn set_armed_filter(&mut self) -> Result<()> {
        let State::Armed(waiting) = &self.paths.state else {
            return Ok(());
        };
        let filters = waiting.iter().map(|armed| &armed.filter);
        let filter = Filter {
            enabled: 1,
            traced: self.path_filter.traced,
            ..filter::of_flows(self.filter, filters)
        };
        self.path_filter = filter;
        self.programs.set_path_filter(&self.path_filter)
    }

    /// A flow that was armed for has been named.
    pub(super) fn named(&mut self, line: &DropLine) {
        let exact = line.drop.confidence == Confidence::Exact;
        if let Some(flow) = line.flow.as_ref().filter(|_| exact) {
            self.disarm(|armed| armed.flow == flow.id, "is named");
        }
    }

    /// Waits no longer for the flows that `is_done` says, and takes the probes off with the last of them.
    fn disarm(&mut self, is_done: impl Fn(&Armed) -> bool, why: &str) {
        let State::Armed(waiting) = &mut self.paths.state else {
            return;
        };
        let done: Vec<String> = waiting
            .iter()
            .filter(|armed| is_done(armed))
            .map(|armed| armed.flow.clone())
            .collect();
        if done.is_empty() {
            return;
        }
        waiting.retain(|armed| !is_done(armed));
        let text = format!("flow {} {why}", done.join(", "));
        if waiting.is_empty() {
            self.turn_off();
            self.paths.state = State::Off;
            self.tell_probes(format!("path probes are off again: {text}"));
        } else if let Err(error) = self.set_armed_filter() {
            log::warn!("{error:#}");
        }
    }

    fn tell_probes(&mut self, text: String) {
        let line = ProbesLine {
            text,
            probes: self.programs.probes(),
        };
        self.push(Event::Probes(line));
    }

    pub(super) fn push(&mut self, event: Event) {
        self.lines
            .push_back(Line::new(Time::now(), self.teller.node.clone(), event));
    }
}

/// What the person asked for; by itself, the way of packets is only watched for those that a filter names.
fn wanted(config: &WatchConfig) -> Probes {
    match config.probes {
        Probes::Auto if config.filter.is_empty() && config.wanted.is_empty() && !config.all => Probes::Drops,
        probes => probes,
    }
}

/// A drop whose cause the hooks can tell.
fn is_worth(line: &DropLine) -> bool {
    line.drop.layer == Layer::Netfilter && line.drop.confidence != Confidence::Exact
}

/// Whether a ruleset of nf_tables has rules, or a policy that drops, that no counter tells of.
fn wants_trace(snapshot: &Snapshot) -> bool {
    let is_silent = |table: &Table| {
        let mut rules = table.chains.iter().flat_map(|chain| &chain.rules);
        let mut bases = table.chains.iter().filter_map(|chain| chain.base.as_ref());
        rules.any(|rule| rule.counter.is_none())
            || bases.any(|base| base.policy == Policy::Drop && base.counter.is_none())
            || tool(table) == Tool::Nft
    };
    let mut tables = snapshot.tables.iter();
    tables.any(|table| table.backend == Backend::Nft && is_silent(table))
}

fn percent(permille: u32) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}
