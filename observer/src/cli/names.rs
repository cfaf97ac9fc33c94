//! Where names of addresses come from: what is typed, and what that comes to on this machine.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::tell;
use crate::live::node_name as host_name;
use crate::names::kube::{self, Access, Scope};
use crate::names::{Sources, Wanted, cri, is_subdomain};

/// A source that is looked for, named, or left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Asked if it is there.
    #[default]
    Auto,
    /// This one.
    Path(PathBuf),
    /// Not asked.
    Off,
}

/// What is typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Container runtime that names this node's pods: auto (the usual sockets), off, or its socket
    #[arg(long, value_name = "auto|off|SOCKET", default_value = "auto", value_parser = choice)]
    pub cri: Choice,
    /// Kubernetes API that names pods, services and nodes: auto (a pod's service account, else kubectl's configuration), off, or a
    /// kubeconfig
    #[arg(long, value_name = "auto|off|FILE", default_value = "auto", value_parser = choice)]
    pub kube: Choice,
    /// Whose pods the API is asked for
    #[arg(long, value_name = "SCOPE", default_value = "node")]
    pub kube_scope: Scope,
    /// This node's name in the cluster [default: $NODE_NAME, else the host's name]
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<String>,
}

impl Args {
    /// What is there to be asked; looked at before rights are given up.
    ///
    /// # Errors
    /// What was named is not there. One line that says what to do.
    pub(crate) fn sources(&self) -> anyhow::Result<Sources> {
        Ok(Sources {
            cri: self.cri()?,
            api: self.api()?,
            scope: self.kube_scope,
            node: self.node(),
        })
    }

    fn api(&self) -> anyhow::Result<Option<Access>> {
        let found = match &self.kube {
            Choice::Off => return Ok(None),
            Choice::Path(path) => kube::of_file(path).map(Some),
            Choice::Auto => kube::of_pod()
                .or_else(|| Some(kube::of_file(&kube::usual_file()?)))
                .transpose(),
        };
        let has_node = self.kube_scope == Scope::Cluster || self.node().is_some();
        let found = found.and_then(|access| match access {
            Some(_) if !has_node => bail!("this host's name is no node's: give --node-name"),
            access => Ok(access),
        });
        match found {
            // What nobody asked for does not keep drops from being told.
            Err(error) if self.kube == Choice::Auto => {
                tell(&format!(
                    "without names from the Kubernetes API: {error:#}; --kube off does not look for it"
                ));
                Ok(None)
            }
            found => found.context("--kube"),
        }
    }

    fn cri(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.cri {
            Choice::Off => Ok(None),
            Choice::Auto => {
                let mut usual = cri::SOCKETS.iter().map(PathBuf::from);
                Ok(usual.find(|path| cri::is_socket(path)))
            }
            Choice::Path(path) if cri::is_socket(path) => Ok(Some(path.clone())),
            Choice::Path(path) => bail!(
                "--cri {}: no socket is there; name the container runtime's, as the kubelet's --container-runtime-endpoint does",
                path.display()
            ),
        }
    }

    fn node(&self) -> Option<Box<str>> {
        let of_environment = || std::env::var("NODE_NAME").ok();
        let name = self.node_name.clone().or_else(of_environment);
        let name = name.unwrap_or_else(|| host_name().to_lowercase());
        is_subdomain(&name).then(|| name.into())
    }
}

/// A pod by its name, as `watch` asks for it.
pub(super) fn pod(text: &str) -> Result<Wanted, &'static str> {
    Wanted::pod(text).ok_or("give NAMESPACE/NAME; see: kubectl get pods -A")
}

/// A service by its name, as `watch` asks for it.
pub(super) fn service(text: &str) -> Result<Wanted, &'static str> {
    Wanted::service(text).ok_or("give NAMESPACE/NAME; see: kubectl get services -A")
}

fn choice(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        "off" => Ok(Choice::Off),
        path if path.contains('/') => Ok(Choice::Path(path.into())),
        _ => Err("give auto, off, or a path with a / in it".to_owned()),
    }
}

fn node_name(text: &str) -> Result<String, String> {
    is_subdomain(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "no name of a node; see: kubectl get nodes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_auto_off_or_a_path() {
        assert_eq!(choice("auto"), Ok(Choice::Auto));
        assert_eq!(choice("off"), Ok(Choice::Off));
        assert_eq!(choice("./x"), Ok(Choice::Path("./x".into())));
        assert!(choice("of").is_err() && choice("").is_err());
        assert!(node_name("node02.example.com").is_ok() && node_name("Node\u{1b}").is_err());
    }

    #[test]
    fn a_socket_that_is_named_must_be_there() {
        let args = Args {
            cri: Choice::Path("/proc/version".into()),
            ..Args::default()
        };
        let error = args.sources().expect_err("refuses").to_string();
        assert!(
            error.starts_with("--cri /proc/version: no socket is there; "),
            "{error}"
        );
        let off = Args {
            cri: Choice::Off,
            kube: Choice::Off,
            node_name: Some("node02".into()),
            ..Args::default()
        };
        let sources = off.sources().expect("nothing to look for");
        assert!(sources.api.is_none());
        assert_eq!((sources.cri, sources.node.as_deref()), (None, Some("node02")));
    }
}
