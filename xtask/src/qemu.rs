//! The emulator that virtual machines run in.
//!
//! Before 8.1 one emulated processor may translate code while another rewrites it, and keep the breakpoint that Linux
//! puts there meanwhile: the guest then ends with `Oops: int3` or hangs, whenever a probe comes on or goes off at a bad
//! moment. Debian 12 has 7.2, and a newer one among its backports.

use std::process::Command;

use anyhow::Result;

use crate::apt::{self, Package};
use crate::processor::Processor;
use crate::{debian, process};

/// The first release that guests survive, major and minor.
const WANTED: (u32, u32) = (8, 1);

/// The program that emulates a processor.
pub const fn program(processor: Processor) -> &'static str {
    match processor {
        Processor::X86_64 => "qemu-system-x86_64",
        Processor::Aarch64 => "qemu-system-aarch64",
    }
}

const fn package_name(processor: Processor) -> &'static str {
    match processor {
        Processor::X86_64 => "qemu-system-x86",
        Processor::Aarch64 => "qemu-system-arm",
    }
}

/// The package, for whoever lists all of them.
pub fn package(processor: Processor) -> Package {
    Package::with_program(package_name(processor), program(processor))
}

/// Replaces one that is too old by a backport, where that can be had; says so where it cannot. One that is not there beside a backport of
/// another comes from there, too: they share packages.
pub fn ensure(processor: Processor) -> Result<()> {
    let version = installed(processor);
    if version.is_none() && install_backport(processor).is_err() {
        return apt::ensure(&[package(processor)]);
    }
    let Some(old) = version.filter(|version| *version < WANTED) else {
        return Ok(());
    };
    if let Err(why) = install_backport(processor) {
        eprintln!(
            "setup: QEMU {}.{} is here, under which guests may crash when probes come on or go off; {}.{} or later is \
             wanted: {why:#}",
            old.0, old.1, WANTED.0, WANTED.1
        );
    }
    Ok(())
}

fn install_backport(processor: Processor) -> Result<()> {
    apt::install_from(&debian::backports()?, package_name(processor))
}

fn installed(processor: Processor) -> Option<(u32, u32)> {
    process::stdout_of(Command::new(program(processor)).arg("--version")).and_then(|text| version(&text))
}

/// `QEMU emulator version 10.0.2 (Debian …)`
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_once("version ")?.1;
    let mut parts = number.split(|other: char| !other.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_whatever_stands_behind_it() {
        assert_eq!(
            version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"),
            Some((7, 2))
        );
        assert_eq!(version("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 9.1rc1"), Some((9, 1)));
        assert_eq!(version("qemu: not found"), None);
        assert!((10, 0) > WANTED && (7, 2) < WANTED);
    }
}
