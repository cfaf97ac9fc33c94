//! Reads a table of x_tables out of kernel memory.

use std::hash::{BuildHasher as _, Hash as _, Hasher};
use std::rc::Rc;
use std::sync::OnceLock;

use foldhash::quality::RandomState;
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
/// So much is compared at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Where a table is, and how to notice that it is no longer the one that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// For the kernel side.
    pub legacy: LegacyTable,
    /// Address of the first entry.
    pub entries: u64,
    /// Their length in bytes.
    pub len_bytes: u64,
    /// Of the entries, where the counters lie among them, and of where chains begin: another number in each process.
    seal: u64,
    /// What the pointers in it stand for.
    names: Vec<(u64, Rc<str>)>,
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
    let head = Head::read(memory, layout, table)?;
    let blob = Blob {
        bytes: memory.bytes(head.entries, head.size as usize)?,
        hook_entry: head.hook_entry,
        underflow: head.underflow,
        address: head.entries,
        family,
        one_cpu,
    };
    let mut resolver = Resolver {
        memory,
        layout,
        names: foldhash::HashMap::default(),
    };
    let read = decode(&name, &blob, &mut resolver)?;
    let names = resolver.names.into_iter().collect();
    let mut seal = head.seal();
    blob.bytes.chunks(PIECE_BYTES).for_each(|piece| seal.write(piece));
    // Replaced while it was read: what was read may be of two tables.
    if memory.u64(head.private_at)? != head.private {
        return None;
    }
    let legacy = LegacyTable {
        private_at: head.private_at,
        private: head.private,
        jumpstack: head.jumpstack,
    };
    Some((
        read,
        Location {
            legacy,
            entries: head.entries,
            len_bytes: u64::from(head.size),
            seal: seal.finish(),
            names,
        },
    ))
}

/// Address and value of the pointer from the table at `table` to what it holds, which is another once it is replaced; the value is 0
/// if it cannot be read.
pub fn pointer(memory: &impl Reader, layout: &XtLayout, table: u64) -> (u64, u64) {
    let at = table.wrapping_add(layout.private);
    (at, memory.u64(at).unwrap_or(0))
}

/// Whether the table at `table` is, to the last byte and to the names behind its pointers, the one that was read from there: all
/// counters lie where they lay. Where counters lie in the entries, one that moved makes it another.
pub fn is_same(memory: &impl Reader, layout: &XtLayout, table: u64, before: &Location) -> bool {
    same(memory, layout, table, before).unwrap_or(false)
}

fn same(memory: &impl Reader, layout: &XtLayout, table: u64, before: &Location) -> Option<bool> {
    let head = Head::read(memory, layout, table)?;
    let legacy = &before.legacy;
    if (head.private_at, head.private) != (legacy.private_at, legacy.private)
        || (head.entries, u64::from(head.size)) != (before.entries, before.len_bytes)
    {
        return Some(false);
    }
    let mut seal = head.seal();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = head.entries;
    let mut left = head.size as usize;
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE_BYTES)];
        if !memory.read_into(at, piece) {
            return None;
        }
        seal.write(piece);
        at = at.wrapping_add(piece.len() as u64);
        left -= piece.len();
    }
    let names = before.names.iter();
    let mut names = names.map(|(at, name)| memory.string(*at, NAME_BYTES).is_some_and(|now| *now == **name));
    let is_same =
        seal.finish() == before.seal && names.all(|is_same| is_same) && legacy.jumpstack == head.jumpstack;
    Some(is_same && memory.u64(head.private_at)? == head.private)
}

/// What stands before a table's entries.
struct Head {
    private_at: u64,
    private: u64,
    size: u32,
    entries: u64,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    /// 0: there is none.
    jumpstack: u64,
}

impl Head {
    fn read(memory: &impl Reader, layout: &XtLayout, table: u64) -> Option<Self> {
        let private_at = table.wrapping_add(layout.private);
        let private = memory.u64(private_at)?;
        let size = memory
            .u32(private.wrapping_add(layout.size))
            .filter(|size| *size <= MOST_BYTES)?;
        let has_stack = memory.u32(private.wrapping_add(layout.stacksize))? > 0;
        let jumpstack = memory.u64(private.wrapping_add(layout.jumpstack))?;
        Some(Self {
            jumpstack: if has_stack { jumpstack } else { 0 },
            private_at,
            private,
            size,
            entries: private.wrapping_add(layout.entries),
            hook_entry: five(memory, private.wrapping_add(layout.hook_entry))?,
            underflow: five(memory, private.wrapping_add(layout.underflow))?,
        })
    }

    /// What the entries' bytes are added to, in pieces of the same length each time.
    fn seal(&self) -> impl Hasher + use<> {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let mut seal = KEY.get_or_init(RandomState::default).build_hasher();
        (self.hook_entry, self.underflow).hash(&mut seal);
        seal
    }
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
    /// By where they lie: the same for every rule.
    names: foldhash::HashMap<u64, Rc<str>>,
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
