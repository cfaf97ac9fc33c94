//! The live source's loop: records in, lines out.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use observer_common::{COUNTS, Count, DropEvent, Filter, flag};
use tokio::time::{Instant, sleep_until};

use super::line::Known;
use super::modules::Modules;
use super::open::Live;
use super::{clock, filter};
use crate::capture::{Captured, decode};
use crate::cli::watch::{Narrowed, Source};
use crate::kernel::Symbols;
use crate::names::Wanted;
use crate::report::Running;
use crate::report::record::{Event, FilterLine, Line, Lost, Summary, Time};
use crate::trace::bytes;

/// How often rulesets are looked at where the kernel gives no hints.
const POLL: Duration = Duration::from_millis(250);
/// So many records are turned into lines before they are written.
const BATCH: usize = 64;

impl Source for Live {
    async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if self.drain() {
                continue;
            }
            self.look_at_changes();
            self.look_at_paths();
            self.look_at_flood(false);
            if !self.lines.is_empty() {
                continue;
            }
            self.wait().await?;
        }
    }

    async fn stop(&mut self) -> Result<Vec<Line>> {
        self.filter.enabled = 0;
        self.programs.set_filter(&self.filter)?;
        while self.drain() {}
        self.drain_paths();
        self.tell_passed(true);
        self.look_at_flood(true);
        let summary = self.summary(&self.programs.counts());
        let mut lines: Vec<Line> = self.lines.drain(..).collect();
        lines.push(Line::new(
            Time::now(),
            self.teller.node.clone(),
            Event::Summary(summary),
        ));
        Ok(lines)
    }

    fn refilter(&mut self, narrowed: Narrowed, text: String) -> Result<()> {
        let reasons = &self.teller.reasons;
        let filter = filter::build(&narrowed, &mut self.namespaces, &self.symbols, reasons)?;
        // What died before is held against what was asked then.
        self.asked
            .change(clock::monotonic_ns(), &narrowed, &mut self.namespaces)?;
        self.filter = Filter {
            enabled: self.filter.enabled,
            functions: self.filter.functions,
            ..filter::in_order_of(&self.filter, filter)
        };
        self.programs.set_filter(&self.filter)?;
        self.refilter_paths()?;
        let filter = narrowed.info;
        self.push(Event::Filter(Box::new(FilterLine { text, filter })));
        Ok(())
    }

    fn by_rules(&mut self, service: &Wanted) -> Option<Vec<IpAddr>> {
        let known = Known {
            store: &self.store,
            symbols: &self.symbols,
            programs: &self.programs,
        };
        self.by_rules.addresses(&mut self.teller, &known, service.name())
    }

    fn running(&self) -> Option<Running> {
        let counts = self.programs.counts();
        Some(Running {
            summary: self.summary(&counts),
            drop_time_ns: counts[Count::DropTime as usize],
            path_time_ns: counts[Count::RunTime as usize],
        })
    }
}

impl Live {
    fn summary(&self, counts: &[u64; COUNTS as usize]) -> Summary {
        let duration_ns = clock::monotonic_ns().saturating_sub(self.started_ns);
        let missed = self.programs.missed().saturating_sub(self.missed_before);
        log::debug!(
            "{} stacks were recognised; {} were not as remembered",
            counts[Count::Recalled as usize],
            counts[Count::Misremembered as usize]
        );
        self.totals.summary(counts, missed, duration_ns)
    }

    /// Takes what is in the ring buffer, up to a batch; false if there was nothing.
    fn drain(&mut self) -> bool {
        let mut records = Vec::new();
        while records.len() < BATCH
            && let Some(record) = self.programs.events.next()
        {
            records.extend(decode(&record));
        }
        let some = !records.is_empty();
        self.echo.looked(some, Instant::now());
        if some {
            // What they passed was written before they died.
            self.drain_paths();
        }
        // Rulesets first: every moment without a baseline costs an answer, and older drops keep their own snapshot.
        for record in &records {
            if let Captured::Ruleset(event) = record {
                self.changes.hint(event.net);
                self.teller.names.forget();
            }
        }
        self.look_at_changes();
        let drops = records
            .iter()
            .filter(|record| matches!(record, Captured::Drop(_)));
        self.flood.records_came(drops.count());
        for record in records {
            match record {
                Captured::Bytes(copied) => {
                    self.copied.insert(copied.cpu, copied);
                }
                Captured::Drop(event) => self.take(&event),
                Captured::Ruleset(_) => {}
            }
        }
        if some {
            let counts = self.programs.counts();
            self.tell_lost(counts[Count::Lost as usize]);
            self.tell_misremembered(counts[Count::Misremembered as usize]);
            self.look_at_flood(false);
        }
        if let Some(logger) = &mut self.programs.logger {
            logger.flush();
        }
        some
    }

    fn take(&mut self, event: &DropEvent) {
        let asked = self.asked.of_drop(event);
        let event = asked.as_ref();
        if matches!(asked, Cow::Owned(_)) && event.flags & flag::BOOKKEEPING != 0 {
            self.totals.not_asked += 1;
        }
        let bookkeeping = event.flags & flag::BOOKKEEPING != 0;
        if event.flags & (flag::STALE | flag::UNREAD | flag::NO_BASELINE) != 0 {
            self.look_at(event.net);
        }
        if event.flags & flag::NO_BASELINE != 0 && event.generation != 0 {
            // A CPU that came online after the others had theirs.
            self.programs.take_baseline(event.net, &[event.cpu]);
        }
        let has_bytes = event.flags & flag::BYTES != 0;
        let copied = has_bytes.then(|| self.copied.remove(&event.cpu)).flatten();
        let way = self.way_of(event);
        let known = Known {
            store: &self.store,
            symbols: &self.symbols,
            programs: &self.programs,
        };
        let line = self.teller.line(event, &way, &known);
        if bookkeeping {
            return;
        }
        match line {
            Some(mut line) => {
                let drop = line.as_drop().cloned();
                if let Some(drop) = &drop {
                    self.totals.told(&drop.drop);
                }
                if self.captures
                    && let Event::Drop(drop) = &mut line.event
                {
                    drop.bytes = Some(bytes(event, copied.as_ref()));
                }
                self.lines.push_back(line);
                if let Some(drop) = drop {
                    self.named(&drop);
                    // It is no rule that cannot be named: drops were too many to look at each.
                    if event.flags & flag::BEHIND == 0 {
                        self.arm(event, &drop);
                    }
                }
            }
            None => {
                self.totals.not_loss += 1;
                self.lives(way);
            }
        }
    }

    fn look_at_changes(&mut self) {
        for net in self.changes.take_due() {
            self.look_at(net);
        }
        if self.poll.is_some_and(|at| at <= Instant::now()) {
            self.poll = Some(Instant::now() + POLL);
            self.refresh_modules();
            self.store.read_all(&mut self.programs, &self.symbols);
            self.refresh_trace();
            self.refresh_functions();
        }
    }

    fn look_at(&mut self, net: u64) {
        self.refresh_modules();
        if self.store.read(&mut self.programs, &self.symbols, net) {
            self.refresh_trace();
            self.refresh_functions();
            log::debug!("the rulesets of the namespace at {net:x} were read anew");
        }
    }

    /// A module that was loaded meanwhile brings its functions and types; one that went took along the probes on its own, and all
    /// addresses in it are void, also where it has come back since.
    fn refresh_modules(&mut self) {
        let modules = Modules::read();
        if modules == self.modules {
            return;
        }
        let gone = modules.lacks(&self.modules);
        self.modules = modules;
        if let Ok(symbols) = Symbols::load() {
            self.symbols = symbols;
        }
        if !gone.is_empty() {
            self.store.forget_modules();
            self.leave_modules(&gone);
        }
        self.store
            .refresh_layout(&mut self.types, &self.symbols, &self.programs);
        filter::set_functions(&mut self.filter, &self.symbols);
        self.filter.functions += 1;
        filter::set_functions(&mut self.path_filter, &self.symbols);
        if let Err(error) = self.programs.set_filter(&self.filter) {
            log::warn!("{error:#}");
        }
    }

    /// Says how many drops were lost since it was last said.
    fn tell_lost(&mut self, lost: u64) {
        if lost > self.lost_told {
            let line = Lost {
                count: lost - self.lost_told,
                since: Some(self.lost_since),
                place: "ring-buffer".to_owned(),
                flow_count: None,
                flows: Vec::new(),
            };
            self.lines.push_back(Line::new(
                Time::now(),
                self.teller.node.clone(),
                Event::Lost(line),
            ));
            self.lost_told = lost;
        }
        self.lost_since = Time::now();
    }

    /// Says once that a stack was taken for one that it was not.
    fn tell_misremembered(&mut self, count: u64) {
        if count > 0 && !self.has_misremembered {
            self.has_misremembered = true;
            log::warn!(
                "the stack of a drop was not the remembered one: the hook of earlier drops may be wrong; please report this, with the kernel's version"
            );
        }
    }

    /// Waits for a record, or for a ruleset to be looked at.
    async fn wait(&mut self) -> Result<()> {
        let paths = self.paths.next().map(Instant::from_std);
        let flood = self.flood.due().map(Instant::from_std);
        let due = [self.changes.next(), self.poll, self.echo.next(), paths, flood]
            .into_iter()
            .flatten()
            .min();
        let timer = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.ready.readable() => ready?.clear_ready(),
            () = timer => {}
        }
        Ok(())
    }
}
