//! `observer explain` about a pod and a service by their names: what it says must be what the kernel counts when that pod sends such a packet,
//! whoever tells the names: the API, the container runtime and kube-proxy's rules, and of rules in force as of saved ones.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::run::{Lab, Place};
use super::names::{elsewhere, object};
use crate::cluster::rules::{self, counters};
use crate::cluster::{Cluster, Family};
use crate::exec;
use crate::names::{Api, Runtime, Sandbox};
use crate::results::Outcome;
use crate::traffic::{self, Http};

/// The pod on node01 that asks, and the node that it is on.
const CLIENT: (&str, &str) = ("nginx-test/client-0", "10.224.1.14");
const NODE: &str = "node01";
const SERVICE: (&str, &str) = ("nginx-test/nginx-service", "10.108.94.160");
/// The pod on node02 that the service is left with.
const POD: (&str, &str) = ("nginx-test/nginx-0", "10.224.2.16");
const ONE_ENDPOINT: &str = "*nat\n-D KUBE-SVC-PIU4JA5FNNNHNOAJ 2\nCOMMIT\n";
/// Before it is there, the policy of FORWARD drops what it drops.
const RULE: &str =
    "*filter\n-I FORWARD -s 10.224.1.14/32 -d 10.224.2.16/32 -p tcp -m tcp --dport 80 -j DROP\nCOMMIT\n";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let cluster = Cluster::up(&lab.data, "seed", &place.setup(), &lab.run)?;
    cluster.restore(NODE, ONE_ENDPOINT, false)?;
    // Where the node's loopback leads.
    let api = cluster.node(NODE)?.run(Api::start)?;
    api.set("services", object(lab, "service")?);
    api.set("services", headless(lab)?);
    api.set("nodes", object(lab, "node")?);
    api.set("pods", object(lab, "pod")?);
    api.set("pods", elsewhere(lab, "client-0", "b", CLIENT.1)?);
    api.set("pods", elsewhere(lab, "new-0", "c", "")?);
    let config = place.work.join("kubeconfig");
    fs::write(&config, api.kubeconfig())?;
    let socket = place.work.join("cri.sock");
    let _runtime = Runtime::start(&socket, vec![sandbox(&cluster)?])?;

    let asked = Asked {
        cluster: &cluster,
        place,
        program,
        by_api: words(&["--cri", "off", "--kube-scope", "cluster", "--kube"], &config),
        by_runtime: words(&["--kube", "off", "--node-name", NODE, "--cri"], &socket),
    };
    let mut failures = asked.judged("the policy")?;
    cluster.restore(NODE, RULE, false)?;
    failures.extend(asked.judged("a rule")?);
    failures.extend(asked.saved()?);
    failures.extend(asked.unknown()?);
    Ok(Outcome::of(failures))
}

fn words(options: &[&str], last: &Path) -> Vec<String> {
    let options = options.iter().map(|word| (*word).to_owned());
    options.chain([last.to_string_lossy().into_owned()]).collect()
}

fn headless(lab: &Lab) -> Result<Value> {
    let mut service = object(lab, "service")?;
    service["metadata"]["name"] = json!("headless");
    service["metadata"]["uid"] = json!("h");
    service["spec"]["clusterIP"] = json!("None");
    service["spec"]["clusterIPs"] = json!(["None"]);
    Ok(service)
}

fn sandbox(cluster: &Cluster) -> Result<Sandbox> {
    let identities = cluster.identities()?;
    let (_, netns) = identities.get("nginx-1").context("no nginx-1")?;
    Ok(Sandbox {
        id: "c11e".into(),
        namespace: "nginx-test".into(),
        name: "client-0".into(),
        address: CLIENT.1.into(),
        netns: Path::new("/run/netns").join(netns),
        container: "client".into(),
    })
}

struct Asked<'a> {
    cluster: &'a Cluster,
    place: &'a Place<'a>,
    program: &'a Path,
    by_api: Vec<String>,
    by_runtime: Vec<String>,
}

impl Asked<'_> {
    /// Sends such a packet, and asks about it by all sources.
    fn judged(&self, what: &str) -> Result<Vec<String>> {
        let killer = self.killer()?;
        let mut failures = Vec::new();
        let by_rules = format!(
            "service {} is {}, as kube-proxy's rules say",
            SERVICE.0, SERVICE.1
        );
        let service = format!("service {} is {}", SERVICE.0, SERVICE.1);
        let pod = format!("pod {} is {}", POD.0, POD.1);
        for (option, (name, address), source, note) in [
            ("--dst-service", SERVICE, &self.by_api, &service),
            ("--dst-service", SERVICE, &self.by_runtime, &by_rules),
            ("--dst-pod", POD, &self.by_api, &pod),
        ] {
            let args = self.question(&["--src-pod", CLIENT.0, option, name], source);
            let (code, stdout, stderr) = self.explain(&args)?;
            let answer: Value = serde_json::from_str(&stdout).unwrap_or_default();
            let notes = json!([format!("pod {} is {}", CLIENT.0, CLIENT.1), note]);
            let mut told: Vec<Value> = answer["notes"].as_array().cloned().unwrap_or_default();
            told.truncate(2);
            let ways = answer["ways"].as_array().cloned().unwrap_or_default();
            let is_so = code == Some(0)
                && stderr.is_empty()
                && answer["packet"]["src"] == json!(CLIENT.1)
                && answer["packet"]["dst"] == json!(address)
                && Value::Array(told) == notes
                && !ways.is_empty()
                && ways.iter().all(|way| is_by(&way["drop"], &killer));
            if !is_so {
                failures.push(format!(
                    "{what}: the kernel says {killer}; {} ended with {code:?}: {stdout} {stderr}",
                    args.join(" ")
                ));
            }
        }
        Ok(failures)
    }

    /// The one place that counted what the pod sent to the service.
    fn killer(&self) -> Result<rules::Place> {
        let variant = &self.place.variant;
        let count = || counters(self.cluster.node(NODE)?, variant.backend, variant.family);
        let before = count()?;
        let http: Http = serde_json::from_value(
            json!({"from": "nginx-1", "to": SERVICE.1, "timeout_ms": 300, "outcome": ["silence"]}),
        )?;
        traffic::send(self.cluster.node("nginx-1")?, &http)?;
        let mut killers = count()?
            .into_iter()
            .filter(|(place, now)| now.drops() && now.packets > before[place].packets);
        let killer = killers.next().context("nothing has dropped it")?.0;
        match killers.next() {
            None => Ok(killer),
            Some((other, _)) => anyhow::bail!("both {killer} and {other} have dropped something"),
        }
    }

    /// The same of saved rules, which are asked without root's rights to the kernel's.
    fn saved(&self) -> Result<Vec<String>> {
        let tool = format!("{}-save", rules::tool(self.place.variant.backend, Family::Ip));
        let node = self.cluster.node(NODE)?;
        let file = self.place.work.join("node01.save");
        fs::write(&file, exec::run(Some(node), &tool, &[], "")?)?;
        let devices = ["--iface", "cni0", "--out-iface", "flannel.1"];
        let ends = ["--src-pod", CLIENT.0, "--dst-service", SERVICE.0];
        let mut args = self.question(&ends, &self.by_api);
        args.extend(devices.map(str::to_owned));
        args.extend(words(&["--ruleset"], &file));
        let (code, stdout, stderr) = self.explain(&args)?;
        let answer: Value = serde_json::from_str(&stdout).unwrap_or_default();
        let drop = &answer["ways"][0]["drop"];
        if drop["rule"]["number"] != json!(1) || drop["chain"] != json!("FORWARD") {
            return Ok(vec![format!("of saved rules: {code:?}, {stdout} {stderr}")]);
        }
        Ok(Vec::new())
    }

    /// Who is not there, or has no address, is an error that says so.
    fn unknown(&self) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        for (ends, source, error) in [
            (
                ["--src-pod", "nginx-test/none", "--dst-service", SERVICE.0],
                &self.by_api,
                "--src-pod nginx-test/none: there is no such pod on this node",
            ),
            (
                ["--src-pod", CLIENT.0, "--dst-service", "nginx-test/none"],
                &self.by_api,
                "--dst-service nginx-test/none: the Kubernetes API knows no such service",
            ),
            (
                ["--src-pod", CLIENT.0, "--dst-service", "nginx-test/none"],
                &self.by_runtime,
                "--dst-service nginx-test/none: no Kubernetes API tells of it, and no rules of kube-proxy that are asked have it",
            ),
            (
                ["--src-pod", CLIENT.0, "--dst-service", "nginx-test/headless"],
                &self.by_api,
                "--dst-service nginx-test/headless: this service has no address of its own, it is headless",
            ),
            (
                ["--src-pod", "nginx-test/new-0", "--dst", POD.1],
                &self.by_api,
                "--src-pod nginx-test/new-0: this pod has no address of its own: it has none yet",
            ),
            (
                ["--src-pod", CLIENT.0, "--dst", "fd00::1"],
                &self.by_api,
                "--src-pod nginx-test/client-0 (10.224.1.14) and --dst fd00::1 are of different families",
            ),
        ] {
            let (code, stdout, stderr) = self.explain(&self.question(&ends, source))?;
            let is_so = code == Some(2) && stdout.is_empty() && stderr.lines().count() == 1;
            if !is_so || !stderr.starts_with(&format!("observer: {error}")) {
                failures.push(format!("{}: {code:?}, {stdout}{stderr}", ends.join(" ")));
            }
        }
        Ok(failures)
    }

    fn question(&self, ends: &[&str], source: &[String]) -> Vec<String> {
        let packet = ["--proto", "tcp", "--port", "80"];
        let all = ["explain", "-o", "json"].iter().chain(ends).chain(&packet);
        all.map(|word| (*word).to_owned())
            .chain(source.iter().cloned())
            .collect()
    }

    /// The exit code, and what is on standard output and standard error.
    fn explain(&self, args: &[String]) -> Result<(Option<i32>, String, String)> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let program = self.program.to_string_lossy();
        let output = exec::output(Some(self.cluster.node(NODE)?), &program, &args, "")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }
}

fn is_by(drop: &Value, killer: &rules::Place) -> bool {
    let is_there = drop["table"] == json!(killer.table) && drop["chain"] == json!(killer.chain);
    is_there
        && match killer.rule {
            Some(number) => drop["rule"]["number"] == json!(number),
            None => drop["cause"] == json!("policy"),
        }
}
