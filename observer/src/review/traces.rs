//! Lines of a trace.

use serde::Deserialize;

use super::{Death, FileSeen, Review};
use crate::report::record::{Event, Line, SCHEMA};
use crate::report::{cause, counter_words, flow_words};

/// Kinds of lines that this version knows.
const KINDS: [&str; 7] = ["start", "drop", "path", "counter", "probes", "lost", "summary"];

/// What has been read of one trace.
#[derive(Default)]
pub(super) struct Traces {
    /// Whether the line before was of a run that has not ended.
    is_open: bool,
}

/// What says whether a line is for this program to know.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    schema: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

impl Traces {
    pub(super) fn add(&mut self, review: &mut Review, seen: &mut FileSeen, text: &[u8]) {
        if text.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match serde_json::from_slice::<Line>(text) {
            Ok(line) => {
                seen.understood += 1;
                self.line(review, &line);
            }
            Err(_) if is_of_another_kind(text) => seen.passed_over += 1,
            Err(_) => seen.broken += 1,
        }
    }

    /// Whether the last run in the file has no end.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_open
    }

    fn line(&mut self, review: &mut Review, line: &Line) {
        self.is_open = !matches!(line.event, Event::Summary(_));
        review.is_from(&line.node);
        match &line.event {
            Event::Drop(drop) => review.died(&Death {
                time: line.time,
                packets: 1,
                cause: &cause(&drop.drop),
                flow: Some(&flow_words(drop)),
                confidence: Some(drop.drop.confidence),
            }),
            Event::Counter(counter) if counter.is_drop() => review.died(&Death {
                time: line.time,
                packets: counter.packets,
                cause: &counter_words(&counter.counter),
                flow: None,
                confidence: None,
            }),
            Event::Path(_) => review.lived = review.lived.saturating_add(1),
            Event::Lost(lost) => review.lost = review.lost.saturating_add(lost.count),
            Event::Start(_) | Event::Counter(_) | Event::Probes(_) | Event::Filter(_) | Event::Summary(_) => {
            }
        }
    }
}

/// A later version may have kinds that this one does not know; readers ignore them.
fn is_of_another_kind(text: &[u8]) -> bool {
    serde_json::from_slice::<Header<'_>>(text)
        .is_ok_and(|header| header.schema == SCHEMA && !KINDS.contains(&header.kind.as_ref()))
}
