use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGReader};

use super::*;
use crate::report::record::samples::{self, drop_line, policy_drop, route_drop, rule_drop};

const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

fn with_bytes(mut drop: DropLine, begin: Begin, bytes: &[u8], whole_len: u32) -> Line {
    drop.bytes = Some(PacketBytes {
        begin,
        bytes: bytes.into(),
        whole_len,
    });
    drop_line(drop)
}

/// What another library reads of a capture.
#[derive(Debug, Default)]
struct Seen {
    sections: Vec<String>,
    /// Link type, name, description.
    interfaces: Vec<(Linktype, String, String)>,
    packets: Vec<Packet>,
}

#[derive(Debug)]
struct Packet {
    interface: u32,
    time_ns: u64,
    data: Vec<u8>,
    whole_len: u32,
    comment: String,
}

fn read(path: &Path) -> Seen {
    let mut reader = PcapNGReader::new(1 << 16, fs::File::open(path).expect("opens")).expect("begins");
    let mut seen = Seen::default();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                let PcapBlockOwned::NG(block) = block else {
                    panic!("no pcapng")
                };
                take(&mut seen, &block);
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return seen,
            Err(PcapError::Incomplete(_)) => reader.refill().expect("reads"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn take(seen: &mut Seen, block: &Block<'_>) {
    let comment = |options: &[pcap_parser::PcapNGOption<'_>]| {
        let option = options.iter().find(|option| option.code == OptionCode::Comment);
        option
            .and_then(|option| option.as_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    match block {
        Block::SectionHeader(section) => seen.sections.push(comment(&section.options)),
        Block::InterfaceDescription(interface) => {
            assert_eq!(interface.ts_resolution(), Some(1_000_000_000));
            let text =
                |text: Option<Result<&str, _>>| text.and_then(Result::ok).unwrap_or_default().to_owned();
            seen.interfaces.push((
                interface.linktype,
                text(interface.if_name()),
                text(interface.if_description()),
            ));
        }
        Block::EnhancedPacket(packet) => seen.packets.push(Packet {
            interface: packet.if_id,
            time_ns: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
            data: packet.data[..packet.caplen as usize].to_vec(),
            whole_len: packet.origlen,
            comment: comment(&packet.options),
        }),
        other => panic!("not expected: {other:?}"),
    }
}

fn captured(lines: &[Line], snaplen: u16) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("drops.pcapng");
    let mut capture = Capture::create(&path, snaplen).expect("creates");
    for line in lines {
        capture.line(line).expect("writes");
    }
    capture.finish().expect("syncs");
    (dir, path)
}

#[test]
fn another_library_reads_bytes_time_interface_and_verdict() {
    let frame = [&ETHERNET[..], &[0x45; 46]].concat();
    let lines = [
        samples::start_line(),
        with_bytes(policy_drop(), Begin::Ethernet, &frame, 74),
        with_bytes(rule_drop(), Begin::Ip, &[0x45; 40], 40),
        with_bytes(policy_drop(), Begin::Ethernet, &frame, 74),
        with_bytes(route_drop(), Begin::Ip, &[0x45; 40], 60),
    ];
    let (_dir, path) = captured(&lines, 256);
    let mode = fs::metadata(&path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let seen = read(&path);
    assert!(comment::value(&seen.sections[0], comment::NODE).is_some());
    let first = &seen.interfaces[0];
    assert_eq!((first.0, first.1.as_str()), (Linktype::ETHERNET, "flannel.1"));
    assert_eq!(first.2, "network namespace node02 (4026532281)");
    let numbers: Vec<u32> = seen.packets.iter().map(|packet| packet.interface).collect();
    assert_eq!(
        numbers,
        [0, 1, 0, 2],
        "one for each device, by what the bytes begin with"
    );
    assert_eq!(
        (seen.interfaces[1].0, seen.interfaces[2].0),
        (Linktype::RAW, Linktype::RAW)
    );
    assert_eq!(
        seen.interfaces[1].1, "flannel.1",
        "the same device, without its link header"
    );
    let packet = &seen.packets[0];
    assert_eq!((packet.data.as_slice(), packet.whole_len), (&frame[..], 74));
    assert_eq!(packet.time_ns, samples::NOON.0);
    let lines: Vec<&str> = packet.comment.lines().take(3).collect();
    assert_eq!(
        lines,
        [
            "observer: policy DROP of filter FORWARD",
            "confidence: exact",
            "at: FORWARD in node02, flannel.1 → cni0"
        ]
    );
}

#[test]
fn no_more_is_kept_than_was_asked_for_and_the_length_stays() {
    let (_dir, path) = captured(&[with_bytes(policy_drop(), Begin::Ip, &[0x45; 100], 1500)], 64);
    let seen = read(&path);
    assert_eq!(
        (seen.packets[0].data.len(), seen.packets[0].whole_len),
        (64, 1500)
    );
}

#[test]
fn a_hostile_name_makes_no_line_of_its_own_and_no_option_too_long() {
    let mut drop = rule_drop();
    drop.drop.chain = Some("X\nobserver: nothing\u{1b}[2J".into());
    drop.in_dev = Some("\u{202e}eth0\n".into());
    drop.drop.note = Some("é".repeat(100_000));
    let (_dir, path) = captured(&[with_bytes(drop, Begin::Ip, &[0x45; 20], 20)], 64);
    let seen = read(&path);
    let comment = &seen.packets[0].comment;
    assert!(comment.len() <= 4096 && !comment.contains('\u{1b}'), "{comment}");
    assert_eq!(
        comment
            .lines()
            .filter(|line| line.starts_with("observer: "))
            .count(),
        1
    );
    assert!(comment.starts_with("observer: rule "), "{comment}");
    assert_eq!(seen.interfaces[0].1, "\\u{202e}eth0\\n");
}

#[test]
fn drops_without_bytes_and_packets_that_live_are_not_in_it() {
    let mut lines = samples::all();
    lines.push(with_bytes(route_drop(), Begin::Ip, &[0x45; 20], 20));
    let (_dir, path) = captured(&lines, 64);
    let seen = read(&path);
    assert_eq!((seen.sections.len(), seen.packets.len()), (1, 1));
}

#[test]
fn a_flood_of_devices_takes_bounded_memory() {
    let lines: Vec<Line> = (0..MAX_INTERFACES + 10)
        .map(|number| {
            let mut drop = policy_drop();
            drop.in_dev = Some(format!("veth{number}"));
            with_bytes(drop, Begin::Ip, &[0x45; 20], 20)
        })
        .collect();
    let (_dir, path) = captured(&lines, 64);
    let seen = read(&path);
    assert_eq!(seen.packets.len(), MAX_INTERFACES + 10);
    assert_eq!(seen.interfaces.len(), MAX_INTERFACES + 1);
    assert_eq!(seen.interfaces[MAX_INTERFACES].1, "(others)");
}

#[test]
fn a_symbolic_link_is_not_followed_and_an_older_file_is_emptied() {
    let dir = tempfile::tempdir().expect("a directory");
    let (target, link) = (dir.path().join("target"), dir.path().join("link"));
    fs::write(&target, "older".repeat(1000)).expect("writes");
    symlink(&target, &link).expect("links");
    let error = Capture::create(&link, 64).err().expect("refuses");
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    let mut capture = Capture::create(&target, 64).expect("opens");
    capture.line(&samples::start_line()).expect("writes");
    assert_eq!(read(&target).sections.len(), 1);
}

#[test]
fn a_full_disk_is_an_error() {
    let mut full = Capture::create(Path::new("/dev/full"), 64).expect("opens");
    let error = full.line(&samples::start_line()).expect_err("is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
