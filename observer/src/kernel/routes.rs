//! Where the kernel would send a packet: one look-up in the routing tables of the namespace that this thread is in
//! (`inet_rtm_getroute`, net/ipv4/route.c; `inet6_rtm_getroute`, net/ipv6/route.c).

use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::netlink::{Attributes, Batch, Socket, attributes, messages};
use super::raw;

const RTM_GETROUTE: u16 = 26;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
/// `NLM_F_ROOT | NLM_F_MATCH`: all there are.
const NLM_F_DUMP: u16 = 0x300;
/// `struct ifaddrmsg`
const IFADDRMSG_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `struct rtmsg`: family, lengths of both prefixes, TOS, table, protocol, scope, type, flags.
const RTMSG_BYTES: usize = 12;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;
const RTA_OIF: u16 = 4;
const RTA_MARK: u16 = 16;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;

/// A packet to be routed. What is absent is left out of the question.
#[derive(Clone, Debug, Default)]
pub struct RouteQuery {
    /// Its destination.
    pub dst: Option<IpAddr>,
    /// Its source.
    pub src: Option<IpAddr>,
    /// Index of the device that it came in by; absent for a packet of this host.
    pub in_ifindex: Option<u32>,
    /// Its mark.
    pub mark: u32,
    /// Its protocol and ports: rules of `ip rule` may ask for them.
    pub transport: Option<(u8, Option<u16>, Option<u16>)>,
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAnswer {
    /// `RTN_…`: unicast, local, broadcast, …
    pub kind: u8,
    /// The device that the packet leaves by.
    pub out_dev: Option<String>,
}

/// Asks for the route of a packet.
///
/// # Errors
/// The kernel has none (`ENETUNREACH`, `EHOSTUNREACH`), forbids it (`EACCES`), or refuses the source (`EINVAL`, `EXDEV`).
pub fn route(query: &RouteQuery) -> io::Result<RouteAnswer> {
    let dst = query.dst.ok_or(ErrorKind::InvalidInput)?;
    let mut fixed = [0; RTMSG_BYTES];
    fixed[0] = family(dst);
    fixed[1] = bits(dst);
    fixed[2] = query.src.map_or(0, bits);
    let mut ask = Batch::default();
    ask.message(RTM_GETROUTE, NLM_F_REQUEST, 1, &fixed, |attributes| {
        put(attributes, query, dst)
    });
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    socket.send(&ask)?;
    let answer = socket.receive()?;
    for message in messages(answer) {
        if let Some(error) = message.error()
            && error != 0
        {
            return Err(io::Error::from_raw_os_error(error));
        }
        if message.kind == RTM_NEWROUTE {
            return read(message.payload).ok_or_else(|| ErrorKind::InvalidData.into());
        }
    }
    Err(ErrorKind::InvalidData.into())
}

fn put(attributes: &mut Attributes<'_>, query: &RouteQuery, dst: IpAddr) {
    address(attributes, RTA_DST, dst);
    if let Some(src) = query.src {
        address(attributes, RTA_SRC, src);
    }
    if let Some(index) = query.in_ifindex {
        attributes.bytes(RTA_IIF, &index.to_ne_bytes());
    }
    if query.mark != 0 {
        attributes.bytes(RTA_MARK, &query.mark.to_ne_bytes());
    }
    if let Some((proto, sport, dport)) = query.transport {
        // Other protocols are refused (`rtm_getroute_parse_ip_proto`, net/ipv4/ip_output.c).
        let has_ports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP].contains(&i32::from(proto));
        if has_ports {
            attributes.bytes(RTA_IP_PROTO, &[proto]);
            for (kind, port) in [(RTA_SPORT, sport), (RTA_DPORT, dport)] {
                if let Some(port) = port {
                    attributes.bytes(kind, &port.to_be_bytes());
                }
            }
        }
    }
}

fn address(attributes: &mut Attributes<'_>, kind: u16, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => attributes.bytes(kind, &addr.octets()),
        IpAddr::V6(addr) => attributes.bytes(kind, &addr.octets()),
    }
}

fn family(addr: IpAddr) -> u8 {
    let family = if addr.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u8::try_from(family).unwrap_or_default()
}

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn read(payload: &[u8]) -> Option<RouteAnswer> {
    let kind = *payload.get(7)?;
    let oif = attributes(payload.get(RTMSG_BYTES..)?)
        .find(|(kind, _)| *kind == RTA_OIF)
        .and_then(|(_, value)| raw::u32_at(value, 0));
    Some(RouteAnswer {
        kind,
        out_dev: oif.and_then(device_name),
    })
}

/// Name of a device in this thread's namespace.
fn device_name(index: u32) -> Option<String> {
    let mut name = [0; libc::IFNAMSIZ];
    // SAFETY: the kernel writes a name of at most IFNAMSIZ bytes with its final zero into the array.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // A `char` has a sign on some processors, and none on others.
    let bytes = name.map(|letter| letter.to_ne_bytes()[0]);
    let name = CStr::from_bytes_until_nul(&bytes).ok()?;
    Some(name.to_str().ok()?.to_owned())
}

/// Index of a device in this thread's namespace; `None` if there is none.
pub fn device_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a string with its final zero that lives across the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// Addresses of a device in this thread's namespace, without those that are good on their link only.
pub fn addresses(device: &str, is_v6: bool) -> io::Result<Vec<IpAddr>> {
    let index = device_index(device).ok_or(ErrorKind::NotFound)?;
    let mut fixed = [0; IFADDRMSG_BYTES];
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    fixed[0] = u8::try_from(family).unwrap_or_default();
    let mut ask = Batch::default();
    ask.message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, &fixed, |_| {});
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    socket.send(&ask)?;
    let mut found = Vec::new();
    loop {
        for message in messages(socket.receive()?) {
            if message.is_done() {
                return Ok(found);
            }
            if let Some(error) = message.error() {
                return Err(io::Error::from_raw_os_error(error));
            }
            found.extend(universal_address(message.payload, index));
        }
    }
}

/// The address in a `struct ifaddrmsg` (family, prefix, flags, scope, index), if it is of this device and of use beyond it.
fn universal_address(payload: &[u8], index: u32) -> Option<IpAddr> {
    let is_its = raw::u32_at(payload, 4)? == index && *payload.get(3)? == libc::RT_SCOPE_UNIVERSE;
    let mut address = None;
    for (kind, value) in attributes(payload.get(IFADDRMSG_BYTES..)?).filter(|_| is_its) {
        // Of a point-to-point device IFA_ADDRESS is the other end.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && address.is_none()) {
            address = read_address(value);
        }
    }
    address
}

fn read_address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_local_everywhere() {
        let query = RouteQuery {
            dst: Some("127.0.0.1".parse().expect("an address")),
            ..RouteQuery::default()
        };
        let answer = route(&query).expect("a route");
        assert_eq!(answer.kind, libc::RTN_LOCAL);
        assert_eq!(answer.out_dev.as_deref(), Some("lo"));
        assert_eq!(device_index("lo"), Some(1));
        // Its address has the scope of the host.
        assert_eq!(addresses("lo", false).expect("addresses"), Vec::<IpAddr>::new());
        assert_eq!(device_index("no such device"), None);
    }

    #[test]
    fn answers_cut_short_are_none() {
        let mut payload = vec![0; RTMSG_BYTES];
        payload[7] = libc::RTN_UNICAST;
        assert_eq!(read(&payload).map(|answer| answer.kind), Some(libc::RTN_UNICAST));
        for len in 0..RTMSG_BYTES {
            assert!(len > 7 || read(&payload[..len]).is_none());
            let _ = read(&payload[..len]);
        }
    }
}
