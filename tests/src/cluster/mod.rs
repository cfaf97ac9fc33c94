//! Clusters: nodes and pods as network namespaces, described by a small TOML file in `tests/clusters`.

mod build;
mod resident;
pub mod rules;
mod servers;
pub mod spec;
pub mod template;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;
use resident::Resident;
use servers::Server;
use spec::Spec;
use template::Names;

/// Which kernel interface iptables writes its rules through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// x_tables, written by `iptables-legacy`.
    Legacy,
    /// nf_tables, written by `iptables-nft`.
    Nft,
    /// nf_tables, written by `nft` in its own language.
    Native,
}

impl Backend {
    /// The word that scenario files use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
            Self::Native => "native",
        }
    }

    /// The word the trace format uses: whose rules they are to the kernel.
    pub fn machinery(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft | Self::Native => "nft",
        }
    }
}

/// The protocol family of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    /// The word the trace format uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// Where the lab's data lives.
#[derive(Debug, Clone)]
pub struct Data {
    root: PathBuf,
}

impl Data {
    /// The directory that holds `clusters`, `scenarios` and `rules`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// One of the files, by its path below the root.
    pub fn read(&self, path: &str) -> Result<String> {
        let path = self.root.join(path);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The names (without `.toml`) of the files in one of the directories, sorted.
    pub fn list(&self, directory: &str) -> Result<Vec<String>> {
        let path = self.root.join(directory);
        let entries = std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The directory of the schema and the documents, beside the tests.
    pub fn docs(&self) -> PathBuf {
        self.root.join("../docs")
    }

    /// A cluster file, not yet filled in.
    pub fn cluster(&self, name: &str) -> Result<(Spec, String)> {
        let text = self.read(&format!("clusters/{name}.toml"))?;
        let spec = Spec::parse(&text).with_context(|| format!("clusters/{name}.toml"))?;
        Ok((spec, text))
    }
}

/// How a cluster is to be set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The interface that rules are written through.
    pub backend: Backend,
    /// The family whose addresses `{{client}}` and the like stand for.
    pub family: Family,
    /// What goes before the node's name in `/run/netns`; may be empty.
    pub prefix: String,
}

/// A cluster that is up. Dropping it takes it down.
pub struct Cluster {
    nodes: BTreeMap<String, Netns>,
    setup: Setup,
    names: Names,
    cables: Vec<(String, String)>,
    next_index: u32,
    _servers: Vec<Server>,
    held: Vec<OwnedFd>,
    gone: BTreeMap<String, (u64, String)>,
    residents: Vec<Resident>,
}

impl Cluster {
    /// Sets a cluster up.
    pub fn up(data: &Data, name: &str, setup: &Setup, run: &RunDir) -> Result<Self> {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            setup: setup.clone(),
            names: Names::new(setup),
            cables: Vec::new(),
            next_index: 10,
            _servers: Vec::new(),
            held: Vec::new(),
            gone: BTreeMap::new(),
            residents: Vec::new(),
        };
        cluster.add(data, name, run)?;
        Ok(cluster)
    }

    /// Adds the nodes of another cluster file to this one.
    pub fn add(&mut self, data: &Data, name: &str, run: &RunDir) -> Result<()> {
        build::build(self, data, name, run).with_context(|| format!("setting up cluster {name}"))
    }

    /// How it was set up.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What placeholders stand for.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// A node or pod by its logical name.
    pub fn node(&self, name: &str) -> Result<&Netns> {
        match self.nodes.get(name) {
            Some(netns) => Ok(netns),
            None => bail!(
                "no node is called {name}; there are: {}",
                self.node_names().join(", ")
            ),
        }
    }

    /// The logical names of all nodes and pods.
    pub fn node_names(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }

    /// Takes a node away: its name goes, and the namespace with its last user.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let netns = self
            .nodes
            .remove(name)
            .with_context(|| format!("no node is called {name}"))?;
        let known = (netns.inode()?, netns.name().to_owned());
        self.gone.insert(name.to_owned(), known);
        Ok(())
    }

    /// Inode and name of every namespace that the cluster has or had, by logical name.
    pub fn identities(&self) -> Result<BTreeMap<String, (u64, String)>> {
        let mut all = self.gone.clone();
        for (name, netns) in &self.nodes {
            all.insert(name.clone(), (netns.inode()?, netns.name().to_owned()));
        }
        Ok(all)
    }

    /// Gives meaning to `{{inode:NODE}}`, and to each `{{pid:NODE}}` in `text` by starting a process there.
    pub fn introduce(&mut self, text: &str) -> Result<()> {
        for (name, (inode, _)) in self.identities()? {
            self.names.set(&format!("inode:{name}"), &inode.to_string());
        }
        for name in self.nodes.keys() {
            if text.contains(&format!("{{{{pid:{name}}}}}")) {
                let resident = Resident::start(&self.nodes[name])?;
                self.names
                    .set(&format!("pid:{name}"), &resident.pid().to_string());
                self.residents.push(resident);
            }
        }
        Ok(())
    }

    /// Runs a shell script in a node until the cluster goes down; returns its process group.
    pub fn background(&mut self, node: &str, script: &str) -> Result<u32> {
        let resident = Resident::run(self.node(node)?, script)?;
        let group = resident.pid();
        self.residents.push(resident);
        Ok(group)
    }

    /// Keeps a descriptor open for as long as the cluster is up.
    pub fn hold(&mut self, descriptor: OwnedFd) {
        self.held.push(descriptor);
    }

    /// Runs `ip -batch` in a node.
    pub fn ip(&self, node: &str, batch: &str) -> Result<()> {
        exec::run(Some(self.node(node)?), "ip", &["-batch", "-"], batch).map(drop)
    }

    /// Restores iptables-save text in a node, through the backend and family of the set-up.
    pub fn restore(&self, node: &str, text: &str, flush: bool) -> Result<()> {
        rules::restore(
            self.node(node)?,
            self.setup.backend,
            self.setup.family,
            text,
            flush,
        )
    }
}

/// Writes a kernel parameter, in the calling thread's network namespace.
pub fn write_sysctl(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    std::fs::write(&path, value).with_context(|| format!("cannot set {key} to {value}"))
}
