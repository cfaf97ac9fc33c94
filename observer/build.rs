//! Puts the eBPF object where the sources embed it from: `$OUT_DIR/observer-ebpf.o`.
//!
//! `OBSERVER_EBPF_OBJECT` names the object; without it, the one that `cargo xtask build` leaves in the workspace is
//! taken. With neither, the file is empty, so that checks, unit tests and documentation build without the eBPF
//! toolchain; the program then says at run time that it was built without its object.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

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
        Ok(bytes) => fs::write(&embedded, bytes)?,
        Err(_) if named.is_none() => fs::write(&embedded, [])?,
        Err(error) => return Err(format!("{VARIABLE} names {}: {error}", object.display()).into()),
    }
    Ok(())
}
