//! A collector that is there, is not, comes back, is busy, or will not have it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::report::record::samples::{drop_line, policy_drop};

/// Answers each request with the next of its answers, and with 200 when there are none left.
struct Collector {
    address: SocketAddr,
    /// Path and body of each request, and whether it was taken.
    seen: Arc<Mutex<Vec<(String, Value, bool)>>>,
}

impl Collector {
    fn at(listener: TcpListener, answers: &[&'static str]) -> Self {
        let address = listener.local_addr().expect("it listens");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (requests, mut answers) = (seen.clone(), VecDeque::from(answers.to_vec()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("connects");
                let Some((path, body)) = request(&stream) else {
                    continue;
                };
                // Metrics are always welcome: when they come is for the clock to say.
                let answer = match path.as_str() {
                    LOGS => answers.pop_front().unwrap_or(OK),
                    _ => OK,
                };
                requests
                    .lock()
                    .expect("no panic")
                    .push((path, body, answer.starts_with("200")));
                let _ = write!(stream, "HTTP/1.1 {answer}");
            }
        });
        Self { address, seen }
    }

    fn new(answers: &[&'static str]) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("binds"), answers)
    }

    /// Destination ports of the drops that were taken, in the order of arrival.
    fn ports(&self) -> Vec<u64> {
        let seen = self.seen.lock().expect("no panic");
        let taken = seen.iter().filter(|(path, _, taken)| path == LOGS && *taken);
        taken.flat_map(|(_, body, _)| ports(body)).collect()
    }
}

const LOGS: &str = "/v1/logs";
const OK: &str = "200 OK\r\nContent-Length: 2\r\n\r\n{}";
const BUSY: &str = "503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
const NEVER: &str = "400 Bad Request\r\nContent-Length: 0\r\n\r\n";
const SOME: &str =
    "200 OK\r\nContent-Length: 49\r\n\r\n{\"partialSuccess\":{\"rejectedLogRecords\":\"2\"    }}";

fn request(stream: &std::net::TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut bytes = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((key, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        if key.eq_ignore_ascii_case("content-length") {
            bytes = value.parse().ok()?;
        }
    }
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}

fn ports(body: &Value) -> Vec<u64> {
    let records = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        .as_array()
        .expect("records");
    let port = |record: &Value| {
        let attributes = record["attributes"].as_array().expect("attributes");
        let found = attributes
            .iter()
            .find(|it| it["key"] == "destination.port")
            .expect("a port");
        found["value"]["intValue"]
            .as_str()
            .expect("a text")
            .parse()
            .expect("a number")
    };
    records.iter().map(port).collect()
}

fn line(port: u16) -> Line {
    let mut line = drop_line(policy_drop());
    if let crate::report::record::Event::Drop(drop) = &mut line.event {
        drop.packet.dport = Some(port);
    }
    line
}

fn start(address: SocketAddr, buffer: Option<&Path>) -> Otlp {
    let config = OtlpConfig {
        endpoint: format!("http://{address}").parse().expect("a URL"),
        credentials: Credentials::default(),
        buffer: buffer.map(Path::to_owned),
        buffer_bytes: 1 << 20,
    };
    Otlp::start(&config, "node02").expect("starts")
}

#[test]
fn every_line_arrives_once_and_in_order_and_totals_add_up() {
    let collector = Collector::new(&[]);
    let mut otlp = start(collector.address, None);
    for port in 1..=1500 {
        otlp.line(&line(port)).expect("is taken");
    }
    otlp.finish().expect("all of it arrives");
    assert_eq!(collector.ports(), (1..=1500).collect::<Vec<u64>>());
    let seen = collector.seen.lock().expect("no panic");
    let (_, metrics, _) = seen
        .iter()
        .find(|(path, ..)| path == "/v1/metrics")
        .expect("totals");
    let metrics = &metrics["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let drops = metrics
        .as_array()
        .expect("metrics")
        .iter()
        .find(|it| it["name"] == "observer.drops");
    let points = drops.expect("drops")["sum"]["dataPoints"]
        .as_array()
        .expect("points")
        .clone();
    assert_eq!(points.len(), 1);
    assert_eq!(points[0]["asInt"], "1500");
}

#[test]
fn what_a_busy_collector_does_not_take_comes_again() {
    let collector = Collector::new(&[BUSY, BUSY]);
    let mut otlp = start(collector.address, None);
    for port in 1..=600 {
        otlp.line(&line(port)).expect("is taken");
    }
    // While it still runs: at the end nothing is tried twice.
    let begun = std::time::Instant::now();
    while collector.ports().len() < 600 && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    otlp.finish().expect("all of it arrives");
    assert_eq!(collector.ports(), (1..=600).collect::<Vec<u64>>());
}

#[test]
fn what_cannot_be_delivered_is_kept_and_goes_out_with_the_next_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let buffer = directory.path().join("buffer");
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let mut otlp = start(address, Some(&buffer));
    for port in 1..=5 {
        otlp.line(&line(port)).expect("is taken");
    }
    let error = otlp.finish().expect_err("nobody is there").to_string();
    assert_eq!(
        error,
        "0 log records were delivered; 5 kept in the file of --otlp-buffer for the next start"
    );
    drop(otlp);
    let collector = Collector::at(TcpListener::bind(address).expect("binds"), &[]);
    let mut otlp = start(address, Some(&buffer));
    otlp.line(&line(6)).expect("is taken");
    otlp.finish().expect("all of it arrives");
    assert_eq!(collector.ports(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_refused_or_lost_is_counted() {
    let collector = Collector::new(&[NEVER]);
    let mut otlp = start(collector.address, None);
    for port in 1..=3 {
        otlp.line(&line(port)).expect("is taken");
    }
    let error = otlp.finish().expect_err("refused").to_string();
    assert_eq!(error, "0 log records were delivered; 3 refused by the collector");
    let collector = Collector::new(&[SOME]);
    let mut otlp = start(collector.address, None);
    for port in 1..=3 {
        otlp.line(&line(port)).expect("is taken");
    }
    let error = otlp.finish().expect_err("refused in part").to_string();
    assert_eq!(error, "1 log records were delivered; 2 refused by the collector");
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let mut otlp = start(address, None);
    otlp.line(&line(1)).expect("is taken");
    let error = otlp.finish().expect_err("nobody is there").to_string();
    assert_eq!(
        error,
        "0 log records were delivered; 1 lost, since there was no room for them"
    );
}

#[test]
fn a_collector_that_never_answers_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("it listens");
    let mut otlp = start(address, None);
    // Far more than the queue and the memory have room for.
    for port in 0..6_000 {
        otlp.line(&line(port)).expect("is taken");
    }
    let error = otlp.finish().expect_err("nobody answers").to_string();
    assert_eq!(
        error,
        "0 log records were delivered; 6000 lost, since there was no room for them"
    );
}

#[test]
fn hostile_names_are_escaped_and_stay_json() {
    let mut hostile = line(1);
    if let crate::report::record::Event::Drop(drop) = &mut hostile.event {
        drop.drop.chain = Some("a\u{1b}[2J\u{202e}\"\n\\".to_owned());
        drop.in_dev = Some("x".repeat(100_000));
    }
    let record = encode::record(&hostile, Time(5));
    assert!(!record.contains(['\u{1b}', '\u{202e}', '\n']));
    let read: Value = serde_json::from_str(&record).expect("JSON");
    let trace = read["attributes"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|it| it["key"] == "observer.trace");
    assert_eq!(trace, None, "too long");
    assert_eq!(read["observedTimeUnixNano"], "5");
}
