//! The root directory of such a machine: packages unpacked below the cache, none of them installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::kernels::{self, Kernel, Series};
use crate::processor::Processor;
use crate::{apt, debian, process, workspace};

/// What scenarios call, and what they need to be called.
const PACKAGES: [&str; 27] = [
    "base-files",
    "base-passwd",
    "bash",
    "bpftool",
    "busybox-static",
    "conntrack",
    "coreutils",
    "curl",
    "dash",
    "ethtool",
    "findutils",
    "grep",
    "hostname",
    "iproute2",
    "ipset",
    "iptables",
    "iputils-ping",
    "kmod",
    "mawk",
    "mount",
    "nftables",
    "procps",
    "python3",
    "sed",
    "tcpdump",
    "tshark",
    "util-linux",
];
/// Says which packages are in it.
const MARK: &str = ".packages";
/// What its kernel starts.
pub const FIRST_PROGRAM: &str = "/init";
/// It is given a script and the directories that it is to see, whose tags are numbers. Nothing is written to the root directory, which other
/// machines have, too.
const INIT: &str = "#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 var /var
mount -t tracefs trace /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /run/netns /var/lib /var/tmp /dev/shm /dev/pts
mount -t devpts -o ptmxmode=666 pts /dev/pts
script=$1
shift
tag=0
for dir; do
    mkdir -p \"$dir\"
    mount -t virtiofs $tag \"$dir\"
    tag=$((tag + 1))
done
sh \"$script\"
echo o >/proc/sysrq-trigger
sleep 60
";

/// The root directory of the machines of a processor.
pub struct Root {
    dir: PathBuf,
    packages: apt::Elsewhere,
}

impl Root {
    /// Makes it unless it is there, which takes a minute.
    ///
    /// # Errors
    /// This is no Debian, or its packages cannot be had.
    pub fn of(processor: Processor) -> Result<Self> {
        let cache = workspace::cache()?.join(processor.debian());
        let packages = debian::of_processor(processor, cache.join("apt"))?;
        let root = Self {
            dir: cache.join("root"),
            packages,
        };
        if fs::read_to_string(root.dir.join(MARK)).is_ok_and(|text| text == PACKAGES.join(" ")) {
            root.lay_out_first_program()?;
            return Ok(root);
        }
        eprintln!("setup: unpacking a root directory for {processor} (about a minute)");
        if root.dir.exists() {
            fs::remove_dir_all(&root.dir).with_context(|| format!("cannot clear {}", root.dir.display()))?;
        }
        root.fill()?;
        Ok(root)
    }

    fn fill(&self) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        apt::unpack_from(&self.packages, &PACKAGES, &self.dir)?;
        // What packages' scripts would do.
        let awk = self.dir.join("usr/bin/awk");
        symlink("mawk", &awk).with_context(|| format!("cannot make {}", awk.display()))?;
        for name in ["passwd", "group"] {
            let master = self.dir.join(format!("usr/share/base-passwd/{name}.master"));
            fs::copy(&master, self.dir.join("etc").join(name))
                .with_context(|| format!("cannot copy {}", master.display()))?;
        }
        self.lay_out_first_program()?;
        fs::write(self.dir.join(MARK), PACKAGES.join(" "))
            .with_context(|| format!("cannot write below {}", self.dir.display()))
    }

    fn lay_out_first_program(&self) -> Result<()> {
        let path = self.dir.join(FIRST_PROGRAM.trim_start_matches('/'));
        // Another machine may be starting it: it is the same then.
        if fs::read_to_string(&path).is_ok_and(|text| text == INIT) {
            return Ok(());
        }
        fs::write(&path, INIT).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} a program", path.display()))
    }

    /// The newest kernel of a series, unpacked below it.
    ///
    /// # Errors
    /// There is none.
    pub fn kernel(&self, series: Series) -> Result<Kernel> {
        if let Some(kernel) = Kernel::installed_in(&self.dir, series) {
            return Ok(kernel);
        }
        let names = apt::names_from(&self.packages, &kernels::pattern(series))?;
        let package = kernels::newest_package(series, &names)?;
        eprintln!("setup: unpacking {package}");
        apt::download_from(&self.packages, &package, &self.dir)?;
        let Some(kernel) = Kernel::installed_in(&self.dir, series) else {
            bail!("{package} has no kernel with its modules");
        };
        let mut depmod = process::neutral("depmod");
        process::run_quietly(depmod.arg("-b").arg(&self.dir).arg(&kernel.release))?;
        Ok(kernel)
    }
}

/// A directory of the guest's, which this machine's has to have before it can be mounted on.
pub fn mount_point(root: &Path, path: &Path) -> Result<()> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let at = root.join(below);
    fs::create_dir_all(&at).with_context(|| format!("cannot make {}", at.display()))
}
