//! What is read, and what finds no room.

use super::*;
use crate::attribute::bare;

#[test]
fn broken_lines_and_those_without_room_are_said() {
    let text = format!(
        "{{\n{0}\n{0}\n",
        serde_json::to_string(&death(7, samples::NOON)).expect("writes")
    );
    let all = Room {
        lines: 9,
        bytes: 1 << 20,
    };
    let kept = |mut room: Room| {
        let trace = Trace::from("x", text.as_bytes(), &mut room).expect("reads");
        (trace.lines.len(), trace.notes(), room.bytes)
    };
    let (lines, notes, bytes_left) = kept(all);
    assert_eq!(
        (lines, notes.len()),
        (2, 2),
        "one is broken, and there is no summary"
    );
    let for_one = (all.bytes - bytes_left) / 2;
    for room in [
        Room { lines: 1, ..all },
        Room {
            bytes: for_one * 2 - 1,
            ..all
        },
    ] {
        let (lines, notes, _) = kept(room);
        assert_eq!((lines, notes.len()), (1, 3), "{notes:?}");
    }
}

#[test]
fn each_file_has_its_share_of_the_room_and_what_one_leaves_is_the_next_ones() {
    let mut left = Room { lines: 9, bytes: 90 };
    let mut first = left.share(3);
    assert_eq!((first.lines, first.bytes), (3, 30));
    first.lines = 1;
    left.give_back(first);
    let second = left.share(2);
    assert_eq!((second.lines, second.bytes), (3, 45));
    assert_eq!(left.share(1).bytes, 45);
}

#[test]
fn a_short_text_of_many_passages_takes_the_room_that_they_take() {
    let mut line = death(7, samples::NOON);
    let Event::Drop(drop) = &mut line.event else {
        panic!("a drop")
    };
    drop.path = vec![bare(Hook::Forward, None); 10_000];
    let text = serde_json::to_string(&line).expect("writes");
    let mut room = Room {
        lines: 1,
        bytes: 4 * text.len() + 100_000,
    };
    let trace = Trace::from("x", text.as_bytes(), &mut room).expect("reads");
    assert_eq!((trace.lines.len(), trace.left_out), (0, 1));
}
