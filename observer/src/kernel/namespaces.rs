//! Network namespaces: their names, and going into one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns};

use crate::privilege::capabilities::{self, SYS_ADMIN, SYS_PTRACE};

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// What is known of the machine's namespaces by inode: looked up when asked, and kept.
#[derive(Default)]
pub struct NetnsNames {
    names: HashMap<u32, Option<String>>,
    /// Of those without a name.
    processes: HashMap<u32, Option<PathBuf>>,
}

impl NetnsNames {
    /// The name that `ip netns` has for a namespace.
    pub fn name(&mut self, inode: u32) -> Option<String> {
        if !self.names.contains_key(&inode) {
            self.names = named()
                .into_iter()
                .map(|(inode, name)| (inode, Some(name)))
                .collect();
            self.names.entry(inode).or_insert(None);
        }
        self.names.get(&inode).cloned().flatten()
    }

    /// Looks names up anew when next asked: a namespace came or went.
    pub fn forget(&mut self) {
        self.names.clear();
        self.processes.clear();
    }

    /// A file that stands for a namespace without a name, through a process that lives in it.
    pub fn process_file(&mut self, inode: u32) -> Option<&std::path::Path> {
        let known = self.processes.entry(inode);
        known.or_insert_with(|| process_in(inode)).as_deref()
    }

    /// Inode of this process's own namespace.
    pub fn own() -> Option<u32> {
        static OWN: OnceLock<Option<u32>> = OnceLock::new();
        *OWN.get_or_init(|| Self::inode_of_process(std::process::id()).ok())
    }

    /// Inode of the namespace with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn inode_of(name: &str) -> io::Result<u32> {
        inode(&PathBuf::from(NAMED).join(name))
    }

    /// Inode of a process's namespace.
    ///
    /// # Errors
    /// There is no such process.
    pub fn inode_of_process(pid: u32) -> io::Result<u32> {
        capabilities::with(SYS_PTRACE, || {
            inode(&PathBuf::from(format!("/proc/{pid}/ns/net")))
        })
    }

    /// A file that stands for the namespace: by name, or through a process that lives in it.
    pub fn path(inode: u32) -> Option<PathBuf> {
        let by_name = named()
            .into_iter()
            .find(|(found, _)| *found == inode)
            .map(|(_, name)| PathBuf::from(NAMED).join(name));
        by_name.or_else(|| process_in(inode))
    }
}

/// Puts the calling thread into the namespace that a file stands for.
///
/// # Errors
/// It cannot be opened or entered (needs `CAP_SYS_ADMIN`).
pub fn enter(path: &std::path::Path) -> io::Result<()> {
    let file = capabilities::with(SYS_PTRACE, || fs::File::open(path))?;
    capabilities::with(SYS_ADMIN, || setns(file.as_fd(), CloneFlags::CLONE_NEWNET)).map_err(io::Error::from)
}

fn named() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir(NAMED) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, String)> = entries
        .flatten()
        .filter_map(|entry| Some((inode(&entry.path()).ok()?, entry.file_name().into_string().ok()?)))
        .collect();
    // Two names for one namespace: always the same one is shown.
    found.sort();
    found.dedup_by_key(|(inode, _)| *inode);
    found
}

fn process_in(wanted: u32) -> Option<PathBuf> {
    capabilities::with(SYS_PTRACE, || {
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            entry.file_name().to_str()?.parse::<u32>().ok()?;
            let path = entry.path().join("ns/net");
            (inode(&path).ok()? == wanted).then_some(path)
        })
    })
}

fn inode(path: &std::path::Path) -> io::Result<u32> {
    let inode = fs::metadata(path)?.ino();
    u32::try_from(inode).map_err(|_| io::Error::other("no namespace"))
}
