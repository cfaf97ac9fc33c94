//! Types of the running kernel and its modules, from BTF under `/sys/kernel/btf`.
//!
//! Read here and not by a library: the one that gives member offsets is LGPL, and sorting a kernel's hundred thousand
//! types first would take longer than all the rest of the start. Only what is asked for is decoded.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use super::btf_section::{Kind, Member, Section};

/// Where the kernel shows its types.
const DIRECTORY: &str = "/sys/kernel/btf";
/// Deeper than any type nests.
const DEEPEST: usize = 16;
/// So many members are looked at for one field. No structure that is asked for takes 1,000 (6.18); those that lie within each
/// other in a circle could be gone through for ever.
const MOST_LOOKS: usize = 1 << 18;

/// The kernel's types. Modules' types are read when first asked for.
pub struct Types {
    vmlinux: Section,
    /// Whether the kernel's own were let go ([`Self::release`]).
    is_released: bool,
    modules: HashMap<&'static str, Option<Section>>,
    /// What fields and structures were asked for, in bits and bytes: asked once more, they need no types.
    offsets: Answers,
    sizes: Answers,
}

/// By module and name.
type Answers = HashMap<(Option<&'static str>, String), Option<u32>>;

/// Why the kernel's types cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// The file is not there or cannot be read.
    #[error(
        "cannot read {DIRECTORY}/vmlinux ({0}); observer needs a kernel built with CONFIG_DEBUG_INFO_BTF: boot your \
         distribution's stock kernel"
    )]
    Read(io::Error),
    /// It is not BTF.
    #[error("{DIRECTORY}/vmlinux is no BTF that can be used: cut short, or of another byte order")]
    Parse,
}

/// The kernel's types, and a module's that continue them.
#[derive(Clone, Copy)]
struct View<'a> {
    base: &'a Section,
    split: Option<&'a Section>,
}

impl Types {
    /// Opens the kernel's types.
    ///
    /// # Errors
    /// The kernel has no BTF, or it cannot be used.
    pub fn load() -> Result<Self, TypesError> {
        let bytes = fs::read(Path::new(DIRECTORY).join("vmlinux")).map_err(TypesError::Read)?;
        Self::parse(bytes).ok_or(TypesError::Parse)
    }

    /// Types out of the bytes of `vmlinux`; `None` if they are no BTF.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        Some(Self {
            vmlinux: Section::parse(bytes, None)?,
            is_released: false,
            modules: HashMap::new(),
            offsets: HashMap::new(),
            sizes: HashMap::new(),
        })
    }

    /// Lets the kernel's types go, ten million bytes. A field or structure that is asked for the first time reads them once more;
    /// nothing else may be asked for.
    pub fn release(&mut self) {
        self.vmlinux = Section::default();
        self.is_released = true;
    }

    /// Reads the types once more if they were let go. Where that fails there are none, as on a kernel without them.
    fn fill(&mut self) {
        if self.is_released
            && let Ok(read) = Self::load()
        {
            self.vmlinux = read.vmlinux;
            self.is_released = false;
        }
    }

    /// Offset in bytes of a field such as `net.nf.hooks_ipv4`; for a bit field, of the byte it begins in.
    ///
    /// `module` is asked first: it holds the types that only it uses.
    pub fn offset(&mut self, module: Option<&'static str>, path: &str) -> Option<u32> {
        self.bit_offset(module, path).map(|bits| bits / 8)
    }

    /// Offset in bits.
    pub fn bit_offset(&mut self, module: Option<&'static str>, path: &str) -> Option<u32> {
        let key = (module, path.to_owned());
        if let Some(known) = self.offsets.get(&key) {
            return *known;
        }
        let (root, fields) = path.split_once('.')?;
        let fields: Vec<&str> = fields.split('.').collect();
        let found = self.view(module).walk_from(root, &fields);
        if self.has(module) {
            self.offsets.insert(key, found);
        }
        found
    }

    /// Size of a structure in bytes.
    pub fn size(&mut self, module: Option<&'static str>, name: &str) -> Option<u32> {
        let key = (module, name.to_owned());
        if let Some(known) = self.sizes.get(&key) {
            return *known;
        }
        let found = self.view(module).size(name);
        if self.has(module) {
            self.sizes.insert(key, found);
        }
        found
    }

    /// Whether all is there that an answer depends on: a module may be loaded later.
    fn has(&self, module: Option<&'static str>) -> bool {
        let is_read = |module| self.modules.get(module).is_some_and(Option::is_some);
        !self.is_released && module.is_none_or(is_read)
    }

    /// Numbers of the kernel's own types, as the verifier has them: a function and a structure. `None` if one is not there.
    pub fn numbers(&self, function: &str, structure: &str) -> Option<(u32, u32)> {
        let structure = self.vmlinux.find(structure, &[Kind::Struct])?;
        Some((self.vmlinux.function(function)?, structure))
    }

    /// The kernel's own types for aya, which asks them nothing but the number of a tracepoint or a function: to take all of them
    /// apart takes it longer than all that observer asks of them, and 15 MiB.
    pub fn numbered(&mut self, tracepoints: &[&str], functions: &[&str]) -> Vec<u8> {
        self.fill();
        let typedefs: Vec<String> = tracepoints.iter().map(|name| tracepoint_type(name)).collect();
        let typedefs: Vec<&str> = typedefs.iter().map(String::as_str).collect();
        self.vmlinux.only(&typedefs, functions)
    }

    /// Names and numbers of an enumeration; empty if there is none.
    pub fn enumeration(&self, name: &str) -> Vec<(String, u32)> {
        let view = View {
            base: &self.vmlinux,
            split: None,
        };
        let id = view.base.find(name, &[Kind::Enum]);
        let values = id.and_then(|id| view.base.enumerators(id)).unwrap_or_default();
        values
            .into_iter()
            .filter_map(|(name, value)| Some((view.name(name)?.to_owned(), value)))
            .collect()
    }

    /// Names of the types of a tracepoint's arguments, without its private first one; `None` if there is no such
    /// tracepoint. A pointer has its target's name and a star.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<String>> {
        let view = View {
            base: &self.vmlinux,
            split: None,
        };
        let typedef = view.base.find(&tracepoint_type(name), &[Kind::Typedef])?;
        let pointer = view.target(typedef)?;
        let proto = view.target(pointer)?;
        let parameters = view.section(proto)?.parameters(proto)?;
        Some(
            parameters
                .into_iter()
                .skip(1)
                .map(|id| view.type_name(id))
                .collect(),
        )
    }

    fn view(&mut self, module: Option<&'static str>) -> View<'_> {
        self.fill();
        if let Some(name) = module {
            // A module that was not there may be loaded later: only what was found is kept.
            if self.modules.get(name).is_none_or(Option::is_none) {
                let bytes = fs::read(Path::new(DIRECTORY).join(name)).ok();
                let section = bytes.and_then(|bytes| Section::parse(bytes, Some(&self.vmlinux)));
                self.modules.insert(name, section);
            }
        }
        let split = module
            .and_then(|name| self.modules.get(name))
            .and_then(Option::as_ref);
        View {
            base: &self.vmlinux,
            split,
        }
    }
}

/// The type that a tracepoint's program is checked against.
fn tracepoint_type(name: &str) -> String {
    format!("btf_trace_{name}")
}

impl<'a> View<'a> {
    /// The section that a type is in.
    fn section(self, id: u32) -> Option<&'a Section> {
        [Some(self.base), self.split]
            .into_iter()
            .flatten()
            .find(|section| section.has(id))
    }

    /// A name by its offset: a module's begin where the kernel's end.
    fn name(self, at: u32) -> Option<&'a str> {
        self.base.name(at).or_else(|| self.split?.name(at))
    }

    /// Each structure of this name, the module's first.
    fn structures(self, name: &str) -> impl Iterator<Item = u32> + use<'a, '_> {
        let sections = [self.split, Some(self.base)].into_iter().flatten();
        sections.filter_map(move |section| section.find(name, &[Kind::Struct, Kind::Union]))
    }

    fn walk_from(self, root: &str, fields: &[&str]) -> Option<u32> {
        let mut looks = MOST_LOOKS;
        self.structures(root)
            .find_map(|root| self.walk(root, fields, 0, &mut looks))
    }

    fn size(self, name: &str) -> Option<u32> {
        self.structures(name).find_map(|id| self.section(id)?.size(id))
    }

    /// Follows `fields`, through members without a name, and adds the offsets up. `looks` is how many members may still
    /// be looked at.
    fn walk(self, parent: u32, fields: &[&str], depth: usize, looks: &mut usize) -> Option<u32> {
        let Some((first, rest)) = fields.split_first() else {
            return Some(0);
        };
        if depth > DEEPEST {
            return None;
        }
        let members = self.section(parent)?.members(parent)?;
        *looks = looks.checked_sub(members.len() + 1)?;
        members
            .into_iter()
            .find_map(|member| self.through(&member, (first, rest), fields, depth, looks))
    }

    fn through(
        self,
        member: &Member,
        (first, rest): (&str, &[&str]),
        fields: &[&str],
        depth: usize,
        looks: &mut usize,
    ) -> Option<u32> {
        let name = self.name(member.name)?;
        let left = if name == first {
            rest
        } else if name.is_empty() {
            fields
        } else {
            return None;
        };
        if left.is_empty() {
            return Some(member.bit_offset);
        }
        let inner = self.walk(self.aggregate(member.of)?, left, depth + 1, looks)?;
        member.bit_offset.checked_add(inner)
    }

    /// The structure that a type is, behind typedefs and qualifiers.
    fn aggregate(self, mut id: u32) -> Option<u32> {
        for _ in 0..DEEPEST {
            match self.section(id)?.kind(id)? {
                Kind::Struct | Kind::Union => return Some(id),
                Kind::Typedef | Kind::Qualifier => id = self.target(id)?,
                _ => return None,
            }
        }
        None
    }

    /// What a pointer, typedef or qualifier refers to.
    fn target(self, id: u32) -> Option<u32> {
        self.section(id)?.target(id)
    }

    fn type_name(self, mut id: u32) -> String {
        let mut stars = String::new();
        for _ in 0..DEEPEST {
            let Some(section) = self.section(id) else { break };
            match section.kind(id) {
                Some(Kind::Pointer) => stars.push('*'),
                Some(Kind::Qualifier) => {}
                _ => {
                    let name = section
                        .name_of(id)
                        .and_then(|at| self.name(at))
                        .unwrap_or_default();
                    return format!("{name}{stars}");
                }
            }
            let Some(next) = section.target(id) else { break };
            id = next;
        }
        format!("void{stars}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf_section::tests::Builder;

    /// struct inner { int a; int b; };
    /// struct outer { int first; union { struct inner in; int flat; }; int bits:3; };
    fn types() -> Types {
        let mut builder = Builder::default();
        let int = builder.int("int", 4);
        let inner = builder.composite("inner", 4, 8, &[("a", int, 0), ("b", int, 32)]);
        let nameless = builder.composite("", 5, 8, &[("in", inner, 0), ("flat", int, 0)]);
        builder.composite(
            "outer",
            4,
            16,
            &[("first", int, 0), ("", nameless, 32), ("after", int, 96)],
        );
        builder.enumeration("reason", &[("R_ONE", 1), ("R_TWO", 2)]);
        builder.function("other");
        builder.function("inner");
        Types::parse(builder.finish()).expect("parses")
    }

    #[test]
    fn what_was_asked_before_is_known_when_the_types_are_gone() {
        let mut types = types();
        let before = (
            types.offset(None, "outer.in.b"),
            types.size(None, "inner"),
            types.offset(None, "outer.none"),
        );
        assert_eq!(before, (Some(8), Some(8), None));
        types.vmlinux = Section::default();
        let after = (
            types.offset(None, "outer.in.b"),
            types.size(None, "inner"),
            types.offset(None, "outer.none"),
        );
        assert_eq!(after, before);
        assert_eq!(
            types.offset(None, "outer.after"),
            None,
            "asked for the first time"
        );
    }

    #[test]
    fn offsets_add_up_through_members_without_a_name() {
        let mut types = types();
        assert_eq!(types.offset(None, "outer.first"), Some(0));
        assert_eq!(types.offset(None, "outer.flat"), Some(4));
        assert_eq!(types.offset(None, "outer.in.b"), Some(8));
        assert_eq!(types.offset(None, "outer.after"), Some(12));
        assert_eq!(types.offset(None, "outer.none"), None);
        assert_eq!(types.offset(None, "outer.first.x"), None);
        assert_eq!(types.offset(None, "missing.first"), None);
        assert_eq!(types.size(None, "outer"), Some(16));
    }

    #[test]
    fn functions_and_structures_have_numbers() {
        let types = types();
        assert_eq!(types.numbers("other", "inner"), Some((6, 2)));
        assert_eq!(
            types.numbers("inner", "inner"),
            Some((7, 2)),
            "names are of a kind"
        );
        assert_eq!(types.numbers("outer", "inner"), None);
        assert_eq!(types.numbers("other", "reason"), None);
    }

    #[test]
    fn aya_finds_the_numbers_that_the_kernel_has() {
        use aya::{Btf, Endianness};
        use aya_obj::btf::BtfKind;

        let mut builder = Builder::default();
        let int = builder.int("int", 4);
        builder.composite("outer", 4, 8, &[("a", int, 0), ("b", int, 32)]);
        let typedef = builder.typedef("btf_trace_kfree_skb");
        let other = builder.function("btf_trace_kfree_skb");
        builder.enumeration("reason", &[("R_ONE", 1), ("R_TWO", 2)]);
        let function = builder.function("nf_hook_slow");
        builder.function("nf_hook_slow");
        assert_eq!((typedef, other, function), (3, 4, 6));
        let mut types = Types::parse(builder.finish()).expect("parses");
        let bytes = types.numbered(&["kfree_skb", "none"], &["nf_hook_slow", "none"]);
        let btf = Btf::parse(&bytes, Endianness::default()).expect("aya reads it");
        let number = |name, kind| btf.id_by_type_name_kind(name, kind).ok();
        assert_eq!(number("btf_trace_kfree_skb", BtfKind::Typedef), Some(typedef));
        assert_eq!(number("nf_hook_slow", BtfKind::Func), Some(function));
        assert_eq!(
            number("btf_trace_kfree_skb", BtfKind::Func),
            None,
            "not asked for"
        );
        assert_eq!(number("btf_trace_none", BtfKind::Typedef), None);
        assert_eq!(number("none", BtfKind::Func), None);
        assert!(Btf::parse(&types.numbered(&[], &[]), Endianness::default()).is_ok());
    }

    #[test]
    fn enumerations_are_read() {
        assert_eq!(
            types().enumeration("reason"),
            [("R_ONE".to_owned(), 1), ("R_TWO".to_owned(), 2)]
        );
        assert_eq!(types().enumeration("none"), []);
    }

    #[test]
    fn structures_that_hold_themselves_many_times_end() {
        // Sixteen ways at each of sixteen depths: 2^64 if all were gone.
        let mut builder = Builder::default();
        let int = builder.int("int", 4);
        let mut members = vec![("", 2, 0); 16];
        members.push(("a", int, 0));
        let own = builder.composite("loop", 4, 8, &members);
        assert_eq!(own, 2);
        let mut types = Types::parse(builder.finish()).expect("parses");
        assert_eq!(types.offset(None, "loop.b"), None);
        assert_eq!(types.offset(None, "loop.b.c"), None);
    }

    #[test]
    fn broken_types_are_refused_or_harmless() {
        let mut builder = Builder::default();
        let int = builder.int("int", 4);
        builder.composite("loop", 4, 8, &[("", 2, 0), ("a", int, 0)]);
        let bytes = builder.finish();
        for len in 0..bytes.len() {
            if let Some(mut types) = Types::parse(bytes[..len].to_vec()) {
                types.offset(None, "loop.a.b");
            }
        }
        let mut whole = Types::parse(bytes).expect("parses");
        assert_eq!(
            whole.offset(None, "loop.b"),
            None,
            "a structure within itself ends"
        );
    }
}
