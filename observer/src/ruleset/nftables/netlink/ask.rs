//! Asks the kernel for its tables, chains, sets, objects, flowtables and rules; again if they change meanwhile.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::thread;

use super::Listed;
use super::builder::{Builder, NFGENMSG_BYTES, SUBSYSTEM};
use super::iptables::{As, Collector, OfIptables, TextsOfIptables};
use super::objects::{family, number};
use super::types::Devices;
use super::wire::{Attrs, text};
use crate::kernel::netlink::{Attributes, Batch, Message, Socket, attributes, messages};
use crate::kernel::raw::u32_at;
use crate::kernel::{NetnsNames, enter};
use crate::ruleset::nftables::listing::Family;
use crate::ruleset::xtables::save;

// `NFT_MSG_GET…`
const TABLE: u16 = SUBSYSTEM | 1;
const CHAIN: u16 = SUBSYSTEM | 4;
const RULE: u16 = SUBSYSTEM | 7;
const SET: u16 = SUBSYSTEM | 10;
const ELEMENTS: u16 = SUBSYSTEM | 13;
const GENERATION: u16 = SUBSYSTEM | 16;
const OBJECT: u16 = SUBSYSTEM | 19;
const FLOWTABLE: u16 = SUBSYSTEM | 23;
/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_DUMP`
const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`: what was listed changed meanwhile.
const DUMP_INTERRUPTED: u16 = 0x10;
/// `RTM_GETLINK`, `RTM_NEWLINK`
const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
/// `struct ifinfomsg`; the index lies at 4.
const IFINFOMSG_BYTES: usize = 16;
/// `IFLA_IFNAME`
const LINK_NAME: usize = 3;
/// Whoever changes rules more often than this is not listed.
const TRIES: usize = 8;

/// Which tables are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// All of them.
    All,
    /// One.
    Table(Family, &'a str),
}

/// As what a message is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// As nft writes it.
    AsNft,
    /// It has been read already.
    NoMore,
}

/// Lists the tables of the network namespace with this inode.
///
/// # Errors
/// There is no such namespace, or as for [`list_here`].
pub fn list(inode: u32, of: Of<'_>) -> io::Result<Listed> {
    within(inode, || list_here(of))
}

/// In a thread of its own, unless this program lives in that namespace.
fn within<T: Send>(inode: u32, ask: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if NetnsNames::own() == Some(inode) {
        return ask();
    }
    let path = NetnsNames::path(inode).ok_or(ErrorKind::NotFound)?;
    let entered = || {
        enter(&path)?;
        ask()
    };
    let ended = thread::scope(|scope| scope.spawn(entered).join());
    ended.unwrap_or_else(|_| Err(io::Error::other("the thread that reads nf_tables failed")))
}

/// Lists the tables of the network namespace that this thread is in.
///
/// # Errors
/// The kernel has no nf_tables, refuses, or its rules change all the time.
pub fn list_here(of: Of<'_>) -> io::Result<Listed> {
    list_and_tell(of, &mut |_| {})
}

/// As [`list_here`]; `tell` is given each message as well.
///
/// # Errors
/// As for [`list_here`].
pub fn list_and_tell(of: Of<'_>, tell: &mut dyn FnMut(&Message<'_>)) -> io::Result<Listed> {
    let mut tell = |message: &Message<'_>| {
        tell(message);
        Wanted::AsNft
    };
    let (builder, generation) = unchanged(|asking| asking.ruleset(of, &mut tell))?;
    Ok(listed(builder, generation))
}

/// Lists all the tables of the network namespace with this inode, and beside them those that iptables-nft keeps for one family. Of
/// these the rules are not listed once more, if all of them are told.
///
/// # Errors
/// As for [`list`].
pub fn list_with_iptables(inode: u32, family: save::Family) -> io::Result<(Listed, OfIptables)> {
    let ask = |asking: &mut Asking, is_all_wanted: bool| {
        let mut collector = Collector::of(family, As::Rules { has_counters: false });
        let mut tell = |message: &Message<'_>| match collector.take(message) {
            _ if is_all_wanted => Wanted::AsNft,
            wanted => wanted,
        };
        let builder = asking.ruleset(Of::All, &mut tell)?;
        Ok((builder, collector.finish()))
    };
    within(inode, || {
        let ((builder, of_iptables), generation) = unchanged(|asking| {
            let told = ask(asking, false)?;
            // Of a table that is not told the rules before the first that is not known were left out, too.
            match told.1.not_told.is_empty() {
                true => Ok(told),
                false => ask(asking, true),
            }
        })?;
        Ok((listed(builder, generation), of_iptables))
    })
}

/// The tables that iptables-nft keeps for a family in the network namespace that this thread is in, with what rules have counted or
/// without.
///
/// # Errors
/// As for [`list_here`].
pub fn of_iptables_here(family: save::Family, has_counters: bool) -> io::Result<OfIptables> {
    collected(family, As::Rules { has_counters }).map(Collector::finish)
}

/// The tables that iptables-nft keeps for a family in the network namespace with this inode, as iptables-nft-save prints them.
///
/// # Errors
/// As for [`list`].
pub fn texts_of_iptables(inode: u32, family: save::Family) -> io::Result<TextsOfIptables> {
    within(inode, || {
        collected(family, As::Texts).map(Collector::finish_texts)
    })
}

fn collected(family: save::Family, kept_as: As) -> io::Result<Collector> {
    let (collector, _) = unchanged(|asking| {
        let mut collector = Collector::of(family, kept_as);
        let number = collector.number();
        for kind in [TABLE, CHAIN, RULE] {
            asking.dump(kind, number, |_| {}, |message| _ = collector.take(message))?;
        }
        Ok(collector)
    })?;
    Ok(collector)
}

fn listed(builder: Builder, generation: u32) -> Listed {
    let (ruleset, unread) = builder.finish();
    Listed {
        ruleset,
        unread,
        generation,
    }
}

/// Asks until nothing changes meanwhile. The answer and its generation.
fn unchanged<T>(mut ask: impl FnMut(&mut Asking) -> io::Result<T>) -> io::Result<(T, u32)> {
    let mut asking = Asking::open()?;
    for _ in 0..TRIES {
        let before = asking.generation()?;
        let read = ask(&mut asking);
        if asking.generation()? != before {
            continue;
        }
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(read) => return Ok((read, before)),
        }
    }
    Err(io::Error::other("the rules change all the time"))
}

/// Families and names of the tables of the network namespace with this inode.
///
/// # Errors
/// As for [`list`].
pub fn tables(inode: u32) -> io::Result<Vec<(Family, String)>> {
    within(inode, tables_here)
}

/// Families and names of the tables of the network namespace that this thread is in.
///
/// # Errors
/// As for [`list_here`].
pub fn tables_here() -> io::Result<Vec<(Family, String)>> {
    let mut asking = Asking::open()?;
    let mut tables = Vec::new();
    let taken = asking.dump(
        TABLE,
        0,
        |_| {},
        |message| {
            let known = message.payload.first().and_then(|number| family(*number));
            let body = message.payload.get(NFGENMSG_BYTES..).unwrap_or_default();
            tables.extend(known.zip(Attrs::of(body).text(1)));
        },
    );
    match taken {
        // Tables came or went: those that were listed are there most likely.
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(tables),
    }
}

struct Asking {
    socket: Socket,
    sequence: u32,
}

impl Asking {
    fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open(libc::NETLINK_NETFILTER)?,
            sequence: 0,
        })
    }

    fn ruleset(&mut self, of: Of<'_>, tell: &mut dyn FnMut(&Message<'_>) -> Wanted) -> io::Result<Builder> {
        let mut builder = Builder::with(devices()?);
        let (family, name) = match of {
            Of::All => (0, None),
            Of::Table(family, name) => (number(family), Some(name)),
        };
        let mut into = |asking: &mut Self, kind, is_filtered: bool| {
            let table = |attributes: &mut Attributes<'_>| {
                if let Some(name) = name.filter(|_| is_filtered) {
                    attributes.string(1, name);
                }
            };
            asking.dump(kind, family, table, |message| {
                // Tables cannot be asked for by name in a list.
                let is_other = kind == TABLE && name.is_some_and(|name| !is_named(message, name));
                if !is_other && tell(message) == Wanted::AsNft {
                    builder.take(message);
                }
            })
        };
        // The kernel takes a table's name for a filter only of these.
        for (kind, is_filtered) in [
            (TABLE, false),
            (CHAIN, false),
            (SET, true),
            (OBJECT, true),
            (FLOWTABLE, true),
        ] {
            into(self, kind, is_filtered)?;
        }
        for (family, table, set) in builder.sets() {
            let named = |attributes: &mut Attributes<'_>| {
                attributes.string(1, &table);
                attributes.string(2, &set);
            };
            self.dump(ELEMENTS, number(family), named, |message| {
                if tell(message) == Wanted::AsNft {
                    builder.take(message);
                }
            })?;
        }
        let table = |attributes: &mut Attributes<'_>| {
            if let Some(name) = name {
                attributes.string(1, name);
            }
        };
        self.dump(RULE, family, table, |message| {
            if tell(message) == Wanted::AsNft {
                builder.take(message);
            }
        })?;
        Ok(builder)
    }

    /// Each change of the rules has another number.
    fn generation(&mut self) -> io::Result<u32> {
        let mut found = None;
        self.sequence += 1;
        let mut ask = Batch::default();
        ask.message(GENERATION, REQUEST, self.sequence, &[0; NFGENMSG_BYTES], |_| {});
        self.socket.send(&ask)?;
        let sequence = self.sequence;
        for message in messages(self.socket.receive()?) {
            refused(&message)?;
            if message.sequence == sequence {
                let body = message.payload.get(NFGENMSG_BYTES..).unwrap_or_default();
                found = Attrs::of(body).be32(1);
            }
        }
        found.ok_or_else(|| ErrorKind::InvalidData.into())
    }

    fn dump(
        &mut self,
        kind: u16,
        family: u8,
        attributes: impl FnOnce(&mut Attributes<'_>),
        mut take: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.sequence += 1;
        let mut ask = Batch::default();
        ask.message(
            kind,
            REQUEST | DUMP,
            self.sequence,
            &[family, 0, 0, 0],
            attributes,
        );
        self.socket.send(&ask)?;
        listing(&mut self.socket, self.sequence, |message| take(message))
    }
}

fn is_named(message: &Message<'_>, name: &str) -> bool {
    let body = message.payload.get(NFGENMSG_BYTES..).unwrap_or_default();
    Attrs::of(body).text(1).as_deref() == Some(name)
}

/// Takes a listing to its end, also if it is of no use any more.
fn listing(socket: &mut Socket, sequence: u32, mut take: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let mut is_interrupted = false;
    loop {
        for message in messages(socket.receive()?) {
            if message.sequence != sequence {
                continue;
            }
            is_interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            refused(&message)?;
            if message.is_done() {
                return match is_interrupted {
                    true => Err(ErrorKind::Interrupted.into()),
                    false => Ok(()),
                };
            }
            take(&message);
        }
    }
}

fn refused(message: &Message<'_>) -> io::Result<()> {
    match message.error() {
        None | Some(0) => Ok(()),
        // It was there a moment ago.
        Some(libc::ENOENT | libc::EINTR) => Err(ErrorKind::Interrupted.into()),
        Some(error) => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Names of the devices of this namespace: rules have their numbers.
fn devices() -> io::Result<Devices> {
    let mut ask = Batch::default();
    ask.message(GET_LINK, REQUEST | DUMP, 1, &[0; IFINFOMSG_BYTES], |_| {});
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    socket.send(&ask)?;
    let mut names = HashMap::new();
    let taken = listing(&mut socket, 1, |message| {
        let body = message.payload.get(IFINFOMSG_BYTES..).unwrap_or_default();
        let name = attributes(body).find(|(kind, _)| usize::from(*kind) == LINK_NAME);
        let name = name.and_then(|(_, name)| text(name));
        if let (NEW_LINK, Some(index), Some(name)) = (message.kind, u32_at(message.payload, 4), name) {
            names.insert(index, name);
        }
    });
    match taken {
        // Devices came or went: those that rules speak of are there most likely.
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(Devices(names)),
    }
}
