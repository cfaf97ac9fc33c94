//! Many short texts in one: of a large ruleset each rule's own would be a piece of memory for each.

/// Texts by their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Texts {
    /// Appends one. What comes beyond 4 GiB is left out.
    pub fn push(&mut self, text: &str) {
        let Ok(end) = u32::try_from(self.text.len() + text.len()) else {
            return;
        };
        self.text.push_str(text);
        self.ends.push(end);
    }

    /// The text with an index.
    pub fn get(&self, index: usize) -> Option<&str> {
        let begin = match index.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        self.text.get(begin as usize..*self.ends.get(index)? as usize)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Gives back what was reserved for more.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

impl<'a> FromIterator<&'a str> for Texts {
    fn from_iter<T: IntoIterator<Item = &'a str>>(texts: T) -> Self {
        let mut all = Self::default();
        texts.into_iter().for_each(|text| all.push(text));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_found_by_its_index() {
        let texts: Texts = ["first", "", "drei é", "last"].into_iter().collect();
        assert!(texts.iter().eq(["first", "", "drei é", "last"]));
        assert_eq!((texts.get(2), texts.get(4)), (Some("drei é"), None));
        assert_eq!((texts.len(), Texts::default().get(0)), (4, None));
    }
}
