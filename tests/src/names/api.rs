//! An API server over plain HTTP: lists in pages, watches with bookmarks, versions that expire, and answers that break.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How a watch is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// By the error of a version that has expired.
    Expired,
    /// By something that is no event.
    Garbage,
    /// In the middle of a chunk.
    Cut,
}

/// So many objects are in one page, whatever is asked for.
const PAGE: usize = 2;
/// How often who watches looks whether the server is still there.
const TICK: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    version: u64,
    objects: Vec<(&'static str, Value)>,
    events: Vec<(u64, &'static str, Value)>,
    breaks: Vec<Break>,
    is_down: bool,
    /// Questions so far.
    asked: Vec<String>,
}

/// A server that serves until it is dropped.
pub struct Api {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Api {
    /// Listens on the loopback.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let address = listener.local_addr()?;
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let of_all = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = of_all.clone();
                if lock(&state).is_down {
                    continue;
                }
                std::thread::spawn(move || {
                    // A client that goes away ends its own connection only.
                    let _ = talk(stream, &state);
                });
            }
        });
        Ok(Self { address, state })
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\ncontexts:\n- name: lab\n  context: {{cluster: lab, user: lab}}\n\
             clusters:\n- name: lab\n  cluster:\n    server: http://{}\nusers:\n- name: lab\n  user:\n    token: bGFi\n",
            self.address
        )
    }

    /// An object is there, or is another now; those who watch are told.
    pub fn set(&self, plural: &'static str, object: Value) {
        self.change(plural, object, true);
    }

    /// An object is gone.
    pub fn remove(&self, plural: &'static str, object: Value) {
        self.change(plural, object, false);
    }

    /// Something happens that those who watch are not told: they have to list again.
    pub fn unseen(&self, change: impl FnOnce(&Self)) {
        let told = lock(&self.state).events.len();
        change(self);
        lock(&self.state).events.truncate(told);
    }

    /// Each watch of pods breaks so, once.
    pub fn breaks(&self, how: Break) {
        lock(&self.state).breaks.push(how);
        self.state.1.notify_all();
    }

    /// Nobody is answered any more, and connections end; or again.
    pub fn is_down(&self, is_down: bool) {
        lock(&self.state).is_down = is_down;
        self.state.1.notify_all();
    }

    /// What was asked so far: paths with their queries.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    fn change(&self, plural: &'static str, mut object: Value, is_there: bool) {
        let mut state = lock(&self.state);
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let uid = object["metadata"]["uid"].clone();
        let before = state.objects.len();
        state.objects.retain(|(_, known)| known["metadata"]["uid"] != uid);
        let kind = match (is_there, state.objects.len() < before) {
            (true, false) => "ADDED",
            (true, true) => "MODIFIED",
            (false, _) => "DELETED",
        };
        if is_there {
            state.objects.push((plural, object.clone()));
        }
        state
            .events
            .push((version, plural, json!({"type": kind, "object": object})));
        self.state.1.notify_all();
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.is_down(true);
    }
}

fn lock(state: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn talk(mut stream: TcpStream, state: &(Mutex<State>, Condvar)) -> Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    let path = head.split(' ').nth(1).context("no path")?.to_owned();
    lock(state).asked.push(path.clone());
    if !head.to_lowercase().contains("\r\nauthorization: bearer bgfi\r\n") {
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(());
    }
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let plural = path.rsplit('/').next().context("no kind")?;
    let of_query = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    if of_query("watch").is_some() {
        let from = of_query("resourceVersion").and_then(|text| text.parse().ok());
        return watch(stream, state, plural, from.context("no version")?);
    }
    list(stream, state, plural, &of_query("continue").unwrap_or_default())
}

/// A page, and where the next one begins: a word that must come back as it is.
fn list(mut stream: TcpStream, state: &(Mutex<State>, Condvar), plural: &str, place: &str) -> Result<()> {
    let state = lock(state);
    let from: usize = match place.strip_prefix("eyJ%2F%2B%3D") {
        Some(number) => number.parse()?,
        None if place.is_empty() => 0,
        None => anyhow::bail!("no such place"),
    };
    let of_kind: Vec<&Value> = state
        .objects
        .iter()
        .filter(|(kind, _)| *kind == plural)
        .map(|(_, object)| object)
        .collect();
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if of_kind.len() > from + PAGE {
        metadata["continue"] = json!(format!("eyJ/+={}", from + PAGE));
        metadata["remainingItemCount"] = json!(of_kind.len() - from - PAGE);
    }
    let items: Vec<&Value> = of_kind.into_iter().skip(from).take(PAGE).collect();
    let body = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}).to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

fn watch(mut stream: TcpStream, shared: &(Mutex<State>, Condvar), plural: &str, from: u64) -> Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
        "metadata": {"resourceVersion": from.to_string(), "creationTimestamp": null}, "spec": {"containers": null}, "status": {}}});
    event(&mut stream, &bookmark)?;
    let mut told = from;
    loop {
        let mut state = lock(shared);
        if state.is_down {
            return Ok(());
        }
        let news: Vec<(u64, Value)> = state
            .events
            .iter()
            .filter(|(version, kind, _)| *version > told && *kind == plural)
            .map(|(version, _, event)| (*version, event.clone()))
            .collect();
        let how = (plural == "pods").then(|| state.breaks.pop()).flatten();
        if news.is_empty() && how.is_none() {
            drop(shared.1.wait_timeout(state, TICK));
            continue;
        }
        drop(state);
        for (version, news) in news {
            event(&mut stream, &news)?;
            told = version;
        }
        match how {
            None => {}
            Some(Break::Expired) => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "too old resource version: 1 (2)", "reason": "Expired", "code": 410});
                event(&mut stream, &json!({"type": "ERROR", "object": status}))?;
                stream.write_all(b"0\r\n\r\n")?;
                return Ok(());
            }
            Some(Break::Garbage) => chunk(&mut stream, b"{\"type\":\"ADDED\",\"object\":\x1b[2J}\n")?,
            Some(Break::Cut) => {
                stream.write_all(b"400\r\n{\"type\":\"ADDED\",\"obj")?;
                return Ok(());
            }
        }
    }
}

/// In two chunks: lines end where they like.
fn event(stream: &mut TcpStream, event: &Value) -> Result<()> {
    let line = event.to_string() + "\n";
    let (one, other) = line.as_bytes().split_at(line.len() / 2);
    chunk(stream, one)?;
    chunk(stream, other)
}

fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")?;
    Ok(())
}
