//! Captures, by the comments of their packets.

use std::io::{self, Read};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGOption, PcapNGReader};

use super::{Death, FileSeen, Review};
use crate::report::record::{Confidence, DropLine, Packet, Time};
use crate::report::{comment, flow_words};
use crate::trace::headers;

/// No block that observer writes is near as long.
const BUFFER_BYTES: usize = 1 << 20;
/// So many interfaces of a section are known.
const MAX_INTERFACES: usize = 65_536;
const NANOS: u64 = 1_000_000_000;
/// Where the type of an Ethernet frame lies, and how long a tag is, in bytes.
const ETHERTYPE_AT: usize = 12;
const TAG_BYTES: usize = 4;

/// An interface of a section: link type, units of time in a second, seconds to add.
struct Interface {
    link: Linktype,
    units: u64,
    offset: i64,
}

pub(super) fn add(review: &mut Review, seen: &mut FileSeen, reader: impl Read) -> io::Result<()> {
    let mut reader = match PcapNGReader::new(BUFFER_BYTES, reader) {
        Ok(reader) => reader,
        Err(PcapError::ReadError) => return Err(io::Error::other("cannot be read")),
        Err(_) => {
            seen.broken += 1;
            return Ok(());
        }
    };
    let mut interfaces = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let PcapBlockOwned::NG(block) = &block {
                    take(review, seen, &mut interfaces, block);
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                if reader.refill().is_err() {
                    return Err(io::Error::other("cannot be read to its end"));
                }
            }
            // It cannot be known where the next block begins.
            Err(_) => {
                seen.broken += 1;
                return Ok(());
            }
        }
    }
}

fn take(review: &mut Review, seen: &mut FileSeen, interfaces: &mut Vec<Interface>, block: &Block<'_>) {
    match block {
        Block::SectionHeader(section) => {
            interfaces.clear();
            seen.understood += 1;
            if let Some(node) = comment_of(&section.options).and_then(|it| comment::value(it, comment::NODE))
            {
                review.is_from(node);
            }
        }
        Block::InterfaceDescription(interface) if interfaces.len() < MAX_INTERFACES => {
            seen.understood += 1;
            interfaces.push(Interface {
                link: interface.linktype,
                units: interface.ts_resolution().unwrap_or(1_000_000).max(1),
                offset: interface.ts_offset(),
            });
        }
        Block::EnhancedPacket(packet) => {
            let told = comment_of(&packet.options).and_then(|text| {
                let cause = comment::value(text, comment::CAUSE)?;
                Some((cause, confidence(comment::value(text, comment::CONFIDENCE)?)))
            });
            let (Some((cause, confidence)), Some(interface)) = (told, interfaces.get(packet.if_id as usize))
            else {
                seen.passed_over += 1;
                return;
            };
            seen.understood += 1;
            let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
            let flow = parsed(interface.link, data).map(|packet| {
                flow_words(&DropLine {
                    packet,
                    ..DropLine::default()
                })
            });
            review.died(&Death {
                time: interface.time(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low)),
                packets: 1,
                cause,
                flow: flow.as_deref(),
                confidence: Some(confidence),
            });
        }
        _ => seen.passed_over += 1,
    }
}

impl Interface {
    fn time(&self, units: u64) -> Time {
        let (seconds, rest) = (units / self.units, units % self.units);
        let nanos = u128::from(rest) * u128::from(NANOS) / u128::from(self.units);
        let seconds = seconds.saturating_add_signed(self.offset);
        Time(seconds.saturating_mul(NANOS).saturating_add(nanos as u64))
    }
}

fn comment_of<'a>(options: &'a [PcapNGOption<'_>]) -> Option<&'a str> {
    let option = options.iter().find(|option| option.code == OptionCode::Comment)?;
    option.as_str().ok()
}

/// `inferred from counters` and the like: the first word says it.
fn confidence(text: &str) -> Confidence {
    match text.split(' ').next() {
        Some("exact") => Confidence::Exact,
        Some("inferred") => Confidence::Inferred,
        _ => Confidence::Unknown,
    }
}

/// The headers of what was captured.
fn parsed(link: Linktype, data: &[u8]) -> Option<Packet> {
    let at = match link {
        Linktype::RAW => 0,
        Linktype::ETHERNET => {
            let mut at = ETHERTYPE_AT;
            while matches!(data.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
                at += TAG_BYTES;
            }
            at + 2
        }
        _ => return None,
    };
    headers(data.get(at..)?)
}
