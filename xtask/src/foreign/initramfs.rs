//! The first root directory of a kernel whose drivers for the real one are modules: it has these, loads them, and goes on to the real one.
//! An archive of cpio, as kernels read it (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::root::FIRST_PROGRAM;
use crate::kernels::Kernel;

/// The drivers that it takes.
const DRIVERS: [&str; 2] = ["virtio_pci", "virtiofs"];
const FILE: u32 = 0o100_755;
const DIRECTORY: u32 = 0o040_755;

/// The archive for a kernel; `None` if it has the drivers in it.
///
/// # Errors
/// A driver's module is not there.
pub fn of(kernel: &Kernel, tag: &str) -> Result<Option<Vec<u8>>> {
    let modules = kernel.root.join("lib/modules").join(&kernel.release);
    let list = modules.join("modules.dep");
    let list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let paths = in_order(&list, &DRIVERS);
    if paths.is_empty() {
        return Ok(None);
    }
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Archive::default();
    for name in ["bin", "dev", "modules", "root"] {
        archive.add(name, DIRECTORY, &[]);
    }
    archive.add("bin/busybox", FILE, &read(&kernel.root.join("bin/busybox"))?);
    let mut init = "#!/bin/busybox sh\n".to_owned();
    for (number, path) in paths.iter().enumerate() {
        archive.add(&format!("modules/{number}"), FILE, &read(&modules.join(path))?);
        init.push_str(&format!("/bin/busybox insmod /modules/{number}\n"));
    }
    init.push_str(&format!(
        "/bin/busybox mount -t virtiofs -o ro {tag} /root\n\
         exec /bin/busybox switch_root /root {FIRST_PROGRAM} \"$@\"\n"
    ));
    archive.add("init", FILE, init.as_bytes());
    Ok(Some(archive.end()))
}

/// The files of these modules and of those that they need, each behind what it needs: a line of `modules.dep` has them the other way
/// round.
fn in_order<'a>(list: &'a str, names: &[&str]) -> Vec<&'a str> {
    let mut order = Vec::new();
    for name in names {
        let is_it = |path: &str| path.rsplit('/').next() == Some(&format!("{name}.ko"));
        let mut lines = list.lines().filter_map(|line| line.split_once(':'));
        let Some((path, needs)) = lines.find(|(path, _)| is_it(path)) else {
            continue;
        };
        for one in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&one) {
                order.push(one);
            }
        }
    }
    order
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries, // inode
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            u32::try_from(content.len()).unwrap_or(u32::MAX),
            0, // devices
            0,
            0,
            0,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0, // no sum
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let list = "kernel/a/virtio_pci.ko: kernel/a/modern.ko kernel/a/legacy.ko kernel/a/ring.ko\n\
                    kernel/b/fuse.ko:\n\
                    kernel/b/virtiofs.ko: kernel/b/fuse.ko kernel/a/ring.ko\n";
        assert_eq!(
            in_order(list, &DRIVERS),
            [
                "kernel/a/ring.ko",
                "kernel/a/legacy.ko",
                "kernel/a/modern.ko",
                "kernel/a/virtio_pci.ko",
                "kernel/b/fuse.ko",
                "kernel/b/virtiofs.ko",
            ]
        );
        assert!(in_order("kernel/c.ko:\n", &DRIVERS).is_empty());
    }

    #[test]
    fn others_read_the_archive() {
        let mut archive = Archive::default();
        archive.add("dir", DIRECTORY, &[]);
        archive.add("dir/file", FILE, b"12345");
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), archive.end()).expect("written");
        let list = Command::new("busybox")
            .args(["cpio", "-t", "-F"])
            .arg(file.path())
            .stderr(Stdio::null())
            .output()
            .expect("busybox, which `cargo xtask setup` installs");
        assert_eq!(String::from_utf8_lossy(&list.stdout), "dir\ndir/file\n");
    }
}
