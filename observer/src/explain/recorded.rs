//! A packet out of a trace, asked about once more: from where its way began, and whether what dropped it then drops it now.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::evaluate::{Conn, Course, Dev, Packet};
use crate::report::record::{
    Cause, Change, Confidence, CtState, DropInfo, DropLine, Event, ExplainedWay, Explanation, Fate, Hook,
    Layer, Line, Mark, PacketFamily, Proto, Recorded, Still, Time, Tuple,
};

/// Longer than any line that observer writes.
const MOST_LINE_BYTES: usize = 16 << 20;
const SYN: u8 = 0x02;

/// Reads a line of a trace, counted from 1: a drop.
///
/// # Errors
/// One line that says what to do: no such file or line, or it tells of no drop of an IP packet.
pub fn read_drop(path: &Path, number: u64) -> anyhow::Result<(Line, DropLine)> {
    let name = path.display();
    let text = File::open(path)
        .and_then(|file| nth_line(&mut BufReader::new(file), number))
        .with_context(|| format!("--from-trace {name}"))?;
    let Some(text) = text else {
        bail!("--from-trace {name}: has fewer than {number} lines: give another --line");
    };
    let line: Line = serde_json::from_slice(&text).map_err(|error| {
        anyhow::anyhow!("--from-trace {name}: line {number} is none of observer's trace: {error}")
    })?;
    let Event::Drop(drop) = &line.event else {
        bail!(
            "--from-trace {name}: line {number} tells of no drop: grep -n '\"kind\":\"drop\"' shows which lines do"
        );
    };
    if !matches!(drop.packet.family, PacketFamily::Ip | PacketFamily::Ip6) {
        bail!("--from-trace {name}: line {number} is no IP packet: give the line of one");
    }
    let drop = drop.as_ref().clone();
    Ok((line, drop))
}

/// The line with this number, from 1; none if there are fewer.
fn nth_line(reader: &mut impl BufRead, number: u64) -> io::Result<Option<Vec<u8>>> {
    let (mut at, mut kept, mut length) = (1, Vec::new(), 0);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((at == number && length > 0).then_some(kept));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        length += part.len();
        if at == number {
            if length > MOST_LINE_BYTES {
                return Err(io::Error::other("this line is longer than any of a trace"));
            }
            kept.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            if at == number {
                return Ok(Some(kept));
            }
            (at, length) = (at + 1, 0);
        }
    }
}

/// A recorded packet as it is asked about.
pub struct Retold {
    /// The packet as it was at the beginning of its way.
    pub packet: Packet,
    /// Where its way led then.
    pub course: Course,
    /// What had to be taken for granted.
    pub notes: Vec<String>,
}

impl Retold {
    /// Takes a dropped packet back to where it came from.
    pub fn of(drop: &DropLine) -> Self {
        let seen = &drop.packet;
        let course = course(drop);
        let mut notes = Vec::new();
        let own = Tuple {
            src: seen.src.unwrap_or_else(|| unspecified(seen.family)),
            sport: seen.sport,
            dst: seen.dst.unwrap_or_else(|| unspecified(seen.family)),
            dport: seen.dport,
            icmp_id: None,
        };
        let (tuple, conn) = connection(drop, own, &mut notes);
        let device = |name: &Option<String>| name.as_deref().map_or(Dev::Unknown, Dev::named);
        let (in_dev, out_dev) = match course {
            Course::Output => (Dev::Absent, device(&drop.out_dev)),
            _ => (device(&drop.in_dev), device(&drop.out_dev)),
        };
        let mark = mark(drop);
        if mark.is_none() {
            notes.push(format!(
                "it had mark {} when it died; which it began with is not recorded, nor known",
                seen.mark
            ));
        }
        let packet = Packet {
            is_v6: seen.family == PacketFamily::Ip6,
            src: Some(tuple.src),
            dst: Some(tuple.dst),
            proto: seen.proto.map(|proto| proto.0),
            sport: tuple.sport,
            dport: tuple.dport,
            tcp_flags: seen.tcp_flags.map(|flags| flags.0),
            icmp_type: seen.icmp_type,
            icmp_code: seen.icmp_code,
            is_fragment: Some(seen.frag_offset.is_some_and(|offset| offset > 0)),
            len_bytes: Some(seen.len),
            // Forwarding has taken one off by the time that most hooks see it.
            ttl: seen
                .ttl
                .filter(|_| matches!(course, Course::Input | Course::Output)),
            mark,
            in_dev,
            out_dev,
            conn,
            // It is asked whether it would still die.
            at: i64::try_from(Time::now().seconds()).ok(),
            ..Packet::default()
        };
        Self {
            packet,
            course,
            notes,
        }
    }
}

fn unspecified(family: PacketFamily) -> std::net::IpAddr {
    match family {
        PacketFamily::Ip6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn course(drop: &DropLine) -> Course {
    match drop.drop.hook {
        Some(Hook::Input) => Course::Input,
        Some(Hook::Forward) => Course::Forward,
        Some(Hook::Output) => Course::Output,
        Some(Hook::Postrouting) if drop.in_dev.is_some() => Course::Forward,
        Some(Hook::Postrouting) => Course::Output,
        _ if drop.in_dev.is_some() => Course::Arriving,
        _ => Course::Output,
    }
}

/// Its addresses before they were translated, and what conntrack will say of it.
fn connection(drop: &DropLine, own: Tuple, notes: &mut Vec<String>) -> (Tuple, Conn) {
    let flow = drop.flow.as_ref();
    let tracked = flow.filter(|flow| flow.reply.is_some());
    match flow.and_then(|flow| flow.ct_state) {
        Some(CtState::New) => {
            let original = tracked.map_or(own, |flow| flow.original.clone());
            let conn = Conn {
                original: Some(original.clone()),
                ..Conn::new()
            };
            (original, conn)
        }
        // Whoever did not track it will say so again, if he still does.
        None | Some(CtState::Untracked) if begins(drop) => {
            notes.push("taken for the first of its connection, which is not recorded".to_owned());
            let conn = Conn {
                original: Some(own.clone()),
                ..Conn::new()
            };
            (own, conn)
        }
        None | Some(CtState::Untracked) => (own, Conn::default()),
        state => {
            let conn = Conn {
                state,
                original: tracked.map(|flow| flow.original.clone()),
                reply: tracked.and_then(|flow| flow.reply.clone()),
                ..Conn::default()
            };
            (own, conn)
        }
    }
}

/// Whether a packet begins a connection, if it belongs to none.
fn begins(drop: &DropLine) -> bool {
    let packet = &drop.packet;
    match packet.proto {
        Some(Proto::TCP) => packet.tcp_flags.is_some_and(|flags| flags.0 & 0x17 == SYN),
        Some(Proto::UDP) => true,
        Some(Proto::ICMP) => packet.icmp_type == Some(8),
        Some(Proto::ICMPV6) => packet.icmp_type == Some(128),
        _ => false,
    }
}

/// The mark that it began with: before the first change that was seen; what had none in the end is taken to have begun so.
fn mark(drop: &DropLine) -> Option<u32> {
    let mut changes = drop.path.iter().flat_map(|passage| &passage.changes);
    let first = changes.find_map(|change| match change {
        Change::Mark { from: Mark(from), .. } => Some(*from),
        _ => None,
    });
    let begins_at_its_beginning = drop
        .path
        .first()
        .is_some_and(|passage| matches!(passage.hook, Hook::Prerouting | Hook::Output));
    match (first, drop.packet.mark.0) {
        (Some(from), _) => Some(from),
        (None, 0) => Some(0),
        (None, mark) if begins_at_its_beginning => Some(mark),
        (None, _) => None,
    }
}

/// Holds the answer against what was recorded.
pub fn compared(line: &Line, number: u64, drop: &DropLine, told: &Explanation) -> Recorded {
    let recorded = &drop.drop;
    let each: Vec<Still> = told.ways.iter().map(|way| of_way(recorded, way)).collect();
    let now = match each.split_first() {
        None => Still::Unknown,
        Some((first, others)) if others.iter().all(|other| other == first) => *first,
        Some(_) if each.contains(&Still::Unknown) => Still::Unknown,
        Some(_) => Still::Depends,
    };
    let renumbered = told
        .ways
        .iter()
        .find_map(|way| renumbered(recorded, way.drop.as_ref()?));
    let text = match now {
        Still::Same if recorded.cause == Some(Cause::Policy) => {
            "it still dies, by the same policy".to_owned()
        }
        Still::Same => format!(
            "it still dies, by the same rule{}",
            renumbered.unwrap_or_default()
        ),
        Still::Other => "it still dies, but not there".to_owned(),
        Still::Passes => "it does not die any more".to_owned(),
        Still::Depends if told.verdict == Fate::Drop => "it still dies; where depends".to_owned(),
        Still::Depends => "whether it still dies depends".to_owned(),
        Still::Unknown => unknown(recorded, told),
    };
    Recorded {
        line: number,
        time: line.time,
        node: line.node.clone(),
        netns: drop.netns.clone(),
        drop: recorded.clone(),
        now,
        text,
    }
}

fn unknown(recorded: &DropInfo, told: &Explanation) -> String {
    if recorded.layer != Layer::Netfilter {
        return format!(
            "it did not die by a rule ({}: {}), and rules alone are asked",
            recorded.layer.name(),
            recorded.reason
        );
    }
    match told.verdict {
        Fate::Drop => "it still dies; whether it did so there then is not known".to_owned(),
        _ => "whether it still dies is not known".to_owned(),
    }
}

fn of_way(recorded: &DropInfo, way: &ExplainedWay) -> Still {
    match (way.verdict, &way.drop) {
        (Fate::Pass, _) if recorded.layer != Layer::Netfilter => Still::Unknown,
        (Fate::Pass, _) => Still::Passes,
        (Fate::Drop, Some(now)) => match is_same(recorded, now) {
            Some(true) => Still::Same,
            Some(false) => Still::Other,
            None => Still::Unknown,
        },
        (Fate::Drop, None) => Still::Other,
        (Fate::Depends | Fate::Unknown, _) => Still::Unknown,
    }
}

/// Whether both are the same rule or policy; none where that cannot be told.
fn is_same(then: &DropInfo, now: &DropInfo) -> Option<bool> {
    if then.layer != Layer::Netfilter {
        return Some(false);
    }
    if then.confidence == Confidence::Unknown {
        return None;
    }
    let differs =
        |then: Option<&str>, now: Option<&str>| then.zip(now).is_some_and(|(then, now)| then != now);
    let is_elsewhere = (then.hook.is_some() && then.hook != now.hook)
        || (then.backend.zip(now.backend)).is_some_and(|(then, now)| then != now)
        || (then.family.zip(now.family)).is_some_and(|(then, now)| then != now)
        || differs(then.table.as_deref(), now.table.as_deref())
        || differs(then.chain.as_deref(), now.chain.as_deref());
    if is_elsewhere || (then.cause.is_some() && then.cause != now.cause) {
        return Some(false);
    }
    match then.cause? {
        Cause::Policy => (then.chain.is_some()).then_some(true),
        Cause::Hook => None,
        Cause::Rule => {
            let (then, now) = (then.rule.as_ref()?, now.rule.as_ref()?);
            let texts = then.text.as_deref().zip(now.text.as_deref());
            let handles = then.handle.zip(now.handle);
            match (texts, handles) {
                (Some((then, now)), _) if without_counts(then) == without_counts(now) => Some(true),
                // One handle, two texts: it was written by another version of the tool, or the table anew.
                (Some(_), Some((then, now))) if then == now => None,
                (Some(_), _) => Some(false),
                (None, Some((then, now))) => (then == now).then_some(true),
                (None, None) => None,
            }
        }
    }
}

/// Where the same rule stands now, if that is elsewhere.
fn renumbered(then: &DropInfo, now: &DropInfo) -> Option<String> {
    let (then, now) = (then.rule.as_ref()?.number?, now.rule.as_ref()?.number?);
    (then != now).then(|| format!(", now number {now} of its chain, then {then}"))
}

/// A rule's text without what it has counted: `counter packets 3 bytes 90` becomes `counter`.
fn without_counts(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut kept = Vec::new();
    let mut rest = words.as_slice();
    loop {
        rest = match rest {
            [] => return kept.join(" "),
            ["counter", "packets", _, "bytes", _, after @ ..] => {
                kept.push("counter");
                after
            }
            [word, after @ ..] => {
                kept.push(word);
                after
            }
        };
    }
}
