//! `cargo xtask setup`, and the parts of it that each other command needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Package};
use crate::kernels::{self, Kernel, MATRIX, Series};
use crate::processor::Processor;
use crate::toolchain::{Route, Toolchain};
use crate::{foreign, linker, manifests, process, qemu, virtiofsd, virtme};

/// Everything: for building, for the scenarios, for the virtual machines.
pub fn main() -> Result<()> {
    // All packages at once: one list for whoever must install them by hand.
    let mut packages = compiler_packages();
    if let Some(toolchain) = Toolchain::find() {
        packages.extend(linker_packages(&toolchain));
    }
    packages.extend(lab_packages());
    packages.extend(dist_packages());
    for series in MATRIX {
        packages.extend(vm_packages(series)?);
    }
    apt::ensure(&packages)?;
    for series in MATRIX {
        // Its release may be gone from the mirrors; the others are enough to work with.
        if let Err(error) = kernels::ensure_old(series) {
            eprintln!("setup: {error:#}");
        }
    }
    build()?;
    qemu::ensure(Processor::here())?;
    virtme::ensure()?;
    virtiofsd::ensure()?;
    manifests::ensure()?;
    eprintln!("setup: everything is there");
    Ok(())
}

/// What building needs: a compiler with its library source, and the linker for its LLVM.
pub fn build() -> Result<Toolchain> {
    apt::ensure(&compiler_packages()).context(NO_COMPILER)?;
    let toolchain = Toolchain::find().context(NO_COMPILER)?;
    let llvm = toolchain.version().llvm_major;
    if !linker::program(llvm).works() {
        apt::ensure(&linker_packages(&toolchain))?;
        linker::install(llvm)?;
    }
    Ok(toolchain)
}

const NO_COMPILER: &str = "building for eBPF needs a compiler with its library source: these packages, or \
    `rustup toolchain install nightly --component rust-src`";

/// What linting the kernel programs needs besides: the clippy of exactly their compiler.
pub fn lint() -> Result<Toolchain> {
    let toolchain = build()?;
    if toolchain.clippy().is_none() {
        match toolchain.route() {
            Route::Distribution => apt::ensure(&[Package::missing("rust-web-clippy")])?,
            Route::Nightly => {
                bail!("clippy is missing: run `rustup component add clippy --toolchain nightly`")
            }
        }
    }
    Ok(toolchain)
}

/// What the scenarios call, on this machine and, since they see its files, in the virtual machines.
pub fn lab() -> Result<()> {
    apt::ensure(&lab_packages())
}

/// What the benchmarks call besides: what observer is measured beside.
pub fn bench() -> Result<()> {
    let mut packages = lab_packages();
    packages.push(Package::with_program("bpftrace", "bpftrace"));
    apt::ensure(&packages)
}

/// What packages are built and checked with.
pub fn dist() -> Result<()> {
    apt::ensure(&dist_packages())
}

/// What programs for another processor are built with: a linker and a C library, and Rust's own library.
pub fn cross(processor: Processor) -> Result<()> {
    let (name, debian) = (processor.name(), processor.debian());
    apt::ensure(&[
        Package::with_file(
            format!("gcc-{}-linux-gnu", name.replace('_', "-")),
            format!("/usr/bin/{}", processor.tool("gcc")),
        ),
        Package::with_file(
            format!("libc6-dev-{debian}-cross"),
            format!("/usr/{name}-linux-gnu/lib/libc.a"),
        ),
    ])?;
    let library = ["--print", "target-libdir", "--target", processor.target()];
    let is_there = || process::rustc_says(&library).is_ok_and(|dir| Path::new(dir.trim()).is_dir());
    if is_there() {
        return Ok(());
    }
    eprintln!("setup: adding Rust's library for {name}");
    let mut rustup = Command::new("rustup");
    process::run_quietly(rustup.args(["target", "add", processor.target()])).with_context(|| {
        format!(
            "this toolchain has no library for {name}: install the one of {}",
            processor.target()
        )
    })
}

/// What libFuzzer is built with.
pub fn fuzz() -> Result<()> {
    apt::ensure(&[Package::with_program("g++", "c++")])
}

/// What a virtual machine of that series needs.
pub fn vm(series: Series) -> Result<Kernel> {
    if !series.processor().is_here() {
        return foreign_vm(series);
    }
    apt::ensure(&vm_packages(series)?)?;
    kernels::ensure_old(series)?;
    qemu::ensure(Processor::here())?;
    virtme::ensure()?;
    virtiofsd::ensure()?;
    Kernel::installed(series).with_context(|| format!("no {series} kernel in /boot after installing one"))
}

/// One of another processor, which sees a root directory made for it.
fn foreign_vm(series: Series) -> Result<Kernel> {
    if series.processor() != Processor::Aarch64 {
        bail!(
            "{series} runs on {}, and so do its virtual machines",
            series.processor()
        );
    }
    apt::ensure(&virtiofsd::packages())?;
    qemu::ensure(series.processor())?;
    virtiofsd::ensure()?;
    foreign::Root::of(series.processor())?.kernel(series)
}

fn compiler_packages() -> Vec<Package> {
    let mut packages = vec![
        Package::with_program("gcc", "cc"),
        Package::with_file("libc6-dev", "/usr/include/stdio.h"),
    ];
    if Toolchain::find().is_none() {
        packages.extend(["rustc-web", "cargo-web", "rust-web-src"].map(Package::missing));
    }
    packages
}

fn linker_packages(toolchain: &Toolchain) -> Vec<Package> {
    let llvm = toolchain.version().llvm_major;
    if linker::program(llvm).works() {
        return Vec::new();
    }
    let in_llvm = |file: &str| linker::llvm_prefix(llvm).join(file).display().to_string();
    vec![
        Package::with_file(format!("llvm-{llvm}-dev"), in_llvm("bin/llvm-config")),
        Package::with_file(format!("libpolly-{llvm}-dev"), in_llvm("lib/libPolly.a")),
        Package::with_file("libzstd-dev", "/usr/include/zstd.h"),
        Package::with_file("zlib1g-dev", "/usr/include/zlib.h"),
        Package::with_file("libxml2-dev", "/usr/include/libxml2/libxml/parser.h"),
    ]
}

fn lab_packages() -> Vec<Package> {
    [
        ("iptables", "iptables-legacy"),
        ("nftables", "nft"),
        ("conntrack", "conntrack"),
        ("ipset", "ipset"),
        ("bpftool", "bpftool"),
        ("iproute2", "ip"),
        ("iputils-ping", "ping"),
        ("tcpdump", "tcpdump"),
        ("tshark", "tshark"),
        ("procps", "sysctl"),
        ("curl", "curl"),
        ("ethtool", "ethtool"),
        ("kmod", "modprobe"),
        ("python3", "python3"),
        ("systemd", "systemd-analyze"),
        ("valgrind", "valgrind"),
    ]
    .into_iter()
    .map(|(package, program)| Package::with_program(package, program))
    .collect()
}

fn dist_packages() -> Vec<Package> {
    [
        ("dpkg", "dpkg-deb"),
        ("rpm", "rpmbuild"),
        ("binutils", "strip"),
        ("git", "git"),
        ("lintian", "lintian"),
    ]
    .into_iter()
    .map(|(package, program)| Package::with_program(package, program))
    .collect()
}

fn vm_packages(series: Series) -> Result<Vec<Package>> {
    let mut packages = vec![
        qemu::package(Processor::here()),
        // A busybox that is not static is of no use in the initramfs, and the program does not tell.
        Package::with_file("busybox-static", "/var/lib/dpkg/info/busybox-static.list"),
        Package::with_program("kmod", "modprobe"),
        Package::with_program("iproute2", "ip"),
    ];
    packages.extend(virtme::packages()?);
    packages.extend(virtiofsd::packages());
    packages.extend(kernels::package(series)?);
    Ok(packages)
}
