//! One question and one answer of gRPC over a unix socket: an HTTP/2 request whose body, and whose answer's, is one message with its
//! length before it (grpc/grpc, doc/PROTOCOL-HTTP2.md).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer answer is none: what containerd itself allows.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Whether it is compressed, and the length.
const PREFIX_BYTES: usize = 5;

/// A connection to a container runtime.
pub(super) struct Runtime(SendRequest<Bytes>);

impl Runtime {
    /// # Errors
    /// Nobody listens at that socket, or it does not talk HTTP/2.
    pub(super) async fn connect(socket: &Path) -> Result<Self> {
        let talk = async {
            let stream = UnixStream::connect(socket).await?;
            let (client, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    log::debug!("container runtime: {error}");
                }
            });
            anyhow::Ok(Self(client))
        };
        timeout(PATIENCE, talk).await.context("no answer in time")?
    }

    /// Asks a method of the service `runtime.v1.RuntimeService`.
    ///
    /// # Errors
    /// The connection is gone, it takes too long, the answer is an error or no such message.
    pub(super) async fn ask<Answer: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Result<Answer> {
        timeout(PATIENCE, self.asked(method, question))
            .await
            .with_context(|| format!("no answer to {method} in time"))?
            .with_context(|| method.to_owned())
    }

    async fn asked<Answer: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Result<Answer> {
        let request = Request::post(format!("http://localhost/runtime.v1.RuntimeService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut client = self.0.clone().ready().await?;
        let (answer, mut body) = client.send_request(request, false)?;
        body.send_data(framed(question), true)?;
        let (head, mut body) = answer.await?.into_parts();
        if head.status != http::StatusCode::OK {
            bail!("it answers {}", head.status);
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            if whole.len() + piece.len() > MAX_ANSWER_BYTES {
                bail!("the answer is too long");
            }
            body.flow_control().release_capacity(piece.len())?;
            whole.extend_from_slice(&piece);
        }
        // An error without an answer has its status in the head.
        let trailers = body.trailers().await?;
        succeeded(trailers.as_ref().unwrap_or(&head.headers))?;
        unframed(whole.freeze())
    }
}

fn framed(question: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + question.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(question.encoded_len() as u32);
    // There is room: the buffer grows.
    let _ = question.encode(&mut bytes);
    bytes.freeze()
}

fn unframed<Answer: Message + Default>(mut bytes: Bytes) -> Result<Answer> {
    if bytes.len() < PREFIX_BYTES || bytes.get_u8() != 0 {
        bail!("the answer is no plain message");
    }
    let length = bytes.get_u32() as usize;
    if bytes.len() != length {
        bail!("the answer is not as long as it says");
    }
    Answer::decode(bytes).context("the answer is not understood")
}

/// # Errors
/// The status says what went wrong.
fn succeeded(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some(status) => {
            let why: String = text("grpc-message")
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect();
            bail!("it answers with status {status}: {why}")
        }
        None => bail!("the answer has no status"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{PodSandbox, PodSandboxStatusRequest};
    use super::*;

    #[test]
    fn a_message_is_what_was_framed() {
        let question = PodSandboxStatusRequest {
            pod_sandbox_id: "3f0c".into(),
            verbose: true,
        };
        let bytes = framed(&question);
        assert_eq!(&*bytes, b"\0\0\0\0\x08\x0a\x043f0c\x10\x01");
        assert_eq!(
            unframed::<PodSandboxStatusRequest>(bytes).expect("reads"),
            question
        );
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bad in [
            &b""[..],
            b"\0\0\0",
            b"\x01\0\0\0\0",
            b"\0\0\0\0\x01",
            b"\0\xff\xff\xff\xff",
            b"\0\0\0\0\0x",
            b"\0\0\0\0\x03\x0a\xff\x01",
            b"\0\0\0\0\x03\x0a\x01\xff",
        ] {
            assert!(
                unframed::<PodSandbox>(Bytes::from_static(bad)).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_status_other_than_zero_is_said_and_bounded() {
        let mut headers = HeaderMap::new();
        assert!(succeeded(&headers).is_err());
        headers.insert("grpc-status", "12".parse().expect("a value"));
        headers.insert("grpc-message", "x".repeat(5000).parse().expect("a value"));
        let error = succeeded(&headers).expect_err("an error").to_string();
        assert!(error.starts_with("it answers with status 12: xxx") && error.len() < 300);
        headers.insert("grpc-status", "0".parse().expect("a value"));
        assert!(succeeded(&headers).is_ok());
    }
}
