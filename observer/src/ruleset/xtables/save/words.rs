//! The words of a line, as `iptables-restore` takes them apart: quotes taken off, `\"` and `\\` within them undone.

use std::borrow::Cow;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) quoted: bool,
}

/// More words than any rule has.
pub(super) const MOST: usize = 4096;

pub(super) fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(is_space);
    while !rest.is_empty() && words.len() < MOST {
        let (word, after) = word(rest);
        words.push(word);
        rest = after.trim_start_matches(is_space);
    }
    words
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn word(text: &str) -> (Word<'_>, &str) {
    let plain = text.find([' ', '\t', '"']).unwrap_or(text.len());
    if !text[plain..].starts_with('"') {
        let word = Word {
            text: Cow::Borrowed(&text[..plain]),
            quoted: false,
        };
        return (word, &text[plain..]);
    }
    let mut undone = String::new();
    let mut open = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => open = !open,
            '\\' if open => undone.extend(chars.next().map(|(_, c)| c)),
            ' ' | '\t' if !open => return (quoted(undone), &text[at..]),
            _ => undone.push(c),
        }
    }
    (quoted(undone), "")
}

fn quoted(text: String) -> Word<'static> {
    Word {
        text: Cow::Owned(text),
        quoted: true,
    }
}

/// A word as the tools print text that people chose (`xtables_save_string`): bare if it is letters, digits, `_` and `-`.
pub(super) fn push_text(out: &mut String, text: &str) {
    if is_bare(text) {
        out.push_str(text);
    } else {
        push_quoted(out, text);
    }
}

pub(super) fn is_bare(text: &str) -> bool {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.bytes().all(bare)
}

/// A word in quotes.
pub(super) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<(String, bool)> {
        words(line)
            .into_iter()
            .map(|word| (word.text.into_owned(), word.quoted))
            .collect()
    }

    #[test]
    fn quotes_are_taken_off_and_told() {
        assert_eq!(
            texts(r#"-m comment --comment "a \"b\" \\c" -j X"#),
            [
                ("-m", false),
                ("comment", false),
                ("--comment", false),
                ("a \"b\" \\c", true),
                ("-j", false),
                ("X", false)
            ]
            .map(|(text, quoted)| (text.to_owned(), quoted))
        );
        assert_eq!(texts("\"\""), [(String::new(), true)]);
        assert_eq!(texts("\"open é"), [("open é".to_owned(), true)]);
        assert_eq!(
            texts("a\tb  "),
            [("a".to_owned(), false), ("b".to_owned(), false)]
        );
        assert_eq!(texts("\"end\\"), [("end".to_owned(), true)]);
    }

    #[test]
    fn text_is_quoted_where_the_tools_quote_it() {
        let shown = |text| {
            let mut out = String::new();
            push_text(&mut out, text);
            out
        };
        assert_eq!(shown("simple_1-x"), "simple_1-x");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(shown("a b \"q\" \\ 'x' $"), r#""a b \"q\" \\ \'x\' $""#);
    }
}
