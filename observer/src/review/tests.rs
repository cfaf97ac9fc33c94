use super::file::from;
use super::*;
use crate::report::record::Line;
use crate::report::record::samples::{self, drop_line, policy_drop, rule_drop};
use crate::report::{Capture, Report as _};

fn text_of(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| serde_json::to_string(line).expect("writes") + "\n")
        .collect()
}

fn review_of(text: &[u8]) -> Review {
    let mut review = Review::default();
    from(&mut review, "x", text).expect("reads");
    review
}

#[test]
fn drops_are_counted_by_cause_flow_and_confidence() {
    let lines = [
        samples::start_line(),
        drop_line(policy_drop()),
        drop_line(policy_drop()),
        drop_line(rule_drop()),
        samples::lost_line(),
    ];
    let review = review_of(text_of(&lines).as_bytes());
    assert_eq!((review.drops, review.exact), (3, 3));
    let causes = review.causes.top(2);
    assert_eq!(
        (causes[0].name.as_str(), causes[0].packets),
        ("policy DROP of filter FORWARD", 2)
    );
    assert_eq!(
        review.flows.top(1)[0].name,
        "tcp 10.224.0.0 → 10.224.2.16:80, service nginx-test/nginx-service"
    );
    assert!(review.lost > 0 && review.files[0].is_cut_off);
    assert_eq!(review.files[0].understood, 5);
}

#[test]
fn every_line_of_the_samples_is_understood() {
    let lines = samples::all();
    let review = review_of(text_of(&lines).as_bytes());
    let file = &review.files[0];
    assert_eq!(
        (file.understood, file.passed_over, file.broken),
        (lines.len() as u64, 0, 0)
    );
    assert!(!file.is_cut_off);
}

#[test]
fn broken_lines_are_counted_and_those_of_kinds_to_come_passed_over() {
    let good = text_of(&[drop_line(policy_drop())]);
    let text = format!(
        "{good}{{\"schema\":\"observer.trace/v1\",\"kind\":\"weather\",\"time\":\"x\",\"node\":1}}\n{}\n\n\u{0}\n{good}{{\"a\"",
        &good[..good.len() / 2]
    );
    let review = review_of(text.as_bytes());
    let file = &review.files[0];
    assert_eq!((file.understood, file.passed_over, file.broken), (2, 1, 3));
    assert_eq!(review.drops, 2);
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let mut text = vec![b'x'; 5 << 20];
    text.push(b'\n');
    text.extend(text_of(&[drop_line(policy_drop())]).into_bytes());
    let review = review_of(&text);
    assert_eq!((review.files[0].broken, review.drops), (1, 1));
}

#[test]
fn a_capture_says_what_its_trace_says() {
    let mut drop = policy_drop();
    let header = [
        0x45, 0, 0, 60, 0, 0, 0, 0, 63, 6, 0, 0, 10, 224, 0, 0, 10, 224, 2, 16, 0xa1, 0x12, 0, 80, 0, 0, 0,
        0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
    ];
    drop.bytes = Some(crate::report::record::PacketBytes {
        begin: crate::report::record::Begin::Ip,
        bytes: header.into(),
        whole_len: 60,
    });
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("drops.pcapng");
    let mut capture = Capture::create(&path, 256).expect("creates");
    for line in [samples::start_line(), drop_line(drop.clone()), drop_line(drop)] {
        capture.line(&line).expect("writes");
    }
    let bytes = std::fs::read(&path).expect("reads");
    let review = review_of(&bytes);
    assert!(review.files[0].is_capture && review.is_whole());
    assert_eq!(
        (review.drops, review.exact, review.first),
        (2, 2, Some(samples::NOON))
    );
    assert_eq!(review.causes.top(1)[0].name, "policy DROP of filter FORWARD");
    assert_eq!(review.flows.top(1)[0].name, "tcp 10.224.0.0 → 10.224.2.16:80");
    assert!(review.nodes.contains("node02"));
    // Cut at many places, or with many a byte changed, it is read as far as it goes. (The fuzz target `report` tries the others.)
    for len in (0..bytes.len()).step_by(7) {
        review_of(&bytes[..len]);
    }
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        review_of(&changed);
    }
    assert_eq!(review_of(&bytes[..bytes.len() - 1]).files[0].broken, 1);
}

#[test]
fn a_flood_of_names_takes_bounded_memory_and_loses_no_packet() {
    let mut ranking = Ranking::with_room(100);
    for number in 0..100_000_u64 {
        ranking.add(&format!("once {number}"), 1, Time(number));
        if number % 10 == 0 {
            ranking.add("often", 1, Time(number));
        }
    }
    assert!(ranking.len() <= 100);
    let top = ranking.top(1);
    assert_eq!((top[0].name.as_str(), top[0].packets), ("often", 10_000));
    let all: u64 = ranking.top(usize::MAX).iter().map(|row| row.packets).sum();
    assert_eq!(all + ranking.others(), 110_000);
}

#[test]
fn a_timeline_has_at_most_sixty_bars_and_loses_no_packet() {
    for times in [
        vec![0, u64::MAX],
        vec![u64::MAX, 0, 5],
        (0..1000).map(|second| second * 1_000_000_000).collect(),
        vec![7_000_000_000],
    ] {
        let mut timeline = Timeline::default();
        for time in &times {
            timeline.add(Time(*time), 1);
        }
        let bars = timeline.bars();
        assert!(!bars.is_empty() && bars.len() <= 60, "{bars:?}");
        let sum: u64 = bars.iter().map(|bar| bar.packets).sum();
        assert_eq!(sum, times.len() as u64);
    }
    assert!(Timeline::default().bars().is_empty());
}

#[test]
fn what_has_no_end_is_no_trace() {
    let error = from(&mut Review::default(), "zero", std::io::repeat(0)).expect_err("does not end");
    assert_eq!(
        error.to_string(),
        "a line goes on for more than 8 MiB: it is no trace"
    );
}
