//! Kernel memory, read through the program `peek`: any address, no fault, nothing written.

use std::cell::RefCell;
use std::ffi::c_void;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::Map;

use super::programs::run;
use super::raw;

/// Bytes that one run of `peek` reads; `PEEK_BYTES` of the kernel side.
const WINDOW_BYTES: usize = 32 * 1024;

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

    /// Reads a C string of at most `most` bytes; what is not UTF-8 is replaced. It may end just before a page that
    /// cannot be read.
    fn string(&self, address: u64, most: usize) -> Option<String> {
        let mut text = Vec::new();
        while text.len() < most && !text.contains(&0) {
            let at = address.wrapping_add(text.len() as u64);
            let to_page_end = (PAGE_BYTES - at % PAGE_BYTES) as usize;
            match self.bytes(at, to_page_end.min(most - text.len())) {
                Some(bytes) => text.extend(bytes),
                None if text.is_empty() => return None,
                None => break,
            }
        }
        Some(raw::string(&text))
    }
}

/// The running kernel's memory.
pub struct Memory {
    ebpf: Rc<RefCell<Ebpf>>,
    window: NonNull<u8>,
    /// Keeps the window's map alive.
    _map: Map,
}

impl Memory {
    /// Maps the window that `peek` writes to.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub(super) fn new(ebpf: Rc<RefCell<Ebpf>>, map: Map) -> Result<Self> {
        Ok(Self {
            ebpf,
            window: window(&map)?,
            _map: map,
        })
    }

    /// Address of this thread's `struct net`.
    pub fn current_net(&self) -> Option<u64> {
        run(&self.ebpf, "current_net", &[], None).then(|| self.word())
    }

    /// The per-CPU offset of a CPU.
    pub fn cpu_offset(&self, cpu: u32) -> Option<u64> {
        run(&self.ebpf, "calibrate", &[], Some(cpu)).then(|| self.word())
    }

    /// The first word of the window, where commands leave their answer.
    fn word(&self) -> u64 {
        // SAFETY: the window is at least that long and stays mapped as long as `self`.
        unsafe { self.window.cast::<u64>().read_volatile() }
    }

    fn read_window(&self, address: u64, to: &mut [u8]) -> bool {
        if !run(&self.ebpf, "peek", &[address, to.len() as u64], None) {
            return false;
        }
        // SAFETY: `to` is no longer than the window, which no one else writes: `peek` runs only from here.
        unsafe { std::ptr::copy_nonoverlapping(self.window.as_ptr(), to.as_mut_ptr(), to.len()) };
        true
    }
}

impl Reader for Memory {
    fn read_into(&self, address: u64, to: &mut [u8]) -> bool {
        let mut at = address;
        for part in to.chunks_mut(WINDOW_BYTES) {
            if !self.read_window(at, part) {
                return false;
            }
            at = at.wrapping_add(part.len() as u64);
        }
        true
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: what `window` mapped, once.
        unsafe { libc::munmap(self.window.as_ptr().cast::<c_void>(), WINDOW_BYTES) };
    }
}

fn window(map: &Map) -> Result<NonNull<u8>> {
    let Map::Array(data) = map else {
        anyhow::bail!("the map PEEK is no array")
    };
    let fd = data.fd().as_fd().as_raw_fd();
    // SAFETY: a new shared mapping of the whole map; the result is checked.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            WINDOW_BYTES,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("cannot map PEEK");
    }
    NonNull::new(at.cast()).context("PEEK was mapped at address 0")
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
            let len = to.len() as u64;
            // What was put last lies on top.
            let holds = |(start, bytes): &&(u64, Vec<u8>)| {
                *start <= address && address + len <= *start + bytes.len() as u64
            };
            let Some((start, bytes)) = self.pieces.iter().rev().find(holds) else {
                return false;
            };
            let at = (address - start) as usize;
            to.copy_from_slice(&bytes[at..at + to.len()]);
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
