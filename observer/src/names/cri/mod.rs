//! The container runtime of this node (containerd, CRI-O), asked over its socket: its pods, their addresses, network namespaces and
//! containers. It is asked every few seconds, and soon after an address without a name was met.

mod call;
mod pods;
mod proto;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::time::{sleep, timeout};

use super::change::{Change, Kind, Owner, Who};
use super::feed::{Closed, Feed};
use crate::report::record::NamesFrom;
use call::Runtime;
use proto::{
    CONTAINER_RUNNING, Container, ContainerFilter, ContainerStateValue, ListContainersRequest,
    ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxFilter,
    PodSandboxStateValue, PodSandboxStatusRequest, PodSandboxStatusResponse, SANDBOX_READY,
};

/// Where container runtimes listen.
pub(crate) const SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/cri-dockerd.sock",
];

/// Between two looks at what is there.
const PACE: Duration = Duration::from_secs(5);
/// Between two looks if an address without a name was met.
const SOON: Duration = Duration::from_secs(1);
/// More pods are not looked at: the kubelet's own limit is 110.
const MAX_PODS: usize = 4096;

/// One runtime.
pub(super) struct Cri {
    socket: PathBuf,
    /// This node's name.
    node: Option<Box<str>>,
    feed: Feed,
    /// What was told, by the sandbox's identifier.
    told: HashMap<String, Owner>,
    /// Whether it answered the last time.
    is_up: Option<bool>,
    /// That it does not answer was said, and since then it has not answered.
    is_said: bool,
}

impl Cri {
    pub(super) fn new(socket: PathBuf, node: Option<Box<str>>, feed: Feed) -> Self {
        Self {
            socket,
            node,
            feed,
            told: HashMap::new(),
            is_up: None,
            is_said: false,
        }
    }

    /// Asks and tells until nobody listens.
    pub(super) async fn run(mut self) {
        let mut runtime = None;
        loop {
            let looked = self.look(&mut runtime).await;
            let told = match looked {
                Ok(told) => told,
                Err(error) => {
                    runtime = None;
                    self.is_down(&error).await
                }
            };
            if told.is_err() {
                return;
            }
            sleep(SOON).await;
            // Either it is time, or somebody asked.
            let _ = timeout(PACE - SOON, self.feed.unknown.notified()).await;
        }
    }

    /// Asks once; the outer error is the runtime's.
    async fn look(&mut self, runtime: &mut Option<Runtime>) -> Result<Result<(), Closed>> {
        let runtime = match runtime {
            Some(runtime) => &*runtime,
            none => none.insert(Runtime::connect(&self.socket).await?),
        };
        let (sandboxes, containers) = (sandboxes(runtime).await?, containers(runtime).await?);
        let mut changes = Vec::new();
        let mut there = HashMap::new();
        for sandbox in sandboxes.iter().take(MAX_PODS) {
            let Some(name) = pods::name(sandbox) else { continue };
            let containers = pods::containers(&containers, &sandbox.id);
            if let Some(mut owner) = self.told.remove(&sandbox.id) {
                if set_containers(&mut owner, containers) {
                    changes.push(Change::Has(Box::new(owner.clone())));
                }
                there.insert(sandbox.id.clone(), owner);
                continue;
            }
            // It may have gone in between: the next look knows.
            let Ok(status) = status(runtime, &sandbox.id).await else {
                continue;
            };
            let owner = pods::owner(&sandbox.id, name, self.node.as_deref(), containers, &status);
            if pods::is_complete(&status, &owner) {
                changes.push(Change::Has(Box::new(owner.clone())));
                there.insert(sandbox.id.clone(), owner);
            }
        }
        let gone = std::mem::replace(&mut self.told, there).into_keys();
        changes.extend(gone.map(|id| Change::Gone(NamesFrom::Cri, Kind::Pod, id.into())));
        Ok(self.tell(changes).await)
    }

    async fn tell(&mut self, changes: Vec<Change>) -> Result<(), Closed> {
        if self.is_up.is_none() {
            self.feed.tell(Change::List(NamesFrom::Cri, Kind::Pod)).await?;
        }
        if std::mem::take(&mut self.is_said) {
            let text = format!("{} answers now", self.socket.display());
            self.feed.tell(Change::Say(text)).await?;
        }
        for change in changes {
            self.feed.tell(change).await?;
        }
        if self.is_up.is_none() {
            self.feed.tell(Change::Listed(NamesFrom::Cri, Kind::Pod)).await?;
        }
        if self.is_up != Some(true) {
            self.is_up = Some(true);
            self.feed.tell(Change::Up(NamesFrom::Cri)).await?;
        }
        Ok(())
    }

    async fn is_down(&mut self, error: &anyhow::Error) -> Result<(), Closed> {
        log::debug!("{}: {error:#}", self.socket.display());
        if self.is_up != Some(false) && !self.is_said {
            self.is_said = true;
            let text = format!(
                "{} does not answer ({error:#}): pods are named as they were known before",
                self.socket.display()
            );
            self.feed.tell(Change::Say(text)).await?;
        }
        self.is_up = self.is_up.map(|_| false);
        self.feed.tell(Change::Down(NamesFrom::Cri)).await
    }
}

/// Bytes as a list of sandboxes, each with the status that the same bytes are.
pub(super) fn read(bytes: &[u8]) -> Vec<Owner> {
    use prost::Message as _;
    let list = ListPodSandboxResponse::decode(bytes).unwrap_or_default();
    let status = PodSandboxStatusResponse::decode(bytes).unwrap_or_default();
    let all = ListContainersResponse::decode(bytes)
        .unwrap_or_default()
        .containers;
    let owner = |sandbox: &PodSandbox| {
        let containers = pods::containers(&all, &sandbox.id);
        Some(pods::owner(
            &sandbox.id,
            pods::name(sandbox)?,
            None,
            containers,
            &status,
        ))
    };
    list.items.iter().take(MAX_PODS).filter_map(owner).collect()
}

/// Whether anything listens there.
pub(crate) fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// True if they are others than before.
fn set_containers(owner: &mut Owner, containers: Vec<Box<str>>) -> bool {
    let Who::Pod {
        containers: known, ..
    } = &mut owner.who
    else {
        return false;
    };
    let are_others = *known != containers;
    *known = containers;
    are_others
}

async fn sandboxes(runtime: &Runtime) -> Result<Vec<PodSandbox>> {
    let state = Some(PodSandboxStateValue { state: SANDBOX_READY });
    let question = ListPodSandboxRequest {
        filter: Some(PodSandboxFilter { state }),
    };
    let answer: ListPodSandboxResponse = runtime.ask("ListPodSandbox", &question).await?;
    let is_ready = |sandbox: &PodSandbox| sandbox.state == SANDBOX_READY;
    Ok(answer.items.into_iter().filter(is_ready).collect())
}

async fn containers(runtime: &Runtime) -> Result<Vec<Container>> {
    let state = Some(ContainerStateValue {
        state: CONTAINER_RUNNING,
    });
    let question = ListContainersRequest {
        filter: Some(ContainerFilter { state }),
    };
    let answer: ListContainersResponse = runtime.ask("ListContainers", &question).await?;
    let runs = |container: &Container| container.state == CONTAINER_RUNNING;
    Ok(answer.containers.into_iter().filter(runs).collect())
}

async fn status(runtime: &Runtime, sandbox: &str) -> Result<PodSandboxStatusResponse> {
    let question = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.to_owned(),
        verbose: true,
    };
    runtime.ask("PodSandboxStatus", &question).await
}
