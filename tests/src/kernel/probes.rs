//! What this kernel lets programs attach to, told by the kernel and not by the program under test.

use std::fs;

/// Whether paths can be observed: kprobes are built in, and no lockdown forbids fentry and kprobes.
pub fn path() -> bool {
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    allows_path(&lockdown, &symbols)
}

fn allows_path(lockdown: &str, symbols: &str) -> bool {
    let open = lockdown.is_empty() || lockdown.contains("[none]");
    open && symbols.lines().any(|line| line.ends_with(" register_kprobe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_need_kprobes_and_no_lockdown() {
        let with = "ffffffff81000000 T register_kprobe\n";
        assert!(allows_path("[none] integrity confidentiality\n", with) && allows_path("", with));
        assert!(!allows_path("none [integrity] confidentiality\n", with));
        assert!(!allows_path("", "ffffffff81000000 T unregister_kprobe_all\n"));
    }
}
