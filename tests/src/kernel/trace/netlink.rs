//! The little of netlink that reading the kernel's traces takes: messages, attributes, a socket.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

/// Room for what comes in before it is read: some ten thousand messages.
const ROOM_BYTES: libc::c_int = 64 << 20;

/// The largest message that is read: a logged packet with its attributes.
const MESSAGE_BYTES: usize = 128 << 10;

/// A message of nfnetlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The subsystem in the upper byte, its message in the lower one.
    pub kind: u16,
    /// The protocol family of what it is about.
    pub family: u8,
    /// Its attributes, still encoded.
    pub body: Vec<u8>,
}

/// Takes what one `recv` returned apart.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some(header) = bytes.first_chunk::<16>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(whole) = bytes.get(..length).filter(|whole| whole.len() >= 16) else {
            break;
        };
        // struct nfgenmsg: family, version, resource id.
        if let Some(body) = whole.get(20..) {
            found.push(Message {
                kind: u16::from_ne_bytes([header[4], header[5]]),
                family: whole[16],
                body: body.to_vec(),
            });
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The errno, negative, of an answer; none if it is another message.
fn acknowledged(bytes: &[u8]) -> Option<i32> {
    let kind: [u8; 2] = bytes.get(4..6)?.try_into().ok()?;
    let is_answer = i32::from(u16::from_ne_bytes(kind)) == libc::NLMSG_ERROR;
    // struct nlmsgerr follows the header.
    let code = bytes.get(16..20)?.first_chunk().filter(|_| is_answer)?;
    Some(i32::from_ne_bytes(*code))
}

/// The attributes of a message or of another attribute, by number.
pub fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(header) = bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        // The two upper bits say "nested" and "in network byte order".
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        found.push((kind, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// An attribute by its number.
pub fn find<'a>(attributes: &[(u16, &'a [u8])], kind: u16) -> Option<&'a [u8]> {
    attributes
        .iter()
        .find_map(|(one, value)| (*one == kind).then_some(*value))
}

/// A number in network byte order.
pub fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A number in network byte order.
pub fn be64(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Text up to its terminating zero.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A socket of the namespace it was opened in.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
        if fd < 0 {
            return Err(Error::last_os_error()).context("cannot open a netfilter socket");
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM_BYTES)?;
        socket.bind()?;
        Ok(socket)
    }

    /// Takes an address: what has none is taken for the kernel itself and gets no multicast.
    fn bind(&self) -> Result<()> {
        // SAFETY: sockaddr_nl is plain data, for which all zeroes is a value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as _;
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address lives across the call, with the length given.
        let code = unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length) };
        if code < 0 {
            return Err(Error::last_os_error()).context("cannot bind a netfilter socket");
        }
        Ok(())
    }

    /// Joins a multicast group.
    pub fn join(&self, group: libc::c_int) -> Result<()> {
        self.set(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Sends a request and waits for its acknowledgement.
    pub fn request(&self, kind: u16, family: u8, resource: u16, body: &[u8]) -> Result<()> {
        let length = (20 + body.len()) as u32;
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut message = Vec::new();
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend([family, 0]);
        message.extend(resource.to_be_bytes());
        message.extend(body);
        // SAFETY: the message lives across the call, with the length given.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(Error::last_os_error()).context("cannot send to netfilter");
        }
        // The kernel answers such a request before `send` returns; what it tells of otherwise may come before that.
        let mut answer = vec![0; MESSAGE_BYTES];
        while let Some(length) = self.receive(&mut answer)? {
            if let Some(code) = acknowledged(&answer[..length]) {
                return match code {
                    0 => Ok(()),
                    code => Err(Error::from_raw_os_error(-code)).context("netfilter refuses a request"),
                };
            }
        }
        bail!("netfilter did not answer")
    }

    /// Everything that has come in so far.
    pub fn drain(&self) -> Result<Vec<Message>> {
        let mut buffer = vec![0; MESSAGE_BYTES];
        let mut found = Vec::new();
        while let Some(length) = self.receive(&mut buffer)? {
            found.extend(messages(&buffer[..length]));
        }
        Ok(found)
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        // SAFETY: the buffer is ours and as long as said.
        let length = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if let Ok(length) = usize::try_from(length) {
            return Ok(Some(length));
        }
        let error = Error::last_os_error();
        if error.kind() == ErrorKind::WouldBlock {
            return Ok(None);
        }
        Err(error).context("the kernel's trace is not complete")
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> Result<()> {
        // SAFETY: the option's value is an int that lives across the call; the socket is ours.
        let code = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if code < 0 {
            return Err(Error::last_os_error()).context("cannot prepare a netfilter socket");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes() {
        let bytes = [5, 0, 1, 0, b'x', 0, 0, 0, 8, 0, 2, 0x80, 0, 0, 0, 7];
        let found = attributes(&bytes);
        assert_eq!(text(find(&found, 1).expect("there")), "x");
        assert_eq!(be32(find(&found, 2).expect("there")), Some(7));
        assert_eq!(find(&found, 3), None);
    }

    #[test]
    fn only_an_acknowledgement_is_one() {
        let message = |kind: u8| [20, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0];
        assert_eq!(acknowledged(&message(2)), Some(10));
        assert_eq!(acknowledged(&message(0)), None);
    }

    #[test]
    fn what_is_cut_short_ends_the_reading() {
        assert!(messages(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
        assert!(attributes(&[9, 0, 1, 0, 0]).is_empty());
    }
}
