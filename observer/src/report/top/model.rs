//! What the lines of a trace come to: causes, flows, totals. A line takes microseconds, whatever it says, and memory is bounded.

use std::rc::Rc;
use std::time::Duration;

use super::cause::{Cause, CauseKey};
use super::flow::{Flow, FlowKey};
use super::kept::Kept;
use super::rate::{Rate, WINDOW};
use super::rows::{News, Rows};
use super::sure::Sure;
use crate::report::record::{CounterLine, DropLine, Event, Line, Lost, Time};
use crate::report::{Running, Tally};

/// So many causes are told apart.
const MOST_CAUSES: usize = 256;
/// So many flows are.
const MOST_FLOWS: usize = 1024;

/// All that is known.
#[derive(Debug)]
pub(super) struct Model {
    /// The first line.
    pub(super) start: Option<Rc<Line>>,
    pub(super) causes: Rows<CauseKey, Cause>,
    pub(super) flows: Rows<FlowKey, Flow>,
    pub(super) kept: Kept,
    pub(super) totals: Totals,
    /// What was said of the probes last.
    pub(super) probes: Option<String>,
    tally: Tally,
    heard: Duration,
}

/// All packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Those that lines tell of, one by one or not.
    pub(super) sure: Sure,
    /// The same of late.
    pub(super) rate: Rate,
    /// Those of which nobody knows more than their number.
    pub(super) lost: u64,
    /// Those that were left out: outside the filter, or no loss. Absent where that is not known before the end.
    pub(super) filtered: Option<u64>,
    /// How long watching goes on, where the source says it.
    pub(super) duration_ns: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            start: None,
            causes: Rows::with_room(MOST_CAUSES),
            flows: Rows::with_room(MOST_FLOWS),
            kept: Kept::default(),
            totals: Totals::default(),
            probes: None,
            tally: Tally::default(),
            heard: Duration::ZERO,
        }
    }
}

impl Model {
    /// Takes a line; `at` is how long watching goes on.
    pub(super) fn line(&mut self, line: Line, at: Duration) {
        let time = line.time;
        let line = Rc::new(line);
        match &line.event {
            Event::Start(_) => self.start = Some(line),
            Event::Drop(drop) => {
                let kept = self.keep(&line, at);
                self.drop(drop, time, at, kept);
            }
            Event::Counter(counter) => {
                let kept = self.keep(&line, at);
                self.counter(counter, time, at, kept);
            }
            Event::Lost(lost) => {
                let kept = self.keep(&line, at);
                self.lost(lost, time, at, kept);
            }
            Event::Probes(probes) => {
                self.probes = Some(probes.text.clone());
                self.kept.keep(&line);
            }
            // Packets that live are not asked for; the summary is told when the page is gone.
            Event::Path(_) | Event::Filter(_) | Event::Summary(_) => {}
        }
    }

    fn keep<'a>(&mut self, line: &'a Rc<Line>, at: Duration) -> Option<&'a Rc<Line>> {
        self.heard = at;
        self.kept.keep(line).then_some(line)
    }

    /// Takes what the run has come to so far; true if it is news.
    pub(super) fn running(&mut self, running: &Running) -> bool {
        let filtered = Some(running.summary.filtered);
        self.totals.duration_ns = running.summary.duration_ns;
        std::mem::replace(&mut self.totals.filtered, filtered) != filtered
    }

    /// Whether a rate may fall though nothing comes.
    pub(super) fn is_moving(&self, at: Duration) -> bool {
        self.totals.sure.packets() > 0 && at.saturating_sub(self.heard) <= WINDOW + Duration::from_secs(1)
    }

    /// Drops by cause, as the summary names them.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    fn drop(&mut self, drop: &DropLine, time: Time, at: Duration, line: Option<&Rc<Line>>) {
        self.tally.add(&drop.drop);
        let news = News {
            packets: 1,
            sure: Sure::one(drop.drop.confidence),
            time,
            at,
            line,
        };
        self.totals.add(news);
        let key = CauseKey::of_drop(drop);
        let cause = self
            .causes
            .count(key.clone(), news, || key.shown(drop.netns.as_ref()));
        let (id, words) = (cause.id, Rc::clone(&cause.what.words));
        let flow = self
            .flows
            .count(FlowKey::of_drop(drop, id), news, || Flow::of_drop(drop, &words));
        flow.what.from(drop.packet.sport);
    }

    fn counter(&mut self, counter: &CounterLine, time: Time, at: Duration, line: Option<&Rc<Line>>) {
        self.tally.add_counted(counter);
        // Handed to a program, or surely none of the filter's: no drop that is asked for.
        if !counter.is_drop() {
            return;
        }
        let news = News {
            packets: counter.packets,
            sure: Sure::counted(counter.packets),
            time,
            at,
            line,
        };
        self.totals.add(news);
        let key = CauseKey::of_counter(counter);
        self.causes
            .count(key.clone(), news, || key.shown(counter.netns.as_ref()));
    }

    fn lost(&mut self, lost: &Lost, time: Time, at: Duration, line: Option<&Rc<Line>>) {
        if lost.place == "flood" {
            self.flood(lost, time, at, line);
        } else if is_of_drops(lost) {
            self.totals.lost = self.totals.lost.saturating_add(lost.count);
        }
    }

    /// Drops that the kernel side only counted, by flow, as far as the line names flows.
    fn flood(&mut self, lost: &Lost, time: Time, at: Duration, line: Option<&Rc<Line>>) {
        let news = |packets| News {
            packets,
            sure: Sure::folded(packets),
            time,
            at,
            line,
        };
        self.totals.add(news(lost.count));
        let mut rest = lost.count;
        for fold in &lost.flows {
            rest = rest.saturating_sub(fold.count);
            let key = CauseKey::of_fold(fold);
            let cause = self
                .causes
                .count(key.clone(), news(fold.count), || key.shown(Some(&fold.netns)));
            let (id, words) = (cause.id, Rc::clone(&cause.what.words));
            self.flows
                .count(FlowKey::of_fold(fold, id), news(fold.count), || {
                    Flow::of_fold(fold, &words)
                });
        }
        if rest > 0 {
            let key = CauseKey::of_rest();
            self.causes.count(key.clone(), news(rest), || key.shown(None));
        }
    }
}

/// Of the way of packets, hooks may be lost, too: those are no drops.
pub(super) fn is_of_drops(lost: &Lost) -> bool {
    lost.place != "path-ring-buffer"
}

impl Totals {
    fn add(&mut self, news: News<'_>) {
        self.sure.add(news.sure);
        self.rate.add(news.packets, news.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples;

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn drops_are_rows_by_cause_and_by_flow() {
        let mut model = Model::default();
        for seconds in 0..10 {
            model.line(samples::drop_line(samples::policy_drop()), after(seconds));
        }
        model.line(samples::drop_line(samples::rule_drop()), after(9));
        assert_eq!((model.causes.iter().count(), model.flows.iter().count()), (2, 2));
        let policy = model.causes.iter().find(|row| row.id == 1).expect("a row");
        assert_eq!((policy.packets, policy.sure.word()), (10, "exact"));
        assert!((policy.rate.per_second(after(9)) - 5.0 / 4.5).abs() < 0.01);
        assert_eq!(model.totals.sure.exact, 11);
        assert_eq!(model.tally().top(9)[0].count, 10);
        assert!(model.is_moving(after(12)) && !model.is_moving(after(30)));
    }

    #[test]
    fn what_was_folded_is_counted_in_rows_totals_and_rates() {
        let mut model = Model::default();
        model.line(samples::flood_line(), after(1));
        assert_eq!(model.totals.sure.folded, 70_200);
        assert!(model.totals.rate.per_second(after(1)) > 70_000.0);
        let mut packets: Vec<u64> = model.causes.iter().map(|row| row.packets).collect();
        packets.sort_unstable();
        assert_eq!(packets, [77, 70_123]);
        let flow = model.flows.iter().next().expect("a row");
        assert_eq!((flow.packets, flow.sure.word()), (70_123, "folded"));
        assert_eq!(&**flow.what.words(), "udp 10.224.0.0 → 10.224.2.16, any port");
    }

    #[test]
    fn counters_count_packets_that_died_and_no_others() {
        use crate::report::record::CounterEffect;
        let mut model = Model::default();
        let mut line = samples::counter_line();
        model.line(line.clone(), after(1));
        if let Event::Counter(counter) = &mut line.event {
            counter.counter.effect = CounterEffect::Queue;
        }
        model.line(line, after(1));
        assert_eq!((model.totals.sure.counted, model.causes.iter().count()), (5, 1));
    }

    #[test]
    fn what_was_lost_has_no_row_and_packets_that_live_none_either() {
        let mut model = Model::default();
        let mut hooks = samples::lost_line();
        if let Event::Lost(lost) = &mut hooks.event {
            lost.place = "path-ring-buffer".to_owned();
        }
        model.line(hooks, after(1));
        for line in [
            samples::lost_line(),
            samples::pass_line(),
            samples::summary_line(),
        ] {
            model.line(line, after(1));
        }
        assert_eq!((model.totals.lost, model.causes.iter().count()), (12, 0));
    }

    #[test]
    fn a_flood_of_flows_and_causes_takes_bounded_memory_and_every_packet_is_counted() {
        let mut model = Model::default();
        for number in 0..20_000_u32 {
            let mut drop = samples::rule_drop();
            drop.packet.src = Some(std::net::Ipv4Addr::from(number).into());
            if let Some(rule) = &mut drop.drop.rule {
                rule.number = Some(number % 5000);
            }
            model.line(samples::drop_line(drop), after(u64::from(number) / 1000));
        }
        assert!(model.causes.iter().count() <= MOST_CAUSES * 5 / 4);
        assert!(model.flows.iter().count() <= MOST_FLOWS * 5 / 4);
        for (gone, left) in [
            (
                model.causes.gone,
                model.causes.iter().map(|row| row.packets).sum::<u64>(),
            ),
            (
                model.flows.gone,
                model.flows.iter().map(|row| row.packets).sum::<u64>(),
            ),
        ] {
            assert_eq!(gone.packets + left, 20_000);
        }
    }
}
