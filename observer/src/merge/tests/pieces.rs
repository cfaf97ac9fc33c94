//! A way that its node tells in pieces: the machine was busy, and no hook saw the packet for a while.

use super::*;
use crate::report::record::{Netns, PassVerdict, Tuple};

const MILLI: u64 = 1_000_000;

fn after(millis: u64) -> Time {
    Time(samples::NOON.0 + millis * MILLI)
}

fn told(line: &mut Line) -> &mut PathLine {
    match &mut line.event {
        Event::Path(told) => told,
        _ => panic!("a path"),
    }
}

fn in_netns(mut passage: Passage, inode: u32) -> Passage {
    passage.netns = Some(Netns { inode, name: None });
    passage
}

/// What [`before_tunnel`] tells, cut before the passages with these numbers; each piece is told as the packet then was.
fn in_pieces(cuts: &[usize]) -> Vec<Line> {
    let mut whole = before_tunnel(7, samples::NOON);
    let way = told(&mut whole).path.clone();
    let now = death(7, samples::NOON);
    let Event::Drop(drop) = now.event else {
        panic!("a drop")
    };
    let after_nat = drop.packet;
    let bounds: Vec<usize> = [0]
        .into_iter()
        .chain(cuts.iter().copied())
        .chain([way.len()])
        .collect();
    let piece = |bounds: &[usize]| {
        let mut line = whole.clone();
        let told = told(&mut line);
        if bounds[0] > 0 {
            told.packet.dst = after_nat.dst;
            told.packet.dport = after_nat.dport;
        }
        if bounds[0] > 1 {
            told.packet.src = after_nat.src;
            told.packet.sport = after_nat.sport;
        }
        told.path = way[bounds[0]..bounds[1]].to_vec();
        for (number, passage) in told.path.iter_mut().enumerate() {
            passage.at = Some(after(100 * (bounds[0] + number) as u64));
        }
        line.time = after(100 * bounds[0] as u64);
        line
    };
    bounds.windows(2).map(piece).collect()
}

/// Found on a busy machine: node02's drop was joined with the last piece alone, and the first was told as a packet that lived.
#[test]
fn a_way_that_its_node_tells_in_pieces_is_joined_whole() {
    for cuts in [&[][..], &[1], &[2], &[1, 2]] {
        let pieces = in_pieces(cuts);
        let merged = merged(vec![pieces, vec![death(7, after(500))]], &wanted());
        assert_eq!(
            (merged.joined, merged.ambiguous, merged.lines.len()),
            (1, 0, 3),
            "{cuts:?}"
        );
        assert_eq!(merged.pieces, cuts.len(), "{cuts:?}");
        let way: Vec<Hook> = hooks(&merged.lines[0])
            .into_iter()
            .map(|(_, hook)| hook)
            .collect();
        let whole = [Hook::Output, Hook::Postrouting, Hook::Postrouting, Hook::Forward];
        assert_eq!(way, whole, "{cuts:?}");
    }
}

#[test]
fn an_end_in_a_tunnel_whose_beginning_is_not_told_is_joined_with_nothing() {
    let last = in_pieces(&[2]).pop().expect("a piece");
    let merged = merged(vec![vec![last], vec![death(7, after(500))]], &wanted());
    assert_eq!((merged.joined, merged.lines.len()), (0, 4));
    let is_said = |note: &String| note.contains("in a tunnel");
    assert!(merged.notes.iter().any(is_said), "{:?}", merged.notes);
}

#[test]
fn what_only_carries_the_tunnel_is_not_taken_into_the_way() {
    // A router between the nodes tells of the packet in the tunnel that it forwards.
    let mut router = in_pieces(&[2]).pop().expect("a piece");
    router.node = "router".to_owned();
    let outer = told(&mut router).path[0].clone();
    let at = |hook| Passage {
        hook,
        ..outer.clone()
    };
    told(&mut router).path = vec![at(Hook::Prerouting), at(Hook::Forward), at(Hook::Postrouting)];
    let merged = merged(
        vec![in_pieces(&[]), vec![router], vec![death(7, after(500))]],
        &wanted(),
    );
    assert_eq!((merged.joined, merged.ambiguous, merged.lines.len()), (1, 0, 5));
    assert_eq!(
        hooks(
            merged
                .lines
                .iter()
                .find(|line| line.node == "node02")
                .expect("a drop")
        )
        .len(),
        4
    );
}

#[test]
fn two_packets_alike_on_one_node_are_not_pieces_of_one() {
    let whole = |millis: u64, ttl: u8| {
        let mut line = seen("a", 7, ttl, after(millis));
        let at = Some(after(millis));
        told(&mut line).path.push(Passage {
            at,
            ..passage(Hook::Postrouting, after(millis))
        });
        line
    };
    // The same twice; once more with a hop less; in another namespace with as many hops to live, as a bridge copies.
    let mut copy = whole(100, 64);
    for passage in &mut told(&mut copy).path {
        *passage = in_netns(passage.clone(), 99);
    }
    for other in [whole(100, 64), whole(100, 63), copy] {
        let merged = merged(
            vec![
                vec![whole(0, 64), other.clone()],
                vec![seen("b", 7, 62, after(200))],
            ],
            &wanted(),
        );
        assert_eq!(
            (merged.joined, merged.pieces, merged.ambiguous),
            (0, 0, 3),
            "{other:?}"
        );
        assert_eq!(merged.lines.len(), 5);
    }
}

#[test]
fn two_ends_of_one_beginning_are_left_apart_and_so_is_what_they_might_go_on_as() {
    let mut pieces = in_pieces(&[2]);
    let mut twin = pieces[1].clone();
    twin.time = after(300);
    told(&mut twin).path[0].at = Some(after(300));
    pieces.push(twin);
    let merged = merged(vec![pieces, vec![death(7, after(500))]], &wanted());
    assert_eq!((merged.joined, merged.pieces, merged.ambiguous), (0, 0, 4));
    assert_eq!(merged.lines.len(), 6, "nothing is lost");
}

#[test]
fn a_piece_comes_after_the_one_before_it_and_fits_its_last_hook() {
    let change = |change: fn(&mut PathLine)| {
        let mut pieces = in_pieces(&[1]);
        change(told(&mut pieces[1]));
        pieces
    };
    let unlike = [
        change(|told| told.path[0].at = Some(Time(samples::NOON.0 - 1))),
        change(|told| told.path.iter_mut().for_each(|passage| passage.at = None)),
        change(|told| told.path[0].hook = Hook::Input),
        change(|told| told.packet.ttl = Some(63)),
        change(|told| told.packet.ttl = None),
        change(|told| told.path[0] = in_netns(told.path[0].clone(), 98)),
        {
            let mut pieces = in_pieces(&[1]);
            told(&mut pieces[0]).path[0].verdict = Some(PassVerdict::Drop);
            pieces
        },
    ];
    for pieces in unlike {
        let merged = merged(
            vec![pieces.clone(), Vec::from([death(8, samples::NOON)])],
            &wanted(),
        );
        assert_eq!((merged.pieces, merged.lines.len()), (0, 5), "{pieces:?}");
    }
}

#[test]
fn a_death_takes_what_its_node_told_before_as_a_life() {
    let mut tunnel = seen("node02", 7, 63, after(0));
    let outer = Some(Tuple {
        src: IpAddr::from([10, 0, 0, 10]),
        sport: Some(51234),
        dst: IpAddr::from([10, 0, 0, 12]),
        dport: Some(8472),
        icmp_id: None,
    });
    for passage in &mut told(&mut tunnel).path {
        passage.outer = outer.clone();
    }
    told(&mut tunnel).path[1].hook = Hook::Input;
    let mut dies = death(7, after(300));
    if let Event::Drop(drop) = &mut dies.event {
        drop.packet.ttl = Some(62);
        drop.path.insert(0, passage(Hook::Prerouting, after(250)));
    }
    let merged = merged(
        vec![vec![before_nat(7, samples::NOON)], vec![tunnel, dies]],
        &wanted(),
    );
    assert_eq!(
        (merged.joined, merged.pieces, merged.ambiguous, merged.lines.len()),
        (1, 1, 0, 3)
    );
    let way: Vec<Hook> = hooks(&merged.lines[0])
        .into_iter()
        .map(|(_, hook)| hook)
        .collect();
    assert_eq!(
        way,
        [
            Hook::Output,
            Hook::Prerouting,
            Hook::Input,
            Hook::Prerouting,
            Hook::Forward
        ]
    );
}

#[test]
fn a_hook_that_nothing_is_registered_on_is_told_once() {
    let bare = |hook| crate::attribute::bare(hook, None);
    let mut first = seen("a", 7, 64, after(0));
    let path = &mut told(&mut first).path;
    path.truncate(1);
    path[0].hook = Hook::Forward;
    let netns = path[0].netns.clone();
    let unregistered = || Passage {
        netns: netns.clone(),
        ..bare(Hook::Prerouting)
    };
    path.insert(0, unregistered());
    let mut second = seen("a", 7, 64, after(200));
    let path = &mut told(&mut second).path;
    path.truncate(1);
    path[0].hook = Hook::Postrouting;
    path.insert(0, unregistered());
    let merged = merged(vec![vec![first, second]], &wanted());
    assert_eq!((merged.pieces, merged.lines.len()), (1, 2));
    let mut line = merged.lines[0].clone();
    let way: Vec<Hook> = told(&mut line).path.iter().map(|passage| passage.hook).collect();
    assert_eq!(way, [Hook::Prerouting, Hook::Forward, Hook::Postrouting]);
    assert!(
        told(&mut line).path.iter().all(|passage| passage.node.is_none()),
        "not joined with another node"
    );
}
