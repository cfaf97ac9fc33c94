//! Files that `observer report` reads: traces, and captures in pcapng.

use observer::report::review::{Form, review};
use observer::review::{Review, from};

use super::{files, shown};

/// So many causes and flows are named.
const TOP: usize = 10;

/// A capture that observer wrote, and a trace.
pub(super) fn kept() -> Vec<Vec<u8>> {
    files![
        "tests/src/fuzz/seeds/drops.pcapng",
        "tests/src/fuzz/seeds/drops.jsonl"
    ]
}

/// What a file adds up to is whole, and is shown in each form.
pub(super) fn file(data: &[u8]) {
    let mut sum = Review::default();
    from(&mut sum, "file", data).expect("memory can be read");
    let parts = [sum.exact, sum.inferred, sum.unknown];
    let parts = parts.into_iter().fold(0, u64::saturating_add);
    assert_eq!(sum.drops, parts);
    assert!(sum.first <= sum.last);
    for form in [Form::Text, Form::Json, Form::Markdown, Form::Html] {
        let page = review(&sum, form, TOP).expect("it can be put as JSON");
        if form == Form::Html {
            assert!(
                !page.to_ascii_lowercase().contains("<script"),
                "{}",
                page.escape_debug()
            );
        }
        shown::page(page);
    }
}
