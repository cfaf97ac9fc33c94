//! Drops of the two-node cluster with the names that an API server and a container runtime give, which speak the real protocols: who has
//! the address at that time and nobody else, whatever becomes of the servers; without them drops are told as ever.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::run::{Lab, Place};
use crate::cage::Cage;
use crate::cluster::Cluster;
use crate::names::{Api, Break, Runtime, Sandbox};
use crate::observer::{self, Invocation, Observer, read_lines};
use crate::results::Outcome;
use crate::rights::{self, Watched};

/// The pod on node02, to which the policy of FORWARD lets nothing through.
const POD: &str = "10.224.2.16";
/// The service's address.
const SERVICE: &str = "10.108.94.160";
/// What is sent to the service's own address, and to a node's, dies before it is translated.
const RULES: &str = "*filter\n-I OUTPUT -p udp -m udp --dport 9 -d 10.108.94.160/32 -j DROP\n\
    -I OUTPUT -p udp -m udp --dport 9 -d 192.0.2.12/32 -j DROP\nCOMMIT\n";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "seed", &place.setup(), &lab.run)?;
    cluster.restore("master", RULES, false)?;
    let api = Api::start()?;
    for (plural, file) in [("services", "service"), ("nodes", "node")] {
        api.set(plural, object(lab, file)?);
    }
    api.set("pods", pod(lab, "nginx-0", "a")?);
    api.set("pods", elsewhere(lab, "nginx-1", "b", "10.224.1.14")?);
    // What Kubernetes would never take: its address stays without a name.
    api.set("pods", elsewhere(lab, "evil\u{1b}[2J", "c", "10.224.0.0")?);
    let socket = place.work.join("cri.sock");
    let runtime = Runtime::start(&socket, vec![sandbox(&cluster, "nginx-0", "5a0d")?])?;
    let config = place.work.join("kubeconfig");
    fs::write(&config, api.kubeconfig())?;

    let mut failures = by_name(lab, place, program, &cluster, &config)?;
    let (trace, args) = arguments(place.work, &config, &socket);
    let mut observer = Observer::watch(program, &args, place.work, &trace, lab.patience * 3)?;
    failures.extend(rights::failures(observer.pid(), Watched::Packets, lab.patience)?);
    failures.extend(rights_of_the_thread(observer.pid())?);
    let mut sight = Sight {
        cluster: &cluster,
        trace: &trace,
        lab,
    };
    let first = sight.until("both sources name the pod", |line| {
        line["names"]["dst"]["from"] == json!(["api", "cri"])
    })?;
    let expected = json!({"pod": "nginx-test/nginx-0", "containers": ["nginx"], "node": "node02", "from": ["api", "cri"]});
    let mut is_told = |what: &str, found: &Value, expected: &Value| {
        if found != expected {
            failures.push(format!("{what}: {found} and not {expected}"));
        }
    };
    is_told("the pod", &first["names"]["dst"], &expected);
    is_told(
        "who has a name that is none",
        &first["names"]["src"],
        &Value::Null,
    );
    let asked = sight.told("10.108.94.160:9", "the service is told", |line| {
        line["packet"]["dst"] == json!("10.108.94.160")
    })?;
    let service = json!({"service": "nginx-test/nginx-service", "from": ["api"]});
    is_told("the service", &asked["names"]["dst"], &service);
    let node = json!({"node": "node02", "from": ["api"]});
    is_told(
        "the node",
        &sight.told("192.0.2.12:9", "the node is told", |line| {
            line["packet"]["dst"] == json!("192.0.2.12")
        })?["names"]["dst"],
        &node,
    );

    // Another pod has the address: the API says so first, the runtime later. In between nobody is sure.
    api.remove("pods", pod(lab, "nginx-0", "a")?);
    api.set("pods", pod(lab, "nginx-9", "d")?);
    runtime.has(vec![sandbox(&cluster, "nginx-9", "5a0e")?]);
    sight.until_pod("nginx-9", |line| {
        line["names"]["dst"]["from"] == json!(["api", "cri"])
    })?;
    // A version that is too old: what happened meanwhile is in the next list only.
    for (how, number) in [(Break::Expired, 10), (Break::Cut, 11), (Break::Garbage, 12)] {
        let (name, before) = (
            format!("nginx-{number}"),
            if number == 10 { 9 } else { number - 1 },
        );
        let gone = pod(lab, &format!("nginx-{before}"), &uid(before))?;
        let new = pod(lab, &name, &uid(number))?;
        api.unseen(|api| {
            api.remove("pods", gone);
            api.set("pods", new);
        });
        runtime.has(vec![sandbox(&cluster, &name, &name)?]);
        api.breaks(how);
        sight.until_pod(&name, |line| {
            line["names"]["dst"]["from"] == json!(["api", "cri"])
        })?;
    }
    // Nobody answers any more: what was known is shown, and drops are told as ever.
    api.is_down(true);
    drop(runtime);
    sight.until("the last name is still told", |line| {
        line["names"]["dst"]["pod"] == json!("nginx-test/nginx-12")
    })?;
    sight.until("that nobody answers is said", |_| {
        observer.stderr().contains("cri.sock does not answer")
    })?;
    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(lab.patience * 2)?);
    if code != 0 {
        failures.push(format!("observer ended with {code}"));
    }
    failures.extend(judged(&trace, &observer, lab)?);
    if !api
        .asked()
        .iter()
        .any(|path| path.contains("limit=") && path.contains("continue=eyJ%2F"))
    {
        failures.push("the second page of a list was never asked for".into());
    }
    Ok(Outcome::of(failures))
}

/// The thread that connects has no capability at all.
fn rights_of_the_thread(pid: u32) -> Result<Vec<String>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).context("observer is gone")?;
    for thread in threads.flatten() {
        if fs::read_to_string(thread.path().join("comm"))?.trim() != "names" {
            continue;
        }
        let status = fs::read_to_string(thread.path().join("status"))?;
        let has = |line: &&str| line.starts_with("CapPrm:") || line.starts_with("CapEff:");
        let wrong = status
            .lines()
            .filter(has)
            .filter(|line| !line.ends_with("\t0000000000000000"));
        return Ok(wrong
            .map(|line| format!("the thread for names has {line}"))
            .collect());
    }
    Ok(vec!["there is no thread for names".to_owned()])
}

/// A pod and a service are watched by their names, the service also without the API, by kube-proxy's rules; and one that is not there is
/// an error that says so.
fn by_name(
    lab: &Lab,
    place: &Place,
    program: &Path,
    cluster: &Cluster,
    config: &Path,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let directory = place.work.join("by-name");
    fs::create_dir_all(&directory)?;
    let config = config.to_string_lossy();
    let args = |option: &str, name: &str, kube: &str| {
        let all = [
            "watch", "-o", "json", "--count", "1", option, name, "--cri", "off", "--kube", kube,
        ];
        let scope = ["--kube-scope", "cluster"];
        all.into_iter()
            .chain(scope)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let trace = directory.join("stdout");
    let by_rules = ", as kube-proxy's rules say";
    for (option, name, address, kube, by) in [
        ("--pod", "nginx-test/nginx-0", POD, &*config, ""),
        ("--service", "nginx-test/nginx-service", SERVICE, &config, ""),
        ("--service", "nginx-test/nginx-service", SERVICE, "off", by_rules),
    ] {
        let args = args(option, name, kube);
        let mut observer = Observer::watch(program, &args, &directory, &trace, lab.patience * 3)?;
        // Of another pod first: it is not asked for.
        send(cluster, "10.224.1.14:9")?;
        send(cluster, &format!("{address}:9"))?;
        let code = observer::code(observer.wait(lab.patience)?);
        let lines = read_lines(&trace)?;
        let drops: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "drop").collect();
        let is_asked_for = |line: &&Value| line["packet"]["dst"] == json!(address);
        if code != 0 || drops.is_empty() || !drops.iter().all(is_asked_for) {
            failures.push(format!("{option} {name} ended with {code}, and told {drops:?}"));
        }
        if lines[0]["filter"]["text"] != json!(format!("host {address}")) {
            failures.push(format!("{option} {name} watches {}", lines[0]["filter"]));
        }
        if observer.stderr().trim() != format!("observer: {option} {name} is {address}{by}") {
            failures.push(format!("{option} {name} says {:?}", observer.stderr()));
        }
    }
    for (option, kube, why) in [
        ("--pod", &*config, "there is no such pod "),
        (
            "--service",
            "off",
            "no Kubernetes API tells of it, and no rules of kube-proxy ",
        ),
    ] {
        let args = args(option, "nginx-test/none", kube);
        let mut observer = Observer::start(&Invocation {
            program,
            args: &args,
            cage: &Cage::default(),
            directory: &directory,
        })?;
        let code = observer::code(observer.wait(lab.patience)?);
        let error = observer.stderr();
        if code != 2
            || !error.starts_with(&format!("observer: {option} nginx-test/none: {why}"))
            || error.lines().count() != 1
        {
            failures.push(format!("{option} of one that is not there: {code}, {error:?}"));
        }
    }
    Ok(failures)
}

fn send(cluster: &Cluster, to: &str) -> Result<()> {
    cluster.node("master")?.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
        // What netfilter drops on its way out is an error of the sender's.
        let _ = socket.send_to(b"names", to);
        Ok(())
    })
}

fn uid(number: u32) -> String {
    if number == 9 {
        "d".to_owned()
    } else {
        format!("u{number}")
    }
}

fn arguments(work: &Path, config: &Path, socket: &Path) -> (std::path::PathBuf, Vec<String>) {
    let trace = work.join("trace");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let args = [
        "watch",
        "--dst",
        "10.224.0.0/16",
        "--dst",
        "10.108.94.160",
        "--dst",
        "192.0.2.12",
        "--write",
        &text(&trace),
        "--kube",
        &text(config),
        "--kube-scope",
        "cluster",
        "--cri",
        &text(socket),
        "--node-name",
        "node02",
    ];
    (trace.clone(), args.map(str::to_owned).to_vec())
}

pub(super) fn object(lab: &Lab, file: &str) -> Result<Value> {
    let text = lab.data.read(&format!("names/{file}.json"))?;
    serde_json::from_str(&text).with_context(|| format!("names/{file}.json"))
}

fn pod(lab: &Lab, name: &str, uid: &str) -> Result<Value> {
    let mut pod = object(lab, "pod")?;
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(uid);
    Ok(pod)
}

pub(super) fn elsewhere(lab: &Lab, name: &str, uid: &str, address: &str) -> Result<Value> {
    let mut pod = pod(lab, name, uid)?;
    pod["spec"]["nodeName"] = json!("node01");
    pod["status"]["podIP"] = json!(address);
    pod["status"]["podIPs"] = json!([{"ip": address}]);
    Ok(pod)
}

fn sandbox(cluster: &Cluster, name: &str, id: &str) -> Result<Sandbox> {
    let identities = cluster.identities()?;
    let (_, netns) = identities.get("node02").context("no node02")?;
    Ok(Sandbox {
        id: id.to_owned(),
        namespace: "nginx-test".into(),
        name: name.to_owned(),
        address: POD.into(),
        netns: Path::new("/run/netns").join(netns),
        container: "nginx".into(),
    })
}

/// Packets that die, and what is told of them.
struct Sight<'a> {
    cluster: &'a Cluster,
    trace: &'a Path,
    lab: &'a Lab,
}

impl Sight<'_> {
    /// Sends to the pod until a drop is told that is as wanted.
    fn until(&mut self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.told(&format!("{POD}:9"), what, is_wanted)
    }

    fn told(&mut self, to: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let known = self.drops()?.len();
            send(self.cluster, to)?;
            let mut drops = self.drops()?;
            while drops.len() <= known && begun.elapsed() < self.lab.patience {
                std::thread::sleep(std::time::Duration::from_millis(20));
                drops = self.drops()?;
            }
            if let Some(found) = drops.into_iter().skip(known).find(&is_wanted) {
                return Ok(found);
            }
            if begun.elapsed() > self.lab.patience {
                bail!(
                    "{what}: not in {} s: {:?}",
                    self.lab.patience.as_secs(),
                    self.drops()?.last()
                );
            }
        }
    }

    fn until_pod(&mut self, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let name = json!(format!("nginx-test/{name}"));
        self.until(&format!("{name} is told"), |line| {
            line["names"]["dst"]["pod"] == name && is_wanted(line)
        })
    }

    fn drops(&self) -> Result<Vec<Value>> {
        let lines = read_lines(self.trace)?;
        Ok(lines.into_iter().filter(|line| line["kind"] == "drop").collect())
    }
}

/// Of the whole run: no name comes back after another has taken its place, and no enemy's name is anywhere.
fn judged(trace: &Path, observer: &Observer, lab: &Lab) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for line in read_lines(trace)?.iter().filter(|line| line["kind"] == "drop") {
        if line["packet"]["dst"] != json!(POD) {
            continue;
        }
        let Some(name) = line["names"]["dst"]["pod"].as_str() else {
            continue;
        };
        if told.last().is_some_and(|last| last != name) && told.iter().any(|known| known == name) {
            failures.push(format!("{name} was told again after another had the address"));
        }
        if told.last().is_none_or(|last| last != name) {
            told.push(name.to_owned());
        }
        if line["names"]["netns"]["pod"]
            .as_str()
            .is_some_and(|pod| !pod.starts_with("nginx-test/nginx-"))
        {
            failures.push(format!("a namespace is {}", line["names"]["netns"]));
        }
    }
    let expected: Vec<String> = [0, 9, 10, 11, 12]
        .iter()
        .map(|number| format!("nginx-test/nginx-{number}"))
        .collect();
    if told != expected {
        failures.push(format!("told were {told:?} and not {expected:?}"));
    }
    let (text, errors) = (observer.stdout(), observer.stderr());
    if !text.contains(&format!("{POD}:9 (nginx-test/nginx-0)")) {
        failures.push(format!("the text does not name the pod: {text}"));
    }
    if text.contains("evil") || fs::read_to_string(trace)?.contains("evil") {
        failures.push("a name that Kubernetes would not take is told".into());
    }
    for (what, count) in [("the API server ", 1..=6), ("cri.sock does not answer", 1..=1)] {
        let found = errors.matches(what).count();
        if !count.contains(&found) {
            failures.push(format!("{what:?} is said {found} times: {errors}"));
        }
    }
    if let Some(schema) = &lab.schema {
        for line in read_lines(trace)? {
            failures.extend(schema.complaint(&line));
        }
    }
    Ok(failures)
}
