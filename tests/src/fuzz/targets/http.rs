//! What the metrics' server is sent, and what a collector answers.

use std::time::Duration;

use observer::report::{collected, scraped};

/// What the server may say: never anything of what it was sent.
const STATUSES: [&str; 5] = [
    "200 OK",
    "400 Bad Request",
    "404 Not Found",
    "405 Method Not Allowed",
    "431 Request Header Fields Too Large",
];
/// Nobody is waited for longer.
const MOST: Duration = Duration::from_secs(60);

pub(super) fn requests() -> Vec<Vec<u8>> {
    let heads = [
        "GET /metrics HTTP/1.1\r\nHost: node02:9469\r\nAccept: text/plain\r\n\r\n",
        "HEAD /metrics?name[]=x HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "GET /\u{1b}[2J HTTP/1.1\r\n\r\n",
        "GET /metrics HTTP/1.1\r\n",
        "\r\n\r\n",
    ];
    let seeds = heads.into_iter().zip([1, 7, 64, 200, 255, 2, 3]);
    let mut seeds: Vec<Vec<u8>> = seeds.map(|(head, piece)| with_piece(piece, head)).collect();
    seeds.push(with_piece(
        255,
        &format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000)),
    ));
    seeds
}

/// One answer, whole, of a length that is said; for `HEAD` its head alone. Who sends nothing gets nothing.
pub(super) fn request(data: &[u8]) {
    let (piece, sent) = split(data);
    let answer = scraped(sent, piece).expect("an event loop, and the other side does not go first");
    if sent.is_empty() {
        assert!(answer.is_empty());
        return;
    }
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.expect("a status");
    assert!(STATUSES.contains(&status), "{status}");
    assert!(head.lines().count() <= 7 && head.lines().all(|line| !line.is_empty()));
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
    let has_no_body = sent.starts_with(b"HEAD ") && body.is_empty() && matches!(status, "200 OK");
    assert!(body.len() == length || has_no_body, "{answer}");
    assert!(!answer.contains(|c: char| c.is_control() && c != '\r' && c != '\n'));
    if status == "200 OK" {
        assert!(sent.starts_with(b"GET /") || sent.starts_with(b"HEAD /"));
    }
}

pub(super) fn answers() -> Vec<Vec<u8>> {
    let partial = "{\"partialSuccess\":{\"rejectedLogRecords\":\"5\",\"errorMessage\":\"\u{1b}[2J\"}}";
    let whole = |status: &str, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let all = [
        whole("200 OK", "Content-Type: application/json\r\n", partial),
        whole("429 Too Many Requests", "Retry-After: 7\r\n", ""),
        whole("503 \u{1b}[2J", "Retry-After: 99999999999999999999\r\n", "x"),
        whole("400 Bad Request", "", "no"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.0 204 No Content\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH\r\n".to_owned(),
    ];
    let pieces = [255, 1, 7, 64, 3, 20, 255, 9, 255];
    all.iter()
        .zip(pieces)
        .map(|(text, piece)| with_piece(piece, text))
        .collect()
}

/// What is said of it steers no terminal and is one line, and nobody is waited for for long.
pub(super) fn answer(data: &[u8]) {
    let (piece, answer) = split(data);
    let (text, wait) = collected(answer, piece).expect("an event loop");
    assert!(wait <= MOST, "{wait:?}");
    assert!(
        text.len() < 1000 && !text.contains(char::is_control),
        "{}",
        text.escape_debug()
    );
}

/// The first byte says in what pieces the rest comes.
fn split(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [] => (1, data),
        [piece, rest @ ..] => (usize::from(*piece), rest),
    }
}

fn with_piece(piece: u8, text: &str) -> Vec<u8> {
    [&[piece], text.as_bytes()].concat()
}
