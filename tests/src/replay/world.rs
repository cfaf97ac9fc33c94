//! The namespace that packets are sent through: two devices they come in by, two they leave by, one address of its own.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, bail};
use observer::evaluate::{Kinds, Packet, Route, Surroundings};

use super::packets::{Asked, OWN};
use crate::cluster::rules::{self, Counters};
use crate::cluster::{Backend, Family};
use crate::exec;
use crate::kernel::tun;
use crate::netns::Netns;
use crate::run_dir::RunDir;
use crate::traffic::raw::RawSocket;

/// Nothing is answered, nothing is sent by itself, every source is believed.
const SET_UP: &str = "
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
sysctl -qw net.ipv4.icmp_echo_ignore_all=1 net.ipv4.conf.all.log_martians=0
ip link set lo up
for device in in0 in1 out0 out1; do ip link set $device up; sysctl -qw net.ipv4.conf.$device.rp_filter=0; done
ip addr add 10.9.0.1/32 dev out0
ip route add 198.18.0.0/16 dev out0 src 10.9.0.1
ip route add 198.19.0.0/16 dev out1 src 10.9.0.1
";

pub(super) struct World {
    netns: Netns,
    backend: Backend,
    /// They live as long as their descriptors.
    in0: File,
    in1: File,
    /// Nobody reads what leaves by them.
    _out: [File; 2],
    raw: RawSocket,
}

impl World {
    pub(super) fn make(backend: Backend, run: &RunDir) -> Result<Self> {
        if backend == Backend::Native {
            bail!("nft's own tables are not evaluated: legacy or nft");
        }
        let name = format!("replay-{}", std::process::id());
        run.will_name(&name)?;
        let netns = Netns::create(&name)?;
        let open = |name| tun::open(name).map(File::from);
        let (in0, in1, out, raw) = netns.run(|| {
            let out = [open("out0")?, open("out1")?];
            Ok((open("in0")?, open("in1")?, out, RawSocket::open(true)?))
        })?;
        exec::shell(Some(&netns), SET_UP).context("setting the namespace up")?;
        Ok(Self {
            netns,
            backend,
            in0,
            in1,
            _out: out,
            raw,
        })
    }

    pub(super) fn restore(&self, text: &str) -> Result<()> {
        rules::restore(&self.netns, self.backend, Family::Ip, text, true).with_context(|| text.to_owned())
    }

    pub(super) fn counters(&self) -> Result<Counters> {
        rules::counters(&self.netns, self.backend, Family::Ip)
    }

    /// As the tool prints them.
    pub(super) fn saved(&self) -> Result<String> {
        let program = format!("{}-save", rules::tool(self.backend, Family::Ip));
        exec::run(Some(&self.netns), &program, &[], "")
    }

    /// When it returns the packet has gone its way: what a tun device is given is received at once (`tun_get_user`,
    /// drivers/net/tun.c).
    pub(super) fn send(&self, asked: &Asked) -> Result<()> {
        match asked.in_dev {
            Some("in0") => (&self.in0).write_all(&asked.bytes).context("in0")?,
            Some(_) => (&self.in1).write_all(&asked.bytes).context("in1")?,
            None => match self.raw.send(&asked.bytes, asked.dst) {
                // Its own rules forbid it: so they are to.
                Err(error) if error.raw_os_error() != Some(libc::EPERM) => {
                    return Err(error).context("sending");
                }
                _ => {}
            },
        }
        Ok(())
    }
}

/// The device by which packets to an address leave.
pub(super) fn device_to(dst: Ipv4Addr) -> &'static str {
    match dst.octets() {
        [198, 18, ..] => "out0",
        _ => "out1",
    }
}

/// What the namespace is to the evaluator.
pub(super) struct Around;

impl Surroundings for Around {
    fn kinds(&self, addr: IpAddr) -> Kinds {
        if addr == IpAddr::V4(OWN) {
            Kinds::LOCAL
        } else {
            Kinds::of_name("UNICAST").unwrap_or(Kinds::ANY)
        }
    }

    fn route(&self, packet: &Packet) -> Option<Route> {
        match packet.dst? {
            IpAddr::V4(OWN) => Some(Route::Local),
            IpAddr::V4(dst) => Some(Route::Out(device_to(dst).into())),
            IpAddr::V6(_) => None,
        }
    }

    /// `in0` and `in1` have none, so that what is redirected there goes nowhere.
    fn address_of(&self, device: &str, _: bool) -> Option<IpAddr> {
        (device == "out0").then_some(OWN.into())
    }
}
