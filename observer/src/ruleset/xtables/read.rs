//! Reads a table of x_tables out of kernel memory.

use std::collections::HashMap;
use std::rc::Rc;

use observer_common::LegacyTable;

use super::{Blob, Names, decode};
use crate::kernel::Reader;
use crate::report::record::TableFamily;
use crate::ruleset::Table;
use crate::ruleset::layout::XtLayout;

/// A larger table than any that works: what claims more is not a table.
const MOST_BYTES: u32 = 512 << 20;
/// The tables that there are.
const NAMES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
/// `XT_FUNCTION_MAXNAMELEN`, include/uapi/linux/netfilter/x_tables.h
const NAME_BYTES: usize = 30;

/// Where a table is, and how to notice that it is no longer the one that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// For the kernel side.
    pub legacy: LegacyTable,
    /// Address of the first entry.
    pub entries: u64,
    /// Their length in bytes.
    pub len_bytes: u64,
}

/// Reads the table at `table`; `None` if it is not one, or it was replaced meanwhile.
///
/// `one_cpu`: the kernel keeps the counters in the entries themselves.
pub fn read(
    memory: &impl Reader,
    layout: &XtLayout,
    table: u64,
    family: TableFamily,
    one_cpu: bool,
) -> Option<(Table, Location)> {
    let name = memory.string(table.wrapping_add(layout.name), 32)?;
    if !NAMES.contains(&name.as_str()) {
        return None;
    }
    let private_at = table.wrapping_add(layout.private);
    let private = memory.u64(private_at)?;
    let size = memory
        .u32(private.wrapping_add(layout.size))
        .filter(|size| *size <= MOST_BYTES)?;
    let entries = private.wrapping_add(layout.entries);
    let blob = Blob {
        bytes: memory.bytes(entries, size as usize)?,
        hook_entry: five(memory, private.wrapping_add(layout.hook_entry))?,
        underflow: five(memory, private.wrapping_add(layout.underflow))?,
        address: entries,
        family,
        one_cpu,
    };
    let read = decode(
        &name,
        &blob,
        &mut Resolver {
            memory,
            layout,
            names: HashMap::new(),
        },
    )?;
    let jumpstack = memory.u64(private.wrapping_add(layout.jumpstack))?;
    let has_stack = memory.u32(private.wrapping_add(layout.stacksize))? > 0;
    // Replaced while it was read: what was read may be of two tables.
    if memory.u64(private_at)? != private {
        return None;
    }
    let legacy = LegacyTable {
        private_at,
        private,
        jumpstack: if has_stack { jumpstack } else { 0 },
    };
    Some((
        read,
        Location {
            legacy,
            entries,
            len_bytes: u64::from(size),
        },
    ))
}

fn five(memory: &impl Reader, at: u64) -> Option<[u32; 5]> {
    let mut values = [0; 5];
    for (index, value) in values.iter_mut().enumerate() {
        *value = memory.u32(at.wrapping_add(4 * index as u64))?;
    }
    Some(values)
}

struct Resolver<'a, R> {
    memory: &'a R,
    layout: &'a XtLayout,
    /// By the address of their structure: the same for every rule.
    names: HashMap<u64, Rc<str>>,
}

impl<R: Reader> Resolver<'_, R> {
    fn name(&mut self, at: u64) -> Option<Rc<str>> {
        if let Some(name) = self.names.get(&at) {
            return Some(Rc::clone(name));
        }
        let name: Rc<str> = self.memory.string(at, NAME_BYTES)?.into();
        self.names.insert(at, Rc::clone(&name));
        Some(name)
    }
}

impl<R: Reader> Names for Resolver<'_, R> {
    fn target(&mut self, address: u64) -> Option<Rc<str>> {
        self.name(address + self.layout.target_name)
    }

    fn matching(&mut self, address: u64) -> Option<Rc<str>> {
        self.name(address + self.layout.match_name)
    }
}
