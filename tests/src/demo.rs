//! The demonstration: the case observer was made for, on a real two-worker cluster, with the real program.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

use crate::cluster::{Backend, Cluster, Data, Family, Setup};
use crate::exec;
use crate::netns::name_path;
use crate::observer::read_lines;
use crate::run_dir::RunDir;

/// Seconds that curl may hang.
const PATIENCE: &str = "5";

/// Shows the seed case: curl to a ClusterIP hangs, observer says why.
pub fn run(data: &Data, observer: &Path, backend: Backend, run: &RunDir) -> Result<()> {
    ignore_interrupts();
    let setup = Setup {
        backend,
        family: Family::Ip,
        prefix: prefix(),
    };
    let _alone = run.alone()?;
    let cluster = Cluster::up(data, "seed", &setup, run)?;
    // Of the two endpoints leave the one on node02, so that the story is the same each time.
    cluster.restore("master", "*nat\n-D KUBE-SVC-PIU4JA5FNNNHNOAJ 2\nCOMMIT\n", false)?;
    let tool = tool(backend);
    println!("Three Kubernetes nodes are up (network namespaces, rules by {tool}): master, node01, node02.");
    println!("nginx runs in a pod on node02, but every request to its service hangs. Why?\n");
    println!("$ observer watch --dst 10.224.0.0/16");
    // The trace tells when observer is ready; what it writes to the terminal is for people.
    let trace = run.path().join("trace.json");
    let mut command = Command::new(observer);
    command
        .args(["watch", "--dst", "10.224.0.0/16", "--write"])
        .arg(&trace)
        .stdin(Stdio::null());
    exec::confine(&mut command, None);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}: is it built?", observer.display()))?;
    wait_until_ready(&mut child, &trace)?;

    println!("\nmaster$ curl --max-time {PATIENCE} http://10.108.94.160/");
    let args = ["-sS", "--max-time", PATIENCE, "http://10.108.94.160/"];
    let output = exec::output(Some(cluster.node("master")?), "curl", &args, "")?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr).trim());

    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).context("cannot interrupt observer")?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill()?;
            bail!("observer did not end when interrupted");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("observer failed ({status})");
    }
    Ok(())
}

fn wait_until_ready(observer: &mut Child, trace: &Path) -> Result<()> {
    let begun = Instant::now();
    while read_lines(trace)?.is_empty() {
        if let Some(status) = observer.try_wait()? {
            bail!("observer ended before anything was sent ({status})");
        }
        if begun.elapsed() > Duration::from_secs(60) {
            bail!("observer did not start to watch");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Plain node names if they are free, so that what observer prints reads as on a real node.
fn prefix() -> String {
    let names = ["master", "node01", "node02", "nginx-1", "nginx-2"];
    if names.iter().any(|name| name_path(name).exists()) {
        format!("lab-{}-", std::process::id())
    } else {
        String::new()
    }
}

fn tool(backend: Backend) -> &'static str {
    match backend {
        Backend::Legacy => "iptables-legacy",
        Backend::Nft | Backend::Native => "iptables-nft",
    }
}

/// Ctrl-C is for observer and curl, which share the terminal: they end, then the cluster is taken down.
fn ignore_interrupts() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, so it is async-signal-safe. (A handler, unlike SIG_IGN, is not inherited
    // by the programs that are started.)
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::Handler(nothing)) };
}
