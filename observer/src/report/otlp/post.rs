//! A request to the collector over HTTP/1.1, on a connection of its own.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::{Request, StatusCode, Uri, header};
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::names::kube::{addresses, exchanged};

/// For a connection, the request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is not read any further.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Nobody is waited for longer than this because they ask for it.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The port of OTLP over HTTP where none is given.
const PORT: u16 = 4318;

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// A path before every path, mostly empty.
    prefix: String,
}

impl FromStr for Endpoint {
    type Err = String;

    /// `http://collector:4318`
    fn from_str(text: &str) -> Result<Self, String> {
        let advice = "give a collector as http://HOST:4318";
        let uri: Uri = text.parse().map_err(|_| advice.to_owned())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(
                    "TLS is not spoken: send to a collector on this node or in this cluster, which forwards with TLS".to_owned(),
                );
            }
            _ => return Err(advice.to_owned()),
        }
        if uri.query().is_some() || uri.authority().is_none_or(|it| it.as_str().contains('@')) {
            return Err(advice.to_owned());
        }
        let host = uri.host().unwrap_or_default();
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(PORT),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// A collector, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    endpoint: Endpoint,
    addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// Looks it up, once: later no tool may be run that could.
    ///
    /// # Errors
    /// Nobody knows the host.
    pub(super) fn found(&self) -> Result<Found> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        Ok(Found {
            endpoint: self.clone(),
            addresses: addresses(host, self.port)?,
        })
    }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has them, but for so many that it would not have.
    Taken { refused: u64 },
    /// It will not have them, whenever they come again.
    Refused(StatusCode),
    /// They may come again, after this long if it says so.
    Later(String, Option<Duration>),
}

impl Found {
    /// Posts this JSON to a path. It never fails for good: what cannot be reached now may be later.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        match timeout(PATIENCE, self.posted(path, body)).await {
            Err(_) => Answer::Later("no answer in time".to_owned(), None),
            Ok(Err(error)) => Answer::Later(format!("{error:#}"), None),
            Ok(Ok(answer)) => answer,
        }
    }

    async fn posted(&self, path: &str, body: Vec<u8>) -> Result<Answer> {
        let Endpoint { host, port, prefix } = &self.endpoint;
        let request = Request::post(format!("{prefix}{path}"))
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("observer/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            .body(http_body(body))
            .context("no such address")?;
        let stream = TcpStream::connect(&*self.addresses)
            .await
            .context("cannot connect")?;
        asked(stream, request).await
    }
}

async fn asked(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Result<Answer> {
    let answer = exchanged(stream, request, "--otlp").await?;
    let status = answer.status();
    let wait = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let wait = wait.map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT));
    let body = whole(answer.into_body()).await?;
    Ok(judged(status, wait, &body))
}

/// As the protocol has it: these four may be tried again, and nothing else.
fn judged(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Answer {
    match status {
        status if status.is_success() => Answer::Taken {
            refused: refused(body),
        },
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Later(format!("it answers {status}"), wait),
        status => Answer::Refused(status),
    }
}

/// `partialSuccess` of the answer: a number, or as JSON has 64 bits a text.
fn refused(body: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedLogRecords"];
    count
        .as_u64()
        .or_else(|| count.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or(0)
}

/// Strings are bodies, and so is any text; JSON is text.
fn http_body(body: Vec<u8>) -> String {
    // It was made from text.
    String::from_utf8(body).unwrap_or_default()
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await;
        let Some(frame) = frame else { return Ok(whole) };
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > MAX_ANSWER_BYTES {
                return Ok(whole);
            }
            whole.extend_from_slice(&data);
        }
    }
}

/// What comes of a request that is answered with this, in pieces of at most so many bytes: for the fuzz target, which has no sockets. In
/// words what is to be said, and how long is to be waited.
///
/// # Errors
/// There is no event loop, or no such request.
pub fn read(answer: &[u8], piece: usize) -> Result<(String, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut theirs, ours) = tokio::io::duplex(piece.max(1));
    let request = Request::post("/v1/logs").body(String::new())?;
    let tell = async {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && theirs.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {}
        // Who has read enough hangs up.
        let _ = theirs.write_all(answer).await;
        drop(theirs);
    };
    let (answer, ()) = runtime.block_on(async { tokio::join!(asked(ours, request), tell) });
    Ok(match answer {
        Ok(Answer::Taken { refused }) => (format!("{refused} refused"), Duration::ZERO),
        Ok(Answer::Refused(status)) => (status.to_string(), Duration::ZERO),
        Ok(Answer::Later(text, wait)) => (text, wait.unwrap_or_default()),
        Err(error) => (format!("{error:#}"), Duration::ZERO),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_secrets() {
        let endpoint: Endpoint = "http://collector.logs:4318/tenant/".parse().expect("a URL");
        assert_eq!(
            (endpoint.host.as_str(), endpoint.port, endpoint.prefix.as_str()),
            ("collector.logs", 4318, "/tenant")
        );
        let plain: Endpoint = "http://[fd00::1]".parse().expect("a URL");
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.prefix.as_str()),
            ("[fd00::1]", PORT, "")
        );
        for bad in [
            "",
            "collector:4318",
            "https://collector",
            "http://",
            "http://u:p@host",
            "http://host/?x",
            "ftp://host",
            "\u{1b}[2J",
        ] {
            let error = bad.parse::<Endpoint>().expect_err(bad);
            assert!(!error.contains(['\n', '\u{1b}']), "{error}");
        }
    }

    #[test]
    fn what_may_be_tried_again_is_what_the_protocol_says() {
        let wait = Some(Duration::from_secs(7));
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(
                matches!(judged(status, wait, b""), Answer::Later(_, kept) if kept == wait),
                "{status}"
            );
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(judged(status, None, b""), Answer::Refused(status));
        }
        for (body, refused) in [
            ("", 0),
            ("{}", 0),
            ("{\"partialSuccess\":{\"rejectedLogRecords\":\"5\"}}", 5),
            ("{\"partialSuccess\":{\"rejectedLogRecords\":5}}", 5),
            ("{\"partialSuccess\":[]}", 0),
        ] {
            assert_eq!(
                judged(StatusCode::OK, None, body.as_bytes()),
                Answer::Taken { refused }
            );
        }
    }
}
