//! `--pcap FILE`: the packets themselves as pcapng, each with its verdict as a comment.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriteError, PcapNgWriter};
use pcap_file::{DataLink, Endianness};

use super::kept::KeptFile;
use super::record::{Begin, DropLine, Event, Line, Netns, PacketBytes, Start, Time};
use super::{Report, comment};

/// So many devices of namespaces are told apart; packets of the rest are put together.
const MAX_INTERFACES: usize = 4096;
/// `epb_flags`, section 4.3.1 of draft-ietf-opsawg-pcapng: received, and sent.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A capture.
pub struct Capture {
    file: KeptFile,
    snaplen: u16,
    /// Knows what the section has described; its bytes are taken away after each packet.
    writer: Option<PcapNgWriter<Vec<u8>>>,
    interfaces: HashMap<Interface, u32>,
}

/// What pcapng calls an interface: packets of one device, that begin alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Interface {
    begin: Begin,
    /// Absent: any other.
    at: Option<(Option<Netns>, Option<String>)>,
}

impl Capture {
    /// Creates or opens `path`, as a trace file is.
    ///
    /// # Errors
    /// What the system says; `ELOOP` if `path` is a symbolic link.
    pub fn create(path: &Path, snaplen: u16) -> io::Result<Self> {
        Ok(Self {
            file: KeptFile::create(path)?,
            snaplen,
            writer: None,
            interfaces: HashMap::new(),
        })
    }

    fn begin(&mut self, node: &str, start: Option<&Start>) -> io::Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        let section = SectionHeaderBlock {
            options: vec![
                SectionHeaderOption::Common(CommonOption::Comment(comment::section(node, start).into())),
                SectionHeaderOption::UserApplication(comment::PROGRAM.into()),
            ],
            endianness: Endianness::native(),
            ..SectionHeaderBlock::default()
        };
        self.writer = Some(PcapNgWriter::with_section_header(Vec::new(), section).map_err(as_io)?);
        self.keep()
    }

    /// Writes what the writer has made.
    fn keep(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let made = std::mem::take(writer.get_mut());
        self.file.append(&made)
    }

    fn packet(&mut self, line: &Line, drop: &DropLine, bytes: &PacketBytes) -> io::Result<()> {
        self.begin(&line.node, None)?;
        let interface_id = self.interface(drop, bytes.begin)?;
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let direction = match (&drop.in_dev, &drop.out_dev) {
            (Some(_), _) => Some(INBOUND),
            (None, Some(_)) => Some(OUTBOUND),
            (None, None) => None,
        };
        let comment = comment::packet(line, drop);
        let mut options = vec![EnhancedPacketOption::Common(CommonOption::Comment(
            comment.into(),
        ))];
        options.extend(direction.map(EnhancedPacketOption::Flags));
        let kept = bytes.bytes.len().min(usize::from(self.snaplen));
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(line.time.0),
            original_len: bytes.whole_len.max(kept as u32),
            data: Cow::Borrowed(&bytes.bytes[..kept]),
            options,
        };
        writer.write_block(&block.into_block()).map_err(as_io)?;
        self.keep()
    }

    /// The number of the interface that the packet is of; it is described before its first packet.
    fn interface(&mut self, drop: &DropLine, begin: Begin) -> io::Result<u32> {
        let device = drop.in_dev.as_ref().or(drop.out_dev.as_ref());
        let mut interface = Interface {
            begin,
            at: Some((drop.netns.clone(), device.cloned())),
        };
        if self.interfaces.len() >= MAX_INTERFACES && !self.interfaces.contains_key(&interface) {
            interface.at = None;
        }
        if let Some(number) = self.interfaces.get(&interface) {
            return Ok(*number);
        }
        let number = self.interfaces.len() as u32;
        if let Some(writer) = &mut self.writer {
            let block = interface.describe(self.snaplen);
            writer.write_block(&block.into_block()).map_err(as_io)?;
        }
        self.interfaces.insert(interface, number);
        Ok(number)
    }
}

impl Interface {
    fn describe(&self, snaplen: u16) -> InterfaceDescriptionBlock<'static> {
        let (name, description) = match &self.at {
            Some((netns, device)) => (
                device.as_deref().map_or("(none)".to_owned(), comment::word),
                comment::netns(netns.as_ref()),
            ),
            None => ("(others)".to_owned(), "other devices".to_owned()),
        };
        InterfaceDescriptionBlock {
            linktype: match self.begin {
                Begin::Ethernet => DataLink::ETHERNET,
                Begin::Ip => DataLink::RAW,
            },
            snaplen: u32::from(snaplen),
            options: vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfDescription(description.into()),
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            ],
        }
    }
}

impl Report for Capture {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        match &line.event {
            Event::Start(start) => self.begin(&line.node, Some(start)),
            Event::Drop(drop) => match &drop.bytes {
                Some(bytes) => self.packet(line, drop, bytes),
                None => Ok(()),
            },
            Event::Path(_)
            | Event::Counter(_)
            | Event::Probes(_)
            | Event::Filter(_)
            | Event::Lost(_)
            | Event::Summary(_) => Ok(()),
        }
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

fn as_io(error: PcapNgWriteError) -> io::Error {
    match error {
        PcapNgWriteError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests;
