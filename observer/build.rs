//! Puts the eBPF object where the sources embed it from: `$OUT_DIR/observer-ebpf.o`.
//!
//! `OBSERVER_EBPF_OBJECT` names the object; without it, the one that `cargo xtask build` leaves in the workspace is
//! taken. What it says for debuggers is left out: three quarters of it, which the program would carry and read; the kernel's types and lines are
//! in BTF. With neither, the file is empty, so that checks, unit tests and documentation build without the eBPF
//! toolchain; the program then says at run time that it was built without its object.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

const VARIABLE: &str = "OBSERVER_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("observer-ebpf.o");
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    let built = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .join("../target/ebpf/bpfel-unknown-none/release/observer-ebpf");
    // A file that isn't there yet makes cargo ask again next time, which is what we want of it.
    let object = named.as_ref().unwrap_or(&built);
    println!("cargo:rerun-if-changed={}", object.display());
    match fs::read(object) {
        Ok(bytes) => fs::write(&embedded, stripped(&bytes)?)?,
        Err(_) if named.is_none() => fs::write(&embedded, [])?,
        Err(error) => return Err(format!("{VARIABLE} names {}: {error}", object.display()).into()),
    }
    Ok(())
}

/// The object without its sections of DWARF.
fn stripped(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut object = Builder::read(bytes)?;
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    object.delete_orphans();
    // Its linker puts names of sections and symbols together; here each kind has its own.
    let names = object.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    Ok(stripped)
}
