//! Sending as many packets as one processor can: what sending one takes contains the whole of its way.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bytes of each datagram.
const PAYLOAD: [u8; 64] = [0x5a; 64];
/// The port that all is sent from.
pub(super) const PORT: u16 = 40_000;
/// Each flow sends one packet in each call: the kernel takes no more than this in one.
pub(super) const MOST_FLOWS: usize = 1024;

/// Between two pieces of arithmetic that tell how fast the processor is right now.
const PIECE: Duration = Duration::from_millis(8);
/// Some milliseconds of it.
const ARITHMETIC: u64 = 400_000;

/// How long sending took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    pub(super) sending: Duration,
    /// The same in units of a fixed piece of arithmetic, done in between on the same processor: what else the machine
    /// under an emulated processor does slows both down alike.
    pub(super) pieces: f64,
}

/// One socket that sends to many addresses in turn.
pub(super) struct Flood {
    socket: UdpSocket,
    to: Vec<libc::sockaddr_in>,
}

impl Flood {
    /// A socket of this thread's namespace.
    pub(super) fn open(to: &[Ipv4Addr], port: u16) -> Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).context("cannot bind a UDP socket")?;
        let to = to.iter().take(MOST_FLOWS).map(|to| address(*to, port));
        Ok(Self {
            to: to.collect(),
            socket,
        })
    }

    /// Sends for so long, or one packet of each flow if that is zero; returns how long it was.
    pub(super) fn send_for(&self, span: Duration) -> Result<Took> {
        on_first_processor()?;
        let mut data = libc::iovec {
            iov_base: PAYLOAD.as_ptr().cast_mut().cast(),
            iov_len: PAYLOAD.len(),
        };
        let mut messages: Vec<libc::mmsghdr> = self.to.iter().map(|to| message(to, &raw mut data)).collect();
        let (mut sending, mut reckoning, mut reckoned) = (Duration::ZERO, Duration::ZERO, 0_u32);
        while reckoned == 0 || sending < span {
            let begun = Instant::now();
            loop {
                self.send_one_each(&mut messages)?;
                if begun.elapsed() >= PIECE.min(span) {
                    break;
                }
            }
            sending += begun.elapsed();
            let begun = Instant::now();
            reckon();
            reckoning += begun.elapsed();
            reckoned += 1;
        }
        Ok(Took {
            sending,
            pieces: sending.as_secs_f64() * f64::from(reckoned) / reckoning.as_secs_f64(),
        })
    }

    /// One packet of each flow.
    fn send_one_each(&self, messages: &mut [libc::mmsghdr]) -> Result<()> {
        // SAFETY: the messages point to addresses and data that outlive the call; the kernel only reads those.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                0,
            )
        };
        if sent < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot send");
        }
        Ok(())
    }
}

/// A fixed amount of work that needs no memory.
fn reckon() {
    let mut number = std::hint::black_box(1_u64);
    for step in 0..ARITHMETIC {
        number = std::hint::black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step);
    }
}

/// Sends a datagram from an address that need not be this namespace's own.
pub(super) fn answer(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Result<()> {
    let on: libc::c_int = 1;
    let from = address(from.0, from.1);
    // SAFETY: a plain system call; the descriptor is owned at once if there is one.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        anyhow::ensure!(fd >= 0, "no socket: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    let (fd, len) = (
        socket.as_raw_fd(),
        size_of::<libc::sockaddr_in>() as libc::socklen_t,
    );
    // SAFETY: the option and the address are as long as is said, and live across the calls.
    let failed = unsafe {
        let option = (&raw const on).cast();
        libc::setsockopt(
            fd,
            libc::SOL_IP,
            libc::IP_TRANSPARENT,
            option,
            size_of::<libc::c_int>() as u32,
        ) != 0
            || libc::bind(fd, (&raw const from).cast(), len) != 0
    };
    if failed {
        return Err(std::io::Error::last_os_error()).context("cannot bind a pod's address");
    }
    UdpSocket::from(socket)
        .send_to(b"answer", to)
        .context("cannot answer")?;
    Ok(())
}

fn address(address: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    }
}

fn message(to: &libc::sockaddr_in, data: *mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeroes is an empty message.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = std::ptr::from_ref(to).cast_mut().cast();
    message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_hdr.msg_iov = data;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// So that no round is spoilt by a move.
fn on_first_processor() -> Result<()> {
    // SAFETY: all zeroes is an empty set, and the calls only touch the set given.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if set != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot stay on one processor");
    }
    Ok(())
}
