//! The compiler for the kernel programs.
//!
//! rustc ships no `core` for `bpfel-unknown-none`: it is built from the library source of exactly that compiler. So a
//! compiler is of use only with its source beside it: a rustup nightly with `rust-src`, or a distribution's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// The target of the kernel programs: little-endian BPF.
pub const TARGET: &str = "bpfel-unknown-none";

/// Where a compiler comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// rustup's nightly with its component `rust-src`.
    Nightly,
    /// `/usr/bin/rustc` with its source package.
    Distribution,
}

/// The compiler chosen for the kernel programs.
#[derive(Debug, Clone)]
pub struct Toolchain {
    route: Route,
    /// The directory that holds `rustc` and `cargo`.
    bin: PathBuf,
    /// What `rustc -vV` says of itself.
    version: RustcVersion,
}

/// The two facts of `rustc -vV` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RustcVersion {
    /// Such as `1.96.0`.
    pub release: String,
    /// The major version of the LLVM that it emits bitcode for; the linker must read the same.
    pub llvm_major: u32,
}

impl Toolchain {
    /// The first usable one: a rustup nightly with its library source, else the distribution's.
    pub fn find() -> Option<Self> {
        nightly_bin()
            .and_then(|bin| Self::at(Route::Nightly, &bin))
            .or_else(|| Self::at(Route::Distribution, Path::new("/usr/bin")))
    }

    fn at(route: Route, bin: &Path) -> Option<Self> {
        let sysroot = bin.parent()?;
        if !bin.join("cargo").is_file()
            || !sysroot
                .join("lib/rustlib/src/rust/library/core/src/lib.rs")
                .is_file()
        {
            return None;
        }
        let text = process::stdout_of(Command::new(bin.join("rustc")).arg("-vV"))?;
        let version = parse_version(&text)?;
        crate::linker::supports(version.llvm_major).then(|| Self {
            route,
            bin: bin.to_path_buf(),
            version,
        })
    }

    /// Where it comes from.
    pub fn route(&self) -> Route {
        self.route
    }

    /// The compiler's version and that of its LLVM.
    pub fn version(&self) -> &RustcVersion {
        &self.version
    }

    /// This toolchain's cargo, shielded from whatever toolchain runs us.
    pub fn cargo(&self) -> Command {
        self.program("cargo")
    }

    /// This toolchain's `cargo clippy`, if it has one; its first argument is `clippy`.
    ///
    /// Started by its path, since cargo would look for it where rustup keeps its own first.
    pub fn clippy(&self) -> Option<Command> {
        let whole = ["cargo-clippy", "clippy-driver"]
            .iter()
            .all(|name| self.bin.join(name).is_file());
        whole.then(|| {
            let mut command = self.program("cargo-clippy");
            command.arg("clippy").env("CARGO", self.bin.join("cargo"));
            command
        })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(crate::workspace::root());
        process::forget(&mut command, process::chooses_toolchain);
        command
            .env("RUSTC", self.bin.join("rustc"))
            // `-Z build-std` from a stable compiler; a nightly does not mind.
            .env("RUSTC_BOOTSTRAP", "1");
        command
    }
}

fn nightly_bin() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    // Asking must not download: a nightly that isn't there is an answer too.
    rustup
        .args(["which", "--toolchain", "nightly", "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    let rustc = PathBuf::from(process::stdout_of(&mut rustup)?.trim());
    rustc.parent().map(Path::to_path_buf)
}

fn parse_version(text: &str) -> Option<RustcVersion> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let llvm_major = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some(RustcVersion {
        release: field("release:")?.to_owned(),
        llvm_major,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_major_is_read_from_rustc() {
        let text =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let expected = RustcVersion {
            release: "1.96.0".into(),
            llvm_major: 22,
        };
        assert_eq!(parse_version(text), Some(expected));
    }

    #[test]
    fn a_compiler_without_llvm_is_no_candidate() {
        assert_eq!(parse_version("rustc 1.96.0\nrelease: 1.96.0\n"), None);
        assert_eq!(parse_version("release: 1.96.0\nLLVM version: next\n"), None);
    }
}
