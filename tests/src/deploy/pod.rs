//! What a manifest says of the one container of its pod.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A container as a runtime would start it.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    /// Behind the image's own first word.
    pub args: Vec<String>,
    /// What is added to none: `BPF`.
    pub capabilities: Vec<String>,
    /// What of the node it sees.
    pub mounts: Vec<Mount>,
}

/// A directory of the node.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the node.
    pub from: String,
    /// In the container.
    pub to: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

impl Pod {
    /// Of a pod, or of what makes pods.
    ///
    /// # Errors
    /// It asks for less of the node than observer needs, or for more than is said here.
    pub fn of(manifest: &Value) -> Result<Self> {
        let spec = match manifest["kind"].as_str() {
            Some("Pod") => &manifest["spec"],
            _ => &manifest["spec"]["template"]["spec"],
        };
        if spec["hostPID"] != true || spec["hostNetwork"] != true {
            bail!("the pod is not among the node's processes and in its network");
        }
        let container = match spec["containers"].as_array().map(Vec::as_slice) {
            Some([one]) => one,
            _ => bail!("the pod has not one container"),
        };
        let rights = &container["securityContext"];
        if rights["privileged"] == true
            || rights["runAsUser"] != 0
            || rights["readOnlyRootFilesystem"] != true
            || rights["capabilities"]["drop"] != serde_json::json!(["ALL"])
        {
            bail!("the container is not root without anything but what is added");
        }
        let volumes = spec["volumes"].as_array().context("no volumes")?;
        let mounts = container["volumeMounts"].as_array().context("no mounts")?;
        let mount = |mount: &Value| -> Result<Mount> {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.with_context(|| format!("{} is no volume", mount["name"]))?;
            Ok(Mount {
                from: word(&volume["hostPath"]["path"])?,
                to: word(&mount["mountPath"])?,
                read_only: mount["readOnly"] == true,
            })
        };
        Ok(Self {
            args: words(&container["args"])?,
            capabilities: words(&rights["capabilities"]["add"])?,
            mounts: mounts.iter().map(mount).collect::<Result<_>>()?,
        })
    }
}

fn words(value: &Value) -> Result<Vec<String>> {
    value
        .as_array()
        .context("no list of words")?
        .iter()
        .map(word)
        .collect()
}

fn word(value: &Value) -> Result<String> {
    Ok(value.as_str().context("no word")?.to_owned())
}
