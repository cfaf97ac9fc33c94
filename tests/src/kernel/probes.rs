//! What this kernel lets programs attach to, told by the kernel and not by the program under test.

use std::fs;
use std::sync::LazyLock;

/// What the kernel allows. It is asked once: all its symbols are some 200,000 lines, which it takes seconds to print where it is
/// emulated, and what is built into it does not change.
static ALLOWED: LazyLock<Allowed> = LazyLock::new(|| {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let programs = allows_programs(&symbols);
    Allowed {
        programs,
        path: programs && allows_path(&lockdown, &symbols),
    }
});

struct Allowed {
    programs: bool,
    path: bool,
}

/// Whether the kernel is young enough for observer's programs at all: they call `bpf_loop()` (Linux 5.17).
pub fn programs() -> bool {
    ALLOWED.programs
}

/// Whether paths can be observed: kprobes are built in, and no lockdown forbids fentry and kprobes.
pub fn path() -> bool {
    ALLOWED.path
}

fn allows_programs(symbols: &str) -> bool {
    symbols.lines().any(|line| line.ends_with(" bpf_loop"))
}

fn allows_path(lockdown: &str, symbols: &str) -> bool {
    let open = lockdown.is_empty() || lockdown.contains("[none]");
    open && symbols.lines().any(|line| line.ends_with(" register_kprobe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_need_a_helper_and_not_one_whose_name_is_longer() {
        assert!(allows_programs("ffffffff81000000 T bpf_loop\n"));
        assert!(!allows_programs("ffffffff81000000 t inline_bpf_loop\n"));
    }

    #[test]
    fn paths_need_kprobes_and_no_lockdown() {
        let with = "ffffffff81000000 T register_kprobe\n";
        assert!(allows_path("[none] integrity confidentiality\n", with) && allows_path("", with));
        assert!(!allows_path("none [integrity] confidentiality\n", with));
        assert!(!allows_path("", "ffffffff81000000 T unregister_kprobe_all\n"));
    }
}
