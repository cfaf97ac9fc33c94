//! Netlink: messages put together, sent, and their answers taken apart (include/uapi/linux/netlink.h).
//!
//! By hand, because so little of it is needed: one batch for nf_tables and one listing of routes.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use super::raw;

/// `struct nlmsghdr`: length, type, flags, sequence number, sender.
pub const HEADER_BYTES: usize = 16;
/// `struct nlattr`: length and type.
const ATTRIBUTE_BYTES: usize = 4;
/// `NLMSG_ALIGN`, `NLA_ALIGN`
const ALIGN: usize = 4;
/// `NLMSG_ERROR`: an error, or an acknowledgement when the error is 0.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a listing.
const NLMSG_DONE: u16 = 3;
/// `NLA_F_NESTED`
const NLA_F_NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`: a type without its flags.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// Larger than what the kernel puts into one answer (`netlink_dump`, net/netlink/af_netlink.c: 32 KiB at most).
const ANSWER_BYTES: usize = 64 << 10;
/// How long the kernel may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Messages, one after the other as they go into one datagram.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

/// Attributes of a message that is being put together.
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Batch {
    /// Appends a message: the fixed part that its type begins with (`nfgenmsg`, `rtmsg`), then attributes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        // The sender is the kernel's to fill in.
        self.bytes.extend([0; 4]);
        self.bytes.extend(fixed);
        pad(&mut self.bytes);
        attributes(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let len = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Attributes<'_> {
    /// Bytes as they are.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.put(kind, |bytes| bytes.extend(value));
    }

    /// A string, with the zero that ends it.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.put(kind, |bytes| {
            bytes.extend(value.as_bytes());
            bytes.push(0);
        });
    }

    /// A number of four bytes, most significant first: what nf_tables takes.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Attributes within an attribute.
    pub fn nest(&mut self, kind: u16, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.put(kind | NLA_F_NESTED, |bytes| attributes(&mut Attributes { bytes }));
    }

    fn put(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        value(self.bytes);
        // Without the padding, which belongs to no attribute.
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        pad(self.bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`: that of the request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The errno of an error, 0 of an acknowledgement; `None` for any other message.
    pub fn error(&self) -> Option<i32> {
        (self.kind == NLMSG_ERROR)
            .then(|| raw::u32_at(self.payload, 0))
            .flatten()
            .map(|error| error.cast_signed().wrapping_neg())
    }

    /// Whether this ends a listing.
    pub fn is_done(&self) -> bool {
        self.kind == NLMSG_DONE
    }
}

/// The messages in a datagram; what is cut short is left out.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = raw::u32_at(bytes, 0)? as usize;
        let message = Message {
            kind: raw::u16_at(bytes, 4)?,
            flags: raw::u16_at(bytes, 6)?,
            sequence: raw::u32_at(bytes, 8)?,
            payload: bytes.get(HEADER_BYTES..len)?,
        };
        bytes = bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some(message)
    })
}

/// Type and value of each attribute; what is cut short is left out.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(raw::u16_at(bytes, 0)?);
        let kind = raw::u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_BYTES..len)?;
        bytes = bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A socket to the kernel, in the network namespace of the thread that opens it.
pub struct Socket {
    file: File,
    answer: Vec<u8>,
}

impl Socket {
    /// Opens one of a protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`).
    ///
    /// # Errors
    /// The kernel has no such protocol, or refuses.
    pub fn open(protocol: i32) -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above and belongs to nobody else.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        set_patience(&file)?;
        Ok(Self {
            file,
            answer: vec![0; ANSWER_BYTES],
        })
    }

    /// Sends one datagram to the kernel: a socket that is connected to nobody writes there.
    ///
    /// # Errors
    /// It does not take the whole of it.
    pub fn send(&mut self, batch: &Batch) -> io::Result<()> {
        self.file.write_all(batch.bytes())
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// None came in two seconds ([`ErrorKind::TimedOut`]), or the kernel had no room for it.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.file.read(&mut self.answer) {
                Ok(len) => return Ok(&self.answer[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn set_patience(file: &File) -> io::Result<()> {
    let patience = libc::timeval {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_usec: 0,
    };
    // SAFETY: the kernel reads a timeval of the size given, which lives until the call returns.
    let failed = unsafe {
        libc::setsockopt(
            file.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of_val(&patience) as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let mut batch = Batch::default();
        batch.message(0x0a03, 0x0405, 7, &[1, 0, 0, 10], |attributes| {
            attributes.string(1, "abcd");
            attributes.nest(4, |within| within.be32(2, 12));
        });
        assert_eq!(
            batch.bytes(),
            [
                44, 0, 0, 0, 0x03, 0x0a, 0x05, 0x04, 7, 0, 0, 0, 0, 0, 0, 0, // header
                1, 0, 0, 10, // fixed part
                9, 0, 1, 0, b'a', b'b', b'c', b'd', 0, 0, 0, 0, // a string of five bytes, padded
                12, 0, 4, 0x80, 8, 0, 2, 0, 0, 0, 0, 12, // a nest around a number
            ]
        );
    }

    #[test]
    fn what_was_put_together_is_taken_apart_again() {
        let mut batch = Batch::default();
        batch.message(26, 1, 1, &[2; 12], |attributes| attributes.bytes(9, &[1, 2, 3]));
        batch.message(27, 1, 2, &[], |_| {});
        let found: Vec<Message<'_>> = messages(batch.bytes()).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].sequence), (26, 1));
        assert_eq!((found[1].kind, found[1].sequence), (27, 2));
        assert_eq!(
            attributes(&found[0].payload[12..]).collect::<Vec<_>>(),
            [(9, [1, 2, 3].as_slice())]
        );
        assert_eq!(found[0].error(), None);
    }

    #[test]
    fn an_error_is_told_from_an_acknowledgement() {
        let answer = |error: i32| {
            let mut batch = Batch::default();
            batch.message(NLMSG_ERROR, 0, 3, &error.to_ne_bytes(), |_| {});
            messages(batch.bytes()).next().and_then(|message| message.error())
        };
        assert_eq!(answer(0), Some(0));
        assert_eq!(answer(-libc::EPERM), Some(libc::EPERM));
    }

    #[test]
    fn answers_cut_short_end_the_reading() {
        let mut batch = Batch::default();
        batch.message(2, 0, 1, &[0; 4], |attributes| attributes.string(1, "name"));
        let bytes = batch.bytes();
        for len in 0..bytes.len() {
            assert_eq!(messages(&bytes[..len]).count(), 0);
        }
        // A length shorter than the header that it is in must not make the reading stand still.
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}
