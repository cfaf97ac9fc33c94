//! Text for people. The first drop of a flow by a cause is told at once, repeats are counted, and a flood of flows is
//! summed up by cause, so that the screen stays readable and memory bounded.

use std::io::{self, Write};

use super::fold::{Fold, Key, Repeats};
use super::record::{DropLine, Event, Line, Time};
use super::tally::Tally;
use super::terminal::Look;
use super::{Report, block, words};

/// So many drops are told in full in one second; the rest of the second is summed up.
const MAX_BLOCKS_A_SECOND: u32 = 50;
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
    fold: Fold,
    /// The second that `blocks` counts.
    second: u64,
    blocks: u32,
    overflow: Tally,
    /// The drop that was told last, and the line with its count if that is the last line on the screen.
    newest: Option<(Key, CountLine)>,
    buffer: String,
}

/// Whether the count of the newest drop stands on the last line, to be rewritten.
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
            fold: Fold::default(),
            second: 0,
            blocks: 0,
            overflow: Tally::default(),
            newest: None,
            buffer: String::new(),
        }
    }

    fn drop(&mut self, line: &Line, drop: &DropLine) {
        self.turn_second(line.time);
        let key = Key::of(drop);
        let what = || format!("{}  {}", words::endpoints(&drop.packet), words::cause(&drop.drop));
        if let Some(repeats) = self.fold.add(&key, line.time, what).cloned() {
            self.repeat(&key, &repeats);
        } else if self.blocks < MAX_BLOCKS_A_SECOND {
            self.blocks += 1;
            let text = block::drop(line, drop, self.look);
            self.say(&text);
            self.newest = Some((key, CountLine::None));
        } else {
            self.overflow.add(&drop.drop);
        }
    }

    /// On a terminal the newest drop's count is kept up to date in place; all others wait for their turn.
    fn repeat(&mut self, key: &Key, repeats: &Repeats) {
        let count_line = match &self.newest {
            Some((newest, count_line)) if newest == key && self.look.is_terminal => *count_line,
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
        self.buffer
            .push_str(&block::repeats(&brief, repeats.last, self.look));
        self.fold.shown(key, repeats.last);
        self.newest = Some((key.clone(), CountLine::Last));
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
        self.blocks = 0;
        self.tell_overflow();
        for (_, repeats) in self.fold.due(now) {
            let text = block::repeats(&repeats, now, self.look);
            self.say(&text);
        }
    }

    fn tell_overflow(&mut self) {
        if self.overflow.is_empty() {
            return;
        }
        for cause in std::mem::take(&mut self.overflow).top(MAX_OVERFLOW_CAUSES) {
            let what = format!("more flows: {}", cause.text);
            let text = block::unfolded(cause.count, &what, self.look);
            self.say(&text);
        }
    }

    fn tell_rest(&mut self, now: Time) {
        self.tell_overflow();
        let (rest, mut untold) = self.fold.rest(now);
        for (_, repeats) in rest.iter().take(MAX_REST) {
            let text = block::repeats(repeats, now, self.look);
            self.say(&text);
        }
        untold += rest
            .iter()
            .skip(MAX_REST)
            .map(|(_, repeats)| repeats.count - 1)
            .sum::<u64>();
        if untold > 0 {
            let text = block::unfolded(untold, "more, of flows that are named above", self.look);
            self.say(&text);
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
            // Told by the report of paths.
            Event::Path(_) | Event::Probes(_) => {}
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
