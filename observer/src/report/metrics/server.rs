//! Who asks is served by a thread of its own: drops do not wait for it. A few at a time, each for a bounded time.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Metrics, http, page};

/// So many connections are served at a time; the kernel keeps some more waiting.
const MAX_CONNECTIONS: usize = 4;
/// A connection ends after this long, whatever was read and written.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where there is nothing to accept with (no descriptors), not sooner again than this.
const REST: Duration = Duration::from_millis(200);

/// A socket that listens, and is not served yet.
pub struct MetricsServer {
    listener: TcpListener,
}

impl MetricsServer {
    /// Binds the address: before rights are given up.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).map_err(|error| {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program listens there; name another port",
                std::io::ErrorKind::AddrNotAvailable => "no device of this machine has that address",
                _ => "name another address or port",
            };
            anyhow::anyhow!("--metrics {address}: {error}; {advice}")
        })?;
        listener
            .set_nonblocking(true)
            .with_context(|| format!("--metrics {address}"))?;
        Ok(Self { listener })
    }

    /// Begins to serve.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(self) -> anyhow::Result<Metrics> {
        let (metrics, registry) = Metrics::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("--metrics: no event loop")?;
        std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve(self.listener, Arc::new(registry))) {
                    log::error!("metrics are not shown any more: {error}");
                }
            })
            .context("--metrics: no thread")?;
        Ok(metrics)
    }
}

async fn serve(listener: TcpListener, registry: Arc<Registry>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!("metrics: {error}");
                sleep(REST).await;
                continue;
            }
        };
        let registry = registry.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let _ = timeout(PATIENCE, talk(stream, &registry)).await;
        });
    }
}

/// One request, one answer. What goes wrong is the other side's.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, registry: &Registry) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !http::is_whole(&head) && head.len() < http::MAX_HEAD {
        let room = piece.len().min(http::MAX_HEAD - head.len());
        match stream.read(&mut piece[..room]).await? {
            0 => break,
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    if head.is_empty() {
        return Ok(());
    }
    stream.write_all(&http::answer(&head, || page(registry))).await?;
    stream.shutdown().await?;
    // What was sent and is not read would make the kernel reset the connection, and the answer be lost.
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

/// What somebody is answered who sends this, in pieces of at most so many bytes, and then no more: for the fuzz target, which has no
/// sockets.
///
/// # Errors
/// There is no event loop.
pub fn answered(sent: &[u8], piece: usize) -> std::io::Result<Vec<u8>> {
    let (_metrics, registry) = Metrics::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (theirs, ours) = tokio::io::duplex(piece.max(1));
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let ask = async {
        writer.write_all(sent).await?;
        writer.shutdown().await
    };
    let hear = async {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    runtime.block_on(async {
        let (asked, answer, _) = tokio::join!(ask, hear, talk(ours, &registry));
        asked.and(answer)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use super::*;
    use crate::report::Report;
    use crate::report::record::samples;

    fn served() -> (Metrics, SocketAddr) {
        let server = MetricsServer::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = server.listener.local_addr().expect("an address");
        (server.start().expect("a thread"), address)
    }

    fn asked(address: SocketAddr, request: &[u8]) -> String {
        let mut client = Client::connect(address).expect("connects");
        client.write_all(request).expect("writes");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn who_asks_sees_what_was_counted_before() {
        let (mut metrics, address) = served();
        let request = b"GET /metrics HTTP/1.1\r\nHost: node02:9469\r\n\r\n";
        assert!(!asked(address, request).contains("observer_drops_total{"));
        metrics
            .line(&samples::drop_line(samples::policy_drop()))
            .expect("counts");
        let answer = asked(address, request);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(
            body.contains("policy=\"DROP\"} 1\n") || body.contains("policy=\"DROP\","),
            "{body}"
        );
        assert!(body.ends_with("# EOF\n"), "{body}");
    }

    #[test]
    fn those_who_say_nothing_do_not_keep_others_waiting_for_ever() {
        let (_metrics, address) = served();
        // More than are served at a time, and none of them ever asks.
        let silent: Vec<_> = (0..MAX_CONNECTIONS * 2)
            .map(|_| Client::connect(address).expect("connects"))
            .collect();
        let answer = asked(address, b"GET /metrics HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        drop(silent);
    }

    #[test]
    fn an_endless_head_is_refused_and_the_next_is_served() {
        let (_metrics, address) = served();
        let mut long = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
        long.resize(http::MAX_HEAD + 4096, b'x');
        assert!(asked(address, &long).starts_with("HTTP/1.1 431 "));
        assert!(asked(address, b"GET / HTTP/1.0\n\n").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn an_address_in_use_is_one_line_that_says_what_to_do() {
        let (_metrics, address) = served();
        let error = MetricsServer::bind(address).err().expect("refuses").to_string();
        assert!(error.starts_with(&format!("--metrics {address}: ")), "{error}");
        assert!(
            error.ends_with("; another program listens there; name another port"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
}
