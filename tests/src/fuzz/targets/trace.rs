//! Lines of a trace, as `--from-trace` reads them.

use observer::explain::Retold;
use observer::report::record::{Event, Line};

use super::files;

pub(super) fn lines() -> Vec<Vec<u8>> {
    files!["tests/src/fuzz/seeds/drops.jsonl"]
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// What is read is written and read again: the same. A packet is taken back to where it came from.
pub(super) fn line(data: &[u8]) {
    let Ok(line) = serde_json::from_slice::<Line>(data) else {
        return;
    };
    let written = serde_json::to_string(&line).expect("a line can be written");
    let again: Line = serde_json::from_str(&written).expect("what was written is read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
    if let Event::Drop(drop) = &line.event {
        Retold::of(drop);
    }
}
