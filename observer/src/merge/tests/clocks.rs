//! Clocks that are wrong.

use super::*;

#[test]
fn a_clock_that_is_wrong_is_put_right_by_what_is_said_or_by_the_packets() {
    let noon = samples::NOON.0;
    let wrong = 90 * SECOND;
    let traces = || {
        let one = (1..=5).map(|id| before_nat(id, Time(noon + u64::from(id) * SECOND)));
        let two = (1..=5).map(|id| death(id, Time(noon + wrong + u64::from(id) * SECOND + 1000)));
        vec![one.collect::<Vec<_>>(), two.collect::<Vec<_>>()]
    };
    let estimated = merged(traces(), &wanted());
    assert_eq!(estimated.joined, 5);
    assert!(
        estimated.notes.iter().any(|note| note.contains("90000 ms ahead")),
        "{:?}",
        estimated.notes
    );
    let said = Wanted {
        ahead_ns: BTreeMap::from([("node02".to_owned(), wrong as i64)]),
        ..wanted()
    };
    let told = merged(traces(), &said);
    assert_eq!(told.joined, 5);
    assert_eq!(
        told.lines[0].time,
        Time(noon + SECOND + 1000),
        "by the first trace's clock"
    );
    let otherwise = Wanted {
        ahead_ns: BTreeMap::from([("node02".to_owned(), 0)]),
        ..wanted()
    };
    assert_eq!(merged(traces(), &otherwise).joined, 0);
}

#[test]
fn clocks_that_the_packets_do_not_agree_on_are_left_as_they_are() {
    let noon = samples::NOON.0;
    let one = (1..=6).map(|id| before_nat(id, Time(noon)));
    let two = (1..=6).map(|id| death(id, Time(noon + u64::from(id) * SECOND)));
    let lines = merged(vec![one.collect(), two.collect()], &wanted());
    assert!(
        lines.notes.iter().any(|note| note.contains("do not agree")),
        "{:?}",
        lines.notes
    );
    assert_eq!(lines.joined, 1, "what is within the window");
}
