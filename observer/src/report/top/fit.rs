//! Text that fits: nothing of it steers the terminal, and it takes no more columns than it may, whatever characters it has.

use unicode_width::UnicodeWidthChar as _;

use crate::report::escape;

/// So many marks may stand upon one character: more are none of any language.
const MOST_MARKS: usize = 4;

/// Columns that a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// The text, escaped, with its end cut off if it has more columns than that.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let escaped = escape(text);
    let mut lines = pieces(&escaped, columns);
    let first = lines.next().unwrap_or_default();
    if lines.next().is_none() {
        return first;
    }
    let mut cut = pieces(&first, columns.saturating_sub(1))
        .next()
        .unwrap_or_default();
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// The same, filled up with spaces.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    let missing = columns.saturating_sub(self::columns(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// The same, with the spaces before it.
pub(super) fn pad_left(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let missing = columns.saturating_sub(self::columns(&text));
    " ".repeat(missing) + &text
}

/// Text that is escaped already, broken where the columns end.
pub(super) fn pieces(text: &str, columns: usize) -> impl Iterator<Item = String> {
    let mut rest = text.chars().peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        if !std::mem::take(&mut is_first) && rest.peek().is_none() {
            return None;
        }
        let (mut piece, mut used, mut marks) = (String::new(), 0, 0);
        while let Some(c) = rest.next_if(|c| used + width(*c) <= columns) {
            marks = if width(c) == 0 { marks + 1 } else { 0 };
            if marks <= MOST_MARKS {
                piece.push(c);
            }
            used += width(c);
        }
        if piece.is_empty() {
            // Not even one fits: it is left out.
            rest.next();
        }
        Some(piece)
    })
}

fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_does_not_is_cut_at_columns_not_characters() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(
            (fit("日本", 1), fit("日本", 0), fit("", 0)),
            ("…".into(), String::new(), String::new())
        );
        assert_eq!(pad("é", 3), "é  ");
        assert_eq!(pad_left("12", 4), "  12");
    }

    #[test]
    fn nothing_steers_turns_the_writing_or_piles_up() {
        let text = fit("\u{202e}a\u{1b}[2J\n\u{9b}", 80);
        assert_eq!(text, "\\u{202e}a\\x1b[2J\\n\\x9b");
        let piled = fit(&format!("a{}b", "\u{301}".repeat(500)), 80);
        assert_eq!(piled.chars().count(), 2 + MOST_MARKS);
        assert_eq!(columns(&piled), 2);
    }

    #[test]
    fn no_piece_is_wider_than_it_may_be_and_none_is_lost() {
        let text = "a日b本c→語 x".repeat(20);
        for most in [2, 3, 7, 40] {
            let all: Vec<String> = pieces(&text, most).collect();
            assert!(all.iter().all(|piece| columns(piece) <= most));
            assert_eq!(all.concat(), text);
        }
        assert_eq!(pieces("", 9).collect::<Vec<_>>(), [""]);
        assert!(pieces("日本", 1).all(|piece| piece.is_empty()));
        assert!(pieces("abc", 0).all(|piece| piece.is_empty()));
    }
}
