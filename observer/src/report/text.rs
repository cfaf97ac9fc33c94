//! Text for people. The first drop of a flow by a cause, and the first packet of a flow that lives, is told at once, repeats are counted, and a flood of flows is
//! summed up by cause, so that the screen stays readable and memory bounded.

use std::io::{self, Write};

use super::counters::Counters;
use super::fold::{Fold, Key, Repeats};
use super::layout::Tone;
use super::record::{DropLine, Event, Line, PathLine, Time};
use super::tally::Tally;
use super::terminal::Look;
use super::{Report, block, pass, words};

/// So many drops are told in full in one second; the rest of the second is summed up.
const MAX_DROPS_A_SECOND: u32 = 50;
/// So many packets that live are told in full in one second: each has its way, and nobody waits for most of them.
const MAX_PASSES_A_SECOND: u32 = 10;
/// So many flows are named when repeats are told at the end.
const MAX_REST: usize = 10;
/// So many causes are named when a second is summed up.
const MAX_OVERFLOW_CAUSES: usize = 5;
/// Takes the cursor to the beginning of the line above, and clears that line.
const REWRITE_LINE_ABOVE: &str = "\x1b[1A\r\x1b[2K";

/// Writes for people.
pub struct Text<W: Write> {
    out: W,
    look: Look,
    drops: Told,
    passes: Told,
    counters: Counters,
    /// The second that the blocks are counted in.
    second: u64,
    /// Drops that were not told in full.
    overflow: Tally,
    /// Packets that live and were not told in full.
    more_passes: u64,
    /// The packet that was told last, and the line with its count if that is the last line on the screen.
    newest: Option<(Fate, Key, CountLine)>,
    buffer: String,
}

/// What has been told of the packets of one fate. Each has its own, so that no flood of packets that live makes the
/// drops forgotten.
#[derive(Default)]
struct Told {
    fold: Fold,
    /// In this second.
    blocks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Died,
    Lived,
}

impl Fate {
    fn tone(self) -> Tone {
        match self {
            Self::Died => Tone::Alarm,
            Self::Lived => Tone::Good,
        }
    }

    fn max_a_second(self) -> u32 {
        match self {
            Self::Died => MAX_DROPS_A_SECOND,
            Self::Lived => MAX_PASSES_A_SECOND,
        }
    }
}

/// What is to be done about a packet.
enum News {
    /// Its flow has been told of: it is counted.
    Repeat,
    /// It is to be told in full.
    Full,
    /// There are too many in this second.
    TooMany,
}

/// Whether the count of the newest packet stands on the last line, to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountLine {
    None,
    Last,
}

impl<W: Write> Text<W> {
    /// Writes to `out`.
    pub fn new(out: W, look: Look) -> Self {
        Self {
            out,
            look,
            drops: Told::default(),
            passes: Told::default(),
            counters: Counters::default(),
            second: 0,
            overflow: Tally::default(),
            more_passes: 0,
            newest: None,
            buffer: String::new(),
        }
    }

    fn told(&mut self, fate: Fate) -> &mut Told {
        match fate {
            Fate::Died => &mut self.drops,
            Fate::Lived => &mut self.passes,
        }
    }

    fn drop(&mut self, line: &Line, drop: &DropLine) {
        let key = Key::of(drop);
        let what = || {
            format!(
                "{}  {}",
                words::endpoints(&drop.packet, drop.names.as_deref()),
                words::cause(&drop.drop)
            )
        };
        match self.news(Fate::Died, &key, line.time, what) {
            News::Repeat => {}
            News::Full => {
                let text = block::drop(line, drop, self.look);
                self.say(&text);
                self.newest = Some((Fate::Died, key, CountLine::None));
            }
            News::TooMany => self.overflow.add(&drop.drop),
        }
    }

    fn pass(&mut self, line: &Line, pass: &PathLine) {
        let key = Key::of_pass(pass);
        let what = || {
            format!(
                "{}  passed",
                words::endpoints(&pass.packet, pass.names.as_deref())
            )
        };
        match self.news(Fate::Lived, &key, line.time, what) {
            News::Repeat => {}
            News::Full => {
                let text = pass::pass(line, pass, self.look);
                self.say(&text);
                self.newest = Some((Fate::Lived, key, CountLine::None));
            }
            News::TooMany => self.more_passes += 1,
        }
    }

    fn news(&mut self, fate: Fate, key: &Key, time: Time, what: impl FnOnce() -> String) -> News {
        self.turn_second(time);
        let told = self.told(fate);
        if let Some(repeats) = told.fold.add(key, time, what).cloned() {
            self.repeat(fate, key, &repeats);
            return News::Repeat;
        }
        if told.blocks >= fate.max_a_second() {
            return News::TooMany;
        }
        told.blocks += 1;
        News::Full
    }

    /// On a terminal the newest packet's count is kept up to date in place; all others wait for their turn.
    fn repeat(&mut self, fate: Fate, key: &Key, repeats: &Repeats) {
        let count_line = match &self.newest {
            Some((newest_fate, newest, count_line))
                if *newest_fate == fate && newest == key && self.look.is_terminal =>
            {
                *count_line
            }
            _ => return,
        };
        if !repeats.is_due_in_place() {
            return;
        }
        if count_line == CountLine::Last {
            self.buffer.push_str(REWRITE_LINE_ABOVE);
        }
        // A count that wrapped could not be rewritten as one line: in place it is told without the packet.
        let mut brief = repeats.clone();
        brief.what.clear();
        let text = block::repeats(&brief, fate.tone(), repeats.last, self.look);
        self.buffer.push_str(&text);
        self.told(fate).fold.shown(key, repeats.last);
        self.newest = Some((fate, key.clone(), CountLine::Last));
    }

    fn say(&mut self, text: &str) {
        self.buffer.push_str(text);
        self.newest = None;
    }

    fn turn_second(&mut self, now: Time) {
        if now.seconds() <= self.second {
            return;
        }
        self.second = now.seconds();
        self.look = self.look.refreshed();
        self.tell_overflow();
        let counted = self.counters.due(now, self.look);
        if !counted.is_empty() {
            self.say(&counted);
        }
        for fate in [Fate::Died, Fate::Lived] {
            self.told(fate).blocks = 0;
            for (_, repeats) in self.told(fate).fold.due(now) {
                self.say_repeats(fate, &repeats, now);
            }
        }
    }

    fn say_repeats(&mut self, fate: Fate, repeats: &Repeats, now: Time) {
        let text = block::repeats(repeats, fate.tone(), now, self.look);
        self.say(&text);
    }

    fn tell_overflow(&mut self) {
        if !self.overflow.is_empty() {
            for cause in std::mem::take(&mut self.overflow).top(MAX_OVERFLOW_CAUSES) {
                let what = format!("more flows: {}", cause.text);
                let text = block::unfolded(cause.count, &what, Tone::Alarm, self.look);
                self.say(&text);
            }
        }
        if self.more_passes > 0 {
            let text = block::unfolded(self.more_passes, "more flows passed", Tone::Good, self.look);
            self.say(&text);
            self.more_passes = 0;
        }
    }

    fn tell_rest(&mut self, now: Time) {
        self.tell_overflow();
        let counted = self.counters.rest(now, self.look);
        if !counted.is_empty() {
            self.say(&counted);
        }
        for fate in [Fate::Died, Fate::Lived] {
            let (rest, mut untold) = self.told(fate).fold.rest(now);
            for (_, repeats) in rest.iter().take(MAX_REST) {
                self.say_repeats(fate, repeats, now);
            }
            untold += rest
                .iter()
                .skip(MAX_REST)
                .map(|(_, repeats)| repeats.count - 1)
                .sum::<u64>();
            if untold > 0 {
                let what = match fate {
                    Fate::Died => "more, of flows that are named above",
                    Fate::Lived => "more passed, of flows that are named above",
                };
                let text = block::unfolded(untold, what, fate.tone(), self.look);
                self.say(&text);
            }
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self
            .out
            .write_all(self.buffer.as_bytes())
            .and_then(|()| self.out.flush());
        self.buffer.clear();
        written
    }
}

impl<W: Write> Report for Text<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        match &line.event {
            Event::Drop(drop) => self.drop(line, drop),
            Event::Start(start) => self.say(&block::start(line, start, self.look)),
            Event::Path(pass) => self.pass(line, pass),
            Event::Probes(probes) => self.say(&block::note(line, &probes.text, self.look)),
            Event::Filter(filter) => self.say(&block::note(line, &filter.text, self.look)),
            Event::Counter(counter) => {
                let text = self.counters.line(line, counter, self.look);
                if !text.is_empty() {
                    self.say(&text);
                }
            }
            Event::Lost(lost) => self.say(&block::lost(line, lost, self.look)),
            Event::Summary(summary) => {
                self.tell_rest(line.time);
                self.say(&block::summary(line, summary, self.look));
            }
        }
        self.write_out()
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        self.turn_second(now);
        self.write_out()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tell_rest(Time::now());
        self.write_out()?;
        self.out.flush()
    }
}
