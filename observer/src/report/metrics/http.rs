//! As much of HTTP/1.1 (RFC 9112) as a scrape needs: one request without a body, one answer, and the end of the connection.

/// A request's head is no longer, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether the head is whole.
pub(super) fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n")
}

/// The answer to a head, whole or not; `page` is asked for only if it is to be shown.
pub(super) fn answer(head: &[u8], page: impl FnOnce() -> String) -> Vec<u8> {
    if !is_whole(head) {
        return if head.len() >= MAX_HEAD {
            refusal("431 Request Header Fields Too Large", "")
        } else {
            refusal("400 Bad Request", "")
        };
    }
    let Some((method, target)) = request(head) else {
        return refusal("400 Bad Request", "");
    };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    match (method, path) {
        ("GET", "/metrics") => response("200 OK", METRICS, "", &page(), true),
        ("HEAD", "/metrics") => response("200 OK", METRICS, "", &page(), false),
        ("GET" | "HEAD", "/") => response("200 OK", TEXT, "", "observer: see /metrics\n", method == "GET"),
        ("GET" | "HEAD", _) => refusal("404 Not Found", ""),
        _ => refusal("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
    }
}

/// Method and target, if the first line is a request's.
fn request(head: &[u8]) -> Option<(&str, &str)> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).ok()?;
    if !line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return None;
    }
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_request = words.next().is_none()
        && !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_uppercase())
        && target.starts_with('/')
        && matches!(version, "HTTP/1.0" | "HTTP/1.1");
    is_request.then_some((method, target))
}

fn refusal(status: &str, more: &str) -> Vec<u8> {
    response(status, TEXT, more, &format!("{status}\n"), true)
}

/// Nothing of the request is in it.
fn response(status: &str, kind: &str, more: &str, body: &str, has_body: bool) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{more}Cache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut bytes = head.into_bytes();
    if has_body {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}
