//! A line as a log record of OTLP, in JSON: 64-bit numbers are texts there.

use serde_json::{Value, json};

use crate::report::record::{DropLine, Event, Hook, Line, Named, Names, Packet, Time};
use crate::report::{cause, endpoint, escape, flow_words, json as trace_line};

/// `SEVERITY_NUMBER_INFO` and `_WARN` (opentelemetry/proto/logs/v1/logs.proto).
const INFO: (u8, &str) = (9, "INFO");
const WARN: (u8, &str) = (13, "WARN");
/// The instrumentation scope.
const SCOPE: &str = "observer";
/// A record with a longer trace line goes without it.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Who tells it all.
pub(super) fn resource(node: &str) -> Value {
    json!({"attributes": [
        text("service.name", "observer"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("host.name", node),
    ]})
}

/// What made them.
pub(super) fn scope() -> Value {
    json!({"name": SCOPE, "version": env!("CARGO_PKG_VERSION")})
}

/// A text as an attribute. What steers a terminal is escaped: who reads it there later is not known.
pub(super) fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": escape(value)}})
}

fn number(key: &str, value: impl Into<u64>) -> Value {
    json!({"key": key, "value": {"intValue": value.into().to_string()}})
}

/// The record of a line that reached us `now`.
pub(super) fn record(line: &Line, now: Time) -> String {
    let (severity, name, body) = match &line.event {
        Event::Drop(drop) => (WARN, "observer.drop", dropped(drop)),
        Event::Path(path) => (INFO, "observer.path", ends(&path.packet)),
        Event::Counter(_) => (
            WARN,
            "observer.counter",
            "packets were counted by a rule or policy that drops".to_owned(),
        ),
        Event::Lost(lost) => (
            WARN,
            "observer.lost",
            format!("{} drops were not told one by one ({})", lost.count, lost.place),
        ),
        Event::Start(start) => (
            INFO,
            "observer.start",
            format!("observer {} on {}", start.version, start.kernel),
        ),
        Event::Probes(_) => (
            INFO,
            "observer.probes",
            "probes were put on or taken off".to_owned(),
        ),
        Event::Filter(filter) => (INFO, "observer.filter", filter.text.clone()),
        Event::Summary(summary) => (
            INFO,
            "observer.summary",
            format!("{} packets died", summary.kernel_drops),
        ),
    };
    let mut attributes = match &line.event {
        Event::Drop(drop) => of_drop(drop),
        Event::Path(path) => of_packet(&path.packet),
        Event::Lost(lost) => vec![number("observer.lost.count", lost.count)],
        _ => Vec::new(),
    };
    let trace = trace_line(line).unwrap_or_default();
    if trace.len() <= MAX_LINE_BYTES {
        attributes.push(json!({"key": "observer.trace", "value": {"stringValue": trace.trim_end()}}));
    }
    json!({
        "timeUnixNano": line.time.0.to_string(),
        "observedTimeUnixNano": now.0.to_string(),
        "severityNumber": severity.0,
        "severityText": severity.1,
        "eventName": name,
        "body": {"stringValue": escape(&body)},
        "attributes": attributes,
    })
    .to_string()
}

fn dropped(drop: &DropLine) -> String {
    format!("DROP {}: {}", flow_words(drop), cause(&drop.drop))
}

/// `tcp 10.0.0.1:40000 → 10.0.0.2:80`
fn ends(packet: &Packet) -> String {
    let proto = packet.proto.map(|proto| proto.to_string()).unwrap_or_default();
    let of =
        |address: Option<_>, port| address.map_or_else(|| "?".to_owned(), |address| endpoint(address, port));
    format!(
        "{proto} {} → {}",
        of(packet.src, packet.sport),
        of(packet.dst, packet.dport)
    )
}

/// By the names that OpenTelemetry has for them, where it has any.
fn of_packet(packet: &Packet) -> Vec<Value> {
    let mut all = Vec::new();
    let proto = packet.proto.map(|proto| proto.to_string());
    all.extend(proto.map(|proto| text("network.transport", &proto)));
    for (key, address) in [
        ("source.address", packet.src),
        ("destination.address", packet.dst),
    ] {
        all.extend(address.map(|address| text(key, &address.to_string())));
    }
    for (key, port) in [("source.port", packet.sport), ("destination.port", packet.dport)] {
        all.extend(port.map(|port| number(key, port)));
    }
    all
}

fn of_drop(line: &DropLine) -> Vec<Value> {
    let drop = &line.drop;
    let mut all = of_packet(&line.packet);
    all.push(text("observer.layer", drop.layer.name()));
    all.push(text("observer.confidence", drop.confidence.name()));
    let rule = drop.rule.as_ref();
    let words = [
        ("observer.reason", Some(drop.reason.as_str())),
        ("observer.hook", drop.hook.map(Hook::name)),
        ("observer.table", drop.table.as_deref()),
        ("observer.chain", drop.chain.as_deref()),
        ("observer.policy", drop.policy.as_deref()),
        ("observer.rule.text", rule.and_then(|rule| rule.text.as_deref())),
        ("observer.owner", line.hints.iter().find_map(|hint| hint.owner)),
        ("observer.in", line.in_dev.as_deref()),
        ("observer.out", line.out_dev.as_deref()),
        (
            "observer.service",
            line.flow.as_ref().and_then(|flow| flow.service.as_deref()),
        ),
    ];
    all.extend(
        words
            .into_iter()
            .filter_map(|(key, value)| Some(text(key, value?))),
    );
    let numbers = [
        (
            "observer.rule.number",
            rule.and_then(|rule| rule.number).map(u64::from),
        ),
        ("observer.rule.handle", rule.and_then(|rule| rule.handle)),
        (
            "observer.netns",
            line.netns.as_ref().map(|netns| netns.inode.into()),
        ),
    ];
    all.extend(
        numbers
            .into_iter()
            .filter_map(|(key, value)| Some(number(key, value?))),
    );
    all.extend(line.names.as_deref().into_iter().flat_map(of_names));
    all
}

fn of_names(names: &Names) -> impl Iterator<Item = Value> {
    let of = |key: &str, named: &Option<Named>| {
        let named = named.as_ref();
        let pod = named
            .and_then(|named| named.pod.as_deref())
            .map(|pod| text(&format!("{key}.pod"), pod));
        let service = named.and_then(|named| named.service.as_deref());
        [
            pod,
            service.map(|service| text(&format!("{key}.service"), service)),
        ]
    };
    [
        of("observer.source", &names.src),
        of("observer.destination", &names.dst),
        of("observer.original_source", &names.original_src),
        of("observer.original_destination", &names.original_dst),
    ]
    .into_iter()
    .flatten()
    .flatten()
}

/// The body of a request with these records.
pub(super) fn logs(resource: &Value, records: &[String]) -> Vec<u8> {
    let head = format!(
        "{{\"resourceLogs\":[{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{},\"logRecords\":[",
        scope()
    );
    let mut body =
        Vec::with_capacity(head.len() + records.iter().map(|record| record.len() + 1).sum::<usize>() + 8);
    body.extend_from_slice(head.as_bytes());
    for (number, record) in records.iter().enumerate() {
        if number > 0 {
            body.push(b',');
        }
        body.extend_from_slice(record.as_bytes());
    }
    body.extend_from_slice(b"]}]}]}");
    body
}
