//! A container runtime: gRPC over a unix socket, by the same HTTP/2 as containerd's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::proto::{Message, text_of};

/// A pod as the runtime has it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its identifier.
    pub id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// The file of its network namespace.
    pub netns: PathBuf,
    /// Its only container.
    pub container: String,
}

/// A runtime that serves until it is dropped.
pub struct Runtime {
    socket: PathBuf,
    sandboxes: Arc<Mutex<Vec<Sandbox>>>,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Runtime {
    /// Listens at this path.
    pub fn start(socket: &Path, sandboxes: Vec<Sandbox>) -> Result<Self> {
        let sandboxes = Arc::new(Mutex::new(sandboxes));
        let stop = Arc::new(Notify::new());
        let listener = std::os::unix::net::UnixListener::bind(socket)
            .with_context(|| format!("cannot listen at {}", socket.display()))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (told, until) = (sandboxes.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = until.notified() => {}
                    _ = serve(listener, told) => {}
                }
            });
        });
        Ok(Self {
            socket: socket.to_owned(),
            sandboxes,
            stop,
            thread: Some(thread),
        })
    }

    /// From now on these are there.
    pub fn has(&self, sandboxes: Vec<Sandbox>) {
        *lock(&self.sandboxes) = sandboxes;
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn lock(sandboxes: &Mutex<Vec<Sandbox>>) -> std::sync::MutexGuard<'_, Vec<Sandbox>> {
    sandboxes
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    sandboxes: Arc<Mutex<Vec<Sandbox>>>,
) -> Result<()> {
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let sandboxes = sandboxes.clone();
        tokio::spawn(async move {
            // A client that goes away ends its own connection only.
            let _ = talk(stream, &sandboxes).await;
        });
    }
}

async fn talk(stream: UnixStream, sandboxes: &Mutex<Vec<Sandbox>>) -> Result<()> {
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let method = request.uri().path().to_owned();
        // The question is short: it comes in one piece with the connection's next turn.
        let mut body = request.into_body();
        let sandboxes = lock(sandboxes).clone();
        tokio::spawn(async move {
            let mut question = BytesMut::new();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                question.extend_from_slice(&piece);
            }
            let answer = answer(&method, question.get(5..).unwrap_or_default(), &sandboxes);
            let head = Response::builder().header("content-type", "application/grpc");
            let Ok(head) = head.body(()) else { return };
            let Ok(mut stream) = respond.send_response(head, false) else {
                return;
            };
            let mut trailers = HeaderMap::new();
            let status = if answer.is_ok() { "0" } else { "12" };
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            if let Ok(answer) = answer {
                let _ = stream.send_data(framed(answer.bytes()), false);
            }
            let _ = stream.send_trailers(trailers);
        });
    }
    Ok(())
}

fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.extend_from_slice(message);
    bytes.freeze()
}

fn answer(method: &str, question: &[u8], sandboxes: &[Sandbox]) -> Result<Message> {
    match method.rsplit('/').next() {
        Some("ListPodSandbox") => sandboxes
            .iter()
            .try_fold(Message::new("ListPodSandboxResponse"), |answer, sandbox| {
                answer.message("items", &item(sandbox)?)
            }),
        Some("ListContainers") => sandboxes
            .iter()
            .try_fold(Message::new("ListContainersResponse"), |answer, sandbox| {
                answer.message("containers", &container(sandbox)?)
            }),
        Some("PodSandboxStatus") => {
            let id = text_of(question, "PodSandboxStatusRequest", "pod_sandbox_id")?;
            let sandbox = sandboxes.iter().find(|sandbox| Some(&sandbox.id) == id.as_ref());
            status(sandbox.context("no such sandbox")?)
        }
        _ => anyhow::bail!("no such method"),
    }
}

fn metadata(sandbox: &Sandbox) -> Result<Message> {
    Message::new("PodSandboxMetadata")
        .text("name", &sandbox.name)?
        .text("uid", "6f0c2d3a-6f3e-4d53-9e0a-2c6a9a1d7f10")?
        .text("namespace", &sandbox.namespace)?
        .number("attempt", 0)
}

fn item(sandbox: &Sandbox) -> Result<Message> {
    Message::new("PodSandbox")
        .text("id", &sandbox.id)?
        .message("metadata", &metadata(sandbox)?)?
        .number("created_at", 1_714_572_187_123_456_789)?
        .pair("labels", "io.kubernetes.pod.name", &sandbox.name)?
        .pair("annotations", "kubernetes.io/config.source", "api")
}

fn container(sandbox: &Sandbox) -> Result<Message> {
    Message::new("Container")
        .text("id", "c0ffee")?
        .text("pod_sandbox_id", &sandbox.id)?
        .message(
            "metadata",
            &Message::new("ContainerMetadata").text("name", &sandbox.container)?,
        )?
        .text("image_ref", "sha256:0")?
        .number("state", 1)
}

fn status(sandbox: &Sandbox) -> Result<Message> {
    // As containerd writes it, but for what is not about namespaces.
    let info = serde_json::json!({
        "pid": 4711,
        "processStatus": "running",
        "runtimeSpec": {"ociVersion": "1.1.0", "linux": {"namespaces": [
            {"type": "pid"}, {"type": "ipc"}, {"type": "network", "path": sandbox.netns},
        ]}},
    });
    let network = Message::new("PodSandboxNetworkStatus").text("ip", &sandbox.address)?;
    let options = Message::new("NamespaceOption").number("pid", 1)?;
    let namespaces = Message::new("Namespace").message("options", &options)?;
    let linux = Message::new("LinuxPodSandboxStatus").message("namespaces", &namespaces)?;
    let status = Message::new("PodSandboxStatus")
        .text("id", &sandbox.id)?
        .message("metadata", &metadata(sandbox)?)?
        .message("network", &network)?
        .message("linux", &linux)?;
    Message::new("PodSandboxStatusResponse")
        .message("status", &status)?
        .pair("info", "info", &info.to_string())
}

/// What it answers about one pod, as bytes.
pub fn recorded(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let question = Message::new("PodSandboxStatusRequest").text("pod_sandbox_id", &sandbox.id);
    let question = question
        .map(|question| question.bytes().to_vec())
        .unwrap_or_default();
    ["ListPodSandbox", "ListContainers", "PodSandboxStatus"]
        .into_iter()
        .filter_map(|method| answer(method, &question, std::slice::from_ref(sandbox)).ok())
        .map(|answer| answer.bytes().to_vec())
        .collect()
}
