//! An expression cut into words.

/// A word, and which one it is: the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) number: usize,
}

/// What stands for itself, with or without space around it; the longer ones first.
const SIGNS: [&str; 5] = ["&&", "||", "(", ")", "!"];

/// All words of it.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return words;
        }
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
        let end = match sign {
            Some(sign) => sign.len(),
            None => rest
                .char_indices()
                .find(|(at, c)| {
                    c.is_whitespace() || SIGNS.into_iter().any(|sign| rest[*at..].starts_with(sign))
                })
                .map_or(rest.len(), |(at, _)| at),
        };
        let (word, after) = rest.split_at(end);
        words.push(Word {
            text: word,
            number: words.len() + 1,
        });
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_need_no_space() {
        let texts = |text| words(text).iter().map(|word| word.text).collect::<Vec<_>>();
        assert_eq!(
            texts(" a&&!(b||c)  d"),
            ["a", "&&", "!", "(", "b", "||", "c", ")", "d"]
        );
        assert_eq!(texts("a & b|c"), ["a", "&", "b|c"]);
        assert_eq!(texts(" \t"), [""; 0]);
        assert_eq!(
            words("é !ü")[2],
            Word {
                text: "ü", number: 3
            }
        );
    }
}
