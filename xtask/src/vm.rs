//! `cargo xtask vm`: a shell command inside a virtual machine that sees this machine's files and runs another kernel.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt::Group;
use crate::kernels::{Kernel, Series};
use crate::relay::{Relay, Sink};
use crate::{foreign, process, setup, systemd, virtme, workspace};

/// The options of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The kernel to boot: a series, with -cloud, -rt or -arm64 or without
    #[arg(long, value_name = "KERNEL", default_value_t = crate::kernels::DEFAULT)]
    kernel: Series,
    /// Stop the machine when the command has not ended after that many minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 20)]
    limit: u64,
    /// What the machine's clock goes by
    #[arg(long, value_enum, default_value_t = Clock::Time)]
    clock: Clock,
    /// Let systemd be the machine's first program, with the units that this machine has
    #[arg(long)]
    systemd: bool,
    /// A command line for sh; $RESULTS names a directory that it can write to and that stays
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// How many processors a guest has: counters are per processor, so more than one.
pub const PROCESSORS: usize = 2;

/// So often an emulator that ends while it boots is started: one has failed an assertion of its own there (`msix_table_mmio_write`).
const BOOTS: u32 = 3;
/// How long a kernel may take to start its first program. Emulated, it needs 20 s, and minutes on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(480);

/// What of its messages a kernel prints on its console: critical ones and worse, and everything once it panics.
const LOUD: u8 = 3;

/// How often the host looks at what the guest has written.
const LOOK: Duration = Duration::from_millis(100);

/// What the guest loads before the command, as any node of a cluster would have by the time it is looked at.
const MODULES: &str = "ip_tables ip6_tables iptable_raw iptable_mangle iptable_nat iptable_filter ip6table_raw \
    ip6table_mangle ip6table_nat ip6table_filter nf_tables nft_compat nft_ct nft_nat nft_masq nft_chain_nat nft_reject \
    nft_reject_inet nft_limit nft_log nft_fib_inet nf_conntrack nf_conntrack_netlink nf_nat xt_conntrack xt_addrtype \
    xt_comment xt_mark xt_multiport xt_MASQUERADE xt_nat xt_REDIRECT xt_set xt_statistic xt_tcpudp ipt_REJECT \
    ip6t_REJECT ip_set ip_set_hash_ip ip_set_hash_net nfnetlink_log nf_log_syslog xt_TRACE xt_NFQUEUE nfnetlink_queue \
    nft_queue nft_synproxy nft_numgen nft_hash nft_fwd_netdev nft_flow_offload nft_limit nft_meta_bridge \
    nft_reject_bridge nft_reject_netdev veth dummy bridge br_netfilter vxlan";

/// Runs the command and ends with its exit code.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let kernel = setup::vm(arguments.kernel)?;
    let results = workspace::target().join("vm").join(arguments.kernel.to_string());
    let guest = Guest {
        kernel: &kernel,
        command: &arguments.command.join(" "),
        here: &env::current_dir().context("cannot tell the current directory")?,
        results: &results,
        limit: Duration::from_secs(arguments.limit.saturating_mul(60)),
        clock: arguments.clock,
        systemd: arguments.systemd,
    };
    let code = guest.run(&Sink::Plain)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// What a guest's clock goes by.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Clock {
    /// This machine's time
    Time,
    /// The instructions that its processors run, a nanosecond each: what is measured is the same on every machine,
    /// whatever else that does
    Instructions,
}

impl Clock {
    /// For the emulator. Its string instructions go byte by byte, which no processor does any more: the guest is told that
    /// they are not fast, so that its kernel copies word by word.
    const fn options(self) -> Option<&'static str> {
        match self {
            Self::Time => None,
            Self::Instructions => Some("-icount shift=0,sleep=off -cpu max,-erms,-fsrm"),
        }
    }
}

/// One boot of one kernel, for one command.
pub struct Guest<'a> {
    /// The kernel to boot.
    pub kernel: &'a Kernel,
    /// A command line for sh.
    pub command: &'a str,
    /// Where the command starts.
    pub here: &'a Path,
    /// A directory that the guest can write to, as `$RESULTS`.
    pub results: &'a Path,
    /// How long the command may take.
    pub limit: Duration,
    /// What its clock goes by.
    pub clock: Clock,
    /// Whether its first program is systemd, which then starts the command.
    pub systemd: bool,
}

impl Guest<'_> {
    /// Boots, runs the command while passing on what it prints, and returns its exit code. An emulator that ends before the command has
    /// begun says nothing about the command, and is started again.
    pub fn run(&self, sink: &Sink) -> Result<i32> {
        for _ in 0..BOOTS {
            if let Some(code) = self.boot(sink)? {
                return Ok(code);
            }
            eprintln!(
                "xtask: the emulator of {} ended while it booted",
                self.kernel.release
            );
        }
        bail!(
            "the emulator of {} ended {BOOTS} times while it booted: see {}",
            self.kernel.release,
            self.results.display()
        )
    }

    /// `None`: the emulator ended before the command began.
    fn boot(&self, sink: &Sink) -> Result<Option<i32>> {
        let desk = Desk::lay_out(self.results)?;
        fs::write(desk.file("script"), self.script(&desk))?;
        let mut machine = Machine::start(self, &desk)?;
        let mut stdout = Relay::new(desk.file("stdout"), sink);
        let mut stderr = Relay::new(desk.file("stderr"), sink);
        let begun = Instant::now();
        let mut running_since = None;
        loop {
            // Before reading what was written: so that whatever the command wrote is read after it has ended.
            let ended = machine.ended()? || desk.file("code").exists();
            if running_since.is_none() && desk.file("started").exists() {
                running_since = Some(Instant::now());
            }
            stdout.pass_on(|bytes| sink.stdout(bytes))?;
            stderr.pass_on(|bytes| sink.stderr(bytes))?;
            if ended {
                break;
            }
            self.check_time(begun, running_since, &desk)?;
            thread::sleep(LOOK);
        }
        stdout.finish(|bytes| sink.stdout(bytes))?;
        stderr.finish(|bytes| sink.stderr(bytes))?;
        if !desk.file("started").exists() && !desk.file("code").exists() {
            return Ok(None);
        }
        let code = self.exit_code(&desk)?;
        drop(machine);
        // Kept when something went wrong, since the error points into it; of no use otherwise.
        fs::remove_dir_all(&desk.dir).with_context(|| format!("cannot remove {}", desk.dir.display()))?;
        Ok(Some(code))
    }

    fn check_time(&self, begun: Instant, running_since: Option<Instant>, desk: &Desk) -> Result<()> {
        let release = &self.kernel.release;
        let kernel = desk.file("kernel");
        match running_since {
            None if begun.elapsed() > BOOT_LIMIT => bail!(
                "the VM of {release} did not boot in {} s: see {}",
                BOOT_LIMIT.as_secs(),
                kernel.display()
            ),
            Some(since) if since.elapsed() > self.limit => bail!(
                "the command in the VM of {release} did not end in {} s and was stopped: see {}",
                self.limit.as_secs(),
                kernel.display()
            ),
            _ => Ok(()),
        }
    }

    fn exit_code(&self, desk: &Desk) -> Result<i32> {
        let code = fs::read_to_string(desk.file("code")).unwrap_or_default();
        match code.trim().parse() {
            Ok(code) => Ok(code),
            Err(_) => bail!(
                "the VM of {} ended before its command did: {}",
                self.kernel.release,
                last_words(&desk.file("kernel")),
            ),
        }
    }

    /// What the guest runs. Its console repeats and overwrites lines, so everything goes through files.
    fn script(&self, desk: &Desk) -> String {
        let path = env::var("PATH").unwrap_or_default();
        format!(
            "mkdir -p /run/home\n\
             export HOME=/run/home RESULTS={results} PATH={path}:/usr/local/sbin:/usr/sbin:/sbin\n\
             ip link set lo up\n\
             {modules}\n\
             cd {here}\n\
             : >{started}\n\
             sh -c {command} </dev/null >{stdout} 2>{stderr}\n\
             echo $? >{code}.part\n\
             mv {code}.part {code}\n",
            // A machine that systemd runs loads them when they are asked for, as any does.
            modules = if self.systemd {
                String::new()
            } else {
                format!("modprobe --all --quiet {MODULES}")
            },
            results = quoted(&self.results.display().to_string()),
            path = quoted(&path),
            here = quoted(&self.here.display().to_string()),
            command = quoted(self.command),
            started = desk.quoted("started"),
            stdout = desk.quoted("stdout"),
            stderr = desk.quoted("stderr"),
            code = desk.quoted("code"),
        )
    }
}

/// The files through which host and guest talk, in a corner of the results directory.
struct Desk {
    dir: PathBuf,
}

impl Desk {
    fn lay_out(results: &Path) -> Result<Self> {
        // Two machines may share a results directory, and one long gone may have had our process id.
        let dir = results.join(format!(".vm-{}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot clear {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let desk = Self { dir };
        // Made by the host, so that it can read on from where it was whatever the guest does.
        fs::write(desk.file("stdout"), [])?;
        fs::write(desk.file("stderr"), [])?;
        Ok(desk)
    }

    /// Writes the first program of a guest that systemd runs; returns the options that name it.
    fn lay_out_systemd(&self, results: &Path) -> Result<String> {
        let init = self.file("init");
        fs::write(&init, systemd::first_program(&self.file("script"), results))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        Ok(systemd::options(&init, LOUD))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn quoted(&self, name: &str) -> String {
        quoted(&self.file(name).display().to_string())
    }
}

/// The emulator and whatever it started, ended with us.
struct Machine {
    // The whole group: the emulator is not virtme-ng's only child, and would live on without it.
    group: Option<Group>,
    child: Child,
}

impl Machine {
    fn start(guest: &Guest<'_>, desk: &Desk) -> Result<Self> {
        let mut command = if guest.kernel.is_of_this_machine() {
            Self::virtme(guest, desk)?
        } else {
            foreign::command(guest, &desk.dir, LOUD)?
        };
        let console = fs::File::create(desk.file("console"))?;
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}: run `cargo xtask setup`"))?;
        Ok(Self {
            group: Some(Group::of(child.id())?),
            child,
        })
    }

    /// On this machine's own root directory.
    fn virtme(guest: &Guest<'_>, desk: &Desk) -> Result<Command> {
        let first = guest
            .systemd
            .then(|| desk.lay_out_systemd(guest.results))
            .transpose()?;
        let mut command = virtme::command()?;
        command
            .arg("--run")
            .arg(guest.kernel.image())
            // A nested machine often has a /dev/kvm that boots no guest, so software emulation it is.
            .args(["--disable-kvm", "--memory", "2G"])
            .args(["--cpus", &PROCESSORS.to_string()])
            .arg(format!("--rwdir={}", guest.results.display()))
            // What the kernel itself says would go nowhere. A kernel that ends by a panic leaves nothing else.
            .arg(format!(
                "--qemu-opts=-set chardev.console.path={}",
                desk.file("kernel").display()
            ))
            .args(["--append", &format!("loglevel={LOUD}")])
            .args(
                guest
                    .clock
                    .options()
                    .map(|options| format!("--qemu-opts={options}")),
            )
            .args(first)
            .arg("--exec")
            .arg(format!("sh {}", desk.file("script").display()));
        process::forget(&mut command, process::describes_this_package);
        Ok(command)
    }

    fn ended(&mut self) -> Result<bool> {
        Ok(self
            .child
            .try_wait()
            .context("cannot wait for the emulator")?
            .is_some())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.group = None;
        // Killed just now, or ended before: nothing to wait long for.
        let _reaped = self.child.wait();
    }
}

/// Why the kernel ended, from what it wrote on its console, and where the rest is.
fn last_words(kernel: &Path) -> String {
    const BEGIN: [&str; 4] = ["Oops: ", "BUG: ", "Kernel panic", "watchdog: "];
    let text = fs::read(kernel).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let said = text.lines().find_map(|line| {
        let from = BEGIN.iter().filter_map(|begin| line.find(begin)).min()?;
        Some(line[from..].trim_end())
    });
    let said = said.unwrap_or("its kernel said nothing");
    format!("{said} (see {} and the files beside it)", kernel.display())
}

/// One word for sh, whatever is in it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_quoted_word_is_one_word_to_sh_whatever_is_in_it() {
        for text in [
            "plain",
            "two words",
            "it's",
            "$HOME `id` \"x\" \\ * ;",
            "",
            "line\nline",
        ] {
            let echoed = process::stdout_of(
                Command::new("sh")
                    .arg("-c")
                    .arg(format!("printf %s {}", quoted(text))),
            );
            assert_eq!(echoed.as_deref(), Some(text));
        }
    }
}
