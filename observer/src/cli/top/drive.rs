//! The loop of `top`: takes lines from the source and keys from the terminal, and draws the page a few times a second.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::EventStream;
use ratatui::backend::Backend;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::super::watch::{
    Source, TOP_CAUSES, WatchConfig, confined, first_signal, is_broken_pipe, screen_error,
};
use super::super::{Outcome, tell};
use super::TopConfig;
use super::freeze::{self, freeze};
use super::keys::{self, Events};
use super::screen::{self, Pages, Screen};
use crate::names::Naming;
use crate::privilege::Service;
use crate::report::record::{Event, Line, Time};
use crate::report::top::{Top, Wish};
use crate::report::{Look, Report as _, Text};

/// From one page to the next, where something has changed.
const TICK: Duration = Duration::from_millis(250);
/// After a key at once, but not sooner than this after the page before.
const SOONEST: Duration = Duration::from_millis(40);
/// The run's totals are asked for once in so many ticks.
const TICKS_A_TOTAL: u32 = 4;
/// So many lines about names are kept for the end.
const MOST_SAID: usize = 16;
/// So many keys are taken between two pages at most.
const MOST_KEYS: usize = 64;

/// Opens the source, then the page, and runs until a key, a signal or the time ends it.
///
/// # Errors
/// One line that says what to do.
pub fn run<S: Source>(
    config: &TopConfig,
    open: impl AsyncFnOnce(&WatchConfig) -> anyhow::Result<S>,
) -> anyhow::Result<Outcome> {
    screen::check()?;
    for warning in &config.watch.warnings {
        tell(warning);
    }
    // While there is one thread, and this one has not given up its rights.
    let naming = config.watch.names.sources()?.start()?;
    confined(&config.watch, Service::Terminal)?;
    config.freeze_dir.as_deref().map_or(Ok(()), freeze::check)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop")?;
    runtime.block_on(async {
        let interrupted = first_signal()?;
        let mut source = open(&config.watch).await?;
        let mut shown = Shown::new(config, Top::new(Look::of_stdout().color), naming);
        let ended = match Screen::open() {
            // Back as it was before anything is said, and before what is on its way is waited for.
            Ok(mut screen) => {
                shown
                    .watch(&mut source, &mut screen.pages, EventStream::new(), interrupted)
                    .await
            }
            Err(error) => Err(error),
        };
        let ended = shown
            .stop(&mut source, Text::new(io::stdout(), Look::of_stdout()), ended)
            .await;
        match ended {
            Err(error) if is_broken_pipe(&error) => Ok(Outcome::Done),
            Err(error) => Err(error),
            Ok(()) => Ok(Outcome::Done),
        }
    })
}

/// What is shown, and since when.
pub(super) struct Shown<'a> {
    config: &'a TopConfig,
    top: Top,
    /// Who has which address.
    naming: Naming,
    /// What names have to say: said once the page is gone.
    to_say: Vec<String>,
    begun: Instant,
    /// When the page was drawn, and whether keys have changed it since.
    drawn: Option<Instant>,
    is_touched: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn new(config: &'a TopConfig, top: Top, naming: Naming) -> Self {
        Self {
            config,
            top,
            naming,
            to_say: Vec::new(),
            begun: Instant::now(),
            drawn: None,
            is_touched: true,
        }
    }

    /// The loop itself, with everything that it touches given: what tests run.
    pub(super) async fn watch<S: Source, B: Backend<Error: Send + Sync + 'static>>(
        &mut self,
        source: &mut S,
        pages: &mut Pages<B>,
        mut events: impl Events,
        interrupted: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.config.watch.duration.map(|duration| self.begun + duration);
        let timed_out = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let (mut timed_out, mut interrupted) = (std::pin::pin!(timed_out), std::pin::pin!(interrupted));
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                // In this order: no flood of lines keeps a signal or the page waiting, and asking for keys, which takes a
                // system call, is not done for each line.
                biased;
                () = &mut interrupted => return Ok(()),
                () = &mut timed_out => return Ok(()),
                _ = tick.tick() => {
                    if ticks.is_multiple_of(TICKS_A_TOTAL)
                        && let Some(running) = source.running()
                    {
                        self.top.running(&running);
                    }
                    ticks = ticks.wrapping_add(1);
                    self.remember();
                    if self.take_waiting(&mut events, pages).await? {
                        return Ok(());
                    }
                    self.refresh(pages)?;
                }
                () = self.naming.changed() => {}
                line = source.next() => match line? {
                    Some(line) => self.take_line(line),
                    None => return Ok(()),
                },
                event = keys::next(&mut events) => {
                    if self.take(&event?, pages)? || self.take_waiting(&mut events, pages).await? {
                        return Ok(());
                    }
                    if self.drawn.is_none_or(|drawn| drawn.elapsed() >= SOONEST) {
                        self.refresh(pages)?;
                    }
                }
            }
        }
    }

    /// What is there without waiting; true if it is the end.
    async fn take_waiting<B: Backend<Error: Send + Sync + 'static>>(
        &mut self,
        events: &mut impl Events,
        pages: &mut Pages<B>,
    ) -> anyhow::Result<bool> {
        for _ in 0..MOST_KEYS {
            let Some(event) = keys::waiting(events).await? else {
                return Ok(false);
            };
            if self.take(&event, pages)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One event; true if it is the end.
    fn take<B: Backend<Error: Send + Sync + 'static>>(
        &mut self,
        event: &crossterm::event::Event,
        pages: &mut Pages<B>,
    ) -> anyhow::Result<bool> {
        self.is_touched = true;
        let Some(key) = keys::key(event) else {
            return Ok(false);
        };
        match self.top.key(key) {
            Wish::Nothing => {}
            Wish::Quit => return Ok(true),
            Wish::Redraw => pages.forget()?,
            Wish::Freeze => self.freeze(),
        }
        Ok(false)
    }

    fn freeze(&mut self) {
        let now = Time::now();
        let lines = self.top.frozen(now);
        let said = match freeze(&lines, self.config.freeze_dir.as_deref(), now) {
            Ok(path) => format!("frozen: {} lines in {}", lines.len(), path.display()),
            Err(error) => format!("{error:#}"),
        };
        self.top.say(&said);
    }

    fn refresh<B: Backend<Error: Send + Sync + 'static>>(
        &mut self,
        pages: &mut Pages<B>,
    ) -> anyhow::Result<()> {
        let at = self.begun.elapsed();
        if !std::mem::take(&mut self.is_touched) && !self.top.is_stale(at) {
            return Ok(());
        }
        pages
            .draw(|frame| self.top.draw(frame, at))
            .context("cannot draw on the terminal")?;
        self.drawn = Some(Instant::now());
        Ok(())
    }

    fn remember(&mut self) {
        let room = MOST_SAID.saturating_sub(self.to_say.len());
        self.to_say.extend(self.naming.unsaid().into_iter().take(room));
    }

    /// Detaches, takes what was on its way, and says the summary as `watch` does.
    pub(super) async fn stop<S: Source, W: io::Write>(
        &mut self,
        source: &mut S,
        mut text: Text<W>,
        ended: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let rest = match source.stop().await {
            Ok(lines) => lines,
            Err(error) => return ended.and(Err(error)),
        };
        let mut said = Ok(());
        for mut line in rest {
            if let Event::Summary(summary) = &mut line.event {
                if summary.by_cause.is_empty() {
                    summary.by_cause = self.top.by_cause(TOP_CAUSES);
                }
                said = text.line(&line).and_then(|()| text.finish());
            } else {
                self.take_line(line);
            }
        }
        self.remember();
        self.to_say.iter().for_each(|text| tell(text));
        ended.and(said.map_err(screen_error))
    }

    fn take_line(&mut self, mut line: Line) {
        self.naming.name(&mut line);
        self.top.line(line, self.begun.elapsed());
    }
}
