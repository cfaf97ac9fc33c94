//! Elements of an array map, put into it at once: a system call for each of a thousand costs more than what it writes.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use aya::Pod;
use aya::maps::{Array, Map, MapData};

use super::bpf::bpf;

/// `BPF_MAP_UPDATE_BATCH`, since Linux 5.6.
const UPDATE: libc::c_long = 26;

/// An array map that many elements of are written at once.
pub struct Batched<V: Pod> {
    array: Array<MapData, V>,
    fd: OwnedFd,
}

/// The part of `union bpf_attr` that is of batches, include/uapi/linux/bpf.h.
#[derive(Default)]
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl<V: Pod> Batched<V> {
    /// Of a map.
    ///
    /// # Errors
    /// It is no array of such elements.
    pub(super) fn new(map: Map) -> Result<Self> {
        let Map::Array(data) = &map else {
            bail!("a map of many elements is no array")
        };
        let fd = data
            .fd()
            .as_fd()
            .try_clone_to_owned()
            .context("cannot take a map twice")?;
        let array = Array::try_from(map)?;
        Ok(Self { array, fd })
    }

    /// Puts elements at `first` and after.
    ///
    /// # Errors
    /// There is no room.
    pub fn set(&mut self, first: u32, values: &[V]) -> Result<()> {
        if self.set_at_once(first, values) {
            return Ok(());
        }
        // A kernel without batches, or the one that says why not.
        for (index, value) in (first..).zip(values) {
            self.array.set(index, value, 0)?;
        }
        Ok(())
    }

    fn set_at_once(&self, first: u32, values: &[V]) -> bool {
        let keys: Vec<u32> = (first..).take(values.len()).collect();
        let (Ok(count), Ok(map_fd)) = (u32::try_from(values.len()), u32::try_from(self.fd.as_raw_fd()))
        else {
            return false;
        };
        if keys.len() != values.len() {
            return false;
        }
        let mut batch = Batch {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count,
            map_fd,
            ..Batch::default()
        };
        // SAFETY: keys and values are as many as is said, and only read; an element has the length that aya found the map's to be.
        let answer = unsafe { bpf(UPDATE, &mut batch) };
        answer == 0 && batch.count == count
    }
}
