//! One BTF file: a header, types one after the other, and their names.
//!
//! Documentation/bpf/btf.rst, include/uapi/linux/btf.h. A module's types and names are numbered on from where the
//! kernel's end.

use super::raw::{u16_at, u32_at};

/// `BTF_MAGIC`
const MAGIC: u16 = 0xeb9f;
/// `struct btf_header`
const HEADER_BYTES: u32 = 24;
/// `BTF_KIND_FWD`: a structure that is somewhere else.
const FORWARD: u32 = 7;
/// `BTF_KIND_TYPEDEF`
const TYPEDEF: u32 = 8;
/// `BTF_KIND_FUNC`
const FUNCTION: u32 = 12;
/// `struct btf_type`, without what follows it.
const TYPE_BYTES: usize = 12;

/// What a type is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pointer,
    Struct,
    Union,
    Enum,
    Typedef,
    /// `const`, `volatile`, `restrict`, a type tag.
    Qualifier,
    Function,
    FunctionProto,
    Other,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset of its name.
    pub name: u32,
    /// Its type.
    pub of: u32,
    /// Where it is, in bits.
    pub bit_offset: u32,
}

/// A file's types and names.
#[derive(Default)]
pub struct Section {
    bytes: Vec<u8>,
    /// Where each type begins in `bytes`.
    types: Vec<u32>,
    /// Number of the first type.
    first_id: u32,
    /// Where the names lie in `bytes`.
    names: std::ops::Range<usize>,
    /// What the first name's offset is.
    first_name: u32,
    /// Hash of the name and number of structures, enumerations and typedefs, in order: some ten thousand.
    by_name: Vec<(u32, u32)>,
}

impl Section {
    /// Takes a file apart; `base`: the kernel's types, if this is a module's file.
    pub fn parse(bytes: Vec<u8>, base: Option<&Self>) -> Option<Self> {
        if u16_at(&bytes, 0)? != MAGIC {
            return None;
        }
        let header = u32_at(&bytes, 4)? as usize;
        let types = range(header, u32_at(&bytes, 8)?, u32_at(&bytes, 12)?, bytes.len())?;
        let names = range(header, u32_at(&bytes, 16)?, u32_at(&bytes, 20)?, bytes.len())?;
        let mut section = Self {
            bytes,
            types: Vec::new(),
            first_id: base.map_or(1, |base| {
                base.first_id + u32::try_from(base.types.len()).unwrap_or(u32::MAX)
            }),
            names,
            first_name: base.map_or(0, |base| u32::try_from(base.names.len()).unwrap_or(u32::MAX)),
            by_name: Vec::new(),
        };
        section.index(types)?;
        Some(section)
    }

    fn index(&mut self, types: std::ops::Range<usize>) -> Option<()> {
        let mut at = types.start;
        while at + TYPE_BYTES <= types.end {
            let id = self.first_id.checked_add(u32::try_from(self.types.len()).ok()?)?;
            self.types.push(u32::try_from(at).ok()?);
            self.index_name(id, at);
            at += TYPE_BYTES + self.extra_bytes(at)?;
        }
        self.types.shrink_to_fit();
        self.by_name.sort_unstable();
        self.by_name.shrink_to_fit();
        Some(())
    }

    /// Only what is looked for by name: a kernel has ten times as many other names.
    fn index_name(&mut self, id: u32, at: usize) {
        let wanted = [Kind::Struct, Kind::Union, Kind::Enum, Kind::Typedef];
        if !self.kind_at(at).is_some_and(|kind| wanted.contains(&kind)) {
            return;
        }
        let name = u32_at(&self.bytes, at)
            .and_then(|name| self.bytes_of_name(name))
            .filter(|name| !name.is_empty());
        if let Some(name) = name {
            self.by_name.push((hash(name), id));
        }
    }

    /// Bytes that follow a `struct btf_type`.
    fn extra_bytes(&self, at: usize) -> Option<usize> {
        let info = u32_at(&self.bytes, at + 4)?;
        let count = (info & 0xffff) as usize;
        Some(match info >> 24 & 0x1f {
            // INT, VAR, DECL_TAG
            1 | 14 | 17 => 4,
            // ARRAY
            3 => 12,
            // STRUCT, UNION, DATASEC, ENUM64
            4 | 5 | 15 | 19 => count * 12,
            // ENUM, FUNC_PROTO
            6 | 13 => count * 8,
            // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }

    /// Whether a type is in this file.
    pub fn has(&self, id: u32) -> bool {
        self.at(id).is_some()
    }

    fn at(&self, id: u32) -> Option<usize> {
        let index = id.checked_sub(self.first_id)? as usize;
        self.types.get(index).map(|at| *at as usize)
    }

    /// What a type is.
    pub fn kind(&self, id: u32) -> Option<Kind> {
        self.kind_at(self.at(id)?)
    }

    fn kind_at(&self, at: usize) -> Option<Kind> {
        Some(match u32_at(&self.bytes, at + 4)? >> 24 & 0x1f {
            2 => Kind::Pointer,
            4 => Kind::Struct,
            5 => Kind::Union,
            6 => Kind::Enum,
            8 => Kind::Typedef,
            9..=11 | 18 => Kind::Qualifier,
            12 => Kind::Function,
            13 => Kind::FunctionProto,
            _ => Kind::Other,
        })
    }

    /// The first type of this name that is of one of these kinds.
    pub fn find(&self, name: &str, kinds: &[Kind]) -> Option<u32> {
        let hash = hash(name.as_bytes());
        let first = self.by_name.partition_point(|(of, _)| *of < hash);
        let alike = self
            .by_name
            .get(first..)?
            .iter()
            .take_while(|(of, _)| *of == hash);
        let mut ids = alike.map(|(_, id)| *id).filter(|id| {
            let own = self.name_of(*id).and_then(|at| self.bytes_of_name(at));
            own == Some(name.as_bytes())
        });
        ids.find(|id| self.kind(*id).is_some_and(|kind| kinds.contains(&kind)))
    }

    /// The first function of this name: they are not indexed, all are gone through.
    pub fn function(&self, name: &str) -> Option<u32> {
        let is_it = |at: u32| {
            let at = at as usize;
            self.kind_at(at) == Some(Kind::Function)
                && u32_at(&self.bytes, at).and_then(|at| self.bytes_of_name(at)) == Some(name.as_bytes())
        };
        let index = self.types.iter().position(|at| is_it(*at))?;
        self.first_id.checked_add(u32::try_from(index).ok()?)
    }

    /// The name at an offset; `None` if it is another file's.
    pub fn name(&self, at: u32) -> Option<&str> {
        std::str::from_utf8(self.bytes_of_name(at)?).ok()
    }

    fn bytes_of_name(&self, at: u32) -> Option<&[u8]> {
        let at = at.checked_sub(self.first_name)? as usize;
        let names = self.bytes.get(self.names.clone())?.get(at..)?;
        let end = names.iter().position(|byte| *byte == 0)?;
        Some(&names[..end])
    }

    /// A file in which the named types have the numbers that they have in this one, and nothing else has a name: for who only
    /// asks the number of a name, and would take every type apart for that. Names that are not there are left out.
    pub fn only(&self, typedefs: &[&str], functions: &[&str]) -> Vec<u8> {
        let found = |kind: u32, name: &str, id: Option<u32>| Some((id?, kind, name.to_owned()));
        let typedefs = typedefs
            .iter()
            .filter_map(|name| found(TYPEDEF, name, self.find(name, &[Kind::Typedef])));
        let functions = functions
            .iter()
            .filter_map(|name| found(FUNCTION, name, self.function(name)));
        let mut wanted: Vec<(u32, u32, String)> = typedefs.chain(functions).collect();
        wanted.sort_unstable();
        let last = wanted.last().map_or(0, |(id, ..)| *id);
        let mut types = Vec::with_capacity(TYPE_BYTES * last as usize);
        let mut names = vec![0];
        let mut wanted = wanted.into_iter().peekable();
        for id in self.first_id..=last {
            let (at, kind) = match wanted.next_if(|(next, ..)| *next == id) {
                Some((_, kind, name)) => {
                    let at = names.len() as u32;
                    names.extend(name.bytes().chain([0]));
                    (at, kind)
                }
                None => (0, FORWARD),
            };
            for word in [at, kind << 24, 0] {
                types.extend(word.to_ne_bytes());
            }
        }
        file(&types, &names)
    }

    /// Offset of a type's name.
    pub fn name_of(&self, id: u32) -> Option<u32> {
        u32_at(&self.bytes, self.at(id)?)
    }

    /// Size of a structure in bytes.
    pub fn size(&self, id: u32) -> Option<u32> {
        u32_at(&self.bytes, self.at(id)? + 8)
    }

    /// What a pointer, typedef or qualifier refers to.
    pub fn target(&self, id: u32) -> Option<u32> {
        u32_at(&self.bytes, self.at(id)? + 8)
    }

    /// Members of a structure or union.
    pub fn members(&self, id: u32) -> Option<Vec<Member>> {
        let at = self.at(id)?;
        let info = u32_at(&self.bytes, at + 4)?;
        // With the flag, the upper byte of the offset is the bit field's size.
        let mask = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        (0..(info & 0xffff) as usize)
            .map(|index| {
                let member = at + TYPE_BYTES + 12 * index;
                Some(Member {
                    name: u32_at(&self.bytes, member)?,
                    of: u32_at(&self.bytes, member + 4)?,
                    bit_offset: u32_at(&self.bytes, member + 8)? & mask,
                })
            })
            .collect()
    }

    /// Names' offsets and values of an enumeration.
    pub fn enumerators(&self, id: u32) -> Option<Vec<(u32, u32)>> {
        self.pairs(id)
    }

    /// Types of a function's parameters.
    pub fn parameters(&self, id: u32) -> Option<Vec<u32>> {
        (self.kind(id)? == Kind::FunctionProto).then_some(())?;
        Some(self.pairs(id)?.into_iter().map(|(_, of)| of).collect())
    }

    fn pairs(&self, id: u32) -> Option<Vec<(u32, u32)>> {
        let at = self.at(id)?;
        let count = (u32_at(&self.bytes, at + 4)? & 0xffff) as usize;
        let pair = |index: usize| {
            let pair = at + TYPE_BYTES + 8 * index;
            Some((u32_at(&self.bytes, pair)?, u32_at(&self.bytes, pair + 4)?))
        };
        (0..count).map(pair).collect()
    }
}

/// FNV-1a, which is enough to find a name among those that the kernel has.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// A file of types and names.
fn file(types: &[u8], names: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize + types.len() + names.len());
    bytes.extend(MAGIC.to_ne_bytes());
    // Version, no flags.
    bytes.extend([1, 0]);
    let (types_len, names_len) = (types.len() as u32, names.len() as u32);
    for word in [HEADER_BYTES, 0, types_len, types_len, names_len] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types);
    bytes.extend(names);
    bytes
}

fn range(header: usize, at: u32, len: u32, end: usize) -> Option<std::ops::Range<usize>> {
    let start = header.checked_add(at as usize)?;
    let stop = start.checked_add(len as usize)?;
    (stop <= end).then_some(start..stop)
}

#[cfg(test)]
pub(super) mod tests {
    /// Makes a small BTF file.
    #[derive(Default)]
    pub(in crate::kernel) struct Builder {
        types: Vec<u8>,
        names: Vec<u8>,
        count: u32,
    }

    impl Builder {
        fn name(&mut self, name: &str) -> u32 {
            if self.names.is_empty() {
                self.names.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.names.len() as u32;
            self.names.extend(name.bytes().chain([0]));
            at
        }

        fn words(&mut self, words: &[u32]) {
            words
                .iter()
                .for_each(|word| self.types.extend(word.to_ne_bytes()));
        }

        fn head(&mut self, name: &str, kind: u32, count: usize, size: u32) -> u32 {
            let name = self.name(name);
            self.words(&[name, kind << 24 | count as u32, size]);
            self.count += 1;
            self.count
        }

        pub(in crate::kernel) fn int(&mut self, name: &str, size: u32) -> u32 {
            let id = self.head(name, 1, 0, size);
            self.words(&[32]);
            id
        }

        pub(in crate::kernel) fn composite(
            &mut self,
            name: &str,
            kind: u32,
            size: u32,
            members: &[(&str, u32, u32)],
        ) -> u32 {
            let id = self.head(name, kind, members.len(), size);
            for (name, of, bits) in members {
                let name = self.name(name);
                self.words(&[name, *of, *bits]);
            }
            id
        }

        pub(in crate::kernel) fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
            let id = self.head(name, 6, values.len(), 4);
            for (name, value) in values {
                let name = self.name(name);
                self.words(&[name, *value]);
            }
            id
        }

        pub(in crate::kernel) fn function(&mut self, name: &str) -> u32 {
            self.head(name, 12, 0, 0)
        }

        pub(in crate::kernel) fn typedef(&mut self, name: &str) -> u32 {
            self.head(name, 8, 0, 1)
        }

        pub(in crate::kernel) fn finish(self) -> Vec<u8> {
            super::file(&self.types, &self.names)
        }
    }
}
