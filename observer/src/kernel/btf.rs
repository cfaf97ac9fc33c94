//! Types of the running kernel and its modules, from BTF under `/sys/kernel/btf`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use btf_rs::{Backend, Btf, BtfType, Struct, Type};

/// Where the kernel shows its types.
const DIRECTORY: &str = "/sys/kernel/btf";

/// The kernel's types. Modules' types are read when first asked for.
pub struct Types {
    vmlinux: Btf,
    modules: HashMap<&'static str, Option<Btf>>,
}

/// Why the kernel's types cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// The file is not there or cannot be read.
    #[error(
        "cannot read {DIRECTORY}/vmlinux ({0}); observer needs a kernel built with CONFIG_DEBUG_INFO_BTF: install your \
         distribution's stock kernel"
    )]
    Read(io::Error),
    /// It is not BTF.
    #[error("{DIRECTORY}/vmlinux is not BTF that can be used: {0}")]
    Parse(#[from] btf_rs::Error),
}

impl Types {
    /// Opens the kernel's types.
    ///
    /// # Errors
    /// The kernel has no BTF, or it cannot be used.
    pub fn load() -> Result<Self, TypesError> {
        let bytes = fs::read(Path::new(DIRECTORY).join("vmlinux")).map_err(TypesError::Read)?;
        Ok(Self { vmlinux: mapped(&bytes)?, modules: HashMap::new() })
    }

    /// Offset in bytes of a field such as `net.nf.hooks_ipv4`; for a bit field, of the byte it begins in.
    ///
    /// `module` is asked first: it holds the types that only it uses.
    pub fn offset(&mut self, module: Option<&'static str>, path: &str) -> Option<u32> {
        self.bit_offset(module, path).map(|bits| bits / 8)
    }

    /// Offset in bits.
    pub fn bit_offset(&mut self, module: Option<&'static str>, path: &str) -> Option<u32> {
        let mut names = path.split('.');
        let root = names.next()?;
        let fields: Vec<&str> = names.collect();
        self.in_each(module, |btf| {
            let root = structure(btf, root)?;
            walk(btf, &root, &fields)
        })
    }

    /// Size of a structure in bytes.
    pub fn size(&mut self, module: Option<&'static str>, name: &str) -> Option<u32> {
        self.in_each(module, |btf| structure(btf, name).and_then(|found| u32::try_from(found.size()).ok()))
    }

    /// Names and numbers of an enumeration; empty if there is none.
    pub fn enumeration(&mut self, name: &str) -> Vec<(String, u32)> {
        let btf = &self.vmlinux;
        let types = btf.resolve_types_by_name(name).unwrap_or_default();
        let found = types.into_iter().find_map(|found| match found {
            Type::Enum(found) => Some(found),
            _ => None,
        });
        let members = found.map(|found| found.members).unwrap_or_default();
        members.iter().filter_map(|member| Some((btf.resolve_name(member).ok()?, member.val()))).collect()
    }

    /// Names of the types of a tracepoint's arguments, without its private first one; `None` if there is no such
    /// tracepoint. A pointer has its target's name and a star.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<String>> {
        let btf = &self.vmlinux;
        let types = btf.resolve_types_by_name(&format!("btf_trace_{name}")).ok()?;
        let typedef = types.into_iter().find_map(|found| match found {
            Type::Typedef(found) => Some(found),
            _ => None,
        })?;
        let Type::Ptr(pointer) = btf.resolve_chained_type(&typedef).ok()? else { return None };
        let Type::FuncProto(proto) = btf.resolve_chained_type(&pointer).ok()? else { return None };
        Some(proto.parameters.iter().skip(1).map(|parameter| type_name(btf, parameter)).collect())
    }

    /// Runs `find` on the module's types, then on the kernel's own.
    fn in_each<T>(&mut self, module: Option<&'static str>, find: impl Fn(&Btf) -> Option<T>) -> Option<T> {
        if let Some(name) = module
            && let Some(btf) = self.module(name)
            && let Some(found) = find(btf)
        {
            return Some(found);
        }
        find(&self.vmlinux)
    }

    fn module(&mut self, name: &'static str) -> Option<&Btf> {
        // A module that was not there may be loaded later: only what was found is kept.
        if self.modules.get(name).is_none_or(Option::is_none) {
            let bytes = fs::read(Path::new(DIRECTORY).join(name)).ok();
            let btf = bytes.and_then(|bytes| Btf::from_split_bytes(&bytes, &self.vmlinux).ok());
            self.modules.insert(name, btf);
        }
        self.modules.get(name).and_then(Option::as_ref)
    }
}

/// Looks types up in place: sorting a hundred thousand of them first would take longer than all the rest of the
/// start. Older kernels cannot map the file itself, so a copy in memory is mapped.
fn mapped(bytes: &[u8]) -> Result<Btf, TypesError> {
    let Ok(copy) = in_memory_file(bytes) else { return Ok(Btf::from_bytes(bytes)?) };
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    match Btf::from_file_with_backend(path, Backend::Mmap) {
        Ok(btf) => Ok(btf),
        Err(_) => Ok(Btf::from_bytes(bytes)?),
    }
}

fn in_memory_file(bytes: &[u8]) -> io::Result<fs::File> {
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe { libc::memfd_create(c"btf".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(bytes)?;
    Ok(file)
}

fn structure(btf: &Btf, name: &str) -> Option<Struct> {
    btf.resolve_types_by_name(name).ok()?.into_iter().find_map(|found| match found {
        Type::Struct(found) | Type::Union(found) => Some(found),
        _ => None,
    })
}

/// Follows `fields`, through members without a name, and adds the offsets up.
fn walk(btf: &Btf, parent: &Struct, fields: &[&str]) -> Option<u32> {
    let Some((first, rest)) = fields.split_first() else { return Some(0) };
    for member in &parent.members {
        let name = btf.resolve_name(member).unwrap_or_default();
        if name == *first {
            if rest.is_empty() {
                return Some(member.bit_offset());
            }
            let inner = aggregate(btf, member)?;
            return Some(member.bit_offset() + walk(btf, &inner, rest)?);
        }
        if name.is_empty()
            && let Some(inner) = aggregate(btf, member)
            && let Some(offset) = walk(btf, &inner, fields)
        {
            return Some(member.bit_offset() + offset);
        }
    }
    None
}

/// The structure that a member is, behind typedefs, qualifiers and arrays.
fn aggregate(btf: &Btf, member: &dyn BtfType) -> Option<Struct> {
    let mut current = btf.resolve_type_by_id(member.get_type_id()?).ok()?;
    for _ in 0..8 {
        match current {
            Type::Struct(found) | Type::Union(found) => return Some(found),
            Type::Ptr(_) => return None,
            other => {
                let next = other.as_btf_type().and_then(BtfType::get_type_id)?;
                current = btf.resolve_type_by_id(next).ok()?;
            }
        }
    }
    None
}

fn type_name(btf: &Btf, of: &dyn BtfType) -> String {
    let Some(id) = of.get_type_id() else { return String::new() };
    match btf.resolve_type_by_id(id) {
        Ok(Type::Ptr(pointer)) => format!("{}*", type_name(btf, &pointer)),
        Ok(Type::Const(inner)) => type_name(btf, &inner),
        Ok(found) => found.as_btf_type().and_then(|found| btf.resolve_name(found).ok()).unwrap_or_default(),
        Err(_) => String::new(),
    }
}
