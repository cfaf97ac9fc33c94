//! The filter as the kernel programs test it.

/// Element of the filters' map for what dies.
pub const DROP_FILTER: u32 = 0;
/// Element of the filters' map for what passes hooks.
pub const PATH_FILTER: u32 = 1;
/// nf_tables' trace hook is watched: a value of [`Filter::traced`].
pub const BY_TRACE: u32 = 1;
/// The functions that write nf_tables' verdicts are watched: a value of [`Filter::traced`].
pub const BY_VERDICTS: u32 = 2;
/// How many values each list of a filter holds.
pub const MAX_FILTER: usize = 16;
/// How many reasons of the core's `enum skb_drop_reason` the not-loss set covers.
pub const MAX_REASONS: u32 = 256;
/// How many address ranges of netfilter's functions are looked for.
pub const MAX_RANGES: usize = 8;

/// A network, as two big-endian halves so that one comparison serves IPv4 (mapped) and IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Network address, in memory order.
    pub addr: [u64; 2],
    /// Its mask, in memory order.
    pub mask: [u64; 2],
}

/// What the kernel programs must know to choose packets. One element of an array map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// 0: every loss matches.
    pub active: u32,
    /// Used length of `dst`; 0: any. The same for the others.
    pub dst_count: u32,
    /// Used length of `src`.
    pub src_count: u32,
    /// Used length of `ports`.
    pub port_count: u32,
    /// Used length of `protos`.
    pub proto_count: u32,
    /// Used length of `ifaces`.
    pub iface_count: u32,
    /// Used length of `netns`.
    pub netns_count: u32,
    /// Used length of `ranges`.
    pub range_count: u32,
    /// Destination networks.
    pub dst: [Network; MAX_FILTER],
    /// Source networks.
    pub src: [Network; MAX_FILTER],
    /// Networks of which one holds the source or the destination.
    pub hosts: [Network; MAX_FILTER],
    /// Ports, network byte order; source or destination.
    pub ports: [u16; MAX_FILTER],
    /// `IPPROTO_*`.
    pub protos: [u8; MAX_FILTER],
    /// Interface names.
    pub ifaces: [[u8; 16]; MAX_FILTER],
    /// Namespace inodes.
    pub netns: [u32; MAX_FILTER],
    /// Address ranges, start and end, of netfilter's functions that free packets.
    pub ranges: [[u64; 2]; MAX_RANGES],
    /// Address range of `nf_hook_slow`.
    pub hook_slow: [u64; 2],
    /// Address range of `__br_forward`: which of the bridge's hooks it runs, a frame far out on the stack says.
    pub bridge_forward: [u64; 2],
    /// Address range of the functions that run a program at a tracepoint, `bpf_trace_run2` to `bpf_trace_run4`.
    pub trace_run: [u64; 2],
    /// Number of `NETFILTER_DROP`; 0 where the kernel has none.
    pub netfilter_drop: u32,
    /// 0: keep the counters' books and say nothing: user space is not ready yet.
    pub enabled: u32,
    /// [`BY_TRACE`] or [`BY_VERDICTS`] while nf_tables is watched in that way, else 0.
    pub traced: u32,
    /// Used length of `hosts`.
    pub host_count: u32,
    /// Counts how often the functions' places were looked up: a module may have gone, and another come to its place.
    pub functions: u32,
    /// Zero.
    pub pad: u32,
}

/// What the programs on the way of packets look at before anything else: a variable of theirs, read in one load each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathMode {
    /// 0: they do nothing.
    pub enabled: u32,
    /// Counts how often the filter was set: what a CPU remembers of the time before is void.
    pub epoch: u32,
    /// Number of the window in which they measure themselves, 0 outside of one.
    pub window: u32,
    /// 1 if the filter asks for neither devices nor namespaces.
    pub is_plain: u32,
}

impl Filter {
    /// No filter, nothing known, not enabled.
    pub const fn new() -> Self {
        Self {
            active: 0,
            dst_count: 0,
            src_count: 0,
            port_count: 0,
            proto_count: 0,
            iface_count: 0,
            netns_count: 0,
            range_count: 0,
            dst: [Network {
                addr: [0; 2],
                mask: [0; 2],
            }; MAX_FILTER],
            src: [Network {
                addr: [0; 2],
                mask: [0; 2],
            }; MAX_FILTER],
            hosts: [Network {
                addr: [0; 2],
                mask: [0; 2],
            }; MAX_FILTER],
            ports: [0; MAX_FILTER],
            protos: [0; MAX_FILTER],
            ifaces: [[0; 16]; MAX_FILTER],
            netns: [0; MAX_FILTER],
            ranges: [[0; 2]; MAX_RANGES],
            hook_slow: [0; 2],
            bridge_forward: [0; 2],
            trace_run: [0; 2],
            netfilter_drop: 0,
            enabled: 0,
            traced: 0,
            host_count: 0,
            functions: 0,
            pad: 0,
        }
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "user")]
// SAFETY: plain integers, no padding that is read.
unsafe impl aya::Pod for Filter {}
// SAFETY: plain integers without padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PathMode {}

const _: () = assert!(core::mem::offset_of!(Filter, ifaces).is_multiple_of(8));
