//! The loop of `watch`: takes lines from the source to the outputs until something ends it, then drains the source.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::super::{Outcome, tell};
use super::follow::{self, Following};
use super::{Narrowed, Probes, WatchConfig};
use crate::live::{check_cases, check_cases_writable, node_name};
use crate::names::{Naming, Wanted};
use crate::privilege::{self, Service, Task};
use crate::report::record::{Confidence, DropInfo, Event, Line, Summary, Time};
use crate::report::{MetricsServer, Otlp, Outputs, Report, Running, Tally};

/// So many causes stand in the summary.
pub(in crate::cli) const TOP_CAUSES: usize = 10;

/// Where the lines come from.
#[allow(async_fn_in_trait)] // Only ever used on one thread, so nobody needs the futures to be `Send`.
pub trait Source {
    /// The next line, the `start` line first; `None` if there will be no more. It may be dropped while it waits, and
    /// must not lose a line by that.
    ///
    /// # Errors
    /// What ended the watching, in one line that says what to do.
    async fn next(&mut self) -> anyhow::Result<Option<Line>>;

    /// Detaches, and returns what was still on its way; the `summary` last. Called once. Its `by_cause` may be left
    /// empty: it is filled in from the drops that were shown.
    ///
    /// # Errors
    /// As for [`Source::next`].
    async fn stop(&mut self) -> anyhow::Result<Vec<Line>>;

    /// Watches this from now on, and tells `text` in a line of its own: somebody who is named has other addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    fn refilter(&mut self, _narrowed: Narrowed, _text: String) -> anyhow::Result<()> {
        Ok(())
    }

    /// The addresses of a service as kube-proxy's rules have them now; `None` where that cannot be said.
    fn by_rules(&mut self, _service: &Wanted) -> Option<Vec<IpAddr>> {
        None
    }

    /// What the run has come to so far, where that is known before its end. Asked about once a second, for metrics alone.
    fn running(&self) -> Option<Running> {
        None
    }
}

/// Opens the source, then the outputs, and runs until a signal, the count or the time ends it.
///
/// # Errors
/// One line that says what to do.
pub fn run<S: Source>(
    config: &WatchConfig,
    open: impl AsyncFnOnce(&WatchConfig) -> anyhow::Result<S>,
) -> anyhow::Result<Outcome> {
    for warning in &config.warnings {
        tell(warning);
    }
    // Before rights are given up: the file may be in another user's directory. It is emptied by its first line, not here:
    // what cannot be watched must not empty an older trace.
    let mut outputs = Outputs::open(config.format, config.write.as_deref())?;
    if let Some(path) = &config.pcap {
        outputs = outputs.with_capture(path, config.snaplen)?;
    }
    // Bound and listening before rights are given up: nothing binds or listens later.
    if let Some(otlp) = &config.otlp {
        outputs = outputs.with_otlp(Otlp::start(otlp, &node_name())?);
    }
    let server = config.metrics.map(MetricsServer::bind).transpose()?;
    // While there is one thread, and this one has not given up its rights.
    let mut naming = config.names.sources()?.start()?;
    let service = match config.metrics {
        Some(_) => Service::Accepts,
        None => Service::None,
    };
    confined(config, service)?;
    if let Some(server) = server {
        outputs = outputs.with_metrics(server.start()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop")?;
    runtime.block_on(async {
        // Signals first: one that comes while probes are being attached must end in detaching them, too.
        let interrupted = first_signal()?;
        let config = &follow::named(config, &mut naming).await?;
        let source = open(config).await?;
        drive(config, source, naming, outputs, interrupted).await
    })
}

/// Gives up what watching does not need, before there is another thread.
pub(in crate::cli) fn confined(config: &WatchConfig, service: Service) -> anyhow::Result<()> {
    let task = match config.probes {
        Probes::None => Task::Counters,
        _ => Task::Packets,
    };
    // Made, if it is not there, with the rights to make it; what is kept in it later is kept without them.
    config
        .keep_disagreements
        .as_deref()
        .map(check_cases)
        .transpose()?;
    privilege::confine(task, service).context("cannot give up capabilities")?;
    config
        .keep_disagreements
        .as_deref()
        .map_or(Ok(()), check_cases_writable)
}

/// Ends with the first SIGINT or SIGTERM, and leaves the second one to the kernel, which ends the process at once: also
/// when this thread hangs in a write to a reader that does not read.
pub(in crate::cli) fn first_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    for number in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the action only calls `signal`, which may be called from a signal handler.
        unsafe { signal_hook_registry::register(number, leave_the_next_to_the_kernel) }
            .context("cannot wait for a signal")?;
    }
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Runs within the handler of the first signal.
fn leave_the_next_to_the_kernel() {
    for number in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: SIG_DFL is a valid disposition for both.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// The loop itself, with everything that it touches given: what tests run.
///
/// # Errors
/// One line that says what to do. The outputs are finished all the same.
pub async fn drive<S: Source>(
    config: &WatchConfig,
    mut source: S,
    naming: Naming,
    outputs: Outputs,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let mut loop_ = Loop {
        config,
        naming,
        following: Following::new(config),
        outputs,
        seen: 0,
        skipped: Skipped::default(),
        tally: Tally::default(),
    };
    let mut ended = loop_.watch(&mut source, interrupted).await;
    let rest = match source.stop().await {
        Ok(lines) => lines,
        Err(error) => {
            ended = ended.and(Err(error));
            Vec::new()
        }
    };
    for line in rest {
        ended = ended.and(loop_.take(line));
    }
    ended = ended.and(loop_.outputs.finish().map_err(screen_error));
    match ended {
        Err(error) if is_broken_pipe(&error) => Ok(loop_.outcome()),
        Err(error) => Err(error),
        Ok(()) => Ok(loop_.outcome()),
    }
}

struct Loop<'a> {
    config: &'a WatchConfig,
    /// Who has which address.
    naming: Naming,
    following: Following,
    outputs: Outputs,
    /// Drops that were told.
    seen: u64,
    skipped: Skipped,
    tally: Tally,
}

/// Drops that were drained after `--count` was reached, by confidence.
#[derive(Default)]
struct Skipped {
    exact: u64,
    inferred: u64,
    unknown: u64,
    disagreements: u64,
}

impl Loop<'_> {
    async fn watch<S: Source>(
        &mut self,
        source: &mut S,
        interrupted: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.config.duration.map(|duration| Instant::now() + duration);
        let timed_out = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let (mut timed_out, mut interrupted) = (std::pin::pin!(timed_out), std::pin::pin!(interrupted));
        while !self.is_full() {
            tokio::select! {
                // In this order, so that no flood of lines keeps a signal waiting.
                biased;
                () = &mut interrupted => return Ok(()),
                () = &mut timed_out => return Ok(()),
                _ = tick.tick() => {
                    self.count_running(source);
                    self.following.look(self.config, &mut self.naming, source)?;
                    self.naming.unsaid().iter().for_each(|text| tell(text));
                    self.outputs.tick(Time::now()).map_err(screen_error)?;
                }
                line = source.next() => match line? {
                    Some(line) => self.take(line)?,
                    None => return Ok(()),
                },
                () = self.naming.changed() => {}
            }
            self.following
                .look_at_news(self.config, &mut self.naming, source)?;
        }
        Ok(())
    }

    fn count_running<S: Source>(&mut self, source: &S) {
        if (self.config.metrics.is_some() || self.config.otlp.is_some())
            && let Some(running) = source.running()
        {
            self.outputs.running(&running);
        }
    }

    fn is_full(&self) -> bool {
        self.config.count.is_some_and(|count| self.seen >= count.get())
    }

    fn take(&mut self, mut line: Line) -> anyhow::Result<()> {
        match &mut line.event {
            Event::Drop(drop) if self.is_full() => {
                self.skipped.add(&drop.drop);
                return Ok(());
            }
            // The last drop asked for is the last packet told; no total counts those that live.
            Event::Path(_) if self.is_full() => return Ok(()),
            Event::Drop(drop) => {
                self.seen += 1;
                self.tally.add(&drop.drop);
            }
            // Some of them may be beyond `--count`: counters do not come one by one.
            Event::Counter(counter) => {
                if counter.is_drop() {
                    self.seen = self.seen.saturating_add(counter.packets);
                }
                self.tally.add_counted(counter);
            }
            Event::Summary(summary) => self.complete(summary),
            Event::Start(_) | Event::Path(_) | Event::Probes(_) | Event::Filter(_) | Event::Lost(_) => {}
        }
        self.naming.name(&mut line);
        self.outputs.line(&line).map_err(screen_error)
    }

    fn complete(&self, summary: &mut Summary) {
        self.skipped.move_to_filtered(summary);
        if summary.by_cause.is_empty() {
            summary.by_cause = self.tally.top(TOP_CAUSES);
        }
    }

    fn outcome(&self) -> Outcome {
        if self.outputs.file_error().is_some() {
            Outcome::Failed
        } else if self.config.fail_on_drop && self.seen > 0 {
            Outcome::DropSeen
        } else {
            Outcome::Done
        }
    }
}

impl Skipped {
    fn add(&mut self, drop: &DropInfo) {
        self.disagreements += u64::from(drop.disagreement.is_some());
        match drop.confidence {
            Confidence::Exact => self.exact += 1,
            Confidence::Inferred => self.inferred += 1,
            Confidence::Unknown => self.unknown += 1,
        }
    }

    /// A drop that is not told is not counted as told: the totals still reconcile.
    fn move_to_filtered(&self, summary: &mut Summary) {
        summary.exact = summary.exact.saturating_sub(self.exact);
        summary.inferred = summary.inferred.saturating_sub(self.inferred);
        summary.unknown = summary.unknown.saturating_sub(self.unknown);
        summary.filtered = summary
            .filtered
            .saturating_add(self.exact + self.inferred + self.unknown);
        let told = summary.disagreements.unwrap_or(0);
        let told = told.saturating_sub(self.disagreements);
        summary.disagreements = (told > 0).then_some(told);
    }
}

pub(in crate::cli) fn screen_error(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("standard output")
}

pub(in crate::cli) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
