//! Does the packet match the filter: by its headers, or by either tuple of its connection?

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use network_types::ip::IpProto;
use observer_common::{Conn, ConnTuple, Filter, HEADER_BYTES, MAX_FILTER, Matched, Network};

use crate::{conntrack::mapped, maps::FILTER};

/// `NFPROTO_IPV4`
const IPV4: u16 = 2;

/// One way to see the packet: who talks to whom.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    /// IPv4 as `::ffff:a.b.c.d`, two words in memory order.
    pub src: [u64; 2],
    /// As `src`.
    pub dst: [u64; 2],
    /// Network byte order.
    pub src_port: u16,
    /// Network byte order.
    pub dst_port: u16,
    /// `IPPROTO_*`
    pub proto: u8,
    /// The [`Matched`] that a match of this view means.
    means: u8,
    /// Of headers: where the transport's begins, in bytes; 0 if there is none. See [`skip_extensions`].
    at: u16,
}

/// Its headers, and both tuples of its connection in both directions.
pub const VIEWS: usize = 5;

/// What the filter asks of a packet.
pub struct Sight<'a> {
    /// From its network header on.
    pub header: &'a [u8; HEADER_BYTES],
    /// How much of it there is.
    pub header_bytes: u32,
    /// Its connection, if it has one.
    pub conn: Option<&'a Conn>,
    /// Its network namespace.
    pub inode: u32,
    /// A device it came in by, or is at.
    pub dev: &'a [u8; 16],
    /// A device it is to leave by.
    pub route: &'a [u8; 16],
}

/// What the callback of `bpf_loop` shares with its caller.
#[repr(C)]
struct Search {
    views: *mut [View; VIEWS],
    filter: u32,
    found: u32,
}

/// Which view matched, as a [`Matched`]; `None` if none did. `which` is the element of the filters' map that `filter`
/// is, `views` the caller's room for the ways to see the packet.
#[inline(always)]
pub fn matches(which: u32, filter: &Filter, views: *mut [View; VIEWS], sight: &Sight<'_>) -> Option<u8> {
    if filter.active == 0 {
        return Some(Matched::Any as u8);
    }
    if !netns_matches(filter, sight.inode) || !iface_matches(filter, sight) {
        return None;
    }
    let mut count = 1;
    // SAFETY: this CPU's element of a map, which lives as long as the program runs.
    unsafe {
        from_headers(&mut (*views)[0], sight);
        if let Some(conn) = sight.conn {
            // As they are first: `matched` names the plainest view that fits.
            (*views)[1] = from_tuple(&conn.original, Matched::Original);
            (*views)[2] = from_tuple(&conn.reply, Matched::Reply);
            (*views)[3] = inverted(&(*views)[2]);
            (*views)[4] = inverted(&(*views)[1]);
            count = VIEWS as u32;
        }
    }
    let mut search = Search {
        views,
        filter: which,
        found: 0,
    };
    // A loop that the verifier walks once, not five times.
    // SAFETY: the callback has the signature that the helper wants, and `search` outlives the call.
    unsafe { bpf_loop(count, test_view as *mut c_void, (&raw mut search).cast(), 0) };
    (search.found != 0).then_some(search.found as u8)
}

/// The index is a full register, so that the verifier knows its bound after the test.
unsafe extern "C" fn test_view(index: u64, search: *mut c_void) -> i64 {
    // SAFETY: what `matches` passed.
    let search = unsafe { &mut *search.cast::<Search>() };
    let Some(filter) = FILTER.get(search.filter) else {
        return 1;
    };
    if index >= VIEWS as u64 {
        return 1;
    }
    // SAFETY: this CPU's element, index below the array's length.
    let view = unsafe { &(*search.views)[index as usize] };
    if view_matches(filter, view) {
        search.found = u32::from(view.means);
        return 1;
    }
    0
}

#[inline(always)]
fn from_tuple(tuple: &ConnTuple, means: Matched) -> View {
    View {
        src: tuple_words(tuple, &tuple.src),
        dst: tuple_words(tuple, &tuple.dst),
        src_port: tuple.src_port,
        dst_port: tuple.dst_port,
        proto: tuple.proto,
        means: means as u8,
        at: 0,
    }
}

/// An address of a tuple as the filter compares it: IPv4 mapped.
#[inline(always)]
fn tuple_words(tuple: &ConnTuple, address: &[u8; 16]) -> [u64; 2] {
    if tuple.family == IPV4 {
        mapped(half(address, 0))
    } else {
        words(address)
    }
}

#[inline(always)]
fn inverted(view: &View) -> View {
    View {
        src: view.dst,
        dst: view.src,
        src_port: view.dst_port,
        dst_port: view.src_port,
        ..*view
    }
}

#[inline(always)]
fn view_matches(filter: &Filter, view: &View) -> bool {
    if filter.dst_count != 0 && !in_networks(&filter.dst, filter.dst_count, &view.dst) {
        return false;
    }
    if filter.src_count != 0 && !in_networks(&filter.src, filter.src_count, &view.src) {
        return false;
    }
    if filter.proto_count != 0 && !proto_matches(filter, view.proto) {
        return false;
    }
    if filter.host_count != 0
        && !in_networks(&filter.hosts, filter.host_count, &view.dst)
        && !in_networks(&filter.hosts, filter.host_count, &view.src)
    {
        return false;
    }
    filter.port_count == 0 || port_matches(filter, view)
}

#[inline(always)]
fn in_networks(networks: &[Network; MAX_FILTER], count: u32, address: &[u64; 2]) -> bool {
    filter_has_network(networks, count, address[0], address[1]) != 0
}

/// [`in_networks`], by itself: the address in two words.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn filter_has_network(
    networks: *const [Network; MAX_FILTER],
    count: u32,
    upper: u64,
    lower: u64,
) -> u32 {
    // SAFETY: a field of a map's element.
    u32::from(!networks.is_null() && is_listed(unsafe { &*networks }, count, [upper, lower]))
}

#[inline(always)]
fn is_listed(networks: &[Network; MAX_FILTER], count: u32, address: [u64; 2]) -> bool {
    for (i, network) in networks.iter().enumerate() {
        if i as u32 >= count {
            break;
        }
        if address[0] & network.mask[0] == network.addr[0] && address[1] & network.mask[1] == network.addr[1]
        {
            return true;
        }
    }
    false
}

#[inline(always)]
fn proto_matches(filter: &Filter, proto: u8) -> bool {
    for (i, wanted) in filter.protos.iter().enumerate() {
        if i as u32 >= filter.proto_count {
            break;
        }
        if *wanted == proto {
            return true;
        }
    }
    false
}

#[inline(always)]
fn port_matches(filter: &Filter, view: &View) -> bool {
    if !has_ports(view.proto) {
        return false;
    }
    for (i, wanted) in filter.ports.iter().enumerate() {
        if i as u32 >= filter.port_count {
            break;
        }
        if *wanted == view.src_port || *wanted == view.dst_port {
            return true;
        }
    }
    false
}

#[inline(always)]
fn has_ports(proto: u8) -> bool {
    proto == IpProto::Tcp as u8
        || proto == IpProto::Udp as u8
        || proto == IpProto::Sctp as u8
        || proto == IpProto::Dccp as u8
        || proto == IpProto::UdpLite as u8
}

#[inline(always)]
fn netns_matches(filter: &Filter, found: u32) -> bool {
    if filter.netns_count == 0 {
        return true;
    }
    for (i, inode) in filter.netns.iter().enumerate() {
        if i as u32 >= filter.netns_count {
            break;
        }
        if *inode == found {
            return true;
        }
    }
    false
}

#[inline(always)]
fn iface_matches(filter: &Filter, sight: &Sight<'_>) -> bool {
    if filter.iface_count == 0 {
        return true;
    }
    let dev = words(sight.dev);
    let route = words(sight.route);
    for (i, iface) in filter.ifaces.iter().enumerate() {
        if i as u32 >= filter.iface_count {
            break;
        }
        let wanted = words(iface);
        if wanted == dev || wanted == route {
            return true;
        }
    }
    false
}

/// The headers as they are now. A header cut short has port 0.
#[inline(always)]
pub fn from_headers(view: &mut View, sight: &Sight<'_>) {
    filter_from_headers(view, sight.header, sight.header_bytes);
}

/// [`from_headers`], by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn filter_from_headers(
    view: *mut View,
    header: *const [u8; HEADER_BYTES],
    header_bytes: u32,
) -> u32 {
    if view.is_null() || header.is_null() {
        return 0;
    }
    // SAFETY: this CPU's elements.
    let (view, header) = unsafe { (&mut *view, &*header) };
    read_headers(view, &Headers { header, header_bytes });
    0
}

/// What is there of a packet, from its network header on.
struct Headers<'a> {
    header: &'a [u8; HEADER_BYTES],
    header_bytes: u32,
}

#[inline(always)]
fn read_headers(view: &mut View, packet: &Headers<'_>) {
    let header = packet.header;
    view.src_port = 0;
    view.dst_port = 0;
    view.means = Matched::Headers as u8;
    if header[0] >> 4 == 4 {
        view.src = mapped(half(header, 12));
        view.dst = mapped(half(header, 16));
        let fragment_offset = (u16::from(header[6]) << 8 | u16::from(header[7])) & 0x1fff;
        let at = if fragment_offset == 0 {
            u16::from(header[0] & 0xf) * 4
        } else {
            0
        };
        go_on(view, header[9], at);
    } else {
        view.src = [word(header, 8), word(header, 16)];
        view.dst = [word(header, 24), word(header, 32)];
        skip_extensions(view, packet);
    }
    let (_, at) = where_it_is(view);
    if at != 0 {
        ports(view, packet, u32::from(at));
    }
}

/// Where a header begins, and which it is. It is kept in the map's memory and read back: so the verifier forgets by which way
/// it came to be known, and follows what comes after once, not once for each way.
#[inline(always)]
fn go_on(view: &mut View, proto: u8, at: u16) {
    // SAFETY: a reference can be written.
    unsafe {
        core::ptr::write_volatile(&raw mut view.proto, proto);
        core::ptr::write_volatile(&raw mut view.at, at);
    }
}

#[inline(always)]
fn where_it_is(view: &View) -> (u8, u16) {
    // SAFETY: a reference can be read.
    unsafe {
        (
            core::ptr::read_volatile(&raw const view.proto),
            core::ptr::read_volatile(&raw const view.at),
        )
    }
}

#[inline(always)]
fn ports(view: &mut View, packet: &Headers<'_>, at: u32) {
    if at + 4 > packet.header_bytes {
        return;
    }
    view.src_port = be16(packet, at);
    view.dst_port = be16(packet, at + 2);
}

/// Two bytes as they lie in memory.
#[inline(always)]
fn be16(packet: &Headers<'_>, at: u32) -> u16 {
    u16::from_ne_bytes([byte(packet, at), byte(packet, at + 1)])
}

/// The index is masked, so that the verifier sees that it is in bounds.
#[inline(always)]
fn byte(packet: &Headers<'_>, at: u32) -> u8 {
    packet.header[(at & (HEADER_BYTES as u32 - 1)) as usize]
}

/// Walks IPv6 extension headers: sets `proto`, and `at` to where the transport header starts; 0 if there is none.
#[inline(always)]
fn skip_extensions(view: &mut View, packet: &Headers<'_>) {
    go_on(view, packet.header[6], 40);
    for _ in 0..6 {
        let (next, at) = where_it_is(view);
        let at = u32::from(at);
        let len = match next {
            // hop-by-hop, routing, destination options
            0 | 43 | 60 => (u32::from(byte(packet, at + 1)) + 1) * 8,
            // fragment: only the first has ports
            44 => {
                if byte(packet, at + 2) != 0 || byte(packet, at + 3) & 0xf8 != 0 {
                    return go_on(view, byte(packet, at), 0);
                }
                8
            }
            // authentication
            51 => (u32::from(byte(packet, at + 1)) + 2) * 4,
            _ => return,
        };
        if at + 8 > packet.header_bytes {
            return go_on(view, 0, 0);
        }
        go_on(view, byte(packet, at), (at + len) as u16);
        if at + len >= packet.header_bytes {
            return;
        }
    }
}

#[inline(always)]
pub fn words(bytes: &[u8; 16]) -> [u64; 2] {
    [word(bytes, 0), word(bytes, 8)]
}

/// Eight bytes as they lie in memory.
#[inline(always)]
pub fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(half(bytes, at)) | u64::from(half(bytes, at + 4)) << 32
}

/// Four bytes as they lie in memory, at a multiple of four: one load, where the compiler would make four of it.
#[inline(always)]
pub fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    assert!(at.is_multiple_of(4) && at + 4 <= N);
    // SAFETY: within the array. Every array of bytes in what is shared with user space begins at a multiple of four bytes
    // (asserted there, `ALIGNED`).
    unsafe { bytes.as_ptr().add(at).cast::<u32>().read() }
}
