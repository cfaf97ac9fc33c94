//! Yes, no, and what cannot be known.

/// Whether something holds. What is not known never becomes a yes or a no by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It may.
    Unknown,
}

impl Truth {
    /// Of something that is known, if it is.
    pub fn of(known: Option<bool>) -> Self {
        match known {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Unknown,
        }
    }

    /// What holds of all, or what is unknown because it holds of some only.
    pub fn of_all(truths: impl Iterator<Item = Self>) -> Self {
        let mut all = None;
        for truth in truths {
            match all {
                None => all = Some(truth),
                Some(before) if before == truth => {}
                Some(_) => return Self::Unknown,
            }
        }
        all.unwrap_or(Self::Unknown)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    /// Either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.turned(true).and(other.turned(true)).turned(true)
    }

    /// The opposite, if `negated`.
    #[must_use]
    pub fn turned(self, negated: bool) -> Self {
        match (self, negated) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (truth, _) => truth,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{No, Unknown, Yes};

    #[test]
    fn what_is_not_known_decides_only_where_it_cannot_matter() {
        assert_eq!((Unknown.and(No), Unknown.and(Yes)), (No, Unknown));
        assert_eq!((Unknown.or(Yes), Unknown.or(No)), (Yes, Unknown));
        assert_eq!(
            (Yes.and(Yes), Yes.and(No), No.or(No), No.or(Yes)),
            (Yes, No, No, Yes)
        );
        assert_eq!(
            (Yes.turned(true), Unknown.turned(true), No.turned(false)),
            (No, Unknown, No)
        );
    }
}
