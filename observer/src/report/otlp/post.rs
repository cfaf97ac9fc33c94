//! A request to the collector over HTTP/1.1, on a connection of its own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use http::{Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::collector::{Endpoint, Found};
use crate::names::kube::exchanged;

/// For a connection, the request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer is not read any further.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Nobody is waited for longer than this because they ask for it.
const MAX_WAIT: Duration = Duration::from_secs(60);
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
        let Endpoint {
            host, port, prefix, ..
        } = &self.endpoint;
        let mut request = Request::post(format!("{prefix}{path}"))
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("observer/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            .body(http_body(body))
            .context("no such address")?;
        request.headers_mut().extend(self.headers.clone());
        let stream = TcpStream::connect(&*self.addresses)
            .await
            .context("cannot connect")?;
        match &self.tls {
            None => asked(stream, request).await,
            Some(tls) => asked(tls.over(stream).await?, request).await,
        }
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
