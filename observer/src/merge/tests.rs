use std::net::IpAddr;

use super::*;
use crate::report::record::samples::{self, drop_line, path_drop, policy_drop};
use crate::report::record::{Event, Hook, Passage, PathEvidence, PathLine, Summary, Time};

const SECOND: u64 = 1_000_000_000;

fn passage(hook: Hook, at: Time) -> Passage {
    let mut passage = path_drop().path[0].clone();
    (passage.hook, passage.at, passage.evidence) = (hook, Some(at), PathEvidence::Observed);
    passage
}

/// What the node that translates tells of the packet that [`policy_drop`] is: still addressed to the Service.
fn before_nat(ip_id: u16, time: Time) -> Line {
    let drop = policy_drop();
    let flow = drop.flow.expect("a connection");
    let mut packet = drop.packet;
    packet.src = Some(flow.original.src);
    packet.dst = Some(flow.original.dst);
    packet.dport = flow.original.dport;
    (packet.ttl, packet.ip_id) = (Some(64), Some(ip_id));
    let line = PathLine {
        packet,
        flow: Some(flow),
        path: vec![passage(Hook::Output, time)],
        ..PathLine::default()
    };
    Line::new(time, "master", Event::Path(Box::new(line)))
}

/// What the node tells where it dies: it knows nothing of the translation.
fn death(ip_id: u16, time: Time) -> Line {
    let mut drop = policy_drop();
    drop.packet.ip_id = Some(ip_id);
    drop.flow = None;
    drop.path = vec![passage(Hook::Forward, time)];
    let mut line = drop_line(drop);
    line.time = time;
    line
}

fn wanted() -> Wanted {
    Wanted {
        files: Vec::new(),
        ahead_ns: BTreeMap::new(),
        window: Duration::from_secs(1),
    }
}

fn trace(lines: Vec<Line>) -> Trace {
    let end = Line::new(
        Time(u64::MAX),
        lines[0].node.clone(),
        Event::Summary(Summary::default()),
    );
    Trace {
        name: lines[0].node.clone(),
        lines: lines.into_iter().chain([end]).collect(),
        ..Trace::default()
    }
}

fn merged(traces: Vec<Vec<Line>>, wanted: &Wanted) -> Merged {
    of_traces(traces.into_iter().map(trace).collect(), wanted)
}

fn hooks(line: &Line) -> Vec<(String, Hook)> {
    let Event::Drop(drop) = &line.event else {
        panic!("a drop")
    };
    let node = |passage: &Passage| passage.node.clone().unwrap_or_default();
    drop.path
        .iter()
        .map(|passage| (node(passage), passage.hook))
        .collect()
}

#[test]
fn a_packet_is_one_through_nat_and_tells_its_way_in_order() {
    let noon = samples::NOON;
    let one = vec![before_nat(7, noon)];
    let two = vec![death(7, Time(noon.0 + 1000))];
    for traces in [vec![one.clone(), two.clone()], vec![two, one]] {
        let merged = merged(traces, &wanted());
        assert_eq!((merged.joined, merged.ambiguous, merged.lines.len()), (1, 0, 3));
        let way = [
            ("master".to_owned(), Hook::Output),
            ("node02".to_owned(), Hook::Forward),
        ];
        assert_eq!(hooks(&merged.lines[0]), way);
        assert_eq!(merged.lines[0].node, "node02");
    }
}

#[test]
fn packets_that_are_not_surely_the_same_stay_apart() {
    let noon = samples::NOON;
    let later = |seconds: u64| Time(noon.0 + seconds * SECOND);
    let other = |change: fn(&mut crate::report::record::DropLine)| {
        let mut line = death(7, noon);
        if let Event::Drop(drop) = &mut line.event {
            change(drop);
        }
        line
    };
    let unlike = [
        death(8, noon),
        death(7, later(30)),
        other(|drop| drop.packet.ip_id = Some(0)),
        other(|drop| drop.packet.ip_id = None),
        other(|drop| drop.packet.sport = Some(1)),
        other(|drop| drop.packet.dst = Some(IpAddr::from([10, 224, 2, 17]))),
        other(|drop| drop.packet.proto = Some(crate::report::record::Proto(17))),
        other(|drop| drop.packet.tcp_flags = Some(crate::report::record::TcpFlags(0x10))),
    ];
    for line in unlike {
        let merged = merged(vec![vec![before_nat(7, noon)], vec![line.clone()]], &wanted());
        assert_eq!((merged.joined, merged.lines.len()), (0, 4), "{line:?}");
    }
}

#[test]
fn where_two_lines_of_a_trace_fit_none_is_taken() {
    let noon = samples::NOON;
    let merged = merged(
        vec![
            vec![before_nat(7, noon)],
            vec![death(7, noon), death(7, Time(noon.0 + 5))],
        ],
        &wanted(),
    );
    assert_eq!((merged.joined, merged.ambiguous), (0, 3));
    assert_eq!(merged.lines.len(), 5, "nothing is lost");
}

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
fn what_is_merged_is_a_trace_again() {
    let noon = samples::NOON;
    let lines = merged(vec![vec![before_nat(7, noon)], vec![death(7, noon)]], &wanted()).lines;
    for line in &lines {
        let text = serde_json::to_string(line).expect("writes");
        assert_eq!(&serde_json::from_str::<Line>(&text).expect("reads"), line);
    }
}

#[test]
fn broken_lines_and_those_without_room_are_said() {
    let text = format!(
        "{{\n{0}\n{0}\n",
        serde_json::to_string(&death(7, samples::NOON)).expect("writes")
    );
    let mut room = 1;
    let trace = Trace::from("x", text.as_bytes(), &mut room).expect("reads");
    assert_eq!((trace.lines.len(), room), (1, 0));
    assert_eq!(trace.notes().len(), 3, "{:?}", trace.notes());
}
