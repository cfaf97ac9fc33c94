use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{pending, ready};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::cli::Outcome;
use crate::names::Naming;
use crate::report::record::samples::{self, drop_line, policy_drop, rule_drop};
use crate::report::record::{Event, Line, Summary, Time};
use crate::report::{Json, Outputs, Report};

/// Gives its lines, then waits for ever, like a quiet network; `rest` is what draining finds.
struct Fake {
    lines: VecDeque<anyhow::Result<Line>>,
    rest: Vec<Line>,
    ends: bool,
}

impl Fake {
    fn new(lines: Vec<Line>, rest: Vec<Line>) -> Self {
        Self {
            lines: lines.into_iter().map(Ok).collect(),
            rest,
            ends: false,
        }
    }
}

impl Source for Fake {
    async fn next(&mut self) -> anyhow::Result<Option<Line>> {
        match self.lines.pop_front() {
            Some(line) => line.map(Some),
            None if self.ends => Ok(None),
            None => pending().await,
        }
    }

    async fn stop(&mut self) -> anyhow::Result<Vec<Line>> {
        Ok(std::mem::take(&mut self.rest))
    }
}

/// A `Write` whose content the test can still see, and that breaks after so many lines.
#[derive(Clone, Default)]
struct Page {
    text: Rc<RefCell<Vec<u8>>>,
    breaks_after: Option<usize>,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.breaks_after.is_some_and(|lines| self.lines().len() >= lines) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn lines(&self) -> Vec<Line> {
        let text = String::from_utf8(self.text.borrow().clone()).expect("UTF-8");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect()
    }

    fn kinds(&self) -> String {
        let kind = |line: &Line| match line.event {
            Event::Start(_) => 'S',
            Event::Drop(_) => 'd',
            Event::Path(_) => 'p',
            Event::Counter(_) => 'c',
            Event::Probes(_) => 'n',
            Event::Filter(_) => 'f',
            Event::Lost(_) => 'l',
            Event::Summary(_) => 'E',
        };
        self.lines().iter().map(kind).collect()
    }
}

fn summary(exact: u64) -> Line {
    let summary = Summary {
        kernel_drops: exact + 5,
        exact,
        filtered: 5,
        ..Summary::default()
    };
    Line::new(samples::NOON, "node02", Event::Summary(summary))
}

fn drops(count: usize) -> Vec<Line> {
    let mut lines = vec![samples::start_line()];
    lines.extend((0..count).map(|_| drop_line(policy_drop())));
    lines
}

fn driven(
    config: &WatchConfig,
    source: Fake,
    page: &Page,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let outputs = Outputs::new(Json::new(page.clone()));
    runtime.block_on(drive(config, source, Naming::default(), outputs, stop))
}

/// A signal that comes when the lines are through.
async fn a_little_later() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[test]
fn a_signal_drains_and_ends_with_the_summary_and_success() {
    let page = Page::default();
    let source = Fake::new(drops(2), vec![drop_line(rule_drop()), summary(3)]);
    let outcome = driven(&WatchConfig::default(), source, &page, a_little_later()).expect("ends well");
    assert_eq!((outcome, page.kinds().as_str()), (Outcome::Done, "SdddE"));
    let lines = page.lines();
    let Event::Summary(summary) = &lines[4].event else {
        panic!("no summary")
    };
    assert_eq!((summary.by_cause[0].count, summary.by_cause[1].count), (2, 1));
    assert!(summary.reconciles());
}

#[test]
fn a_signal_wins_over_a_flood() {
    let page = Page::default();
    let source = Fake::new(drops(10_000), vec![summary(0)]);
    driven(&WatchConfig::default(), source, &page, ready(())).expect("ends well");
    assert_eq!(page.kinds(), "E");
}

#[test]
fn count_tells_exactly_so_many_and_the_totals_still_reconcile() {
    let page = Page::default();
    let config = WatchConfig {
        count: NonZeroU64::new(2),
        ..WatchConfig::default()
    };
    let source = Fake::new(drops(9), vec![drop_line(policy_drop()), summary(3)]);
    let outcome = driven(&config, source, &page, pending()).expect("ends well");
    assert_eq!((outcome, page.kinds().as_str()), (Outcome::Done, "SddE"));
    let lines = page.lines();
    let Event::Summary(summary) = &lines[3].event else {
        panic!("no summary")
    };
    assert_eq!((summary.exact, summary.filtered), (2, 6));
    assert!(summary.reconciles());
}

#[test]
fn duration_ends_a_quiet_watch() {
    let page = Page::default();
    let config = WatchConfig {
        duration: Some(Duration::from_millis(20)),
        ..WatchConfig::default()
    };
    let outcome =
        driven(&config, Fake::new(drops(0), vec![summary(0)]), &page, pending()).expect("ends well");
    assert_eq!((outcome, page.kinds().as_str()), (Outcome::Done, "SE"));
}

#[test]
fn fail_on_drop_fails_only_if_there_was_one() {
    let config = WatchConfig {
        fail_on_drop: true,
        ..WatchConfig::default()
    };
    for (count, expected) in [(0, Outcome::Done), (1, Outcome::DropSeen)] {
        let source = Fake::new(drops(count), vec![summary(count as u64)]);
        let outcome = driven(&config, source, &Page::default(), a_little_later()).expect("ends well");
        assert_eq!(outcome, expected);
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let page = Page {
        breaks_after: Some(2),
        ..Page::default()
    };
    let outcome = driven(
        &WatchConfig::default(),
        Fake::new(drops(100), vec![summary(100)]),
        &page,
        pending(),
    );
    assert_eq!(outcome.expect("ends well"), Outcome::Done);
    assert_eq!(page.kinds(), "Sd");
}

#[test]
fn an_error_of_the_source_is_told_after_the_summary() {
    let page = Page::default();
    let mut source = Fake::new(drops(1), vec![summary(1)]);
    source
        .lines
        .push_back(Err(anyhow::anyhow!("the probe went away; run observer check")));
    let error = driven(&WatchConfig::default(), source, &page, pending()).expect_err("fails");
    assert_eq!(error.to_string(), "the probe went away; run observer check");
    assert_eq!(page.kinds(), "SdE");
}

#[test]
fn a_source_that_ends_ends_the_watch() {
    let page = Page::default();
    let source = Fake {
        ends: true,
        ..Fake::new(drops(1), vec![summary(1)])
    };
    assert_eq!(
        driven(&WatchConfig::default(), source, &page, pending()).expect("ends well"),
        Outcome::Done
    );
    assert_eq!(page.kinds(), "SdE");
}

struct FullDisk;

impl Report for FullDisk {
    fn line(&mut self, _line: &Line) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_fails_at_the_end_and_the_screen_has_everything() {
    let page = Page::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let outputs = Outputs::new(Json::new(page.clone())).with_file(Path::new("trace.json"), FullDisk);
    let source = Fake {
        ends: true,
        ..Fake::new(drops(3), vec![summary(3)])
    };
    let outcome = runtime
        .block_on(drive(
            &WatchConfig::default(),
            source,
            Naming::default(),
            outputs,
            pending(),
        ))
        .expect("said already");
    assert_eq!((outcome.code(), page.kinds().as_str()), (2, "SdddE"));
}

#[test]
fn all_goes_with_path_probes_and_not_with_drops_alone() {
    let with = |all, probes| {
        let args = Args {
            all,
            how: ProbeArgs {
                probes,
                ..ProbeArgs::default()
            },
            ..Args::default()
        };
        args.check()
    };
    for probes in [Probes::Auto, Probes::Path] {
        let config = with(true, probes).expect("is allowed");
        assert!(config.all && config.probes == probes);
    }
    assert!(with(false, Probes::Drops).is_ok());
    let error = with(true, Probes::Drops).expect_err("refuses").to_string();
    assert!(
        error.contains("leave out --probes drops") && !error.contains('\n'),
        "{error}"
    );
}

#[test]
fn the_words_alone_check_to_the_default() {
    assert_eq!(Args::default().check().expect("checks"), WatchConfig::default());
    assert_eq!(WatchConfig::default().budget_permille, 20);
}

#[test]
fn packets_that_live_neither_count_nor_fail_and_end_with_the_last_drop() {
    let config = WatchConfig {
        all: true,
        count: NonZeroU64::new(1),
        fail_on_drop: true,
        ..WatchConfig::default()
    };
    let passes = || Line::new(samples::NOON, "node02", Event::Path(Box::default()));
    let page = Page::default();
    let source = Fake {
        ends: true,
        ..Fake::new(vec![samples::start_line(), passes()], vec![passes(), summary(0)])
    };
    let outcome = driven(&config, source, &page, pending()).expect("ends well");
    assert_eq!((outcome, page.kinds().as_str()), (Outcome::Done, "SppE"));

    let page = Page::default();
    let lines = vec![
        samples::start_line(),
        passes(),
        drop_line(policy_drop()),
        passes(),
    ];
    let source = Fake::new(lines, vec![passes(), summary(1)]);
    let outcome = driven(&config, source, &page, pending()).expect("ends well");
    assert_eq!((outcome, page.kinds().as_str()), (Outcome::DropSeen, "SpdE"));
}
