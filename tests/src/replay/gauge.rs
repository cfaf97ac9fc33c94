//! The counters of legacy iptables, read from the kernel without starting a tool for each packet: `IPT_SO_GET_ENTRIES`
//! (include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h). Which entry is which rule is told by what
//! `iptables-save` prints, and at the end the tool must have counted the same.

use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};

use super::verdict::Moved;
use crate::cluster::Family;
use crate::cluster::rules::{Counters, Place};
use crate::netns::Netns;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`
const GET_INFO: i32 = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`
const GET_ENTRIES: i32 = 65;
/// `XT_TABLE_MAXNAMELEN`
const NAME_BYTES: usize = 32;
/// `struct ipt_getinfo`, `struct ip6t_getinfo`
const INFO_BYTES: usize = 84;
/// Where the size of the entries stands in it.
const INFO_SIZE_AT: usize = 80;
/// Where the entries begin in `struct ipt_get_entries`, behind the name and their size.
const ENTRIES_AT: usize = 40;

/// The tables of a namespace, and where they stood when they were last read.
pub(crate) struct Gauge {
    socket: OwnedFd,
    family: Family,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    /// Bytes of all entries.
    size: usize,
    /// What each entry counts for; `None`: the head or the end of a chain that is no base chain.
    places: Vec<Option<Place>>,
    packets: Vec<u64>,
}

impl Gauge {
    /// Of the tables in a text of `iptables-save -c` that was printed of the namespace, which `counters` are read from.
    pub(crate) fn of(netns: &Netns, family: Family, saved: &str, counters: &Counters) -> Result<Self> {
        let mut gauge = Self {
            socket: netns.run(|| socket(family))?,
            family,
            tables: places(saved, counters)
                .into_iter()
                .map(|(name, places)| Table {
                    name,
                    size: 0,
                    packets: vec![0; places.len()],
                    places,
                })
                .collect(),
        };
        for index in 0..gauge.tables.len() {
            gauge.tables[index].size = gauge.size(&gauge.tables[index].name)?;
            gauge.tables[index].packets = gauge.read(&gauge.tables[index])?;
        }
        Ok(gauge)
    }

    /// What has counted packets since the last call.
    pub(crate) fn moved(&mut self) -> Result<Moved> {
        let mut moved = Moved::new();
        for index in 0..self.tables.len() {
            let now = self.read(&self.tables[index])?;
            let table = &mut self.tables[index];
            for ((place, now), before) in table.places.iter().zip(&now).zip(&table.packets) {
                if let (Some(place), true) = (place, now > before) {
                    moved.insert(place.clone(), now - before);
                }
            }
            table.packets = now;
        }
        Ok(moved)
    }

    /// Whether the tool counts the same as was read last.
    pub(crate) fn check(&self, counters: &Counters) -> Result<()> {
        for table in &self.tables {
            for (place, packets) in table.places.iter().zip(&table.packets) {
                let Some(place) = place else { continue };
                let told = counters.get(place).map(|counted| counted.packets);
                if told != Some(*packets) {
                    bail!("{place}: the kernel's entry has {packets} packets, iptables-save tells {told:?}");
                }
            }
        }
        Ok(())
    }

    fn size(&self, name: &str) -> Result<usize> {
        let mut info = vec![0; INFO_BYTES];
        put_name(&mut info, name);
        self.ask(GET_INFO, &mut info)?;
        Ok(word(&info, INFO_SIZE_AT)? as usize)
    }

    fn read(&self, table: &Table) -> Result<Vec<u64>> {
        let mut answer = vec![0; ENTRIES_AT + table.size];
        put_name(&mut answer, &table.name);
        answer[NAME_BYTES..NAME_BYTES + size_of::<u32>()]
            .copy_from_slice(&u32::try_from(table.size)?.to_ne_bytes());
        self.ask(GET_ENTRIES, &mut answer)?;
        let packets = packets(&answer[ENTRIES_AT..], self.family)?;
        if packets.len() != table.places.len() {
            bail!(
                "{} has {} entries, and {} by iptables-save",
                table.name,
                packets.len(),
                table.places.len()
            );
        }
        Ok(packets)
    }

    fn ask(&self, option: i32, answer: &mut [u8]) -> Result<()> {
        let level = match self.family {
            Family::Ip => libc::IPPROTO_IP,
            Family::Ip6 => libc::IPPROTO_IPV6,
        };
        let mut len = libc::socklen_t::try_from(answer.len())?;
        // SAFETY: the kernel writes at most `len` bytes, which is the buffer's length.
        let code = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                answer.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if code != 0 {
            return Err(std::io::Error::last_os_error()).context("asking the kernel for a table's entries");
        }
        Ok(())
    }
}

fn socket(family: Family) -> Result<OwnedFd> {
    let domain = match family {
        Family::Ip => libc::AF_INET,
        Family::Ip6 => libc::AF_INET6,
    };
    // SAFETY: a plain system call.
    let fd = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("a socket to ask for tables");
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn put_name(to: &mut [u8], name: &str) {
    let len = name.len().min(NAME_BYTES - 1);
    to[..len].copy_from_slice(&name.as_bytes()[..len]);
}

/// What each entry of each table counts for. Entries lie in the order in which the tool prints chains: a base chain's rules
/// and its policy; another's head, its rules and its end; and one entry behind the last chain.
fn places(saved: &str, counters: &Counters) -> Vec<(String, Vec<Option<Place>>)> {
    let mut tables: Vec<(String, Vec<Option<Place>>)> = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push((name.to_owned(), Vec::new()));
        } else if let (Some(chain), Some((table, places))) = (line.strip_prefix(':'), tables.last_mut()) {
            let name = chain.split(' ').next().unwrap_or_default();
            let at = |rule| Place {
                table: table.clone(),
                chain: name.to_owned(),
                rule,
            };
            let is_base = counters.contains_key(&at(None));
            if !is_base {
                places.push(None);
            }
            let rules = (1..).map(|rule| at(Some(rule)));
            places.extend(rules.take_while(|place| counters.contains_key(place)).map(Some));
            places.push(is_base.then(|| at(None)));
        }
    }
    for (_, places) in &mut tables {
        places.push(None);
    }
    tables
}

/// The packets of each of these entries.
fn packets(mut entries: &[u8], family: Family) -> Result<Vec<u64>> {
    // `next_offset` and `counters` of `struct ipt_entry` and `struct ip6t_entry`.
    let (next_at, counters_at) = match family {
        Family::Ip => (90, 96),
        Family::Ip6 => (142, 152),
    };
    let mut packets = Vec::new();
    while !entries.is_empty() {
        let next = entries.get(next_at..next_at + 2).context("an entry cut short")?;
        let next = usize::from(u16::from_ne_bytes(next.try_into()?));
        let counter = entries
            .get(counters_at..counters_at + 8)
            .context("an entry cut short")?;
        packets.push(u64::from_ne_bytes(counter.try_into()?));
        entries = entries
            .get(next.max(counters_at + 16)..)
            .context("an entry cut short")?;
    }
    Ok(packets)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).context("an answer cut short")?;
    Ok(u32::from_ne_bytes(word.try_into()?))
}
