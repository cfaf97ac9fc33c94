use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};

use crossterm::event::{Event as Typed, KeyCode, KeyEvent, KeyModifiers};
use futures_core::Stream;
use ratatui::backend::TestBackend;

use super::drive::Shown;
use super::screen::Pages;
use super::*;
use crate::cli::watch::Source;
use crate::names::Naming;
use crate::report::record::{Event, Line, Summary, samples};
use crate::report::top::Top;
use crate::report::{Look, Text};

/// Gives its lines, then waits for ever or ends; `rest` is what draining finds.
struct Fake {
    lines: VecDeque<anyhow::Result<Line>>,
    rest: Vec<Line>,
}

impl Source for Fake {
    async fn next(&mut self) -> anyhow::Result<Option<Line>> {
        match self.lines.pop_front() {
            Some(line) => line.map(Some),
            None => pending().await,
        }
    }

    async fn stop(&mut self) -> anyhow::Result<Vec<Line>> {
        Ok(std::mem::take(&mut self.rest))
    }
}

/// Keys, one each time that it is asked but the first time, which is before any line; then none.
struct Keys {
    codes: VecDeque<KeyCode>,
    is_asked: bool,
}

impl Stream for Keys {
    type Item = std::io::Result<Typed>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.is_asked, true) {
            return Poll::Pending;
        }
        match self.codes.pop_front() {
            Some(code) => Poll::Ready(Some(Ok(Typed::Key(KeyEvent::new(code, KeyModifiers::NONE))))),
            None => Poll::Pending,
        }
    }
}

fn fake() -> Fake {
    let summary = Summary {
        kernel_drops: 3,
        exact: 3,
        ..Summary::default()
    };
    let drop = || samples::drop_line(samples::policy_drop());
    Fake {
        lines: [samples::start_line(), drop(), drop()].map(Ok).into(),
        rest: vec![
            drop(),
            Line::new(samples::NOON, "node02", Event::Summary(summary)),
        ],
    }
}

/// Runs it to its end; what it said then, and how it ended.
fn run(
    config: &TopConfig,
    source: &mut Fake,
    keys: &[KeyCode],
    interrupted: impl Future<Output = ()>,
) -> (String, anyhow::Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut out = Vec::new();
    let ended = runtime.block_on(async {
        let mut pages = Pages::new(TestBackend::new(80, 24)).expect("a terminal");
        let mut shown = Shown::new(config, Top::new(false), Naming::default());
        let keys = Keys {
            codes: keys.iter().copied().collect(),
            is_asked: false,
        };
        let ended = shown.watch(source, &mut pages, keys, interrupted).await;
        let text = Text::new(&mut out, Look::plain(80));
        shown.stop(source, text, ended).await
    });
    (String::from_utf8(out).expect("UTF-8"), ended)
}

#[test]
fn a_key_ends_it_and_the_summary_counts_what_was_on_its_way() {
    let (said, ended) = run(
        &TopConfig::default(),
        &mut fake(),
        &[KeyCode::Char('q')],
        pending(),
    );
    ended.expect("ends well");
    assert!(said.contains("SUM  3 packets died"), "{said}");
    assert!(said.contains("   3 policy DROP of filter FORWARD"), "{said}");
    assert!(
        !said.contains("DROP tcp"),
        "a drop is no part of the summary: {said}"
    );
}

#[test]
fn a_signal_and_the_time_end_it_too() {
    let (said, ended) = run(&TopConfig::default(), &mut fake(), &[], std::future::ready(()));
    ended.expect("ends well");
    assert!(said.contains("SUM "), "{said}");
    let config = TopConfig {
        watch: WatchConfig {
            duration: Some(Duration::from_millis(20)),
            ..WatchConfig::default()
        },
        ..TopConfig::default()
    };
    let (said, ended) = run(&config, &mut fake(), &[], pending());
    ended.expect("ends well");
    assert!(said.contains("   3 policy DROP of filter FORWARD"), "{said}");
}

#[test]
fn an_error_of_the_source_is_told_after_the_summary() {
    let mut source = fake();
    source
        .lines
        .push_back(Err(anyhow::anyhow!("the probe went away")));
    let (said, ended) = run(&TopConfig::default(), &mut source, &[], pending());
    assert_eq!(ended.expect_err("fails").to_string(), "the probe went away");
    assert!(said.contains("SUM "), "{said}");
}

#[test]
fn what_is_frozen_is_a_trace_that_a_report_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = TopConfig {
        freeze_dir: Some(directory.path().to_owned()),
        watch: WatchConfig {
            duration: Some(Duration::from_millis(600)),
            ..WatchConfig::default()
        },
    };
    let (_, ended) = run(
        &config,
        &mut fake(),
        &[KeyCode::Enter, KeyCode::Char('f')],
        pending(),
    );
    ended.expect("ends well");
    let files: Vec<_> = std::fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("a file").path())
        .collect();
    assert_eq!(files.len(), 1);
    let mut review = crate::review::Review::default();
    crate::review::read(&mut review, &files[0]).expect("reads");
    assert!(review.is_whole());
    assert_eq!((review.drops, review.lost), (2, 0));
}

#[test]
fn the_words_alone_check_to_the_default() {
    assert_eq!(Args::default().check().expect("checks"), TopConfig::default());
}
