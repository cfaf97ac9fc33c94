//! The page: head, rows or text, and a last line. Whatever size the terminal has, what matters most is there; nothing is said by
//! colour alone.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::details::{self, rendered, wrapped};
use super::fit::{fit, pad, pieces};
use super::model::Model;
use super::page::Page;
use super::state::{Mode, State};
use super::sure::drops;
use super::table;
use crate::report::clock::second_of_day;
use crate::report::counters::rate;
use crate::report::record::Event;

/// From so many rows on, the selected row is told in full below the others, in so many rows.
const ROOM_FOR_WHOLE: u16 = 16;
const WHOLE_ROWS: u16 = 2;

const KEYS: &str = "\
Enter      details of the selected row: its newest drop, the way to it, near misses,
           what to do; Enter again: the newest by now
Esc        back; in the table: no search any more
Up Down    or k j: select, scroll; also PageUp, PageDown, Home or g, End or G
Tab        causes or flows
/          search: rows that have the text; Enter takes it, Esc gives it up
s          sort by rate, total, last seen, name
p          or space: the page stands still, counting goes on
f          freeze: write what is kept into a file that observer report reads
Ctrl-L     draw all of it once more
?          this help
q          end, with the summary; or Ctrl-C
";

/// What is drawn.
pub(super) struct Drawn<'a> {
    pub(super) model: &'a Model,
    pub(super) page: &'a Page,
    pub(super) color: bool,
}

/// The parts of the screen, from above.
struct Parts {
    head: Rect,
    tabs: Rect,
    body: Rect,
    whole: Rect,
    status: Rect,
}

impl Parts {
    fn of(area: Rect, mode: &Mode) -> Self {
        let is_table = matches!(mode, Mode::Table | Mode::Search(_));
        let status = u16::from(area.height >= 2);
        let head = match area.height {
            0..=5 => 1,
            6..=9 => 2,
            _ => 3,
        };
        let tabs = u16::from(is_table && area.height >= 4);
        let whole = if is_table && area.height >= ROOM_FOR_WHOLE {
            WHOLE_ROWS
        } else {
            0
        };
        let mut left = area;
        let mut take = |rows: u16| {
            let rows = rows.min(left.height);
            let part = Rect { height: rows, ..left };
            left.y += rows;
            left.height -= rows;
            part
        };
        let (head, tabs) = (take(head), take(tabs));
        let body = take(
            area.height
                .saturating_sub(head.height + tabs.height + whole + status),
        );
        Self {
            head,
            tabs,
            body,
            whole: take(whole),
            status: take(status),
        }
    }
}

impl Drawn<'_> {
    pub(super) fn draw(&self, state: &mut State, frame: &mut Frame<'_>) {
        let parts = Parts::of(frame.area(), &state.mode);
        self.head(state, parts.head, frame);
        state.rows_seen = usize::from(parts.body.height);
        let columns = usize::from(parts.body.width);
        match &mut state.mode {
            Mode::Table | Mode::Search(_) => self.table(state, &parts, frame),
            Mode::Details(details) => {
                let text = details::text(details, self.page, columns);
                scrolled(&text, &mut details.scrolled, parts.body, frame);
            }
            Mode::Help(lines) => {
                let text = self.help(columns);
                scrolled(&text, lines, parts.body, frame);
            }
        }
        self.status(state, parts.status, frame);
    }

    fn head(&self, state: &State, area: Rect, frame: &mut Frame<'_>) {
        let columns = usize::from(area.width);
        let all = match area.height {
            0 | 1 => vec![self.drops(state)],
            2 => vec![self.title(state, columns), self.drops(state)],
            _ => vec![self.title(state, columns), self.drops(state), self.others()],
        };
        for (row, words) in rows(area).zip(all) {
            let style = if row.y == area.y { bold() } else { Style::new() };
            frame.render_widget(Line::styled(fit(&words, columns), style), row);
        }
    }

    fn title(&self, state: &State, columns: usize) -> String {
        let paused = if state.paused.is_some() { "  PAUSED" } else { "" };
        let words = match self.model.start.as_deref().map(|line| (&line.node, &line.event)) {
            Some((node, Event::Start(start))) => {
                let filter = match start.filter.text.as_str() {
                    "" => "every packet",
                    text => text,
                };
                format!("observer top on {node}, kernel {}: {filter}", start.kernel)
            }
            _ => "observer top".to_owned(),
        };
        pad(&words, columns.saturating_sub(paused.len())) + paused
    }

    /// What is seen where there is one line only.
    fn drops(&self, state: &State) -> String {
        let (sure, now) = (self.page.totals.sure, self.model.totals.sure.packets());
        let seen = [
            (sure.exact, "exact"),
            (sure.inferred, "inferred"),
            (sure.unknown, "unknown"),
        ];
        let seen: Vec<String> = seen
            .iter()
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let since = match state.paused {
            Some(since) => {
                let more = now.saturating_sub(sure.packets());
                format!(" ({more} more since {})", second_of_day(since))
            }
            None => String::new(),
        };
        let parts = if sure.counted > 0 {
            format!("{} counted, not seen", sure.counted)
        } else {
            seen.join(", ")
        };
        format!(
            "{}, {}{since}: {parts}",
            drops(sure.packets()),
            rate(self.page.per_second)
        )
    }

    fn others(&self) -> String {
        let totals = &self.page.totals;
        let filtered = totals
            .filtered
            .map(|count| format!(", {count} filtered"))
            .unwrap_or_default();
        let since = self
            .model
            .start
            .as_ref()
            .map(|line| format!("; since {}", second_of_day(line.time)));
        format!(
            "{} folded in the kernel, {} lost{filtered}{}",
            totals.sure.folded,
            totals.lost,
            since.unwrap_or_default()
        )
    }

    fn table(&self, state: &mut State, parts: &Parts, frame: &mut Frame<'_>) {
        let shown = self.page.shown(state.view, &state.search, state.sort);
        let at = state.position(&shown);
        let columns = usize::from(parts.tabs.width);
        let tabs = Line::from(table::tabs(state, self.page, shown.len(), columns));
        frame.render_widget(tabs, parts.tabs);
        let columns = usize::from(parts.body.width);
        let heading = u16::from(parts.body.height >= 3);
        state.rows_seen = usize::from(parts.body.height - heading);
        let first = (at + 1).saturating_sub(state.rows_seen);
        let seen: Vec<_> = shown.iter().skip(first).take(state.rows_seen).collect();
        let layout = table::Columns::of(state.view, columns, &seen);
        let mut lines = Vec::new();
        if heading > 0 {
            lines.push(Line::styled(
                layout.heading(),
                bold().add_modifier(Modifier::UNDERLINED),
            ));
        }
        for (number, entry) in seen.iter().enumerate() {
            let is_selected = first + number == at;
            let words = layout.row(entry, &self.page.totals, is_selected);
            let style = if is_selected {
                Style::new().add_modifier(Modifier::REVERSED)
            } else {
                self.sure(entry.sure.word())
            };
            lines.push(Line::styled(words, style));
        }
        if shown.is_empty() {
            let words = if state.search.is_empty() {
                "no drops yet"
            } else {
                "no row has this text: Esc shows all"
            };
            lines.push(Line::raw(fit(words, columns)));
        }
        for (row, line) in rows(parts.body).zip(lines) {
            frame.render_widget(line, row);
        }
        if let Some(entry) = shown.get(at) {
            let cause = entry
                .cause
                .as_ref()
                .map(|cause| format!("  dropped by: {cause}"))
                .unwrap_or_default();
            let lines = wrapped(&format!("{}{cause}", entry.what), columns);
            for (row, words) in rows(parts.whole).zip(lines) {
                frame.render_widget(Line::raw(words), row);
            }
        }
    }

    fn help(&self, columns: usize) -> Vec<String> {
        let mut lines: Vec<String> = KEYS.lines().flat_map(|line| pieces(line, columns)).collect();
        lines.push(String::new());
        if let Some(start) = &self.model.start {
            lines.extend(
                rendered(start, columns)
                    .iter()
                    .flat_map(|line| pieces(line, columns)),
            );
        }
        if let Some(probes) = &self.model.probes {
            lines.extend(wrapped(probes, columns));
        }
        lines
    }

    fn status(&self, state: &State, area: Rect, frame: &mut Frame<'_>) {
        let columns = usize::from(area.width);
        let keys = match &state.mode {
            Mode::Table => "q quit  Enter details  Tab view  / search  s sort  p pause  f freeze  ? help",
            Mode::Search(_) => "",
            Mode::Details(_) => "Esc back  Enter newest  j k scroll  p pause  f freeze  q quit",
            Mode::Help(_) => "Esc back  j k scroll",
        };
        let words = match (&state.mode, &state.message) {
            (Mode::Search(_), _) => format!("search: {}_", state.search),
            (_, Some(message)) => message.clone(),
            _ => keys.to_owned(),
        };
        let style = if state.message.is_some() {
            bold()
        } else {
            Style::new()
        };
        for row in rows(area) {
            frame.render_widget(Line::from(Span::styled(fit(&words, columns), style)), row);
        }
    }

    /// Beside the word, which says it, too.
    fn sure(&self, word: &str) -> Style {
        match word {
            _ if !self.color => Style::new(),
            "exact" => Style::new(),
            _ => Style::new().fg(Color::Yellow),
        }
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn rows(area: Rect) -> impl Iterator<Item = Rect> {
    area.rows()
}

/// Text from the line on that it is scrolled to; its end stays at the end of the screen.
fn scrolled(text: &[String], from: &mut usize, area: Rect, frame: &mut Frame<'_>) {
    *from = (*from).min(text.len().saturating_sub(usize::from(area.height)));
    for (row, words) in rows(area).zip(text.iter().skip(*from)) {
        frame.render_widget(Line::raw(words.as_str()), row);
    }
}
