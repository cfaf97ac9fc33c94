//! What is kept, as a trace: for a file that `observer report` reads. Its totals add up to what it holds, and what it does not hold
//! is said to be missing.

use super::model::{Model, is_of_drops};
use crate::report::Tally;
use crate::report::record::{Confidence, Event, Line, Lost, Summary, Time};

/// Where drops are that were counted, and of which no line is kept: a value of `where`.
const PLACE: &str = "top";
/// So many causes stand in the summary.
const TOP_CAUSES: usize = 10;

/// The lines; none before the first line has come.
pub(super) fn lines(model: &Model, now: Time) -> Vec<Line> {
    let Some(start) = &model.start else {
        return Vec::new();
    };
    let mut lines = vec![Line::clone(start)];
    if model.kept.forgotten > 0 {
        let lost = Lost {
            count: model.kept.forgotten,
            since: Some(start.time),
            place: PLACE.to_owned(),
            ..Lost::default()
        };
        lines.push(Line::new(now, start.node.clone(), Event::Lost(lost)));
    }
    lines.extend(model.kept.lines().map(|line| Line::clone(line)));
    let summary = summary(model, &lines);
    lines.push(Line::new(now, start.node.clone(), Event::Summary(summary)));
    lines
}

/// Of these lines.
fn summary(model: &Model, lines: &[Line]) -> Summary {
    let mut tally = Tally::default();
    let mut sum = Summary {
        filtered: model.totals.filtered.unwrap_or(0),
        duration_ns: model.totals.duration_ns,
        ..Summary::default()
    };
    let (mut folded, mut counted, mut disagreements) = (0_u64, None::<u64>, 0);
    for line in lines {
        match &line.event {
            Event::Drop(drop) => {
                tally.add(&drop.drop);
                disagreements += u64::from(drop.drop.disagreement.is_some());
                match drop.drop.confidence {
                    Confidence::Exact => sum.exact += 1,
                    Confidence::Inferred => sum.inferred += 1,
                    Confidence::Unknown => sum.unknown += 1,
                }
            }
            Event::Counter(counter) => {
                tally.add_counted(counter);
                counted = Some(counted.unwrap_or(0).saturating_add(counter.packets));
            }
            Event::Lost(lost) if is_of_drops(lost) => {
                sum.lost = sum.lost.saturating_add(lost.count);
                if lost.place == "flood" {
                    folded = folded.saturating_add(lost.count);
                }
            }
            _ => {}
        }
    }
    sum.kernel_drops = [sum.filtered, sum.lost]
        .into_iter()
        .fold(sum.reported(), u64::saturating_add);
    sum.folded = (folded > 0).then_some(folded);
    sum.counted = counted;
    sum.disagreements = (disagreements > 0).then_some(disagreements);
    sum.by_cause = tally.top(TOP_CAUSES);
    sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::kept::MOST_LINES;
    use super::*;
    use crate::report::record::samples;

    fn frozen(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
        let mut model = Model::default();
        for line in lines {
            model.line(line, Duration::from_secs(1));
        }
        super::lines(&model, samples::NOON)
    }

    fn sum(lines: &[Line]) -> &Summary {
        match &lines.last().expect("a line").event {
            Event::Summary(summary) => summary,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_a_whole_trace_whose_totals_add_up() {
        let lines = frozen(samples::all());
        assert!(matches!(lines[0].event, Event::Start(_)));
        let sum = sum(&lines);
        assert!(sum.reconciles());
        assert_eq!((sum.reported(), sum.lost, sum.folded), (8, 70_212, Some(70_200)));
        assert_eq!(sum.counted, Some(6));
        assert_eq!(sum.disagreements, Some(1));
        for line in &lines {
            let text = serde_json::to_string(line).expect("serialises");
            assert_eq!(&serde_json::from_str::<Line>(&text).expect("reads back"), line);
        }
    }

    #[test]
    fn what_is_not_kept_is_said_to_be_missing() {
        let drops = (0..MOST_LINES + 7).map(|_| samples::drop_line(samples::policy_drop()));
        let lines = frozen([samples::start_line()].into_iter().chain(drops));
        let Event::Lost(lost) = &lines[1].event else {
            panic!("a loss")
        };
        assert_eq!((lost.count, lost.place.as_str()), (7, "top"));
        let sum = sum(&lines);
        assert!(sum.reconciles());
        assert_eq!((sum.exact, sum.lost), (MOST_LINES as u64, 7));
    }

    #[test]
    fn before_the_first_line_there_is_nothing() {
        assert!(frozen([]).is_empty());
    }
}
