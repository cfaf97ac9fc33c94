//! What is watched: the filter's raw words, checked and turned into values.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::report::record::{FilterInfo, Proto};

/// How many values each option takes: what the kernel side has room for.
pub const MAX_VALUES: usize = 16;
/// The longest name of a device in bytes: `IFNAMSIZ` without its final zero.
pub const MAX_IFACE_BYTES: usize = 15;

/// A checked filter. Values of one list are alternatives; every list that is not empty must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterSpec {
    /// Destination networks.
    pub dst: Vec<IpNet>,
    /// Source networks.
    pub src: Vec<IpNet>,
    /// Networks of which one holds the source or the destination.
    pub hosts: Vec<IpNet>,
    /// Ports in host order, of either side.
    pub ports: Vec<u16>,
    /// IP protocol numbers.
    pub protos: Vec<u8>,
    /// Names of devices, in or out.
    pub ifaces: Vec<String>,
    /// Network namespaces.
    pub netns: Vec<NetnsSpec>,
}

/// One way to name a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsSpec {
    /// As `ip netns` knows it: a file under `/run/netns`.
    Name(String),
    /// Its inode number.
    Inode(u32),
    /// The namespace of this process.
    Pid(u32),
}

/// Raw words of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct RawFilter {
    /// Destination address or network, such as 10.224.2.16 or fd00::/64
    #[arg(long, value_name = "CIDR")]
    pub dst: Vec<String>,
    /// Source address or network
    #[arg(long, value_name = "CIDR")]
    pub src: Vec<String>,
    /// Address or network of either side
    #[arg(id = "host", long, value_name = "CIDR")]
    pub hosts: Vec<String>,
    /// Port, of either side
    #[arg(id = "port", long, value_name = "N")]
    pub ports: Vec<String>,
    /// Protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(id = "proto", long, value_name = "P")]
    pub protos: Vec<String>,
    /// Device that the packet came in by or was to leave by
    #[arg(id = "iface", long, value_name = "IF")]
    pub ifaces: Vec<String>,
    /// Network namespace: a name of ip netns, an inode number of lsns, or pid:N
    #[arg(long, value_name = "NAME|INODE|pid:N")]
    pub netns: Vec<String>,
}

/// A filter that cannot be used. The text is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} {value:?}: {advice}")]
pub struct FilterError {
    option: &'static str,
    value: String,
    advice: String,
}

/// A checked filter, and what was quietly put right and should be said on stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The filter.
    pub spec: FilterSpec,
    /// One line each.
    pub warnings: Vec<String>,
}

impl RawFilter {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn check(&self) -> Result<Checked, FilterError> {
        let mut warnings = Vec::new();
        let spec = FilterSpec {
            dst: each("--dst", &self.dst, |text| network("--dst", text, &mut warnings))?,
            src: each("--src", &self.src, |text| network("--src", text, &mut warnings))?,
            hosts: each("--host", &self.hosts, |text| {
                network("--host", text, &mut warnings)
            })?,
            ports: each("--port", &self.ports, port)?,
            protos: each("--proto", &self.protos, proto)?,
            ifaces: each("--iface", &self.ifaces, iface)?,
            netns: each("--netns", &self.netns, netns)?,
        };
        Ok(Checked { spec, warnings })
    }
}

impl FilterSpec {
    /// Whether every packet matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For the `start` line.
    pub fn info(&self) -> FilterInfo {
        FilterInfo {
            text: self.to_string(),
            dst: texts(&self.dst),
            src: texts(&self.src),
            hosts: texts(&self.hosts),
            ports: self.ports.clone(),
            protos: self.protos.iter().copied().map(Proto).collect(),
            ifaces: self.ifaces.clone(),
            netns: texts(&self.netns),
            pods: Vec::new(),
            services: Vec::new(),
            expression: None,
        }
    }
}

impl fmt::Display for FilterSpec {
    /// `dst 10.224.0.0/16 or 10.96.0.1 and proto tcp`; empty for every packet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = |list: &[IpNet]| list.iter().map(short_network).collect::<Vec<_>>();
        let protos = self
            .protos
            .iter()
            .map(|number| Proto(*number).to_string())
            .collect();
        let parts = [
            ("dst", networks(&self.dst)),
            ("src", networks(&self.src)),
            ("host", networks(&self.hosts)),
            ("port", texts(&self.ports)),
            ("proto", protos),
            ("iface", self.ifaces.clone()),
            ("netns", texts(&self.netns)),
        ];
        let used = parts.iter().filter(|(_, values)| !values.is_empty());
        let words: Vec<String> = used
            .map(|(name, values)| format!("{name} {}", values.join(" or ")))
            .collect();
        f.write_str(&words.join(" and "))
    }
}

impl fmt::Display for NetnsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Inode(inode) => write!(f, "{inode}"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

/// Checks each value; a value given twice counts once.
fn each<T: PartialEq>(
    option: &'static str,
    values: &[String],
    mut check: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, FilterError> {
    let mut checked = Vec::new();
    for value in values {
        let refuse = |advice| FilterError {
            option,
            value: value.clone(),
            advice,
        };
        let one = check(value).map_err(refuse)?;
        if checked.contains(&one) {
            continue;
        }
        if checked.len() == MAX_VALUES {
            return Err(refuse(format!(
                "at most {MAX_VALUES} values; watch a wider range, or run a second observer"
            )));
        }
        checked.push(one);
    }
    Ok(checked)
}

fn texts<T: fmt::Display>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn short_network(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

pub(super) fn network(option: &str, text: &str, warnings: &mut Vec<String>) -> Result<IpNet, String> {
    let Some((addr, prefix)) = text.split_once('/') else {
        return IpAddr::from_str(text)
            .map(IpNet::from)
            .map_err(|_| no_address(text));
    };
    let addr = IpAddr::from_str(addr).map_err(|_| no_address(addr))?;
    let longest = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse::<u8>().ok().filter(|length| *length <= longest);
    let Some(network) = prefix.and_then(|length| IpNet::new(addr, length).ok()) else {
        return Err(format!(
            "the prefix length goes from 0 to {longest}; for this one address write {addr}/{longest}"
        ));
    };
    let masked = network.trunc();
    if masked != network {
        warnings.push(format!(
            "{option} {text}: taken as the network {masked}; for this one address write {addr}"
        ));
    }
    Ok(masked)
}

fn no_address(text: &str) -> String {
    let looks_like_a_name = text.bytes().any(|byte| byte.is_ascii_alphabetic()) && !text.contains(':');
    let advice = if looks_like_a_name {
        "names are not looked up; give"
    } else {
        "no IP address; give one like"
    };
    format!("{advice} 10.224.2.16, 10.224.0.0/16 or fd00::/64")
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "no port; give a number from 0 to 65535".to_owned())
}

pub(super) fn proto(text: &str) -> Result<u8, String> {
    text.parse::<Proto>()
        .map(|proto| proto.0)
        .map_err(|error| error.to_string())
}

pub(super) fn iface(text: &str) -> Result<String, String> {
    // dev_valid_name(), net/core/dev.c: no '/', ':' or space, not "." or "..".
    let forbidden = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\u{b}' || c == '\0';
    if text.is_empty() || text.len() > MAX_IFACE_BYTES {
        return Err(format!(
            "the name of a device has 1 to {MAX_IFACE_BYTES} bytes; see: ip -br link"
        ));
    }
    if text == "." || text == ".." || text.chars().any(forbidden) {
        return Err("no name of a device; see: ip -br link".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn netns(text: &str) -> Result<NetnsSpec, String> {
    if let Some(pid) = text.strip_prefix("pid:") {
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        return pid
            .map(NetnsSpec::Pid)
            .ok_or_else(|| "give a process as pid:1234".to_owned());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let inode = text
            .parse()
            .map_err(|_| "no inode number; see: lsns -t net".to_owned());
        return inode.map(NetnsSpec::Inode);
    }
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
        return Err("give a name from ip netns, an inode number from lsns -t net, or pid:N".to_owned());
    }
    Ok(NetnsSpec::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    fn dst(text: &str) -> Result<Checked, FilterError> {
        RawFilter {
            dst: words(&[text]),
            ..RawFilter::default()
        }
        .check()
    }

    #[test]
    fn a_bare_address_is_a_network_of_one() {
        assert_eq!(
            dst("10.224.2.16").expect("checks").spec.dst,
            ["10.224.2.16/32".parse().expect("net")]
        );
        assert_eq!(
            dst("fd00::1").expect("checks").spec.dst,
            ["fd00::1/128".parse().expect("net")]
        );
    }

    #[test]
    fn host_bits_are_masked_and_said() {
        let checked = dst("10.224.2.16/16").expect("checks");
        assert_eq!(checked.spec.dst, ["10.224.0.0/16".parse().expect("net")]);
        assert_eq!(
            checked.warnings,
            [
                "--dst 10.224.2.16/16: taken as the network 10.224.0.0/16; for this one address write 10.224.2.16"
            ]
        );
    }

    #[test]
    fn an_impossible_prefix_is_refused_with_a_suggestion() {
        assert_eq!(
            dst("10.224.0.0/33").expect_err("too long").to_string(),
            "--dst \"10.224.0.0/33\": the prefix length goes from 0 to 32; for this one address write 10.224.0.0/32"
        );
        for bad in [
            "",
            "/",
            "10.224",
            "10.224.0.0/",
            "10.224.0.0/-1",
            "10.0.0.0/8/8",
            "fd00::/129",
            "example.com",
            "\u{1b}[2J",
        ] {
            let error = dst(bad).expect_err(bad).to_string();
            assert!(!error.contains('\n') && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn the_other_options_say_what_they_take() {
        let raw = RawFilter {
            ports: words(&["80", "443", "80"]),
            protos: words(&["tcp", "6", "47"]),
            ifaces: words(&["flannel.1"]),
            netns: words(&["node02", "4026532281", "pid:12"]),
            ..RawFilter::default()
        };
        let spec = raw.check().expect("checks").spec;
        assert_eq!(spec.ports, [80, 443]);
        assert_eq!(spec.protos, [6, 47]);
        assert_eq!(
            spec.netns,
            [
                NetnsSpec::Name("node02".into()),
                NetnsSpec::Inode(4_026_532_281),
                NetnsSpec::Pid(12)
            ]
        );
        assert_eq!(
            spec.to_string(),
            "port 80 or 443 and proto tcp or gre and iface flannel.1 and netns node02 or 4026532281 or pid:12"
        );
    }

    #[test]
    fn bad_ports_protocols_devices_and_namespaces_are_refused() {
        let bad = [
            RawFilter {
                ports: words(&["65536"]),
                ..RawFilter::default()
            },
            RawFilter {
                protos: words(&["tpc"]),
                ..RawFilter::default()
            },
            RawFilter {
                ifaces: words(&["sixteen-bytes-xx"]),
                ..RawFilter::default()
            },
            RawFilter {
                ifaces: words(&["a/b"]),
                ..RawFilter::default()
            },
            RawFilter {
                netns: words(&["../x"]),
                ..RawFilter::default()
            },
            RawFilter {
                netns: words(&["pid:0"]),
                ..RawFilter::default()
            },
            RawFilter {
                netns: words(&["99999999999"]),
                ..RawFilter::default()
            },
        ];
        for raw in bad {
            assert!(raw.check().is_err(), "{raw:?}");
        }
    }

    #[test]
    fn sixteen_values_are_taken_and_seventeen_are_not() {
        let ports = |count: usize| (0..count).map(|port| port.to_string()).collect();
        assert!(
            RawFilter {
                ports: ports(16),
                ..RawFilter::default()
            }
            .check()
            .is_ok()
        );
        assert!(
            RawFilter {
                ports: ports(17),
                ..RawFilter::default()
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn no_filter_is_every_packet() {
        let spec = RawFilter::default().check().expect("checks").spec;
        assert!(spec.is_empty());
        assert_eq!(spec.to_string(), "");
    }
}
