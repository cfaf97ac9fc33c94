//! A question to the API server over HTTP/1.1, with TLS or without, on a connection of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

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
            let stream = tls.over(stream).await?;
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

/// Sends a request over a connection of its own, to `whom`; the answer's body has not come yet.
pub(crate) async fn exchanged(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
    whom: &'static str,
) -> Result<Response<Incoming>> {
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            log::debug!("{whom}: {error}");
        }
    });
    Ok(client.send_request(request).await?)
}

async fn answered(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Result<Answer> {
    let answer = exchanged(stream, request, "API").await?;
    if answer.status() != http::StatusCode::OK {
        return Err(Refused(answer.status()).into());
    }
    Ok(Answer(answer.into_body()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, Stream};

    use super::super::access::Token;
    use super::*;

    const AUTHORITY: &[u8] = include_bytes!("samples/authority.pem");
    const STRANGER: &[u8] = include_bytes!("samples/stranger.pem");

    /// Serves one question over TLS, and returns what it was asked, or why it was not.
    fn server() -> (u16, std::thread::JoinHandle<std::io::Result<String>>) {
        let chain = CertificateDer::pem_slice_iter(include_bytes!("samples/server.pem"));
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("samples/server.key")).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serve = move || {
            let (mut socket, _) = listener.accept()?;
            let mut connection = ServerConnection::new(Arc::new(config)).map_err(std::io::Error::other)?;
            let mut stream = Stream::new(&mut connection, &mut socket);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
            stream.conn.send_close_notify();
            stream.flush()?;
            Ok(String::from_utf8_lossy(&head).into_owned())
        };
        (port, std::thread::spawn(serve))
    }

    fn asked(port: u16, authority: &[u8], name: Option<&str>) -> Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let token = Token::Fixed("c2VjcmV0".into());
        let url = format!("https://127.0.0.1:{port}");
        let access = Access::new(&url, Some(authority), None, name, token).expect("an address");
        runtime.block_on(async { get(&access, "/api/v1/pods?limit=1").await?.whole(100).await })
    }

    #[test]
    fn the_server_that_the_authority_signed_is_asked_with_the_token() {
        for name in [None, Some("kubernetes")] {
            let (port, server) = server();
            assert_eq!(asked(port, AUTHORITY, name).expect("an answer"), b"{}");
            let head = server.join().expect("a thread").expect("a question");
            assert!(
                head.starts_with("GET /api/v1/pods?limit=1 HTTP/1.1\r\n"),
                "{head}"
            );
            assert!(head.contains("\r\nauthorization: Bearer c2VjcmV0\r\n"), "{head}");
            assert!(
                head.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")),
                "{head}"
            );
        }
    }

    #[test]
    fn another_server_gets_no_question_and_no_token() {
        for (authority, name) in [(STRANGER, None), (AUTHORITY, Some("other"))] {
            let (port, server) = server();
            let error = asked(port, authority, name).expect_err("refuses");
            assert!(format!("{error:#}").starts_with("TLS: "), "{error:#}");
            assert!(server.join().expect("a thread").is_err());
        }
    }
}
