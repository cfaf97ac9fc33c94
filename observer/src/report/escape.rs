//! What comes from the kernel or a ruleset is data: nothing in it may steer a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with everything escaped that a terminal or a reader's eye could take for something else: control characters
/// (C0, DEL, C1), marks and overrides of writing direction, separators, and whatever is not to be seen at all.
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

/// Whether a character steers a terminal, turns the direction of writing or is invisible: Unicode's `Cc`, `Zl`, `Zp`,
/// `Bidi_Control` and `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt, 16.0).
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                        // soft hyphen
            | '\u{34f}'                     // combining grapheme joiner
            | '\u{61c}'                     // Arabic letter mark
            | '\u{115f}' | '\u{1160}'       // fillers of Hangul
            | '\u{17b4}' | '\u{17b5}'       // vowels of Khmer that nobody writes
            | '\u{180b}'..='\u{180f}'       // selectors and a separator of Mongolian
            | '\u{200b}'..='\u{200f}'       // zero-width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'       // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'       // word joiner, isolates, deprecated format characters
            | '\u{3164}' | '\u{ffa0}'       // fillers of Hangul
            | '\u{fe00}'..='\u{fe0f}'       // variation selectors
            | '\u{feff}'                    // byte-order mark
            | '\u{fff0}'..='\u{fffb}'       // none yet, interlinear annotations
            | '\u{1bca0}'..='\u{1bca3}'     // of shorthand
            | '\u{1d173}'..='\u{1d17a}'     // of musical notation
            | '\u{e0000}'..='\u{e0fff}') // tags, variation selectors
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
    fn two_names_that_look_alike_do_not_when_they_are_shown() {
        for invisible in [
            '\u{ad}',
            '\u{34f}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{180e}',
            '\u{e0100}',
        ] {
            assert_ne!(escape(&format!("INPUT{invisible}")).trim_end(), "INPUT");
            assert!(escape(&format!("INPUT{invisible}")).is_ascii());
        }
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
