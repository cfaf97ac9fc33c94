//! What comes from the kernel or a ruleset is data: nothing in it may steer a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with everything escaped that a terminal or a reader's eye could take for something else: control characters
/// (C0, DEL, C1), marks and overrides of writing direction, invisible separators.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) => {
                let code = u32::from(c);
                let _ = if code < 0x100 {
                    write!(safe, "\\x{code:02x}")
                } else {
                    write!(safe, "\\u{{{code:x}}}")
                };
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}'                       // Arabic letter mark
            | '\u{200b}'..='\u{200f}'       // zero-width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'       // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'       // word joiner, isolates, deprecated format characters
            | '\u{feff}'                    // byte-order mark
            | '\u{fff9}'..='\u{fffb}'       // interlinear annotations
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in [
            "",
            "-A FORWARD -m comment --comment \"nginx → web\" -j DROP",
            "日本語 é \\",
        ] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(escape("\u{1b}[2Jx\u{7}\u{7f}"), "\\x1b[2Jx\\x07\\x7f");
        assert_eq!(escape("a\nb\rc\td\0"), "a\\nb\\rc\\td\\x00");
        assert_eq!(escape("\u{9b}31m"), "\\x9b31m");
    }

    #[test]
    fn nothing_that_turns_the_writing_direction_gets_through() {
        let marks = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain([
            '\u{200e}', '\u{200f}', '\u{feff}', '\u{2028}', '\u{2029}', '\u{61c}', '\u{200b}',
        ]);
        for mark in marks {
            let text = format!("a{mark}b");
            assert_eq!(escape(&text), format!("a\\u{{{:x}}}b", u32::from(mark)));
        }
    }
}
