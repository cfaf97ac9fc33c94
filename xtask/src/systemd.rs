//! A guest whose first program is systemd, as on a machine that Debian was installed on: virtme-ng's own way of doing that starts its
//! command from a console that never comes. What this machine has of systemd's units is started, then the command.

use std::path::Path;

use crate::vm::quoted;

/// The tag under which virtme-ng hands the first directory over that can be written to.
const WRITABLE: &str = "virtme.initmount0";

/// The options for the emulator: the last `-append` counts, so this takes the place of virtme-ng's own line, which names its own
/// first program.
pub fn options(init: &Path, loglevel: u8) -> String {
    let line = format!(
        "init={} loglevel={loglevel} panic=-1 console=ttyS0 console=hvc0 systemd.show_status=no",
        init.display()
    );
    format!("--qemu-opts=-append {}", quoted(&line))
}

/// What the kernel starts: it lays the files out that systemd finds elsewhere, and becomes systemd. The root file system is read-only.
/// What is written to `/etc` and `/var` is kept in memory, and `/usr/local/sbin` is empty. This machine may be a container, and say so
/// in a file; the guest is none.
pub fn first_program(script: &Path, results: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t tmpfs -o mode=755 run /run\n\
         mkdir -p /run/above /run/units\n\
         for dir in etc var; do\n\
         mkdir /run/above/$dir /run/above/$dir.work\n\
         mount -t overlay -o xino=off,lowerdir=/$dir,upperdir=/run/above/$dir,workdir=/run/above/$dir.work $dir /$dir\n\
         done\n\
         mount -t tmpfs -o mode=1777 tmp /tmp\n\
         mount -t tmpfs -o mode=755 sbin /usr/local/sbin\n\
         mount -t virtiofs {WRITABLE} {results}\n\
         cat >/run/units/command.service <<'UNIT'\n{unit}UNIT\n\
         container= SYSTEMD_UNIT_PATH=/run/units: exec /lib/systemd/systemd --unit=command.service\n",
        results = quoted(&results.display().to_string()),
        unit = unit(script),
    )
}

/// What is reached in the end: all that a machine has by the time that somebody can log in.
fn unit(script: &Path) -> String {
    format!(
        "[Unit]\n\
         Requires=basic.target\n\
         After=basic.target\n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/bin/sh \"{}\"\n",
        script.display()
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_first_program_is_a_script_that_sh_reads() {
        let text = first_program(Path::new("/a dir/script"), Path::new("/a dir"));
        let read = Command::new("sh").args(["-n", "-c", &text]).status();
        assert!(read.is_ok_and(|status| status.success()), "{text}");
        assert!(
            text.contains("ExecStart=/bin/sh \"/a dir/script\"\nUNIT\n"),
            "{text}"
        );
    }
}
