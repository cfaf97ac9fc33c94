//! Packets that nodes tell of, joined or not.

mod clocks;
mod pieces;
mod room;

use std::net::IpAddr;

use super::*;
use crate::report::record::samples::{self, drop_line, path_drop, policy_drop};
use crate::report::record::{Change, Event, Hook, Passage, PathEvidence, PathLine, Summary, Time};

const SECOND: u64 = 1_000_000_000;

fn passage(hook: Hook, at: Time) -> Passage {
    let mut passage = path_drop().path[0].clone();
    (passage.hook, passage.at, passage.evidence) = (hook, Some(at), PathEvidence::Observed);
    passage
}

fn translations() -> Vec<Change> {
    vec![
        Change::Dnat {
            from: "10.108.94.160:80".into(),
            to: "10.224.2.16:80".into(),
        },
        Change::Snat {
            from: "10.0.0.10:41234".into(),
            to: "10.224.0.0:41234".into(),
        },
    ]
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
        path: vec![Passage {
            changes: translations(),
            ..passage(Hook::Output, time)
        }],
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
        other(|drop| drop.packet.len = 61),
        other(|drop| drop.packet.frag_offset = Some(8)),
        other(|drop| drop.packet.ttl = Some(65)),
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
fn what_is_merged_is_a_trace_again() {
    let noon = samples::NOON;
    let lines = merged(vec![vec![before_nat(7, noon)], vec![death(7, noon)]], &wanted()).lines;
    for line in &lines {
        let text = serde_json::to_string(line).expect("writes");
        assert_eq!(&serde_json::from_str::<Line>(&text).expect("reads"), line);
    }
}

/// Its way on the node that translates, as `watch` tells it: its last hooks are those of the tunnel, where nothing is known of its
/// connection any more.
fn before_tunnel(ip_id: u16, time: Time) -> Line {
    let mut line = before_nat(ip_id, time);
    let Event::Path(told) = &mut line.event else {
        panic!("a path")
    };
    told.flow = None;
    let at = |hook, changes| Passage {
        changes,
        ..passage(hook, time)
    };
    let [dnat, snat] = translations().try_into().expect("two");
    let of_tunnel = Change::Dnat {
        from: "10.0.0.12:8472".into(),
        to: "10.0.0.13:8472".into(),
    };
    let mut tunnel = at(Hook::Postrouting, vec![of_tunnel]);
    tunnel.outer = Some(crate::report::record::Tuple {
        src: IpAddr::from([10, 0, 0, 10]),
        sport: Some(51234),
        dst: IpAddr::from([10, 0, 0, 12]),
        dport: Some(8472),
        icmp_id: None,
    });
    told.path = vec![
        at(Hook::Output, vec![dnat]),
        at(Hook::Postrouting, vec![snat]),
        tunnel,
    ];
    line
}

#[test]
fn what_leaves_into_a_tunnel_is_known_by_what_the_hooks_changed() {
    let noon = samples::NOON;
    let way = merged(
        vec![vec![before_tunnel(7, noon)], vec![death(7, noon)]],
        &wanted(),
    );
    assert_eq!((way.joined, way.ambiguous), (1, 0), "{:?}", way.notes);
    // What does not fit what the packet was is believed nowhere.
    let mut lies = before_tunnel(7, noon);
    if let Event::Path(told) = &mut lies.event {
        told.packet.dst = Some(IpAddr::from([10, 108, 94, 161]));
    }
    assert_eq!(
        merged(vec![vec![lies], vec![death(7, noon)]], &wanted()).joined,
        0
    );
}

/// On its way from one node to the next, without NAT.
fn seen(node: &str, ip_id: u16, ttl: u8, time: Time) -> Line {
    let mut packet = policy_drop().packet;
    (packet.ip_id, packet.ttl) = (Some(ip_id), Some(ttl));
    let line = PathLine {
        packet,
        path: vec![passage(Hook::Prerouting, time), passage(Hook::Forward, time)],
        ..PathLine::default()
    };
    Line::new(time, node, Event::Path(Box::new(line)))
}

#[test]
fn the_order_is_that_of_the_time_to_live_whatever_the_clocks_say() {
    let at = |millis: u64| Time(samples::NOON.0 + millis * 1_000_000);
    let lines = merged(
        vec![
            vec![seen("c", 7, 61, at(0))],
            vec![seen("a", 7, 63, at(30))],
            vec![seen("b", 7, 62, at(10))],
        ],
        &wanted(),
    );
    assert_eq!((lines.joined, lines.ambiguous), (1, 0));
    let Event::Path(told) = &lines.lines[0].event else {
        panic!("a path")
    };
    let nodes: Vec<_> = told.path.iter().filter_map(|one| one.node.as_deref()).collect();
    assert_eq!(nodes, ["a", "a", "b", "b", "c", "c"]);
    assert_eq!(told.packet.ttl, Some(63), "as it was first seen");
}

#[test]
fn two_packets_that_come_to_one_node_are_not_one_packet() {
    let noon = samples::NOON;
    // Neither can have been where the other was: what is made here came from nowhere.
    let made = |node: &str| {
        let mut line = seen(node, 7, 64, noon);
        if let Event::Path(told) = &mut line.event {
            told.path[0].hook = Hook::Output;
        }
        line
    };
    let lines = merged(
        vec![vec![made("a")], vec![made("b")], vec![death(7, noon)]],
        &wanted(),
    );
    assert_eq!((lines.joined, lines.ambiguous, lines.lines.len()), (0, 3, 6));
}

#[test]
fn nothing_is_joined_with_itself_nor_a_second_time() {
    let noon = samples::NOON;
    let one = seen("a", 7, 63, noon);
    let twice = merged(vec![vec![one.clone()], vec![one.clone()]], &wanted());
    assert_eq!(twice.joined, 0);
    assert!(
        twice.notes.iter().any(|note| note.contains("are both of a")),
        "{:?}",
        twice.notes
    );
    let both = merged(vec![vec![one], vec![seen("b", 7, 62, noon)]], &wanted()).lines;
    let again = merged(vec![both, vec![seen("c", 7, 61, noon)]], &wanted());
    assert_eq!(again.joined, 0);
}

#[test]
fn what_stayed_on_a_node_goes_on_nowhere() {
    let noon = samples::NOON;
    let mut line = seen("a", 7, 64, noon);
    if let Event::Path(told) = &mut line.event {
        told.path[1].hook = Hook::Input;
    }
    assert_eq!(
        merged(vec![vec![line], vec![death(7, noon)]], &wanted()).joined,
        0
    );
}

#[test]
fn too_many_alike_are_left_apart_and_counted() {
    let line = |node: &str, ttl, number: u64| seen(node, 7, ttl, Time(samples::NOON.0 + number));
    let one: Vec<_> = (0..40).map(|number| line("a", 64, number)).collect();
    let two: Vec<_> = (0..40).map(|number| line("b", 63, number)).collect();
    let lines = merged(vec![one, two], &wanted());
    assert_eq!((lines.joined, lines.ambiguous, lines.lines.len()), (0, 80, 82));
}
