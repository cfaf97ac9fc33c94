//! A question to the API server over HTTP/1.1, with TLS or without, on a connection of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderValue, Request};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::Access;

/// For a connection, its handshakes, and the head of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the server has against the question: an HTTP status.
#[derive(Debug, thiserror::Error)]
#[error("it answers {0}")]
pub(super) struct Refused(pub(super) http::StatusCode);

/// An answer whose body has not come yet.
pub(super) struct Answer(Incoming);

impl Answer {
    /// The next piece of the body, if it comes in time.
    ///
    /// # Errors
    /// The connection broke, or nothing came.
    pub(super) async fn piece(&mut self, patience: Duration) -> Result<Option<Bytes>> {
        loop {
            let body = &mut self.0;
            let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
            let Some(frame) = timeout(patience, frame).await.context("nothing came in time")? else {
                return Ok(None);
            };
            // Trailers say nothing here.
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// As for a piece, or it is longer than that.
    pub(super) async fn whole(mut self, max_bytes: usize) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(PATIENCE).await? {
            if whole.len() + piece.len() > max_bytes {
                bail!("the answer is longer than {max_bytes} bytes");
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

/// Asks for a path with its query.
///
/// # Errors
/// The server cannot be reached, its certificate is not what the cluster's authority has signed, or it refuses ([`Refused`]).
pub(super) async fn get(access: &Access, path: &str) -> Result<Answer> {
    timeout(PATIENCE, asked(access, path))
        .await
        .unwrap_or_else(|_| Err(anyhow!("no answer in time")))
}

async fn asked(access: &Access, path: &str) -> Result<Answer> {
    let request = request(access, path)?;
    let stream = TcpStream::connect(&*access.addresses)
        .await
        .context("cannot connect")?;
    match &access.tls {
        None => answered(stream, request).await,
        Some(tls) => {
            let connector = TlsConnector::from(tls.config.clone());
            let stream = connector.connect(tls.name.clone(), stream).await.context("TLS")?;
            answered(stream, request).await
        }
    }
}

fn request(access: &Access, path: &str) -> Result<Request<String>> {
    let mut request = Request::get(format!("{}{path}", access.prefix))
        .header("host", &*access.host)
        .header("accept", "application/json")
        .header("user-agent", concat!("observer/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = access.token.now() {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).context("the token is no token")?;
        value.set_sensitive(true);
        request = request.header("authorization", value);
    }
    request.body(String::new()).context("no such address")
}

async fn answered(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Result<Answer> {
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            log::debug!("API: {error}");
        }
    });
    let answer = client.send_request(request).await?;
    if answer.status() != http::StatusCode::OK {
        return Err(Refused(answer.status()).into());
    }
    Ok(Answer(answer.into_body()))
}
