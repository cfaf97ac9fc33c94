//! Starting such a machine: QEMU, and a virtiofsd for each directory that it sees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::initramfs;
use super::root::{FIRST_PROGRAM, mount_point};
use crate::processor::Processor;
use crate::vm::{Clock, Guest, PROCESSORS, quoted};
use crate::{process, qemu, virtiofsd, workspace};

/// The tag of its root directory; those of others are numbers.
const ROOT: &str = "root";
/// Beside the script.
const INITRAMFS: &str = "initramfs";

/// What starts it: `desk` is the directory with the file `script` that it runs, where its kernel's messages come to the file `kernel`.
///
/// # Errors
/// It is asked to be what only machines like this one can.
pub fn command(guest: &Guest<'_>, desk: &Path, loglevel: u8) -> Result<Command> {
    if guest.systemd || guest.clock != Clock::Time {
        bail!("a machine of another processor runs neither systemd nor by the count of its instructions");
    }
    let root = &guest.kernel.root;
    let seen = seen();
    for dir in &seen {
        mount_point(root, dir)?;
    }
    let initramfs = initramfs::of(guest.kernel, ROOT)?;
    if let Some(bytes) = &initramfs {
        let path = desk.join(INITRAMFS);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let daemon = virtiofsd::path()?;
    let mut lines = vec![share(&daemon, ROOT, root, true)];
    let numbered = seen.iter().enumerate();
    lines.extend(numbered.map(|(number, dir)| share(&daemon, &number.to_string(), dir, false)));
    let mut emulator = emulator(guest, &desk.join("script"), &seen, loglevel);
    if initramfs.is_some() {
        emulator.push_str(&format!(" -initrd {INITRAMFS}"));
    }
    lines.push(emulator);
    let mut sh = process::neutral("sh");
    sh.current_dir(desk).arg("-c").arg(lines.join("\n"));
    Ok(sh)
}

/// The directories of this machine that it sees at the same place: the tree, and where cargo builds if that is elsewhere.
fn seen() -> Vec<PathBuf> {
    let (tree, target) = (workspace::root(), workspace::target());
    if target.starts_with(&tree) {
        vec![tree]
    } else {
        vec![tree, target]
    }
}

/// A daemon that shares a directory, and waiting for its socket, which is named after the tag.
fn share(daemon: &Path, tag: &str, dir: &Path, is_read_only: bool) -> String {
    format!(
        "{daemon} --socket-path={tag}.sock --shared-dir={dir} --sandbox=none --cache=auto{only} >{tag}.log 2>&1 &\n\
         until [ -S {tag}.sock ]; do kill -0 $! || exit 1; sleep 0.1; done",
        daemon = quoted(&daemon.display().to_string()),
        dir = quoted(&dir.display().to_string()),
        only = if is_read_only { " --readonly" } else { "" },
    )
}

/// The emulator, whose pointer authentication is one that is cheap to emulate.
fn emulator(guest: &Guest<'_>, script: &Path, seen: &[PathBuf], loglevel: u8) -> String {
    let mut words = vec![
        format!("exec {}", qemu::program(Processor::Aarch64)),
        "-machine virt,gic-version=3 -cpu max,pauth-impdef=on".to_owned(),
        format!("-smp {PROCESSORS} -m 2G"),
        "-object memory-backend-memfd,id=mem,size=2G,share=on -numa node,memdev=mem".to_owned(),
    ];
    let numbers = (0..seen.len()).map(|number| number.to_string());
    for tag in [ROOT.to_owned()].into_iter().chain(numbers) {
        words.push(format!(
            "-chardev socket,id=c{tag},path={tag}.sock -device vhost-user-fs-pci,chardev=c{tag},tag={tag}"
        ));
    }
    let mut append = format!(
        "rootfstype=virtiofs root={ROOT} ro init={FIRST_PROGRAM} observer.guest console=ttyAMA0 loglevel={loglevel} panic=-1 --"
    );
    for path in [script].into_iter().chain(seen.iter().map(PathBuf::as_path)) {
        append.push_str(&format!(" \"{}\"", path.display()));
    }
    words.push(format!(
        "-kernel {} -append {}",
        quoted(&guest.kernel.image().display().to_string()),
        quoted(&append)
    ));
    words.push("-serial file:kernel -display none -monitor none -net none -no-reboot".to_owned());
    words.join(" ")
}
