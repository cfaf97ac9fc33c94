//! Rows of text: a time, a label and words that wrap under themselves.

use super::escape::escape;
use super::terminal::Look;
use anstyle::{AnsiColor, Style};

/// Columns before the label: `14:03:07.123` and a space.
const TIME_COLUMNS: usize = 13;
/// Columns of the label: four letters and a space.
const LABEL_COLUMNS: usize = 5;

/// Where the words begin.
pub(super) const INDENT: usize = TIME_COLUMNS + LABEL_COLUMNS;

/// How a row's label or last words are set off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// In the background.
    Dim,
    /// A loss.
    Alarm,
    /// Certain.
    Good,
    /// To be taken with care.
    Care,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Dim => Style::new().dimmed(),
            Self::Alarm => AnsiColor::Red.on_default().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Care => AnsiColor::Yellow.on_default().bold(),
        }
    }

    pub(super) fn paint(self, text: &str, look: Look) -> String {
        let style = self.style();
        if look.color && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// One row. Its words may hold anything: they are escaped here.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) time: String,
    pub(super) label: String,
    pub(super) tone: Tone,
    pub(super) words: String,
    /// Whether a shell must still read the words as one line where they are broken.
    pub(super) is_command: bool,
    pub(super) words_tone: Option<Tone>,
    /// Follows the words, in a tone of its own.
    pub(super) end: Option<(String, Tone)>,
}

impl Row {
    pub(super) fn new(label: &str, words: impl Into<String>) -> Self {
        let words = words.into();
        Self {
            time: String::new(),
            label: label.to_owned(),
            tone: Tone::Dim,
            words,
            is_command: false,
            words_tone: None,
            end: None,
        }
    }

    /// A command below the row that speaks of it.
    pub(super) fn command(words: &str) -> Self {
        Self {
            is_command: true,
            ..Self::new("", words)
        }
    }

    /// Columns that its end takes, with the space before it.
    pub(super) fn end_columns(&self) -> usize {
        self.end.as_ref().map_or(0, |(text, _)| 2 + text.chars().count())
    }

    /// The row as lines, each with its line feed.
    pub(super) fn render(&self, look: Look, out: &mut String) {
        let columns = look.width.saturating_sub(INDENT).max(20);
        let end = self.end.as_ref().map(|(text, tone)| (escape(text), *tone));
        let words = escape(&self.words);
        let mut lines = if self.is_command {
            wrap_command(&words, columns)
        } else {
            wrap(&words, columns)
        };
        if let Some(tone) = self.words_tone {
            for line in &mut lines {
                let words = line.trim_start();
                let indent = &line[..line.len() - words.len()];
                *line = format!("{indent}{}", tone.paint(words, look));
            }
        }
        let mut last_with_end = None;
        if let Some((text, tone)) = &end {
            let last = lines.pop().unwrap_or_default();
            let fits = last.chars().count() + 2 + text.chars().count() <= columns;
            if fits {
                last_with_end = Some(format!("{last}  {}", tone.paint(text, look)));
            } else {
                lines.push(last);
                last_with_end = Some(tone.paint(text, look));
            }
        }
        lines.extend(last_with_end);
        for (number, line) in lines.iter().enumerate() {
            let (time, label) = if number == 0 {
                (self.time.as_str(), self.label.as_str())
            } else {
                ("", "")
            };
            out.push_str(&self.margin(time, label, look));
            out.push_str(line);
            out.push('\n');
        }
    }

    fn margin(&self, time: &str, label: &str, look: Look) -> String {
        let pad =
            |text: &str, columns: usize| " ".repeat(columns.saturating_sub(text.chars().count()).max(1));
        let (after_time, after_label) = (pad(time, TIME_COLUMNS), pad(label, LABEL_COLUMNS));
        if label.is_empty() && time.is_empty() {
            return " ".repeat(INDENT);
        }
        let (time, label) = (Tone::Dim.paint(time, look), self.tone.paint(label, look));
        format!("{time}{after_time}{label}{after_label}")
    }
}

/// Breaks at spaces; a word that is longer than a line is broken where it must be.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if used > 0 && used + length > columns {
            lines.push(line.trim_end().to_owned());
            line.clear();
            used = 0;
        }
        for c in word.chars() {
            // Spaces at which a line was broken belong to neither line.
            if used == 0 && c == ' ' && !lines.is_empty() {
                continue;
            }
            if used == columns && c != ' ' {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += 1;
        }
    }
    if !line.trim_end().is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Breaks between words, each line but the last with a backslash, so that what is pasted is still one command. A word that
/// is longer than a line stays whole: the terminal breaks it, and copies it as one.
fn wrap_command(command: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in command.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(word.to_owned());
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_broken_is_still_one_command() {
        assert_eq!(
            wrap_command("iptables -I DOCKER-USER -j ACCEPT", 62),
            ["iptables -I DOCKER-USER -j ACCEPT"]
        );
        let broken = wrap_command("ip netns exec node02 iptables -I DOCKER-USER -j ACCEPT", 24);
        assert_eq!(
            broken,
            [
                "ip netns exec node02 \\",
                "iptables -I \\",
                "DOCKER-USER -j ACCEPT"
            ]
        );
        assert!(broken.iter().all(|line| line.chars().count() <= 24));
        let long = "x".repeat(70);
        assert_eq!(
            wrap_command(&format!("get {long} y"), 62),
            ["get \\", &format!("{long} \\"), "y"]
        );
    }

    #[test]
    fn text_wraps_at_spaces_and_long_words_where_they_must() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("", 7), [""]);
        assert_eq!(wrap("a  b", 9), ["a  b"]);
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrap("→→→→ →→", 4), ["→→→→", "→→"]);
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_nothing_steers_it() {
        for width in [40, 80, 200] {
            let mut out = String::new();
            let mut row = Row::new(
                "rule",
                format!("{} \u{1b}[31m {}", "word ".repeat(60), "x".repeat(300)),
            );
            row.end = Some(("exact".into(), Tone::Good));
            row.render(Look::plain(width), &mut out);
            assert!(out.lines().all(|line| line.chars().count() <= width), "{out}");
            assert!(!out.contains('\u{1b}'));
        }
    }
}
