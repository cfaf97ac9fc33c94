//! bpf-linker, which turns rustc's bitcode into the eBPF object. It must read the bitcode of exactly rustc's LLVM.

use std::path::PathBuf;

use anyhow::Result;

use crate::cargo_install::Program;

/// The linker for one LLVM.
pub fn program(llvm_major: u32) -> Program {
    Program {
        name: "bpf-linker",
        version: "0.13.0",
        suffix: format!("-llvm{llvm_major}"),
    }
}

/// Whether this bpf-linker has a feature for that LLVM.
pub fn supports(llvm_major: u32) -> bool {
    (21..=23).contains(&llvm_major)
}

/// Where Debian's packages put that LLVM.
pub fn llvm_prefix(llvm_major: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm_major}"))
}

/// Builds the linker.
pub fn install(llvm_major: u32) -> Result<()> {
    let program = program(llvm_major);
    eprintln!(
        "setup: building bpf-linker {} for LLVM {llvm_major} (about a minute)",
        program.version
    );
    let llvm = llvm_prefix(llvm_major);
    program.install(|cargo| {
        cargo
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{llvm_major}"),
            ])
            .env("LLVM_PREFIX", &llvm)
            .env("RUSTFLAGS", format!("-L native={}", llvm.join("lib").display()));
    })
}
