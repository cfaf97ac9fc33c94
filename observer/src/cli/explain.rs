//! `observer explain`: what would become of a packet.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use serde::Serialize;

use self::ends::Settled;
use super::progress::Progress;
use super::{Outcome, filter, names};
use crate::evaluate::{Conn, Course, Dev, Packet, Unknown};
use crate::explain::{LiveHost, Question, Rules, answer, rules_in_force};
use crate::names::{Naming, Wanted};
use crate::privilege::{self, Service, Task};
use crate::report::record::{CtState, Explanation, Proto, Time, Tuple};
use crate::report::{Format, Look, explanation, json};

mod ends;
mod from_trace;
#[cfg(test)]
mod tests;

/// The value of the JSON's `schema` field.
pub const SCHEMA: &str = "observer.explain/v1";

const EXAMPLES: &str = "\
Examples:
  sudo observer explain --src 192.0.2.1 --dst 10.96.0.10 --proto udp --port 53
      what this host's rules and routes would do to that query
  observer explain --src 10.224.0.0 --dst 10.224.2.16 --proto tcp --port 80 --iface flannel.1 --out-iface cni0 \
--ruleset node02.save
      the same from what iptables-save printed elsewhere, without privileges
  observer explain --src 10.244.1.9 --dst 10.104.88.12 --proto tcp --port 8080 --ruleset node.json --ruleset node.save
      from what nft -j list ruleset printed there, and iptables-legacy-save beside it
  sudo observer explain --src-pod nginx-test/client-0 --dst-service nginx-test/nginx-service --proto tcp --port 80
      from that pod to that service, by the addresses that they have now
  sudo observer explain --from-trace drops.json --line 7
      whether the packet that died there would still die, by the rules now in force

Asked are the tables of iptables, legacy and nft, and nft's own of the families ip, ip6 and inet, at each hook in the order of \
their priorities. A packet without --ctstate is the first of its connection. Without --ruleset, routes and addresses are those of the network namespace that \
this runs in; with it, they are not known, and what depends on them is said.

Exit codes: 0 answered, 2 an error.";

/// What `explain` takes, as typed.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Source address
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["src_pod", "from_trace"])]
    pub src: Option<String>,
    /// Pod that it is from, by the address that it has now; needs --cri or --kube
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "src", value_parser = src_pod)]
    pub src_pod: Option<Wanted>,
    /// Destination address
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["dst_pod", "dst_service", "from_trace"])]
    pub dst: Option<String>,
    /// Pod that it is for, by the address that it has now; needs --cri or --kube
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with_all = ["dst", "dst_service"], value_parser = dst_pod)]
    pub dst_pod: Option<Wanted>,
    /// Service that it is for, by its cluster's address; from --kube, or where no API is from kube-proxy's rules
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "dst", value_parser = dst_service)]
    pub dst_service: Option<Wanted>,
    /// Protocol: tcp, udp, icmp, icmpv6, sctp or a number; tcp is a SYN, icmp an echo request
    #[arg(long, value_name = "P")]
    pub proto: Option<String>,
    /// Destination port
    #[arg(long, value_name = "N")]
    pub port: Option<String>,
    /// Source port
    #[arg(long, value_name = "N")]
    pub sport: Option<String>,
    /// Device that it comes in by; with --hook output: leaves by
    #[arg(long, value_name = "IF")]
    pub iface: Option<String>,
    /// Device that it leaves by
    #[arg(long, value_name = "IF")]
    pub out_iface: Option<String>,
    /// Where it goes: through this host, to it, or from it; without it the routes say, or with --ruleset: forward
    #[arg(long, value_name = "HOOK")]
    pub hook: Option<HookArg>,
    /// What conntrack says of it
    #[arg(long, value_name = "STATE", default_value = "new")]
    pub ctstate: StateArg,
    /// Its mark, as iptables writes marks
    #[arg(long, value_name = "MARK", default_value = "0")]
    pub mark: String,
    /// A trace of observer watch: asks about the packet of one of its drops, and whether the same rule still drops it
    #[arg(
        long,
        value_name = "FILE",
        requires = "line",
        conflicts_with_all = ["src", "src_pod", "dst", "dst_pod", "dst_service", "proto", "port", "sport", "iface", "out_iface", "hook", "ctstate", "mark"]
    )]
    pub from_trace: Option<PathBuf>,
    /// The number of the drop's line in that file, from 1
    #[arg(long, value_name = "N", requires = "from_trace")]
    pub line: Option<NonZeroU64>,
    /// Rules that iptables-save or nft -j list ruleset printed, instead of those in force
    #[arg(long, value_name = "FILE")]
    pub ruleset: Vec<PathBuf>,
    /// Sets that ipset save printed, which those rules ask
    #[arg(long, value_name = "FILE", requires = "ruleset")]
    pub ipset: Vec<PathBuf>,
    /// Where names of addresses come from.
    #[command(flatten)]
    pub names: names::Args,
    /// What standard output shows
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// What `--hook` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HookArg {
    /// Through this host.
    Forward,
    /// To this host.
    Input,
    /// From this host.
    Output,
}

/// What `--ctstate` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// The first packet of a connection.
    #[default]
    New,
    /// Of a connection that was answered.
    Established,
    /// Of another connection.
    Related,
    /// Of none.
    Invalid,
    /// Kept from conntrack.
    Untracked,
}

#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    #[serde(flatten)]
    told: &'a Explanation,
}

/// Answers, and prints the answer.
///
/// # Errors
/// One line that says what to do.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let format = args.format;
    // While there is one thread, and this one has not given up its rights.
    let naming = args.naming()?;
    privilege::confine(Task::Rules, Service::None).context("cannot give up capabilities")?;
    let told = explained(&args, naming)?;
    let page = match format {
        Format::Text => explanation(&told, Look::of_stdout()),
        Format::Json => {
            json(&Written {
                schema: SCHEMA,
                told: &told,
            })? + "\n"
        }
    };
    io::stdout().write_all(page.as_bytes())?;
    Ok(Outcome::Done)
}

fn explained(args: &Args, naming: Naming) -> anyhow::Result<Explanation> {
    if let Some((trace, line)) = args.from_trace.as_deref().zip(args.line) {
        let _progress = args.reading();
        return from_trace::explained(trace, line.get(), (&args.ruleset, &args.ipset));
    }
    let described = args.described()?;
    let is_live = args.ruleset.is_empty();
    if is_live {
        args.has_devices()?;
    }
    let ends = args.ends(naming)?;
    let _progress = args.reading();
    let Settled {
        src,
        dst,
        rules,
        notes,
    } = ends.settled(|family| {
        if is_live {
            rules_in_force(family)
        } else {
            Rules::read(&args.ruleset, &args.ipset, family)
        }
    })?;
    let packet = args.between(src, dst, described);
    let mut told = if is_live {
        live(args, packet, rules)
    } else {
        saved(args, packet, rules)
    };
    told.notes.splice(0..0, notes);
    Ok(told)
}

/// Against rules from elsewhere.
fn saved(args: &Args, packet: Packet, mut rules: Rules) -> Explanation {
    if args.hook.is_none() {
        rules
            .notes
            .push("taken to be forwarded; --hook input or --hook output says otherwise".to_owned());
    }
    let course = args.hook.map_or(Course::Forward, HookArg::course);
    let question = Question {
        packet: args.with_devices(packet, course),
        course,
    };
    answer(&question, &rules, &Unknown)
}

/// Against the rules, routes and addresses of the namespace that this runs in.
fn live(args: &Args, packet: Packet, mut rules: Rules) -> Explanation {
    let is_own = packet.src.is_some_and(LiveHost::is_own);
    let course = match args.hook {
        Some(hook) => hook.course(),
        None if is_own && args.iface.is_none() => Course::Output,
        None => Course::Arriving,
    };
    let mut packet = args.with_devices(packet, course);
    if course == Course::Output {
        out_device(&mut packet);
    } else if packet.in_dev == Dev::Unknown
        && let Some(device) = packet.src.and_then(LiveHost::device_towards)
    {
        rules.notes.push(format!(
            "taken to come in by {device}, where answers to it leave; --iface says otherwise"
        ));
        packet.in_dev = Dev::named(&device);
    }
    let around = LiveHost::entered_by(packet.in_dev.name().filter(|name| !name.is_empty()));
    answer(&Question { packet, course }, &rules, &around)
}

/// The routes say by which device a packet of this host leaves, where nobody else does.
fn out_device(packet: &mut Packet) {
    if packet.out_dev == Dev::Unknown
        && let Some(device) = packet.dst.and_then(LiveHost::device_towards)
    {
        packet.out_dev = Dev::named(&device);
    }
}

impl HookArg {
    fn course(self) -> Course {
        match self {
            Self::Forward => Course::Forward,
            Self::Input => Course::Input,
            Self::Output => Course::Output,
        }
    }
}

impl Args {
    /// What a person waits for.
    fn reading(&self) -> Progress {
        Progress::new(if self.ruleset.is_empty() {
            "reading the rules in force, and asking them"
        } else {
            "reading the rules, and asking them"
        })
    }

    /// Whether the devices that are named are there.
    fn has_devices(&self) -> anyhow::Result<()> {
        for (option, device) in [("--iface", &self.iface), ("--out-iface", &self.out_iface)] {
            if let Some(device) = device.as_deref().filter(|device| !LiveHost::has_device(device)) {
                bail!("{option} {device}: there is no such device; see: ip -br link");
            }
        }
        Ok(())
    }

    /// The packet without its addresses and devices.
    fn described(&self) -> anyhow::Result<Packet> {
        let proto = checked("--proto", self.proto.as_deref(), filter::proto)?;
        let dport = checked("--port", self.port.as_deref(), filter::port)?;
        let sport = checked("--sport", self.sport.as_deref(), filter::port)?;
        if proto.is_none() && (dport.is_some() || sport.is_some()) {
            bail!("a port needs a protocol: add --proto tcp or --proto udp");
        }
        let mark = number(&self.mark)
            .ok_or_else(|| anyhow!("--mark {:?}: give a mark such as 0x4000", self.mark))?;
        checked("--iface", self.iface.as_deref(), filter::iface)?;
        checked("--out-iface", self.out_iface.as_deref(), filter::iface)?;
        let is_new = self.ctstate == StateArg::New;
        let echo = match proto.map(Proto) {
            Some(Proto::ICMP) => Some(8),
            Some(Proto::ICMPV6) => Some(128),
            _ => None,
        };
        Ok(Packet {
            proto,
            sport,
            dport,
            tcp_flags: (proto.map(Proto) == Some(Proto::TCP) && is_new).then_some(0x02),
            icmp_type: echo.filter(|_| is_new),
            icmp_code: echo.filter(|_| is_new).map(|_| 0),
            is_fragment: Some(false),
            mark: Some(mark),
            at: i64::try_from(Time::now().seconds()).ok(),
            ..Packet::default()
        })
    }

    /// The packet with its addresses.
    fn between(&self, src: IpAddr, dst: IpAddr, described: Packet) -> Packet {
        Packet {
            is_v6: src.is_ipv6(),
            src: Some(src),
            dst: Some(dst),
            conn: self.conn(Tuple {
                src,
                sport: described.sport,
                dst,
                dport: described.dport,
                icmp_id: None,
            }),
            ..described
        }
    }

    fn conn(&self, tuple: Tuple) -> Conn {
        let state = match self.ctstate {
            StateArg::New => {
                return Conn {
                    original: Some(tuple),
                    ..Conn::new()
                };
            }
            StateArg::Established => CtState::Established,
            StateArg::Related => CtState::Related,
            StateArg::Invalid => CtState::Invalid,
            StateArg::Untracked => CtState::Untracked,
        };
        Conn {
            state: Some(state),
            ..Conn::default()
        }
    }

    fn with_devices(&self, packet: Packet, course: Course) -> Packet {
        let named = |name: &Option<String>| name.as_deref().map_or(Dev::Unknown, Dev::named);
        let (iface, out_iface) = (named(&self.iface), named(&self.out_iface));
        if course == Course::Output {
            let out_dev = if out_iface == Dev::Unknown {
                iface
            } else {
                out_iface
            };
            Packet {
                in_dev: Dev::Absent,
                out_dev,
                ..packet
            }
        } else {
            Packet {
                in_dev: iface,
                out_dev: out_iface,
                ..packet
            }
        }
    }
}

fn src_pod(text: &str) -> Result<Wanted, &'static str> {
    Ok(names::pod(text)?.by("--src-pod", "--src"))
}

fn dst_pod(text: &str) -> Result<Wanted, &'static str> {
    Ok(names::pod(text)?.by("--dst-pod", "--dst"))
}

fn dst_service(text: &str) -> Result<Wanted, &'static str> {
    Ok(names::service(text)?.by("--dst-service", "--dst"))
}

fn checked<T>(
    option: &str,
    text: Option<&str>,
    check: impl FnOnce(&str) -> Result<T, String>,
) -> anyhow::Result<Option<T>> {
    text.map(|text| check(text).map_err(|advice| anyhow!("{option} {text:?}: {advice}")))
        .transpose()
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
