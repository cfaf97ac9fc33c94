//! The command line of `deploy/observer.yaml`, run as a container runtime would: from the image's root directory with nothing in it
//! but observer, what the manifest mounts, and exactly the capabilities that it names. It must see what dies in other network
//! namespaces, and answer the kubelet's probe. With the chart's `hostTools` it also has the text of legacy rules.
//!
//! What this has not of a container: the runtime's filter of system calls, AppArmor, and a control group.

mod sandbox;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::run::{Lab, Place};
use crate::cluster::{Backend, Cluster};
use crate::deploy::pod::Pod;
use crate::deploy::{chart, documents, read};
use crate::observer::{self, read_lines};
use crate::results::Outcome;
use crate::rights::{self, Watched};
use crate::traffic::{self, Udp};

const RULES: &str = "*filter\n-A FORWARD -p udp -m udp --dport 7 -j ACCEPT\n\
    -A FORWARD -p udp -m udp --dport 8 -j DROP\nCOMMIT\n";
const TICK: Duration = Duration::from_millis(50);

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let setup = place.setup();
    let cluster = Cluster::up(&lab.data, "router", &setup, &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let plain = documents(&read("observer.yaml")?)?;
    let with_tools = chart::render(
        "observer",
        &json!({"hostTools": {"enabled": true, "lib64": Path::new("/lib64").exists()}}),
    )?;
    let mut failures = Vec::new();
    for (name, manifests, has_text) in [
        // What iptables-nft wrote is read from the kernel.
        ("plain", plain, setup.backend == Backend::Nft),
        ("with-tools", with_tools, true),
    ] {
        let work = place.work.join(name);
        fs::create_dir(&work)?;
        let set = manifests.iter().find(|one| one["kind"] == "DaemonSet");
        let pod = Pod::of(set.context("no DaemonSet")?)?;
        let found = in_container(lab, &cluster, program, &pod, has_text, &work)
            .with_context(|| format!("in the container {name}"))?;
        failures.extend(found.into_iter().map(|why| format!("{name}: {why}")));
    }
    Ok(Outcome::of(failures))
}

fn in_container(
    lab: &Lab,
    cluster: &Cluster,
    program: &Path,
    pod: &Pod,
    has_text: bool,
    work: &Path,
) -> Result<Vec<String>> {
    let mut container = Container::start(program, pod, work)?;
    let lines = container.wait_for("it to start", lab.patience * 3, |lines| {
        of_kind(lines, "start") > 0
    })?;
    let mut failures = rights::failures(container.pid(), Watched::Packets, lab.patience)?;
    failures.extend(sandbox::failures(container.pid(), pod)?);
    let start = lines.first().map(Value::to_string).unwrap_or_default();
    if start.contains("without CAP_") {
        failures.push(format!("it lacks a capability: {start}"));
    }
    let answer = probe(pod)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        failures.push(format!(
            "the kubelet's probe would be answered: {}",
            answer.escape_debug()
        ));
    }

    let begun = Instant::now();
    for count in 1.. {
        let udp: Udp = serde_json::from_value(
            json!({"from": "client", "to": cluster.names().fill("{{server}}")?, "port": 8, "count": 1, "outcome": ["silence"]}),
        )?;
        traffic::send(cluster.node("client")?, &udp)?;
        let lines = container.wait_for("its drops", lab.patience, |lines| of_kind(lines, "drop") >= count)?;
        let drops: Vec<&Value> = lines.iter().filter(|line| line["packet"]["dport"] == 8).collect();
        failures.extend(
            drops
                .iter()
                .filter(|line| !is_named(line, cluster))
                .map(|line| format!("this has another name: {line}")),
        );
        let text = drops
            .last()
            .and_then(|line| line["drop"]["rule"]["text"].as_str());
        match (text, has_text) {
            (None, false) => break,
            // Of iptables-nft in the tool's words or in nft's.
            (Some(text), true) if text.contains("dport 8") => break,
            (Some(text), false) => failures.push(format!("without a tool the rule has the text {text}")),
            _ if begun.elapsed() > lab.patience => failures.push(format!("the rule's text is {text:?}")),
            // The text may come later than the name.
            _ => {}
        }
        if !failures.is_empty() {
            break;
        }
    }
    failures.extend(container.end(lab.patience * 3)?);
    Ok(failures)
}

fn is_named(line: &Value, cluster: &Cluster) -> bool {
    let drop = &line["drop"];
    let netns = line["netns"]["name"].as_str().unwrap_or_default();
    drop["chain"] == "FORWARD"
        && drop["rule"]["number"] == 2
        && drop["confidence"] == "exact"
        && netns.starts_with(&cluster.setup().prefix)
}

fn of_kind(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["kind"] == kind).count()
}

/// What the kubelet asks, in the node's network.
fn probe(pod: &Pod) -> Result<String> {
    let port = pod
        .args
        .last()
        .context("no port")?
        .parse::<u16>()
        .context("the last word is the port")?;
    let mut stream =
        TcpStream::connect(("127.0.0.1", port)).context("nobody listens where the kubelet asks")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .context("no answer for the kubelet")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A running one. Dropping it kills it.
struct Container {
    child: Child,
    trace: std::path::PathBuf,
    errors: std::path::PathBuf,
}

impl Container {
    fn start(program: &Path, pod: &Pod, work: &Path) -> Result<Self> {
        let (trace, errors) = (work.join("stdout"), work.join("stderr"));
        let mut command = Command::new("/observer");
        command
            .args(&pod.args)
            .env_clear()
            .stdin(std::process::Stdio::null())
            .stdout(fs::File::create(&trace)?)
            .stderr(fs::File::create(&errors)?);
        sandbox::close(&mut command, program, pod, &work.join("root"))?;
        let child = command
            .spawn()
            .context("observer does not start in a container")?;
        Ok(Self { child, trace, errors })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        is_there: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let begun = Instant::now();
        loop {
            let lines = read_lines(&self.trace)?;
            if is_there(&lines) {
                return Ok(lines);
            }
            let errors = fs::read_to_string(&self.errors).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}): {}", errors.trim());
            }
            if begun.elapsed() > patience {
                bail!("waited {} s for {what}: {}", patience.as_secs(), errors.trim());
            }
            std::thread::sleep(TICK);
        }
    }

    /// As the kubelet ends it.
    fn end(&mut self, patience: Duration) -> Result<Vec<String>> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, Signal::SIGTERM).context("cannot signal observer")?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if begun.elapsed() > patience {
                bail!("it did not end within {} s", patience.as_secs());
            }
            std::thread::sleep(TICK);
        };
        let mut failures = Vec::new();
        let lines = read_lines(&self.trace)?;
        if observer::code(status) != 0 || lines.last().is_none_or(|line| line["kind"] != "summary") {
            failures.push(format!("it ended with {status} and without a summary"));
        }
        Ok(failures)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
