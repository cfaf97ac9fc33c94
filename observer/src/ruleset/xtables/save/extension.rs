//! An extension as it is written: its name and its options. What is known of no extension is known of all of them.

use super::words::{Word, push_quoted};

/// A match or target with its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Its name: `hashlimit`, `NFQUEUE`.
    pub name: Box<str>,
    /// Its options in order.
    pub options: Vec<Opt>,
}

/// An option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// Whether a `!` stands before it.
    pub negated: bool,
    /// Its name with its dashes: `--hashlimit-above`; empty for words that follow no option.
    pub name: Box<str>,
    /// Its values.
    pub values: Vec<Value>,
}

/// A value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Without quotes.
    pub text: Box<str>,
    /// Whether it stands in quotes.
    pub quoted: bool,
}

impl Extension {
    /// The value of an option that is there once, has one value and is not negated.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut found = self.options.iter().filter(|option| &*option.name == name);
        match (found.next(), found.next()) {
            (Some(option), None) if !option.negated => option.only(),
            _ => None,
        }
    }

    /// Whether an option is there.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| &*option.name == name)
    }

    pub(super) fn render(&self, out: &mut String) {
        for option in &self.options {
            option.render(out);
        }
    }
}

impl Opt {
    /// Its value, if it has exactly one.
    pub fn only(&self) -> Option<&str> {
        match self.values.as_slice() {
            [value] => Some(&value.text),
            _ => None,
        }
    }

    pub(super) fn render(&self, out: &mut String) {
        if self.negated {
            out.push_str(" !");
        }
        if !self.name.is_empty() {
            out.push(' ');
            out.push_str(&self.name);
        }
        for value in &self.values {
            out.push(' ');
            if value.quoted {
                push_quoted(out, &value.text);
            } else {
                out.push_str(&value.text);
            }
        }
    }
}

impl From<Word<'_>> for Value {
    fn from(word: Word<'_>) -> Self {
        Self {
            text: word.text.into(),
            quoted: word.quoted,
        }
    }
}
