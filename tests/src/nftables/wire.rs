//! A namespace whose devices are the lab's own: what is written to one is a frame that has come in by it, and has gone its way
//! when the writing returns (`tun_get_user()`, drivers/net/tun.c). For the families that see frames: bridge, netdev, arp.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use crate::exec;
use crate::kernel::tun;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// A hardware address.
pub type Mac = [u8; 6];

/// The device that frames come in by.
pub const IN: &str = "in0";
/// The device that they leave by.
pub const OUT: &str = "out0";
/// The bridge.
pub const BRIDGE: &str = "br0";
/// The namespace's own address.
pub const OWN: &str = "10.9.0.1";
/// The hardware address of the bridge, or of `in0`.
pub const OWN_MAC: Mac = [2, 0, 0, 0, 9, 1];
/// Who is behind `out0`.
pub const FAR_MAC: Mac = [2, 0, 0, 0, 8, 9];

/// A family whose chains see frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// What a bridge passes on, receives and sends.
    Bridge,
    /// What comes in by a device and leaves by another, before and behind everything else; chains of inet's ingress, too.
    Netdev,
    /// Who asks for an address, and what is answered.
    Arp,
}

/// The namespace.
pub struct Wire {
    /// Where frames are filtered.
    pub netns: Netns,
    family: Family,
    input: File,
    /// Nobody reads what leaves by it.
    _output: File,
    /// Sends from the bridge itself.
    own: OwnedFd,
}

impl Wire {
    /// Sets it up. Nothing is sent by itself, and neighbours are known.
    pub fn build(family: Family, run: &RunDir) -> Result<Self> {
        let name = format!("lab-wire-{}", std::process::id());
        run.will_name(&name)?;
        let netns = Netns::create(&name)?;
        let (input, output) = netns.run(|| Ok((tun::open_tap(IN)?, tun::open_tap(OUT)?)))?;
        let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
        let (own, far) = (mac(OWN_MAC), mac(FAR_MAC));
        let quiet = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 net.ipv4.ip_forward=1 \
             net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.icmp_echo_ignore_all=1";
        let script = match family {
            Family::Bridge => format!(
                "{quiet}
                 ip link add {BRIDGE} type bridge mcast_snooping 0
                 ip link set {BRIDGE} address {own}
                 ip link set {IN} master {BRIDGE}; ip link set {OUT} master {BRIDGE}
                 ip link set {IN} up; ip link set {OUT} up; ip link set {BRIDGE} up
                 bridge fdb add {far} dev {OUT} master static"
            ),
            Family::Netdev | Family::Arp => format!(
                "{quiet}
                 ip link set {IN} address {own}
                 ip link set {IN} up; ip link set {OUT} up
                 ip addr add {OWN}/24 dev {IN}; ip addr add 10.8.0.1/24 dev {OUT}
                 ip neigh add 10.8.0.9 lladdr {far} dev {OUT} nud permanent
                 ip route add default via 10.8.0.9"
            ),
        };
        exec::shell(Some(&netns), &script).context("setting the namespace up")?;
        let own = netns.run(|| packet_socket(if family == Family::Bridge { BRIDGE } else { OUT }))?;
        let wire = Self {
            netns,
            family,
            input: input.into(),
            _output: output.into(),
            own,
        };
        exec::run(Some(&wire.netns), "nft", &["-f", "-"], &wire.marking())?;
        Ok(wire)
    }

    /// What makes the kernel tell of every frame.
    fn marking(&self) -> String {
        let chain = |name: &str, hook: &str| {
            format!("chain {name} {{ type filter hook {hook} priority -500; meta nftrace set 1; }}\n")
        };
        let (family, chains) = match self.family {
            Family::Bridge => ("bridge", chain("pre", "prerouting") + &chain("out", "output")),
            Family::Netdev => ("netdev", chain("in", &format!("ingress device {IN}"))),
            Family::Arp => ("arp", chain("in", "input") + &chain("out", "output")),
        };
        format!(
            "table {family} {} {{\n{chains}}}\n",
            crate::kernel::trace::LAB_TABLE
        )
    }

    /// A frame that has come in by `in0`.
    pub fn receive(&self, frame: &[u8]) -> Result<()> {
        (&self.input).write_all(frame).context("a frame by in0")
    }

    /// A frame that the bridge sends.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the frame lives across the call, with the length given.
        let sent = unsafe { libc::send(self.own.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        let error = std::io::Error::last_os_error();
        // What rules drop on its way out may be told to who sends.
        if sent < 0 && error.raw_os_error() != Some(libc::ENOBUFS) {
            return Err(error).context("sending a frame from the bridge");
        }
        Ok(())
    }
}

/// A socket that sends whole frames by a device.
fn packet_socket(device: &str) -> Result<OwnedFd> {
    let path = std::ffi::CString::new(device).context("device name")?;
    // SAFETY: the name is terminated and lives across the call.
    let index = unsafe { libc::if_nametoindex(path.as_ptr()) };
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot open a packet socket");
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_ll is plain data, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as _;
    address.sll_ifindex = index as _;
    // SAFETY: the address lives across the call, with the length given.
    let code = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if code < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot bind a packet socket");
    }
    Ok(socket)
}
