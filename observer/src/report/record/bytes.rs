//! The bytes of a packet, as far as they are kept: for captures, never in a trace.

/// A packet's first bytes, as they lay in memory when it died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketBytes {
    /// What they begin with.
    pub begin: Begin,
    /// The bytes.
    pub bytes: Box<[u8]>,
    /// How long the packet is from the same place on, in bytes; never less than there are.
    pub whole_len: u32,
}

/// What the bytes of a packet begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Begin {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    #[default]
    Ip,
}
