//! With the running kernel: these need root, and do nothing without.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::unistd::{geteuid, gettid};

use super::*;
use crate::kernel::enter;

/// Says to the test below that it is the process that is to be killed.
const HOLD: &str = "OBSERVER_TEST_HOLDS_THE_KEY";

fn can_run() -> bool {
    let symbols = Symbols::load().expect("symbols");
    let can = geteuid().is_root() && nf_tables_is_present(&symbols);
    if !can {
        eprintln!("not run: needs root and nf_tables");
    }
    can
}

/// Runs a command in the namespace that a file stands for.
fn inside(path: &str, command: &str) -> String {
    let path = path.to_owned();
    let words: Vec<String> = command.split(' ').map(ToOwned::to_owned).collect();
    let run = thread::spawn(move || {
        enter(Path::new(&path)).expect("the namespace is there");
        Command::new(&words[0])
            .args(&words[1..])
            .output()
            .expect("command")
    });
    let output = run.join().expect("thread");
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn path_of(key: &TraceKey) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", key.as_fd().as_raw_fd())
}

/// In a namespace made for it: what is there of the key's namespace, while the key is held and when `end` has ended it.
///
/// A device whose other end is in the key's namespace goes when that namespace goes.
fn goes_with(namespace: String, end: impl FnOnce() + Send + 'static) {
    let here = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let thread = gettid();
        let device = || {
            Command::new("ip")
                .args(["link", "show", "near"])
                .output()
                .expect("ip")
                .status
                .success()
        };
        inside(
            &namespace,
            &format!("ip link add far type veth peer near netns {thread}"),
        );
        assert!(device());
        let rules = inside(&namespace, "nft list ruleset");
        assert!(rules.contains("meta nftrace set 1"), "{rules}");
        end();
        let asked = Instant::now();
        while device() {
            assert!(asked.elapsed() < Duration::from_secs(20), "the namespace stays");
            thread::sleep(Duration::from_millis(20));
        }
    });
    here.join().expect("thread");
}

#[test]
fn the_rule_lives_in_a_namespace_of_its_own_until_the_key_is_dropped() {
    if !can_run() {
        return;
    }
    let own = || fs_inode("/proc/self/ns/net");
    let before = own();
    let key = TraceKey::turn_on(true).expect("the key");
    assert_eq!(own(), before, "this process stays where it was");
    assert_ne!(key.inode(), before);
    assert_eq!(
        inside(&path_of(&key), "nft list ruleset"),
        "table inet observer {\n\tchain observer {\n\t\tmeta nftrace set 1\n\t}\n}\n"
    );
    let rules = inside("/proc/self/ns/net", "nft list ruleset");
    assert!(!rules.contains("nftrace"), "{rules}");
    goes_with(path_of(&key), move || drop(key));
}

#[test]
fn the_rule_goes_with_the_process_that_is_killed() {
    if !can_run() {
        return;
    }
    if std::env::var_os(HOLD).is_some() {
        hold();
    }
    let (child, namespace) = holder();
    goes_with(namespace, move || {
        let mut child = child;
        child.kill().expect("killed");
        child.wait().expect("waited for");
    });
}

#[test]
fn nothing_is_asked_where_nf_tables_is_absent() {
    assert!(matches!(TraceKey::turn_on(false), Err(TraceKeyError::Absent)));
}

/// The process that is killed: this test again.
fn holder() -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture"])
        .arg(format!(
            "{}::the_rule_goes_with_the_process_that_is_killed",
            module_path!().split_once("::").expect("a crate").1
        ))
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let path = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("holding ").map(|(_, fd)| fd.to_owned()))
        .expect("it holds the key");
    let path = path.replace("self", &child.id().to_string());
    (child, path)
}

fn hold() -> ! {
    let key = TraceKey::turn_on(true).expect("the key");
    println!("holding {}", path_of(&key));
    // Longer than the test takes; an orphan ends by itself.
    thread::sleep(Duration::from_secs(60));
    drop(key);
    std::process::exit(1);
}

fn fs_inode(path: &str) -> u32 {
    let inode = std::fs::metadata(path).expect("a namespace").ino();
    u32::try_from(inode).expect("an inode of 32 bits")
}
