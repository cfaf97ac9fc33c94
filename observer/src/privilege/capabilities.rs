//! Capabilities of the calling thread: capabilities(7), include/uapi/linux/capability.h.

use std::fmt;
use std::io;

/// A set of capabilities, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u64);

/// Reads any file.
pub const DAC_READ_SEARCH: Set = Set(1 << 2);
/// Changes bounding sets.
pub const SETPCAP: Set = Set(1 << 8);
/// Shows rules, and would change them.
pub const NET_ADMIN: Set = Set(1 << 12);
/// Opens the raw socket through which iptables asks.
pub const NET_RAW: Set = Set(1 << 13);
/// Looks at other users' processes.
pub const SYS_PTRACE: Set = Set(1 << 19);
/// Enters namespaces, among much else.
pub const SYS_ADMIN: Set = Set(1 << 21);
/// Shows addresses in `/proc/kallsyms`.
pub const SYSLOG: Set = Set(1 << 34);
/// Loads programs that read kernel memory, and attaches probes.
pub const PERFMON: Set = Set(1 << 38);
/// Loads programs.
pub const BPF: Set = Set(1 << 39);

/// What is raised only for as long as it is used.
pub const ON_DEMAND: Set = SYS_ADMIN.and(SYS_PTRACE).and(DAC_READ_SEARCH);

/// The names of those that anything here speaks of.
const NAMES: [(Set, &str); 9] = [
    (BPF, "CAP_BPF"),
    (PERFMON, "CAP_PERFMON"),
    (SYSLOG, "CAP_SYSLOG"),
    (NET_ADMIN, "CAP_NET_ADMIN"),
    (NET_RAW, "CAP_NET_RAW"),
    (SYS_ADMIN, "CAP_SYS_ADMIN"),
    (SYS_PTRACE, "CAP_SYS_PTRACE"),
    (DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    (SETPCAP, "CAP_SETPCAP"),
];

impl Set {
    /// No capability.
    pub const NONE: Self = Self(0);

    /// The capabilities of either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of the other's are in it.
    pub const fn has(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names, `CAP_BPF`.
    pub fn names(self) -> Vec<&'static str> {
        NAMES
            .iter()
            .filter(|(set, _)| self.has(*set))
            .map(|(_, name)| *name)
            .collect()
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    /// 0: the calling thread.
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The sets of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sets {
    effective: Set,
    permitted: Set,
    inheritable: Set,
}

/// Only a system call: may be used between fork and exec.
fn read() -> io::Result<Sets> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut words = [Word::default(); 2];
    // SAFETY: both live across the call, which fills two words for this version.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let set = |of: fn(&Word) -> u32| Set(u64::from(of(&words[1])) << 32 | u64::from(of(&words[0])));
    Ok(Sets {
        effective: set(|word| word.effective),
        permitted: set(|word| word.permitted),
        inheritable: set(|word| word.inheritable),
    })
}

/// Only a system call: may be used between fork and exec.
fn write(sets: Sets) -> io::Result<()> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let word = |shift: u32| Word {
        effective: (sets.effective.0 >> shift) as u32,
        permitted: (sets.permitted.0 >> shift) as u32,
        inheritable: (sets.inheritable.0 >> shift) as u32,
    };
    let words = [word(0), word(32)];
    // SAFETY: both live across the call, which reads two words for this version.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What the calling thread may have; nothing if the kernel does not say.
pub fn permitted() -> Set {
    read().unwrap_or_default().permitted
}

/// Gives up all that is not in `kept`, and puts what is used on demand out of effect. Returns what is left.
///
/// # Errors
/// The kernel refuses to take capabilities away: it never does.
pub fn limit(kept: Set) -> io::Result<Set> {
    // Unknown before 4.3, where there is nothing to clear.
    // SAFETY: a system call without pointers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    for number in 0..u64::BITS {
        if kept.has(Set(1 << number)) {
            continue;
        }
        // Without CAP_SETPCAP it stays, and then `no_new_privs` alone keeps it from being of use.
        // SAFETY: a system call without pointers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } != 0 {
            break;
        }
    }
    let left = read()?.permitted.common(kept);
    write(Sets {
        effective: left.without(on_demand(kept, left)),
        permitted: left,
        inheritable: Set::default(),
    })?;
    Ok(left)
}

/// What need not be in effect all the time. Where CAP_BPF or CAP_PERFMON is missing, as in a container that was given
/// CAP_SYS_ADMIN for them, that stands for both.
fn on_demand(kept: Set, left: Set) -> Set {
    let programs = BPF.and(PERFMON);
    if !kept.has(SYS_ADMIN) {
        // Files are read, and nothing else is done.
        Set::default()
    } else if kept.has(programs) && !left.has(programs) {
        ON_DEMAND.without(SYS_ADMIN)
    } else {
        ON_DEMAND
    }
}

/// Does something with more in effect than before, as far as this thread may, and puts it out of effect again.
pub fn with<T>(more: Set, run: impl FnOnce() -> T) -> T {
    let Some(before) = raise(more) else {
        return run();
    };
    let result = run();
    if let Err(error) = write(before) {
        log::warn!("cannot put capabilities out of effect: {error}");
    }
    result
}

/// Only system calls: may be used between fork and exec.
fn raise(more: Set) -> Option<Sets> {
    let before = read().ok()?;
    let effective = before.effective.and(more.common(before.permitted));
    write(Sets { effective, ..before }).ok()?;
    Some(before)
}

/// Between fork and exec of a tool: puts into effect what entering a namespace takes.
pub fn raise_for_entering() {
    let _ = raise(ON_DEMAND);
}

/// Between fork and exec of a tool: leaves it `kept` and nothing else.
///
/// # Errors
/// The kernel refuses to take capabilities away: it never does.
pub fn leave_to_tool(kept: Set, is_root: bool) -> io::Result<()> {
    let left = read()?.permitted.common(kept);
    let sets = Sets {
        effective: left,
        permitted: left,
        // Root's programs get theirs from what root has; those of others get what is ambient.
        inheritable: if is_root { Set::default() } else { left },
    };
    write(sets)?;
    for number in (0..u64::BITS).filter(|number| !is_root && left.has(Set(1 << number))) {
        // SAFETY: a system call without pointers.
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                libc::c_ulong::from(number),
                0,
                0,
            )
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege::{OF_TOOLS, Task};

    /// In a thread of its own: what is given up there is given up there only.
    fn apart<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(run).join().expect("thread")
    }

    /// What `/proc` says of the calling thread.
    fn told(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("line");
        u64::from_str_radix(line.trim(), 16).expect("number")
    }

    #[test]
    fn what_is_not_kept_is_gone_and_what_is_used_on_demand_is_out_of_effect() {
        apart(|| {
            let before = told("CapPrm:");
            let kept = Task::Packets.needs();
            let left = limit(kept).expect("limited");
            assert_eq!(told("CapPrm:"), before & kept.0);
            assert_eq!(left.0, before & kept.0);
            assert_eq!(told("CapEff:"), before & kept.without(ON_DEMAND).0);
            assert_eq!(told("CapInh:"), 0);
            assert_eq!(told("CapAmb:"), 0);
            let inside = with(SYS_ADMIN, || told("CapEff:"));
            assert_eq!(inside, before & kept.without(ON_DEMAND.without(SYS_ADMIN)).0);
            assert_eq!(told("CapEff:"), before & kept.without(ON_DEMAND).0);
            leave_to_tool(OF_TOOLS, true).expect("left");
            assert_eq!(told("CapPrm:"), before & OF_TOOLS.0);
            assert_eq!(with(SYS_ADMIN, || told("CapEff:")), before & OF_TOOLS.0);
        });
    }

    #[test]
    fn cap_sys_admin_stays_in_effect_where_it_stands_for_others() {
        let kept = Task::Packets.needs();
        assert_eq!(on_demand(kept, kept), ON_DEMAND);
        assert_eq!(
            on_demand(kept, kept.without(PERFMON)),
            ON_DEMAND.without(SYS_ADMIN)
        );
        let kept = Task::Counters.needs();
        assert_eq!(on_demand(kept, kept), ON_DEMAND);
    }

    #[test]
    fn a_set_names_its_capabilities() {
        assert_eq!(BPF.and(PERFMON).to_string(), "CAP_BPF, CAP_PERFMON");
        assert!(BPF.and(PERFMON).has(BPF) && !BPF.has(BPF.and(PERFMON)));
    }
}
