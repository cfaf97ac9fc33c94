//! Lines of a trace, as `--from-trace` reads them.

use observer::explain::{Retold, Rules, compared};
use observer::report::record::{Event, Line};

use super::{files, shown};

pub(super) fn lines() -> Vec<Vec<u8>> {
    files!["tests/src/fuzz/seeds/drops.jsonl"]
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// What is read is written and read again: the same. It is shown. A packet is taken back to where it came from, and asked about.
pub(super) fn line(data: &[u8]) {
    let Ok(line) = serde_json::from_slice::<Line>(data) else {
        return;
    };
    let written = serde_json::to_string(&line).expect("a line can be written");
    let again: Line = serde_json::from_str(&written).expect("what was written is read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
    shown::line(&line);
    if let Event::Drop(drop) = &line.event {
        let Retold { packet, course, .. } = Retold::of(drop);
        let mut told = shown::explained(packet, course, &Rules::default());
        told.recorded = Some(compared(&line, 1, drop, &told));
        shown::explanation(&told);
    }
}
