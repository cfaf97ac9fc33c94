//! A router between two namespaces: packets come from the first, and what is sent to the last one is lost there.

use anyhow::Result;

use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// The device by which the router receives.
pub const INPUT: &str = "in0";
/// The device by which it sends on.
pub const OUTPUT: &str = "out0";
/// Addresses of the router itself.
pub const ROUTER: [&str; 2] = ["10.9.0.1", "fd09::1"];

/// The namespaces.
pub struct House {
    /// Where packets are sent from.
    pub sender: Netns,
    /// Where they are filtered.
    pub router: Netns,
    /// Where they are lost.
    _sink: Netns,
}

impl House {
    /// Sets it up. Neighbours are known: rules may drop what looks for them.
    pub fn build(run: &RunDir) -> Result<Self> {
        let make = |what: &str| {
            let name = format!("lab-nft-{what}-{}", std::process::id());
            run.will_name(&name)?;
            Netns::create(&name)
        };
        let (sender, router, sink) = (make("sender")?, make("router")?, make("sink")?);
        let (s, r, k) = (sender.name(), router.name(), sink.name());
        exec::shell(
            None,
            &format!(
                "ip -n {s} link add up0 type veth peer name {INPUT} netns {r}
                 ip -n {r} link add {OUTPUT} type veth peer name end0 netns {k}
                 for one in '{s} lo' '{s} up0' '{r} lo' '{r} {INPUT}' '{r} {OUTPUT}' '{k} end0'; do
                     set -- $one; ip -n $1 link set $2 up
                 done
                 ip netns exec {k} sysctl -qw net.ipv6.conf.all.disable_ipv6=1
                 ip netns exec {s} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.up0.accept_dad=0
                 ip netns exec {r} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \\
                     net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{INPUT}.rp_filter=0 net.ipv4.icmp_ratelimit=0 \\
                     net.ipv6.conf.{INPUT}.accept_dad=0 net.ipv6.conf.{OUTPUT}.accept_dad=0
                 ip -n {r} addr add {v4}/24 dev {INPUT}
                 ip -n {r} addr add {v6}/64 dev {INPUT} nodad
                 ip -n {r} addr add 10.8.0.1/24 dev {OUTPUT}
                 ip -n {r} addr add fd08::1/64 dev {OUTPUT} nodad
                 ip -n {s} addr add 10.9.0.2/24 dev up0
                 ip -n {s} addr add fd09::2/64 dev up0 nodad
                 ip -n {s} route add default via {v4}
                 ip -n {s} -6 route add default via {v6}
                 mac() {{ ip netns exec $1 cat /sys/class/net/$2/address; }}
                 r=$(mac {r} {INPUT}) s=$(mac {s} up0)
                 for one in {v4} {v6}; do ip -n {s} neigh replace $one lladdr $r dev up0 nud permanent; done
                 for one in 10.9.0.2 fd09::2; do
                     ip -n {r} neigh replace $one lladdr $s dev {INPUT} nud permanent
                 done
                 ip -n {r} neigh add 10.8.0.9 lladdr 02:00:00:00:00:09 dev {OUTPUT} nud permanent
                 ip -n {r} -6 neigh add fd08::9 lladdr 02:00:00:00:00:09 dev {OUTPUT} nud permanent
                 ip -n {r} route add default via 10.8.0.9
                 ip -n {r} -6 route add default via fd08::9 dev {OUTPUT}",
                v4 = ROUTER[0],
                v6 = ROUTER[1],
            ),
        )?;
        Ok(Self {
            sender,
            router,
            _sink: sink,
        })
    }
}
