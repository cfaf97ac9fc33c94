//! From a cluster file to namespaces, devices, rules and servers.

use std::fmt::Write as _;
use std::fs::OpenOptions;

use anyhow::{Context, Result, bail};

use super::servers::Server;
use super::spec::{NodeSpec, PodSpec, Spec};
use super::{Backend, Cluster, Data, write_sysctl};
use crate::exec;
use crate::kernel::link;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// What every node gets before its first device: no IPv6 noise (duplicate address detection, router
/// solicitations, multicast reports) that a test would have to explain.
const QUIET: &[(&str, &str)] = &[
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
    // Debian sets these in its root namespace, and new namespaces inherit them.
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.ping_group_range", "0 0"),
];

pub(super) fn build(cluster: &mut Cluster, data: &Data, name: &str, run: &RunDir) -> Result<()> {
    let (spec, text) = data.cluster(name)?;
    if let Some(words) = spec.names.get(cluster.setup.family.word()) {
        for (word, meaning) in words {
            cluster.names.set(word, meaning);
        }
    }
    let spec = Spec::parse(&cluster.names.fill(&text)?)?;

    for name in spec
        .node
        .iter()
        .map(|node| &node.name)
        .chain(spec.pod.iter().map(|pod| &pod.name))
    {
        create(cluster, name, run)?;
    }
    lay_cables(cluster, &spec)?;
    for node in &spec.node {
        build_node(cluster, node, &spec.pod)?;
    }
    for pod in &spec.pod {
        let PodSpec { address, gateway, .. } = pod;
        let batch = format!(
            "link set lo up\naddr add {address} dev eth0\nlink set eth0 up\nroute add default via {gateway}\n"
        );
        cluster.ip(&pod.name, &batch)?;
    }
    for (node, device) in std::mem::take(&mut cluster.cables) {
        cluster
            .node(&node)?
            .run(|| link::wait_until_running(&device))
            .context(node)?;
    }
    for node in &spec.node {
        if cluster.setup.backend == Backend::Native {
            if let Some(file) = &node.native {
                let text = cluster.names.fill(&data.read(&format!("rules/{file}"))?)?;
                exec::run(Some(cluster.node(&node.name)?), "nft", &["-f", "-"], &text)
                    .with_context(|| format!("rules/{file}"))?;
            }
        } else if let Some(file) = &node.rules {
            let text = cluster.names.fill(&data.read(&format!("rules/{file}"))?)?;
            cluster
                .restore(&node.name, &text, true)
                .with_context(|| format!("rules/{file}"))?;
        }
    }
    for server in &spec.server {
        let started = Server::start(cluster.node(&server.node)?, server)?;
        cluster._servers.push(started);
    }
    Ok(())
}

fn create(cluster: &mut Cluster, node: &str, run: &RunDir) -> Result<()> {
    let name = cluster.names.netns(node);
    run.will_name(&name)?;
    let netns = Netns::create(&name)?;
    netns.run(|| {
        for (key, value) in QUIET {
            // A kernel without IPv6, or one where the parameter is younger, has nothing to quieten.
            let _ = write_sysctl(key, value);
        }
        Ok(())
    })?;
    cluster.nodes.insert(node.to_owned(), netns);
    Ok(())
}

/// Makes all veth pairs with one run of `ip`, in the first node: no device ever appears outside the cluster.
///
/// Every end has an index of its own: if both were the same, the kernel would not take the pair for a pair, and
/// notice its carrier up to a second late.
fn lay_cables(cluster: &mut Cluster, spec: &Spec) -> Result<()> {
    let mut batch = String::new();
    let mut cables: Vec<[(String, String); 2]> = Vec::new();
    for cable in &spec.veth {
        cables.push([end(&cable.ends[0])?, end(&cable.ends[1])?]);
    }
    for pod in &spec.pod {
        cables.push([
            (pod.node.clone(), pod_port(pod)),
            (pod.name.clone(), "eth0".to_owned()),
        ]);
    }
    for [(a, a_device), (b, b_device)] in &cables {
        let (a, b) = (cluster.names.netns(a), cluster.names.netns(b));
        let index = cluster.next_index;
        cluster.next_index += 2;
        let peer = format!("type veth peer name {b_device} index {} netns {b}", index + 1);
        writeln!(batch, "link add {a_device} index {index} netns {a} {peer}")?;
    }
    cluster.cables.extend(cables.into_iter().flatten());
    match spec.node.first() {
        Some(first) if !batch.is_empty() => cluster.ip(&first.name, &batch),
        _ => Ok(()),
    }
}

fn end(end: &str) -> Result<(String, String)> {
    match end.split_once(':') {
        Some((node, device)) => Ok((node.to_owned(), device.to_owned())),
        None => bail!("`{end}` is no end of a veth pair; write node:device"),
    }
}

fn pod_port(pod: &PodSpec) -> String {
    format!("veth-{}", pod.name)
}

fn build_node(cluster: &Cluster, node: &NodeSpec, pods: &[PodSpec]) -> Result<()> {
    let mut batch = format!("link set lo up\n{}\n", node.ip);
    for pod in pods.iter().filter(|pod| pod.node == node.name) {
        writeln!(batch, "link set {} master {} up", pod_port(pod), pod.bridge)?;
    }
    cluster
        .ip(&node.name, &batch)
        .with_context(|| format!("node {}", node.name))?;
    if !node.bridge.is_empty() {
        exec::run(
            Some(cluster.node(&node.name)?),
            "bridge",
            &["-batch", "-"],
            &node.bridge,
        )?;
    }

    let netns = cluster.node(&node.name)?;
    netns.run(|| {
        for (key, value) in &node.sysctl {
            write_sysctl(key, value)?;
        }
        for (key, value) in &node.optional_sysctl {
            let path = format!("/proc/sys/{}", key.replace('.', "/"));
            if OpenOptions::new().write(true).open(path).is_ok() {
                write_sysctl(key, value)?;
            }
        }
        Ok(())
    })
}
