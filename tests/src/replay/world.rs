//! The namespace that packets are sent through: two devices they come in by, two they leave by, one address of its own.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use observer::evaluate::{Kinds, Packet, Route, Surroundings};
use observer::ruleset::ipset::{Sets, in_force};

use super::gauge::Gauge;
use super::packets::{Asked, own};
use crate::cluster::rules::{self, Counters};
use crate::cluster::{Backend, Family};
use crate::exec;
use crate::kernel::tun;
use crate::netns::Netns;
use crate::nftables;
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

/// The same for IPv6. The address is the loopback device's: of others their groups would be told. A router tells of its own
/// groups all the same: that is waited for.
const SET_UP_IP6: &str = "
before=
sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_ra=0 net.ipv6.icmp.echo_ignore_all=1
sysctl -qw net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.accept_dad=0
ip link set lo up
for device in in0 in1 out0 out1; do
    ip link set $device addrgenmode none multicast off
    sysctl -qw net.ipv6.conf.$device.mldv2_unsolicited_report_interval=10
    ip link set $device up
done
ip addr add fd09::1/128 dev lo nodad
ip route add fd18::/16 dev out0
ip route add fd19::/16 dev out1
sent() { grep Ip6OutRequests /proc/net/snmp6; }
until [ \"$before\" = \"$(sent)\" ]; do before=$(sent); sleep 1; done
";

pub(super) struct World {
    netns: Netns,
    backend: Backend,
    family: Family,
    /// They live as long as their descriptors.
    in0: File,
    in1: File,
    /// Nobody reads what leaves by them.
    _out: [File; 2],
    raw: RawSocket,
}

impl World {
    pub(super) fn make(backend: Backend, family: Family, run: &RunDir) -> Result<Self> {
        if backend == Backend::Native {
            bail!("rules of iptables are replayed, legacy or nft; --mixed adds tables of nft's own");
        }
        let name = format!("replay-{}", std::process::id());
        run.will_name(&name)?;
        let netns = Netns::create(&name)?;
        let open = |name| tun::open(name).map(File::from);
        let (in0, in1, out, raw) = netns.run(|| {
            let out = [open("out0")?, open("out1")?];
            Ok((
                open("in0")?,
                open("in1")?,
                out,
                RawSocket::open(family == Family::Ip)?,
            ))
        })?;
        let script = if family == Family::Ip { SET_UP } else { SET_UP_IP6 };
        exec::shell(Some(&netns), script).context("setting the namespace up")?;
        Ok(Self {
            netns,
            backend,
            family,
            in0,
            in1,
            _out: out,
            raw,
        })
    }

    pub(super) fn restore(&self, text: &str) -> Result<()> {
        rules::restore(&self.netns, self.backend, self.family, text, true).with_context(|| text.to_owned())
    }

    /// Loads tables of nft's own: what of them nft has taken.
    pub(super) fn load(&self, text: &str) -> Result<String> {
        nftables::load_in(&self.netns, text).with_context(|| text.to_owned())
    }

    /// What nft lists as JSON.
    pub(super) fn listed(&self) -> Result<String> {
        exec::run(Some(&self.netns), "nft", &["-j", "list", "ruleset"], "")
    }

    pub(super) fn counters(&self) -> Result<Counters> {
        rules::counters(&self.netns, self.backend, self.family)
    }

    /// What reads the counters of legacy iptables without a tool; there is none for others.
    /// `saved` is what [`saved`](Self::saved) told, `counters` what [`counters`](Self::counters) did.
    pub(super) fn gauge(&self, saved: &str, counters: &Counters) -> Option<Result<Gauge>> {
        (self.backend == Backend::Legacy).then(|| Gauge::of(&self.netns, self.family, saved, counters))
    }

    pub(super) fn forget_connections(&self) -> Result<()> {
        exec::run(Some(&self.netns), "conntrack", &["-F"], "").map(drop)
    }

    /// As the tool prints them.
    pub(super) fn saved(&self) -> Result<String> {
        let program = format!("{}-save", rules::tool(self.backend, self.family));
        exec::run(Some(&self.netns), &program, &[], "")
    }

    /// Gives `ipset restore` lines.
    pub(super) fn ipset(&self, text: &str) -> Result<()> {
        exec::run(Some(&self.netns), "ipset", &["restore"], text).with_context(|| text.to_owned())?;
        Ok(())
    }

    /// What `ipset save` prints.
    pub(super) fn ipset_saved(&self) -> Result<String> {
        exec::run(Some(&self.netns), "ipset", &["save"], "")
    }

    /// The sets as the kernel lists them.
    pub(super) fn sets(&self) -> Result<Sets> {
        self.netns.run(|| in_force().context("listing the sets"))
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
pub(super) fn device_to(dst: IpAddr) -> &'static str {
    let is_first = match dst {
        IpAddr::V4(dst) => dst.octets()[1] == 18,
        IpAddr::V6(dst) => dst.segments()[0] == 0xfd18,
    };
    if is_first { "out0" } else { "out1" }
}

/// What the namespace is to the evaluator.
pub(super) struct Around(pub(super) Family);

impl Surroundings for Around {
    fn kinds(&self, addr: IpAddr) -> Kinds {
        if addr == own(self.0) {
            Kinds::LOCAL
        } else {
            Kinds::of_name("UNICAST").unwrap_or(Kinds::ANY)
        }
    }

    fn route(&self, packet: &Packet) -> Option<Route> {
        let dst = packet.dst?;
        Some(if dst == own(self.0) {
            Route::Local
        } else {
            Route::Out(device_to(dst).into())
        })
    }

    /// `in0` and `in1` have none, so that what is redirected there goes nowhere.
    fn address_of(&self, device: &str, _: bool) -> Option<IpAddr> {
        (device == "out0").then_some(own(self.0))
    }
}
