//! The servers of a cluster: threads of the lab whose sockets live in a node's namespace.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::spec::{ServerKind, ServerSpec};
use crate::netns::Netns;

/// How often a server looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// A running server. Dropping it ends it.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    _listener: Option<TcpListener>,
    _socket: Option<UdpSocket>,
}

impl Server {
    pub(super) fn start(netns: &Netns, spec: &ServerSpec) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Self {
            stop: Arc::clone(&stop),
            _listener: None,
            _socket: None,
        };
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, spec.port));
        let what = || format!("cannot bind port {} on {}", spec.port, netns.name());
        match spec.kind {
            ServerKind::Http => {
                let listener = netns.run(|| TcpListener::bind(at).with_context(what))?;
                listener.set_nonblocking(true)?;
                let body = format!("hello from {}\n", spec.node);
                std::thread::spawn(move || serve_http(&listener, &body, &stop));
            }
            ServerKind::Mute => {
                let listener = netns.run(|| TcpListener::bind(at).with_context(what))?;
                // SAFETY: listen on a listening socket that we own changes its backlog only.
                unsafe { libc::listen(listener.as_raw_fd(), i32::from(spec.backlog)) };
                server._listener = Some(listener);
            }
            ServerKind::Echo => {
                let socket = netns.run(|| UdpSocket::bind(at).with_context(what))?;
                socket.set_read_timeout(Some(TICK))?;
                std::thread::spawn(move || echo(&socket, &stop));
            }
            ServerKind::Deaf => {
                let socket = netns.run(|| UdpSocket::bind(at).with_context(what))?;
                let bytes: libc::c_int = 1;
                // SAFETY: the option's value is an int that lives across the call; the socket is ours. The kernel
                // raises the size to its minimum, which a few datagrams fill.
                unsafe {
                    libc::setsockopt(
                        socket.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_RCVBUF,
                        (&raw const bytes).cast(),
                        size_of_val(&bytes) as libc::socklen_t,
                    )
                };
                server._socket = Some(socket);
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve_http(listener: &TcpListener, body: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that goes away in the middle is its own affair.
            Ok((client, _)) => drop(answer(client, body)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TICK),
            Err(_) => return,
        }
    }
}

fn answer(mut client: TcpStream, body: &str) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        match client.read(&mut piece)? {
            0 => break,
            read => request.extend_from_slice(&piece[..read]),
        }
    }
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) {
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    }
}
