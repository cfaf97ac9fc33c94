//! Patterns for names, comments and rules: `*` stands for anything, `{name}` for a word that is kept under that name.

/// Longer texts match nothing: they are no rule that a program wrote.
const MOST_BYTES: usize = 2048;
/// Longer words are not kept. Kubernetes' names have at most 253 characters.
const MOST_KEPT: usize = 253;

/// What the patterns of one case have kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(Vec<(String, String)>);

impl Kept {
    /// The word that was kept under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, word)| word.as_str())
    }

    /// A name that is kept twice must stand for the same word.
    fn keep(&mut self, name: &str, word: &str) -> bool {
        match self.get(name) {
            Some(known) => known == word,
            None => {
                self.0.push((name.to_owned(), word.to_owned()));
                true
            }
        }
    }
}

/// The first of several patterns that the whole text matches; what it keeps is added, or with no match nothing.
pub fn first_match<'p>(patterns: &'p [String], text: &str, kept: &mut Kept) -> Option<&'p str> {
    patterns.iter().map(String::as_str).find(|pattern| {
        let before = kept.0.len();
        let fits = matches(pattern, text, kept);
        if !fits {
            kept.0.truncate(before);
        }
        fits
    })
}

/// Whether the whole text matches, whatever the gaps stand for.
pub fn is_match(pattern: &str, text: &str) -> bool {
    matches(pattern, text, &mut Kept::default())
}

/// Whether the whole text matches. Each gap ends where what follows it in the pattern is first found, so this takes one
/// walk through the text, whatever it holds.
fn matches(pattern: &str, text: &str, kept: &mut Kept) -> bool {
    // Most patterns are another name, and most names differ in their first letter.
    let first = pattern.bytes().next();
    if text.len() > MOST_BYTES || (text.bytes().next() != first && !matches!(first, Some(b'*' | b'{'))) {
        return false;
    }
    let (mut pattern, mut text) = (pattern, text);
    loop {
        let Some(at) = pattern.find(['*', '{']) else {
            return pattern == text;
        };
        let (literal, gap) = pattern.split_at(at);
        let Some(rest) = text.strip_prefix(literal) else {
            return false;
        };
        let (name, after) = match gap.strip_prefix('{').and_then(|gap| gap.split_once('}')) {
            Some((name, after)) => (Some(name), after),
            None => (None, &gap[1..]),
        };
        let Some(length) = gap_length(rest, after) else {
            return false;
        };
        let (word, rest) = rest.split_at(length);
        if let Some(name) = name
            && !(is_word(name, word) && kept.keep(name, word))
        {
            return false;
        }
        (pattern, text) = (after, rest);
    }
}

/// How much of the text a gap takes, if `after` follows it in the pattern.
fn gap_length(text: &str, after: &str) -> Option<usize> {
    let literal = after.split(['*', '{']).next().unwrap_or(after);
    if literal.is_empty() {
        // Nothing, or another gap, follows: this one takes all.
        return Some(text.len());
    }
    if literal.len() == after.len() {
        // The end of the pattern is the end of the text.
        return text.ends_with(literal).then(|| text.len() - literal.len());
    }
    text.find(literal)
}

/// What may be kept: one word; for `hex12` a short identifier as Docker gives its networks.
fn is_word(name: &str, word: &str) -> bool {
    let is_whole = |c: char| !c.is_whitespace() && !c.is_control() && c != '"';
    if name == "hex12" {
        return word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    !word.is_empty() && word.len() <= MOST_KEPT && word.chars().all(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pattern: &str, text: &str) -> Option<Kept> {
        let mut kept = Kept::default();
        first_match(&[pattern.to_owned()], text, &mut kept).map(|_| kept)
    }

    #[test]
    fn words_are_kept_by_name() {
        let found = kept(
            "{ns}/{name}:{port} has no endpoints",
            "shop/orders:http has no endpoints",
        )
        .expect("fits");
        assert_eq!(
            (found.get("ns"), found.get("name"), found.get("port")),
            (Some("shop"), Some("orders"), Some("http"))
        );
        let found = kept("filter_IN_{zone}_deny", "filter_IN_my_home_deny").expect("fits");
        assert_eq!(found.get("zone"), Some("my_home"));
        assert_eq!(
            kept("cali-tw-{dev}", "cali-tw-cali12").expect("fits").get("dev"),
            Some("cali12")
        );
    }

    #[test]
    fn the_whole_text_must_match() {
        for (pattern, text) in [
            ("DOCKER", "DOCKER-USER"),
            ("f2b-*", "x-f2b-sshd"),
            ("* has no endpoints", "a/b has no endpoints at all"),
            ("{a}/{b} x", "a/b y"),
            ("-i {dev} -o {dev} -j DROP", "-i br-a -o br-b -j DROP"),
            ("br-{hex12}", "br-web"),
            ("{word}", "two words"),
            ("{word}", ""),
        ] {
            assert_eq!(kept(pattern, text), None, "{pattern} {text}");
        }
        for (pattern, text) in [
            ("f2b-*", "f2b-"),
            ("*INVALID*", "-m conntrack --ctstate INVALID -j DROP"),
            ("-i {dev} -o {dev} -j DROP", "-i br-a -o br-a -j DROP"),
            ("br-{hex12}", "br-0123456789ab"),
        ] {
            assert!(kept(pattern, text).is_some(), "{pattern} {text}");
        }
    }

    #[test]
    fn what_did_not_match_keeps_nothing_and_no_text_is_too_long_or_strange() {
        let mut found = Kept::default();
        let patterns = ["{a} {b} x".to_owned(), "{b} *".to_owned()];
        assert_eq!(first_match(&patterns, "one two", &mut found), Some("{b} *"));
        assert_eq!((found.get("a"), found.get("b")), (None, Some("one")));
        assert_eq!(kept("*a*a*a*a*b", &"a".repeat(100_000)), None);
        assert_eq!(kept("{x}", &"a".repeat(254)), None);
        assert_eq!(kept("{x}*", "\u{1b}[2J"), None);
        assert!(kept("é{x}ü", "éäü").is_some());
    }
}
