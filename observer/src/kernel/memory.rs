//! Kernel memory, read through the programs `peek`, `gather` and `follow`: any address, no fault, nothing written.

use std::ffi::c_void;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;

use anyhow::{Context as _, Result};
use aya::maps::Map;
use foldhash::HashSet;
use observer_common::{MAX_ORDERS, ORDER_BYTES, Order, WINDOW_BYTES};

use super::commands::{Command, Commands};
use super::gathered::Gathered;
use super::raw;

/// The smallest page of any machine.
const PAGE_BYTES: u64 = 4096;

/// Reads kernel memory. Everything that walks the kernel's structures takes one, so that tests can hand it a dump.
pub trait Reader {
    /// Fills `to` from `address`; false if it cannot be read.
    fn read_into(&self, address: u64, to: &mut [u8]) -> bool;

    /// Reads bytes; `None` if they cannot be read.
    fn bytes(&self, address: u64, len_bytes: usize) -> Option<Vec<u8>> {
        let mut to = vec![0; len_bytes];
        self.read_into(address, &mut to).then_some(to)
    }

    /// Reads a `u64` (or a pointer).
    fn u64(&self, address: u64) -> Option<u64> {
        let mut to = [0; 8];
        self.read_into(address, &mut to).then(|| u64::from_ne_bytes(to))
    }

    /// Reads a `u32`.
    fn u32(&self, address: u64) -> Option<u32> {
        let mut to = [0; 4];
        self.read_into(address, &mut to).then(|| u32::from_ne_bytes(to))
    }

    /// Reads a byte.
    fn u8(&self, address: u64) -> Option<u8> {
        let mut to = [0; 1];
        self.read_into(address, &mut to).then(|| to[0])
    }

    /// Reads many pieces, each of so many bytes at an address: as fast as one, where one costs a system call.
    fn gather(&self, pieces: &[(u64, usize)]) -> Gathered {
        let mut gathered = Gathered::default();
        for (address, len_bytes) in pieces {
            gathered.read(*len_bytes, |to| self.read_into(*address, to));
        }
        gathered
    }

    /// The next nodes of a list behind the one at `at`, at least one, at most up to `head`; the last is 0 if it cannot be
    /// read any further.
    fn follow(&self, at: u64, _head: u64) -> Vec<u64> {
        vec![self.u64(at).unwrap_or(0)]
    }

    /// The nodes of a list (`struct list_head`), in its order and without its head. It can change under our eyes: `None` if it
    /// cannot be read to its end, has become a ring without its head, or has more than `most` nodes.
    fn list(&self, head: u64, most: usize) -> Option<Vec<u64>> {
        let mut nodes = Vec::new();
        let mut seen = HashSet::default();
        let mut at = head;
        loop {
            for node in self.follow(at, head) {
                if node == head {
                    return Some(nodes);
                }
                if node == 0 || nodes.len() >= most || !seen.insert(node) {
                    return None;
                }
                nodes.push(node);
                at = node;
            }
        }
    }

    /// Reads C strings as [`Self::string`] does. Most are expected to be shorter than `guess` bytes.
    fn strings(&self, addresses: &[u64], guess: usize, most: usize) -> Vec<Option<String>> {
        let pieces: Vec<(u64, usize)> = addresses
            .iter()
            .map(|address| (*address, to_page_end(*address).min(guess)))
            .collect();
        let gathered = self.gather(&pieces);
        let whole = |index| gathered.get(index).filter(|bytes| bytes.contains(&0));
        let strings = addresses.iter().enumerate();
        strings
            .map(|(index, address)| {
                let read = whole(index).map(raw::string);
                read.or_else(|| self.string(*address, most))
            })
            .collect()
    }

    /// Reads a C string of at most `most` bytes; what is not UTF-8 is replaced. It may end just before a page that
    /// cannot be read.
    fn string(&self, address: u64, most: usize) -> Option<String> {
        let mut text = Vec::new();
        while text.len() < most && !text.contains(&0) {
            let at = address.wrapping_add(text.len() as u64);
            match self.bytes(at, to_page_end(at).min(most - text.len())) {
                Some(bytes) => text.extend(bytes),
                None if text.is_empty() => return None,
                None => break,
            }
        }
        Some(raw::string(&text))
    }
}

/// How many bytes are left of the page that an address lies in.
fn to_page_end(address: u64) -> usize {
    (PAGE_BYTES - address % PAGE_BYTES) as usize
}

/// The running kernel's memory.
pub struct Memory {
    commands: Commands,
    /// What `peek`, `gather` and `follow` write to.
    window: Mapped,
    /// What `gather` is to read.
    orders: Mapped,
}

/// A map in this process's memory.
struct Mapped {
    at: NonNull<u8>,
    len_bytes: usize,
    /// Keeps it alive.
    _map: Map,
}

impl Memory {
    /// Maps the window that the programs write to, and the orders that they read.
    ///
    /// # Errors
    /// They cannot be mapped.
    pub(super) fn new(commands: Commands, window: Map, orders: Map) -> Result<Self> {
        let len_bytes = MAX_ORDERS as usize * size_of::<Order>();
        Ok(Self {
            commands,
            window: Mapped::new(window, WINDOW_BYTES as usize, libc::PROT_READ)?,
            orders: Mapped::new(orders, len_bytes, libc::PROT_READ | libc::PROT_WRITE)?,
        })
    }

    /// Address of this thread's `struct net`.
    pub fn current_net(&self) -> Option<u64> {
        self.commands
            .run(Command::CurrentNet, &[], None)
            .then(|| self.word())
    }

    /// The per-CPU offset of a CPU.
    pub fn cpu_offset(&self, cpu: u32) -> Option<u64> {
        self.commands
            .run(Command::Calibrate, &[], Some(cpu))
            .then(|| self.word())
    }

    /// The first word of the window, where commands leave their answer.
    fn word(&self) -> u64 {
        self.node(0)
    }

    /// A word of the window.
    fn node(&self, index: usize) -> u64 {
        let mut word = [0; 8];
        self.copy(index * word.len(), &mut word);
        u64::from_ne_bytes(word)
    }

    /// Copies from the window; nothing where it ends before.
    fn copy(&self, offset: usize, to: &mut [u8]) {
        if offset + to.len() <= self.window.len_bytes {
            // SAFETY: within the window, which no one else writes: its programs run only from here.
            unsafe {
                std::ptr::copy_nonoverlapping(self.window.at.as_ptr().add(offset), to.as_mut_ptr(), to.len());
            }
        }
    }

    fn read_window(&self, address: u64, to: &mut [u8]) -> bool {
        let read = self
            .commands
            .run(Command::Peek, &[address, to.len() as u64], None);
        if read {
            self.copy(0, to);
        }
        read
    }

    /// Orders as many of the first pieces as one run can read; returns them.
    fn order(&self, pieces: &[(u64, usize)]) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut offset = 0;
        for (address, len_bytes) in pieces.iter().take(MAX_ORDERS as usize) {
            let Some(len) = u32::try_from(*len_bytes).ok().filter(|len| *len <= ORDER_BYTES) else {
                break;
            };
            if offset > WINDOW_BYTES - ORDER_BYTES {
                break;
            }
            orders.push(Order {
                address: *address,
                offset,
                len,
            });
            offset += len;
        }
        let to = self.orders.at.cast::<Order>().as_ptr();
        // SAFETY: there are at most as many as the map has room for, and its program does not run now.
        unsafe { std::ptr::copy_nonoverlapping(orders.as_ptr(), to, orders.len()) };
        orders
    }

    /// Whether the order with this index was carried out as it was given.
    fn is_done(&self, index: usize, given: &Order) -> bool {
        let order = self.orders.at.cast::<Order>().as_ptr();
        // SAFETY: within the map, since it was written there; its program does not run now.
        unsafe { order.add(index).read_volatile() == *given }
    }
}

impl Reader for Memory {
    fn read_into(&self, address: u64, to: &mut [u8]) -> bool {
        let mut at = address;
        for part in to.chunks_mut(WINDOW_BYTES as usize) {
            if !self.read_window(at, part) {
                return false;
            }
            at = at.wrapping_add(part.len() as u64);
        }
        true
    }

    fn gather(&self, pieces: &[(u64, usize)]) -> Gathered {
        let mut gathered = Gathered::default();
        let mut rest = pieces;
        while let Some(((address, len_bytes), behind)) = rest.split_first() {
            let orders = self.order(rest);
            if orders.is_empty() {
                // Longer than a piece of one run.
                gathered.read(*len_bytes, |to| self.read_into(*address, to));
                rest = behind;
                continue;
            }
            let ran = self.commands.run(Command::Gather, &[orders.len() as u64], None);
            for (index, order) in orders.iter().enumerate() {
                gathered.read(order.len as usize, |to| {
                    self.copy(order.offset as usize, to);
                    ran && self.is_done(index, order)
                });
            }
            rest = &rest[orders.len()..];
        }
        gathered
    }

    fn follow(&self, at: u64, head: u64) -> Vec<u64> {
        if !self.commands.run(Command::Follow, &[at, head], None) {
            return vec![0];
        }
        let mut nodes = Vec::new();
        for index in 0..MAX_ORDERS as usize {
            let node = self.node(index);
            nodes.push(node);
            if node == 0 || node == head {
                break;
            }
        }
        nodes
    }
}

impl Mapped {
    fn new(map: Map, len_bytes: usize, protection: i32) -> Result<Self> {
        let Map::Array(data) = &map else {
            anyhow::bail!("a map for reading the kernel's memory is no array")
        };
        let fd = data.fd().as_fd().as_raw_fd();
        // SAFETY: a new shared mapping of the whole map; the result is checked.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len_bytes,
                protection,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error())
                .context("cannot map what the kernel's memory is read through");
        }
        let at = NonNull::new(at.cast()).context("a map was mapped at address 0")?;
        Ok(Self {
            at,
            len_bytes,
            _map: map,
        })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped, once.
        unsafe { libc::munmap(self.at.as_ptr().cast::<c_void>(), self.len_bytes) };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Pieces of memory at chosen addresses; all else cannot be read.
    #[derive(Default)]
    pub(crate) struct Dump {
        pieces: Vec<(u64, Vec<u8>)>,
    }

    impl Dump {
        pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
            self.pieces.push((address, bytes.to_vec()));
        }

        pub(crate) fn put_u64(&mut self, address: u64, value: u64) {
            self.put(address, &value.to_ne_bytes());
        }

        pub(crate) fn put_u32(&mut self, address: u64, value: u32) {
            self.put(address, &value.to_ne_bytes());
        }
    }

    impl Reader for Dump {
        fn read_into(&self, address: u64, to: &mut [u8]) -> bool {
            // What was put last lies on top.
            let at = |address: u64| {
                let mut pieces = self.pieces.iter().rev();
                pieces.find_map(|(start, bytes)| {
                    bytes
                        .get(usize::try_from(address.checked_sub(*start)?).ok()?)
                        .copied()
                })
            };
            for (address, to) in (address..).zip(to) {
                let Some(byte) = at(address) else { return false };
                *to = byte;
            }
            true
        }
    }

    #[test]
    fn a_string_may_end_just_before_memory_that_cannot_be_read() {
        let mut dump = Dump::default();
        dump.put(0x1ffa, b"filter");
        dump.put(0x3000, &[&b"x\xff\0"[..], &[7; 61]].concat());
        assert_eq!(dump.string(0x1ffa, 32).as_deref(), Some("filter"));
        assert_eq!(dump.string(0x3000, 32).as_deref(), Some("x\u{fffd}"));
        assert_eq!(dump.string(0x5000, 32), None);
    }
}
