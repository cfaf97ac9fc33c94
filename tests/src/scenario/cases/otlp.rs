//! A collector that is not there yet, then busy, then there, then hangs: what died is delivered, in the protocol's own words, at least
//! once and nothing but that; and who does not answer keeps no drop waiting.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::super::run::{Lab, Place};
use super::metrics::free;
use crate::cluster::Cluster;
use crate::cluster::rules::{self, Place as RulePlace};
use crate::observer::{self, Observer, read_lines};
use crate::results::Outcome;
use crate::rights::{self, Watched};
use crate::traffic::{self, Udp};

pub(super) const RULES: &str =
    "*filter\n-A FORWARD -p udp -m udp --dport 9 -m comment --comment \"o\\\"t,lp\" -j DROP\nCOMMIT\n";
/// Packets in each phase.
pub(super) const PACKETS: u32 = 6;
/// What the collector does, as a value of the switch.
const BUSY: u8 = 0;
const TAKES: u8 = 1;
const HANGS: u8 = 2;
/// How often the lab looks.
const TICK: Duration = Duration::from_millis(20);
/// No request has more.
const MAX_BYTES: usize = 16 << 20;

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let setup = place.setup();
    let cluster = Cluster::up(&lab.data, "router", &setup, &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let address = free()?;
    let buffer = place.work.join("otlp-buffer");
    let words = |trace: &Path| {
        let url = format!("http://{address}");
        let (buffer, trace) = (buffer.to_string_lossy(), trace.to_string_lossy());
        let words = [
            "watch",
            "--port",
            "9",
            "--otlp",
            &url,
            "--otlp-buffer",
            &buffer,
            "--write",
            &trace,
        ];
        words.map(str::to_owned)
    };
    let trace = place.work.join("first.json");
    let mut observer = Observer::watch(program, &words(&trace), place.work, &trace, lab.patience * 3)?;
    let mut failures = rights::failures(observer.pid(), Watched::Packets, lab.patience)?;
    let patience = lab.patience * 2;

    // Nobody is there.
    let mut sent = send(&cluster)?;
    wait(patience, || told(&trace), sent)?;
    let collector = Collector::start(address)?;
    sent += send(&cluster)?;
    wait(patience, || Ok(collector.refused()), 1)?;
    collector.is(TAKES);
    wait(patience, || collector.drops(), sent)?;
    collector.is(HANGS);
    sent += send(&cluster)?;
    // Those that wait for an answer keep the others off neither the screen nor the end.
    wait(patience, || told(&trace), sent)?;
    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(patience)?);
    let said = observer.stderr();
    if code != 0 || !said.contains("kept in the file of --otlp-buffer") {
        failures.push(format!("observer ended with {code}: {}", said.trim()));
    }
    let mut lines = read_lines(&trace)?;

    // Another run has the rest.
    collector.is(TAKES);
    let trace = place.work.join("second.json");
    let mut observer = Observer::watch(program, &words(&trace), place.work, &trace, lab.patience * 3)?;
    sent += send(&cluster)?;
    wait(patience, || collector.drops(), sent)?;
    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(patience)?);
    if code != 0 || !observer.stderr().trim().is_empty() {
        failures.push(format!(
            "the second observer ended with {code}: {}",
            observer.stderr().trim()
        ));
    }
    lines.extend(read_lines(&trace)?);
    let counted = rules::counters(cluster.node("router")?, setup.backend, setup.family)?;
    let rule = RulePlace {
        table: "filter".into(),
        chain: "FORWARD".into(),
        rule: Some(1),
    };
    let counted = counted.get(&rule).context("the rule is gone")?.packets;
    failures.extend(judge(&collector, &lines, counted)?);
    Ok(Outcome::of(failures))
}

/// What came is what was told, and what was told is what the kernel counted.
fn judge(collector: &Collector, told: &[Value], counted: u64) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let lines = collector.lines()?;
    let drops: BTreeSet<&String> = lines.iter().filter(|line| is_drop(line)).collect();
    let ours: BTreeSet<String> = told
        .iter()
        .filter(|line| line["kind"] == "drop")
        .map(Value::to_string)
        .collect();
    // Both as JSON has them: the order of fields is not the matter.
    let theirs: BTreeSet<String> = drops.iter().map(|line| parsed(line).to_string()).collect();
    if theirs != ours || ours.len() as u64 != counted {
        failures.push(format!(
            "the kernel counted {counted} packets, {} were told of, and {} of them arrived with {} others",
            ours.len(),
            theirs.intersection(&ours).count(),
            theirs.difference(&ours).count(),
        ));
    }
    let chains = collector.texts("observer.chain")?;
    if chains != BTreeSet::from(["FORWARD".to_owned()]) {
        failures.push(format!("the records' chains are {chains:?}"));
    }
    let summed = collector.metric("observer.drops")?;
    // Of the second run alone: when the first one ended the collector did not answer.
    if summed != u64::from(PACKETS) {
        failures.push(format!("the metrics have {summed} of {PACKETS} drops"));
    }
    failures.extend(collector.complaints());
    Ok(failures)
}

fn is_drop(line: &str) -> bool {
    parsed(line)["kind"] == "drop"
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

pub(super) fn send(cluster: &Cluster) -> Result<usize> {
    let to = cluster.names().fill("{{server}}")?;
    let udp: Udp = serde_json::from_value(json!({"from": "client", "to": to, "port": 9, "count": PACKETS}))?;
    traffic::send(cluster.node("client")?, &udp)?;
    Ok(PACKETS as usize)
}

fn told(trace: &Path) -> Result<usize> {
    Ok(read_lines(trace)?
        .iter()
        .filter(|line| line["kind"] == "drop")
        .count())
}

pub(super) fn wait(patience: Duration, count: impl Fn() -> Result<usize>, wanted: usize) -> Result<()> {
    let begun = Instant::now();
    while count()? < wanted {
        if begun.elapsed() > patience {
            bail!("of {wanted} only {} came", count()?);
        }
        thread::sleep(TICK);
    }
    Ok(())
}

/// A collector of the lab's own.
pub(super) struct Collector {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    does: AtomicU8,
    is_over: AtomicBool,
    logs: Mutex<Vec<ExportLogsServiceRequest>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    refused: Mutex<usize>,
    complaints: Mutex<Vec<String>>,
    /// What the requests had as `Authorization`.
    shown: Mutex<BTreeSet<String>>,
    /// Connections that are not answered.
    hung: Mutex<Vec<Box<dyn Send>>>,
}

impl Collector {
    fn start(address: SocketAddr) -> Result<Self> {
        Self::begin(address, None)
    }

    /// One whose connections begin with a handshake; it takes everything.
    pub(super) fn behind_tls(address: SocketAddr, tls: Arc<ServerConfig>) -> Result<Self> {
        let collector = Self::begin(address, Some(tls))?;
        collector.is(TAKES);
        Ok(collector)
    }

    fn begin(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind(address).context("the collector's port is taken")?;
        let state = Arc::new(State::default());
        let its = state.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if its.is_over.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = stream {
                    its.meet(stream, tls.clone());
                }
            }
        });
        Ok(Self {
            state,
            address,
            thread: Some(thread),
        })
    }

    fn is(&self, what: u8) {
        self.state.does.store(what, Ordering::Relaxed);
        if what != HANGS {
            lock(&self.state.hung).clear();
        }
    }

    fn refused(&self) -> usize {
        *lock(&self.state.refused)
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        lock(&self.state.complaints).clone()
    }

    /// The trace's lines that came, each once.
    fn lines(&self) -> Result<BTreeSet<String>> {
        self.texts("observer.trace")
    }

    pub(super) fn shown(&self) -> BTreeSet<String> {
        lock(&self.state.shown).clone()
    }

    pub(super) fn drops(&self) -> Result<usize> {
        Ok(self.lines()?.iter().filter(|line| is_drop(line)).count())
    }

    /// All values of an attribute of log records.
    fn texts(&self, key: &str) -> Result<BTreeSet<String>> {
        let requests = lock(&self.state.logs);
        let records = requests
            .iter()
            .flat_map(|request| &request.resource_logs)
            .flat_map(|resource| &resource.scope_logs)
            .flat_map(|scope| &scope.log_records);
        let attributes = records
            .flat_map(|record| &record.attributes)
            .filter(|pair| pair.key == key);
        attributes
            .map(
                |pair| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
                    Some(Any::StringValue(text)) => Ok(text.clone()),
                    other => bail!("{key} is {other:?}"),
                },
            )
            .collect()
    }

    /// The greatest sum of a metric over its points.
    fn metric(&self, name: &str) -> Result<u64> {
        let requests = lock(&self.state.metrics);
        let metrics = requests
            .iter()
            .flat_map(|request| &request.resource_metrics)
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics)
            .filter(|metric| metric.name == name);
        let mut most = 0;
        for metric in metrics {
            let Some(Data::Sum(sum)) = &metric.data else {
                bail!("{name} is no sum");
            };
            let points = sum.data_points.iter().map(|point| match point.value {
                Some(Number::AsInt(value)) => value as u64,
                _ => 0,
            });
            most = most.max(points.sum());
        }
        Ok(most)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn meet(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let met = stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .context("a socket without a clock");
        let connection = met.and_then(|()| tls.map(ServerConnection::new).transpose().context("TLS"));
        match connection {
            Ok(None) => self.serve(stream),
            Ok(Some(connection)) => self.serve(StreamOwned::new(connection, stream)),
            Err(error) => lock(&self.complaints).push(format!("{error:#}")),
        }
    }

    fn serve(&self, mut stream: impl Read + Write + Send + 'static) {
        let request = request(&mut stream, &self.shown);
        let (path, body) = match request {
            Ok(request) => request,
            Err(error) => return lock(&self.complaints).push(format!("no request: {error:#}")),
        };
        let answer = match self.does.load(Ordering::Relaxed) {
            TAKES => {
                self.keep(&path, &body);
                "200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            }
            BUSY => {
                *lock(&self.refused) += 1;
                "503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
            }
            _ => return lock(&self.hung).push(Box::new(stream)),
        };
        // Who asked may be gone.
        let _ = write!(stream, "HTTP/1.1 {answer}");
    }

    fn keep(&self, path: &str, body: &[u8]) {
        let kept = match path {
            "/v1/logs" => serde_json::from_slice(body).map(|request| lock(&self.logs).push(request)),
            "/v1/metrics" => serde_json::from_slice(body).map(|request| lock(&self.metrics).push(request)),
            other => return lock(&self.complaints).push(format!("asked for {other}")),
        };
        if let Err(error) = kept {
            lock(&self.complaints).push(format!("{path} is not what the protocol has: {error}"));
        }
    }
}

/// Path and body of a POST.
fn request(stream: &mut impl Read, shown: &Mutex<BTreeSet<String>>) -> Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some("POST"), Some(path)) = (words.next(), words.next()) else {
        bail!("{:?}", line.trim_end());
    };
    let (mut bytes, mut is_json) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((key, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match key.to_ascii_lowercase().as_str() {
            "content-length" => bytes = value.parse().context("no length")?,
            "content-type" => is_json = value == "application/json",
            "authorization" => {
                lock(shown).insert(value.to_owned());
            }
            _ => {}
        }
    }
    if !is_json || bytes > MAX_BYTES {
        bail!("{path}: {bytes} bytes, JSON: {is_json}");
    }
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body)?;
    Ok((path.to_owned(), body))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
