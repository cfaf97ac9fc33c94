//! What the kernel programs write into the ring buffer.

/// How many bytes from the network header on travel with a drop.
pub const HEADER_BYTES: usize = 128;
/// How many bytes of a packet a capture takes at most, from its link header on.
pub const MAX_SNAPLEN: usize = 4096;
/// The longest link header that is taken with it, in bytes: Ethernet with two VLAN tags has 22.
pub const MAX_LINK_BYTES: u32 = 22;
/// How many counters that moved are named; more than that is only counted.
pub const MAX_MOVED: usize = 8;
/// How many slots of a legacy table's jump stack travel with a drop.
pub const MAX_JUMPS: usize = 16;
/// How many return addresses are looked at, where the innermost do not say which hook it was.
pub const MAX_STACK: usize = 96;
/// How many are looked at first: each costs its share of the unwinding.
pub const SHORT_STACK: usize = 14;
/// So many frames behind `nf_hook_slow` say which hook it ran.
pub const CALLER_FRAMES: u32 = 5;
/// How many of them travel with a drop.
pub const SENT_STACK: usize = 32;

/// For so long after it woke user space for a drop a CPU wakes it for no other, nanoseconds.
pub const WAKE_NS: u64 = 1_000_000;

/// First field of every record.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A [`DropEvent`].
    Drop = 1,
    /// A [`RulesetEvent`].
    Ruleset = 2,
    /// A [`crate::HookEvent`].
    Hook = 3,
    /// A [`BytesEvent`].
    Bytes = 4,
}

/// Facts about a [`DropEvent`], as bits of its `flags`.
pub mod flag {
    /// Freed by netfilter: the location lies in one of its functions, or the reason says so.
    pub const NETFILTER: u32 = 1;
    /// The counters of this namespace were compared with a baseline taken on this CPU.
    pub const COMPARED: u32 = 1 << 1;
    /// A hook list, a table or the nf_tables generation is not the one that user space has read.
    pub const STALE: u32 = 1 << 2;
    /// User space has not read this namespace.
    pub const UNREAD: u32 = 1 << 3;
    /// The packet does not match the filter; the record only keeps the counters' books straight.
    pub const BOOKKEEPING: u32 = 1 << 4;
    /// `conn` is filled.
    pub const CONN: u32 = 1 << 5;
    /// The stack was longer than what was read: nesting cannot be excluded.
    pub const STACK_CUT: u32 = 1 << 6;
    /// The namespace came from the socket, not from a device.
    pub const NET_FROM_SOCK: u32 = 1 << 7;
    /// No baseline on this CPU yet.
    pub const NO_BASELINE: u32 = 1 << 8;
    /// Its last traversal of a hook was written to the ring buffer for paths, just before.
    pub const PATH: u32 = 1 << 9;
    /// Its bytes were written to the ring buffer: the last [`crate::BytesEvent`] of this CPU before this record.
    pub const BYTES: u32 = 1 << 10;
    /// Drops of this namespace on this CPU were only counted, just before: their counters were not looked at, so which
    /// moved by this packet is not known.
    pub const BEHIND: u32 = 1 << 11;
}

/// Which view of the packet matched the filter.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// There is no filter, or the record is [`flag::BOOKKEEPING`].
    Any = 0,
    /// Its headers as they are now.
    Headers = 1,
    /// The original tuple of its connection, in either direction.
    Original = 2,
    /// The reply tuple of its connection, in either direction.
    Reply = 3,
}

/// One direction of a connection: `struct nf_conntrack_tuple` as it lies in the kernel, user API in all but name and the
/// same in v6.1 … v6.18 (include/net/netfilter/nf_conntrack_tuple.h).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnTuple {
    /// Network byte order; an IPv4 address takes the first four bytes. User space decodes it to `::ffff:a.b.c.d`.
    pub src: [u8; 16],
    /// Network byte order. For ICMP: the identifier.
    pub src_port: u16,
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10).
    pub family: u16,
    /// As `src`.
    pub dst: [u8; 16],
    /// Network byte order. For ICMP: type in the low byte, code in the high byte.
    pub dst_port: u16,
    /// `IPPROTO_*`.
    pub proto: u8,
    /// `enum ip_conntrack_dir`
    pub direction: u8,
}

/// What the packet's `struct nf_conn` said. From `original` on as in the kernel, so that one reading gets all of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conn {
    /// Its address: the identity of the connection while it lives.
    pub address: u64,
    /// `enum ip_conntrack_info` of this packet.
    pub info: u32,
    /// Zero.
    pub pad: u32,
    /// Tuple of the connection's first packet.
    pub original: ConnTuple,
    /// The kernel's own: `tuplehash[1].hnnode`.
    pub between: [u64; 2],
    /// Tuple of an answer.
    pub reply: ConnTuple,
    /// `IPS_*` bits.
    pub status: u32,
    /// `nf_conn.status` is a word; its upper half has no bits.
    pub status_upper: u32,
}

impl Conn {
    /// Bytes from `original` on.
    pub const KERNEL_BYTES: usize = size_of::<Self>() - core::mem::offset_of!(Self, original);
    /// Where `reply` lies behind `original`, in bytes.
    pub const REPLY_BEHIND: usize =
        core::mem::offset_of!(Self, reply) - core::mem::offset_of!(Self, original);
    /// Where `status` lies behind `original`, in bytes.
    pub const STATUS_BEHIND: usize =
        core::mem::offset_of!(Self, status) - core::mem::offset_of!(Self, original);
}

/// A counter that moved since the last look on this CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Number of the candidate among its namespace's.
    pub candidate: u32,
    /// By how many packets, saturating.
    pub packets: u32,
    /// By how many bytes.
    pub bytes: u64,
}

/// One `kfree_skb`. In the ring buffer it is cut: see [`DropEvent::LEN_OTHER`] and [`DropEvent::LEN_NETFILTER`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DropEvent {
    /// [`EventKind::Drop`].
    pub kind: u32,
    /// The CPU that freed it.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Address of the `sk_buff`.
    pub skb: u64,
    /// Return address of the call that freed it.
    pub location: u64,
    /// Address of its `struct net`.
    pub net: u64,
    /// How many netfilter drops this CPU had seen before this one.
    pub sequence: u64,
    /// `net->ns.inum`.
    pub netns_inode: u32,
    /// `enum skb_drop_reason` of the running kernel; 0 where the tracepoint has none.
    pub reason: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Length from the network header on, in bytes.
    pub len_bytes: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// `dev->ifindex`, 0 if it has no device.
    pub dev_ifindex: u32,
    /// Interface index of the route's device, 0 if it has none.
    pub route_ifindex: u32,
    /// `skb->skb_iif`: the interface that it first came in on, 0 if made here.
    pub iif: u32,
    /// `skb->dev->name`.
    pub dev_name: [u8; 16],
    /// Name of the route's device.
    pub route_name: [u8; 16],
    /// `skb->protocol`, network byte order.
    pub protocol: u16,
    /// `PACKET_HOST` …
    pub pkt_type: u8,
    /// A [`Matched`].
    pub matched: u8,
    /// Generation of what user space has read of this namespace.
    pub generation: u32,
    /// The connection, if [`flag::CONN`].
    pub conn: Conn,
    /// How many counters moved, may be more than [`MAX_MOVED`].
    pub moved_count: u32,
    /// How many `nf_hook_slow` frames are on the stack.
    pub nesting: u32,
    /// Used length of `stack` as it travels.
    pub stack_count: u32,
    /// Used length of `header`, bytes.
    pub header_bytes: u32,
    /// The packet from its network header on.
    pub header: [u8; HEADER_BYTES],
    /// The counters that moved.
    pub moved: [Moved; MAX_MOVED],
    /// `jumpstack[cpu]` of the legacy table that `moved[0]` belongs to.
    pub jumps: [u64; MAX_JUMPS],
    /// Return addresses, innermost first.
    pub stack: [u64; MAX_STACK],
}

impl DropEvent {
    /// Length of the record when netfilter did not free the packet: up to the end of the headers that it has.
    pub const LEN_OTHER: usize = core::mem::offset_of!(DropEvent, header);
    /// Length of the record when netfilter freed the packet, without its stack.
    pub const LEN_NETFILTER: usize = core::mem::offset_of!(DropEvent, stack);
}

/// The bytes of a packet that died, for a capture. In the ring buffer it is cut behind the last byte that was copied, and
/// comes before the [`DropEvent`] of the same packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BytesEvent {
    /// [`EventKind::Bytes`].
    pub kind: u32,
    /// The CPU that freed it.
    pub cpu: u32,
    /// How many of the bytes come before the network header: the link header, if the packet still has one.
    pub link_bytes: u32,
    /// Used length of `bytes`.
    pub count: u32,
    /// From the link header on, as far as the packet lies in one piece (`skb->head` to `skb->tail`).
    pub bytes: [u8; MAX_SNAPLEN],
}

impl BytesEvent {
    /// Length of the record without the bytes.
    pub const LEN: usize = core::mem::offset_of!(BytesEvent, bytes);
}

/// A ruleset is being, or has been, replaced.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RulesetEvent {
    /// [`EventKind::Ruleset`].
    pub kind: u32,
    /// `net->ns.inum` of the task that does it, or of the known namespace.
    pub netns_inode: u32,
    /// Address of that `struct net`.
    pub net: u64,
    /// `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

const _: () = assert!(BytesEvent::LEN == 16);
const _: () = assert!(size_of::<ConnTuple>() == 40);
/// Arrays of bytes that are read and written in words.
const ALIGNED: [usize; 5] = [
    core::mem::offset_of!(ConnTuple, src),
    core::mem::offset_of!(Conn, original),
    core::mem::offset_of!(DropEvent, dev_name),
    core::mem::offset_of!(DropEvent, route_name),
    core::mem::offset_of!(DropEvent, header),
];
const _: () = assert!(crate::are_multiples(&ALIGNED, 8));
const _: () = assert!(core::mem::offset_of!(ConnTuple, dst).is_multiple_of(4));
const _: () = assert!(size_of::<Conn>() == 120);
const _: () = assert!(size_of::<Moved>() == 16);
const _: () = assert!(DropEvent::LEN_OTHER.is_multiple_of(8));
const _: () = assert!(DropEvent::LEN_NETFILTER.is_multiple_of(8));
const _: () = assert!(size_of::<DropEvent>() == DropEvent::LEN_NETFILTER + 8 * MAX_STACK);
