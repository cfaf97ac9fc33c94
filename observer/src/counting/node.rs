//! The network namespaces of this node that can be entered, and looking into one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::kernel::NetnsNames;
use crate::privilege::capabilities::{self, DAC_READ_SEARCH, SYS_ADMIN, SYS_PTRACE};

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";
/// So many are read.
pub(super) const MOST: usize = 64;
/// So many processes are asked for theirs.
const MOST_PROCESSES: usize = 65_536;

/// A namespace, by a file that stands for it. Nothing keeps it open: it may go at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Namespace {
    pub(super) inode: u32,
    pub(super) path: PathBuf,
}

/// The namespaces of the node, its own first, then the named ones, then those of processes; `wanted` by inode, if not all
/// are.
pub(super) fn namespaces(wanted: &[u32]) -> Vec<Namespace> {
    let own = PathBuf::from("/proc/self/ns/net");
    let files = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let is_process = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let processes = files("/proc").into_iter().filter(is_process);
    let processes = processes.map(|path| path.join("ns/net")).take(MOST_PROCESSES);
    let mut seen = HashSet::new();
    let all = [own].into_iter().chain(files(NAMED)).chain(processes);
    let found = all.filter_map(|path| {
        let inode = u32::try_from(fs::metadata(&path).ok()?.ino()).ok()?;
        let is_wanted = wanted.is_empty() || wanted.contains(&inode);
        (is_wanted && seen.insert(inode)).then_some(Namespace { inode, path })
    });
    // Raised once for all of them.
    capabilities::with(SYS_PTRACE, || found.collect())
}

impl Namespace {
    /// Runs something on a thread within the namespace. `None` if it is gone or cannot be entered.
    pub(super) fn within<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Option<T> {
        // A thread that has entered does not come back without privileges that it may lack there: it ends.
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                self.enter()
                    .inspect_err(|error| log::debug!("{}: {error}", self.path.display()))
                    .ok()?;
                Some(run())
            });
            entered.join().ok().flatten()
        })
    }

    /// Not into another that has come to have the same name, or whose process has the number of one that is gone.
    fn enter(&self) -> io::Result<()> {
        // Where one is already one needs no privilege to enter.
        if NetnsNames::own() == Some(self.inode) {
            return Ok(());
        }
        let file = capabilities::with(SYS_PTRACE, || File::open(&self.path))?;
        if file.metadata()?.ino() != u64::from(self.inode) {
            return Err(io::Error::other("stands for another namespace by now"));
        }
        capabilities::with(SYS_ADMIN, || setns(file.as_fd(), CloneFlags::CLONE_NEWNET))
            .map_err(io::Error::from)
    }
}

/// A file below `/proc/net` of the calling thread's namespace; empty if there is none.
pub(super) fn proc_net(name: &str) -> String {
    // `/proc/self` is the first thread; `/proc/thread-self` and `net` below `/proc/self/task` are younger than Linux 3.10. A thread's
    // number stands below `/proc` as a process's does, though it is not listed.
    let thread = nix::unistd::gettid();
    let path = Path::new("/proc").join(thread.to_string()).join("net").join(name);
    // The root of the namespace's users owns it, who may be another than ours.
    capabilities::with(DAC_READ_SEARCH, || fs::read_to_string(path)).unwrap_or_default()
}

/// Whether nf_tables is in this kernel already: asking it for rules would load it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NfTables {
    /// Whether it is built in, once that has been looked up.
    built_in: Option<bool>,
}

impl NfTables {
    /// Looks.
    pub(super) fn is_there(&mut self) -> bool {
        // Large to read, and what is built in does not change.
        let built_in = self.built_in.get_or_insert_with(|| {
            let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
            symbols
                .lines()
                .any(|line| line.ends_with(" nft_do_chain") || line.contains(" nft_do_chain\t"))
        });
        *built_in || Path::new("/sys/module/nf_tables").exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_namespace_is_our_own_and_each_comes_once() {
        let found = namespaces(&[]);
        let own = fs::metadata("/proc/self/ns/net").expect("there is one").ino();
        assert_eq!(u64::from(found[0].inode), own);
        let inodes: HashSet<u32> = found.iter().map(|one| one.inode).collect();
        assert_eq!(inodes.len(), found.len());
        assert_eq!(namespaces(&[found[0].inode]), found[..1]);
        assert_eq!(namespaces(&[1]), []);
    }

    #[test]
    fn a_namespace_that_is_another_by_now_is_not_entered() {
        let own = namespaces(&[]).remove(0);
        let other = Namespace {
            inode: own.inode.wrapping_add(1),
            path: own.path,
        };
        assert_eq!(other.within(|| ()), None);
        let gone = Namespace {
            inode: 1,
            path: "/proc/0/ns/net".into(),
        };
        assert_eq!(gone.within(|| ()), None);
    }

    #[test]
    fn the_threads_own_files_are_read() {
        assert!(proc_net("dev").contains("lo:"));
        assert_eq!(proc_net("no-such-file"), "");
        let other = std::thread::spawn(|| proc_net("dev")).join();
        assert!(other.expect("reads").contains("lo:"));
    }
}
