//! What must never come to a person's eyes as it is. Told by Unicode's own lists, not by the program under test.

/// The first character of a text that could steer a terminal, turn the direction of writing, or hide: Unicode's categories `Cc`
/// (but for the line feed), `Cf`, `Zl`, `Zp` and the variation selectors, of DerivedGeneralCategory.txt 15.0; of `Cf` without those
/// that are seen: signs of Arabic, Syriac and Kaithi that enclose or precede numbers.
pub(super) fn unsafe_character(text: &str) -> Option<char> {
    text.chars().find(|c| *c != '\n' && (c.is_control() || hides(*c)))
}

fn hides(c: char) -> bool {
    const RANGES: [(u32, u32); 15] = [
        (0xad, 0xad),
        (0x61c, 0x61c),
        (0x180e, 0x180e),
        (0x200b, 0x200f),
        (0x2028, 0x2029),
        (0x202a, 0x202e),
        (0x2060, 0x2064),
        (0x2066, 0x206f),
        (0xfe00, 0xfe0f),
        (0xfeff, 0xfeff),
        (0xfff9, 0xfffb),
        (0x1bca0, 0x1bca3),
        (0x1d173, 0x1d17a),
        (0xe0001, 0xe007f),
        (0xe0100, 0xe01ef),
    ];
    let code = u32::from(c);
    RANGES
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&code))
}

/// What is wrong with a text that is shown, if anything is.
pub(super) fn complaint(what: &str, text: &str) -> Option<String> {
    let found = unsafe_character(text)?;
    let line = text.lines().find(|line| line.contains(found)).unwrap_or_default();
    Some(format!(
        "U+{:04X} reaches {what}: {}",
        u32::from(found),
        line.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_found_and_what_is_only_foreign_is_not() {
        for bad in [
            "a\u{1b}[2J",
            "\u{9b}2J",
            "\u{202e}",
            "\u{7f}",
            "a\u{200b}b",
            "\r",
            "\u{ad}",
        ] {
            assert!(complaint("stdout", bad).is_some(), "{}", bad.escape_debug());
        }
        assert_eq!(complaint("stdout", "→ 日本 é \u{fffd} \\x1b\n"), None);
    }
}
