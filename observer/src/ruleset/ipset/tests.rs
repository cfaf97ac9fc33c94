//! Readers of sets, on what a kernel and a tool said of the same ones.

use super::netlink::Listing;
use super::*;

/// Sets of each type, as ipset 7.17 saved them on Linux 6.12, and as that kernel listed them to it.
const SAVED: &str = include_str!("../../../tests-data/ipset/types.save");
#[cfg(target_endian = "little")]
const LISTED: &[u8] = include_bytes!("../../../tests-data/ipset/types.netlink");

#[test]
fn each_type_is_read() {
    let sets = parse(SAVED).expect("sets");
    let types: HashSet<&str> = SAVED
        .lines()
        .filter(|line| line.starts_with("create"))
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    assert_eq!(types.len(), 16, "{types:?}");
    for set in &sets {
        let added = format!("add {} ", set.name);
        let members = SAVED.lines().filter(|line| line.starts_with(&added)).count();
        assert_eq!((set.unread(), set.len()), (None, members), "{}", set.name);
    }
}

#[test]
#[cfg(target_endian = "little")]
fn the_kernel_lists_what_the_tool_saves() {
    let mut listing = Listing::default();
    assert!(listing.take(LISTED).expect("a listing"), "its end is there");
    let saved = parse(SAVED).expect("sets");
    assert_eq!(listing.sets.len(), saved.len());
    for (listed, saved) in listing.sets.iter().zip(&saved) {
        assert_eq!(listed, saved);
    }
}

#[test]
#[cfg(target_endian = "little")]
fn a_damaged_listing_is_an_error_or_less_and_nothing_else() {
    for len in 0..LISTED.len() {
        let _ = Listing::default().take(&LISTED[..len]);
    }
    for at in 0..LISTED.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut bytes = LISTED.to_vec();
            bytes[at] = byte;
            let _ = Listing::default().take(&bytes);
        }
    }
}

#[test]
fn what_ipset_does_not_save_is_told_in_one_line_that_says_what_to_do() {
    let set = "create x hash:ip family inet\n";
    for (text, part) in [
        ("*filter\n", "line 1 is neither create nor add"),
        ("add x 10.0.0.1\n", "line 1 adds to a set that is not created"),
        (
            "create x hash:ip family inet\ncreate x hash:ip family inet\n",
            "line 2 creates",
        ),
        ("create x hash:ip family\n", "line 1 creates"),
        ("create x hash:ip family inet9\n", "line 1 creates"),
        ("create x hash:ip family inet netmask x\n", "line 1 creates"),
        (&format!("{set}add x 10.0.0.1-10.0.0.9\n"), "line 2 has a member"),
        (&format!("{set}add x host.example\n"), "line 2 has a member"),
        (&format!("{set}add x 10.0.0.1 timeout\n"), "line 2 has a member"),
        (
            &format!("{set}add x 10.0.0.1 comment \"x\n"),
            "line 2 has a comment",
        ),
        (
            &format!("{set}add x {}\n", "1".repeat(MOST_LINE)),
            "line 2 is longer",
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(
            error.contains(part) && error.contains("give what ipset save prints") && !error.contains('\n'),
            "{text}: {error}"
        );
    }
}

const MOST_LINE: usize = 5000;

#[test]
fn a_set_that_is_not_understood_as_a_whole_is_not_known() {
    for text in [
        "create x hash:colour family inet\nadd x red\n",
        "create x hash:ip family inet bitmask 255.0.255.0\nadd x 10.0.0.1\n",
        "create x hash:ip,port family inet netmask 24\nadd x 10.0.0.0,tcp:80\n",
        "create x hash:ip family inet newer-option 7\nadd x 10.0.0.1\n",
        // A member of another family than its set.
        "create x hash:ip family inet\nadd x fd00::1\n",
        "create x hash:net family inet\nadd x 10.0.0.0/33\n",
    ] {
        let sets = parse(text).expect(text);
        assert!(sets[0].unread().is_some() && sets[0].is_empty(), "{text}");
    }
}

#[test]
fn comments_may_say_anything_but_their_quotes() {
    let text = "create x hash:ip family inet comment\nadd x 10.0.0.1 comment \"add x 10.0.0.2 nomatch \\\" timeout 5\n\n# said by nobody\n";
    let sets = parse(text).expect("sets");
    assert_eq!((sets[0].len(), sets[0].unread()), (1, None));
}
