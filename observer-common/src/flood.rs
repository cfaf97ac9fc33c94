//! What is agreed on for floods: more drops than user space can look at, each by itself, are only counted.

/// How many flows are told apart on one CPU while drops are only counted, in each of two halves.
pub const FOLDS: u32 = 256;

/// What the kernel side may still tell. User space adds to it as time goes by. One element of an array map; both sides change
/// it at any time, so that it is right to some records.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// So many records may be written.
    pub records: i64,
    /// With no more than this left, a flow that has been told of is only counted: the rest is for others.
    pub reserve: i64,
    /// Number of the time that is counted in, from 1 on. Its lowest bit is the half of the folds.
    pub epoch: u64,
    /// So many records of one flow are written in each epoch, even if no more than the reserve is left.
    pub each: u64,
}

/// Drops of one flow at one place that were only counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// Which they are.
    pub key: FoldKey,
    /// The [`Allowance::epoch`] that they were counted in.
    pub epoch: u64,
    /// How many were counted.
    pub count: u64,
    /// Of how many there are records.
    pub told: u64,
}

/// From where to where packets went, and where they died. Ports are left out: one who sends to all of them is one flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FoldKey {
    /// IPv4 as `::ffff:a.b.c.d`, two words in memory order.
    pub src: [u64; 2],
    /// As `src`.
    pub dst: [u64; 2],
    /// Return address of the call that freed it.
    pub location: u64,
    /// `net->ns.inum`
    pub inode: u32,
    /// `enum skb_drop_reason`; 0 where the kernel gives none.
    pub reason: u32,
    /// `IPPROTO_*`
    pub proto: u64,
}

impl FoldKey {
    /// How many words it has.
    pub const WORDS: usize = size_of::<Self>() / size_of::<u64>();
}

const _: () = assert!(size_of::<FoldKey>() == 56 && size_of::<Fold>() == 80);

/// Values of the map `BEHIND`: 0, or when something was (nanoseconds since boot), shifted, and what it was.
pub mod behind {
    /// Every drop was looked at.
    pub const NEVER: u64 = 0;
    /// How far the time is shifted.
    pub const SHIFT: u32 = 2;
    /// The bits that say what it was. None: a look with which the CPU caught up.
    pub const FELL: u64 = (1 << SHIFT) - 1;
    /// A drop that the filter matches was only counted.
    pub const FOLDED: u64 = 1;
    /// A drop outside the filter was not looked at.
    pub const UNSEEN: u64 = 2;
}

#[cfg(feature = "user")]
// SAFETY: plain integers.
unsafe impl aya::Pod for Allowance {}
#[cfg(feature = "user")]
// SAFETY: plain integers; no padding.
unsafe impl aya::Pod for Fold {}
