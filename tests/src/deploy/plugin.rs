//! `kubectl observer` beside a kubectl that is none: a script that writes down how it is called and answers as each test says. No
//! cluster is asked; what a real one would answer is what its documentation says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::pod::Pod;
use super::{documents, folder, read};

/// Answers by its arguments; `$A` has a file for each answer that a test gives. What it is asked is a line of `calls`; the manifest is
/// kept.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >>"$A/calls"
case "$*" in
    "create -f -") cat >"$A/manifest"; [ ! -e "$A/create-fails" ] || { echo 'forbidden' >&2; exit 1; } ;;
    "delete pod observer-"*) [ ! -e "$A/delete-fails" ] || exit 1; : >"$A/deleted" ;;
    "get node "*) grep -qx "$3" "$A/nodes" || { echo 'not found' >&2; exit 1; } ;;
    "get pod observer-"*waiting.message*) cat "$A/message" ;;
    "get pod observer-"*phase*) cat "$A/state" ;;
    "get pod observer-"*exitCode*) cat "$A/code" ;;
    "get pod "*) [ -e "$A/pod" ] || { echo 'not found' >&2; exit 1; }; cat "$A/pod" ;;
    "logs --follow observer-"*)
        echo 'a drop'
        # As the real one: until the container ends.
        while [ -e "$A/runs" ] && [ ! -e "$A/deleted" ]; do /bin/sleep 0.02; done
        echo 'the summary' ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"#;
/// A second is a moment here.
const SLEEP: &str = "#!/bin/sh\nexec /bin/sleep 0.01\n";

/// A directory with both, and a cluster of one node that runs everything at once.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("kubectl", KUBECTL), ("sleep", SLEEP)] {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let fake = Self(dir);
        fake.answer("nodes", "node-1\n")
            .answer("state", "Running ")
            .answer("code", "0")
            .answer("calls", "");
        fake
    }

    fn answer(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .arg(folder().join("kubectl-observer"))
            .args(args)
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.path().display()))
            .env("A", self.0.path())
            .env_remove("KUBECTL_OBSERVER_IMAGE")
            .env_remove("KUBECTL_OBSERVER_NAMESPACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A shell that is started with a signal ignored, as in the background of another, cannot take it.
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            });
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn pod(&self) -> Pod {
        Pod::of(&documents(&self.read("manifest")).unwrap()[0]).unwrap()
    }

    /// What was made is deleted, by its name, once.
    fn is_clean(&self) -> bool {
        let calls = self.read("calls");
        let manifest = documents(&self.read("manifest")).unwrap();
        let name = manifest[0]["metadata"]["name"].as_str().unwrap();
        let delete = format!("delete pod {name} --namespace kube-system --ignore-not-found --wait=false");
        calls.lines().filter(|line| **line == delete).count() == 1
    }

    /// Nothing was made.
    fn is_untouched(&self) -> bool {
        !self.read("calls").contains("create")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn on_a_node_the_pod_has_the_rights_of_the_agent_and_no_more() {
    let fake = Fake::new();
    let output = fake.run(&["node-1", "--", "--port", "80", "--duration", "1m"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a drop\nthe summary\n");
    let set = documents(&read("observer.yaml").unwrap()).unwrap();
    let agent = Pod::of(set.iter().find(|one| one["kind"] == "DaemonSet").unwrap()).unwrap();
    let pod = fake.pod();
    assert_eq!(pod.args, ["watch", "--port", "80", "--duration", "1m"]);
    assert_eq!((pod.capabilities, pod.mounts), (agent.capabilities, agent.mounts));
    let manifest = &documents(&fake.read("manifest")).unwrap()[0];
    assert_eq!(manifest["spec"]["nodeName"], "node-1");
    assert_eq!(manifest["spec"]["restartPolicy"], "Never");
    assert_eq!(manifest["spec"]["activeDeadlineSeconds"], 3600);
    // Else the agent's DaemonSet would take it for one of its own.
    assert_ne!(
        manifest["metadata"]["labels"],
        set[4]["spec"]["template"]["metadata"]["labels"]
    );
    assert!(fake.is_clean(), "{}", fake.read("calls"));
}

#[test]
fn of_a_pod_its_node_and_its_addresses_are_taken() {
    for (args, ask) in [
        (
            &["pod/nginx", "-n", "shop"][..],
            "get pod nginx --namespace=shop ",
        ),
        (&["nginx"][..], "get pod nginx -o"),
    ] {
        let fake = Fake::new();
        fake.answer("pod", "node-1\n10.244.1.5\nfd00::5\n");
        let output = fake.run(args);
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert!(fake.read("calls").contains(ask), "{}", fake.read("calls"));
        assert_eq!(
            fake.pod().args,
            ["watch", "--dst", "10.244.1.5", "--dst", "fd00::5"]
        );
        assert!(fake.is_clean());
    }
}

#[test]
fn an_option_arrives_as_it_is_whatever_is_in_it() {
    let fake = Fake::new();
    let odd = ["--iface", "a \"b\" \\ 'c' $(d) `e` {f: g} #h", ""];
    let output = fake.run(&[&["node/node-1", "--"][..], &odd].concat());
    assert_eq!(code(&output), 0, "{}", said(&output));
    // Kubernetes makes one of two.
    let args: Vec<String> = fake
        .pod()
        .args
        .iter()
        .map(|word| word.replace("$$", "$"))
        .collect();
    assert_eq!(args[1..], odd);
    assert!(fake.read("manifest").contains("$$(d)"));
    let output = Fake::new().run(&["node-1", "--", "a\nb"]);
    assert_eq!(code(&output), 2);
}

#[test]
fn what_is_not_there_or_no_name_is_told_and_nothing_is_made() {
    for args in [
        &["pod/nginx"][..],
        &["node/other"],
        &["nginx"],
        &["node-1; reboot"],
        &["pod/$(reboot)"],
        &["node-1", "node-2"],
        &["node-1", "--port", "80"],
        &["node-1", "-n"],
        &["node-1", "--limit", "1h"],
        &[],
    ] {
        let fake = Fake::new();
        let output = fake.run(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(!output.stderr.is_empty());
        assert!(fake.is_untouched(), "{args:?}: {}", fake.read("calls"));
    }
    for pod in ["\n10.0.0.1\n", "node-1\n", "node-1\n10.0.0.1; reboot\n"] {
        let fake = Fake::new();
        fake.answer("pod", pod);
        assert_eq!(code(&fake.run(&["pod/nginx"])), 2, "{pod}");
        assert!(fake.is_untouched(), "{pod}");
    }
}

#[test]
fn a_pod_that_cannot_start_is_told_with_the_reason_and_removed() {
    let fake = Fake::new();
    fake.answer("state", "Pending ErrImagePull")
        .answer("message", "no such image\u{1b}[31m");
    let output = fake.run(&["node-1"]);
    assert_eq!(code(&output), 2);
    assert!(
        said(&output).contains("ErrImagePull no such image[31m"),
        "{}",
        said(&output)
    );
    assert!(fake.is_clean());

    let fake = Fake::new();
    fake.answer("state", "Pending ContainerCreating");
    let output = fake.run(&["node-1", "--start-timeout", "3"]);
    assert_eq!(code(&output), 2);
    assert!(
        said(&output).contains("did not start within 3 s"),
        "{}",
        said(&output)
    );
    assert_eq!(said(&output).matches("waiting for").count(), 1);
    assert!(fake.is_clean());

    let fake = Fake::new();
    fake.answer("create-fails", "");
    let output = fake.run(&["node-1"]);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("forbidden"));
    // It may be there all the same.
    assert!(fake.is_clean());
}

#[test]
fn its_own_exit_code_is_that_of_observer() {
    for (answer, expected) in [("1", 1), ("2", 2), ("0", 0)] {
        let fake = Fake::new();
        fake.answer("code", answer);
        assert_eq!(code(&fake.run(&["node-1"])), expected);
        assert!(fake.is_clean());
    }
}

#[test]
fn a_pod_that_cannot_be_removed_is_named() {
    let fake = Fake::new();
    fake.answer("delete-fails", "");
    let output = fake.run(&["node-1"]);
    assert!(
        said(&output).contains("kubectl delete pod observer-"),
        "{}",
        said(&output)
    );
}

#[test]
fn interrupted_it_removes_the_pod_and_still_shows_the_summary() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let fake = Fake::new();
        fake.answer("runs", "");
        let child = fake.command(&["node-1"]).spawn().unwrap();
        wait_for_call(&fake.path("calls"), "logs --follow");
        let output = interrupted(child, signal);
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a drop\nthe summary\n");
        assert!(fake.is_clean(), "{}", fake.read("calls"));
    }
}

#[test]
fn interrupted_while_it_waits_it_removes_the_pod() {
    let fake = Fake::new();
    fake.answer("state", "Pending ContainerCreating");
    let child = fake
        .command(&["node-1", "--start-timeout", "100000"])
        .spawn()
        .unwrap();
    wait_for_call(&fake.path("calls"), "phase");
    let output = interrupted(child, Signal::SIGTERM);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(fake.is_clean(), "{}", fake.read("calls"));
}

fn interrupted(mut child: Child, signal: Signal) -> Output {
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, signal).unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            kill(pid, Signal::SIGKILL).unwrap();
            panic!("{signal} did not end it");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn wait_for_call(calls: &Path, call: &str) {
    let begun = Instant::now();
    while !fs::read_to_string(calls).unwrap_or_default().contains(call) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never called {call}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
