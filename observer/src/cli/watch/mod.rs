//! `observer watch`: what it takes, and the loop that it runs.

mod drive;
mod follow;
#[cfg(test)]
mod tests;
mod wanted;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use observer_common::MAX_SNAPLEN;

use super::address;
use super::budget::{self, Budget};
use super::expression::Expression;
use super::filter::{FilterSpec, RawFilter};
use super::{names, span};
use crate::names::{Found, Wanted};
use crate::report::{Credentials, Endpoint, Format, OtlpConfig};

pub use drive::{Source, drive, run};
pub(super) use drive::{TOP_CAUSES, confined, first_signal, is_broken_pipe, screen_error};
pub use wanted::Narrowed;

/// How many bytes of each packet a capture keeps where nothing is said.
const SNAPLEN: u16 = 256;

/// How long the file of `--otlp-buffer` gets where nothing is said, in MiB.
const BUFFER_MIB: u16 = 64;

const EXAMPLES: &str = "\
Examples:
  observer watch --dst 10.224.0.0/16
      what dies on its way to these pods, also while it is still addressed to their service
  observer watch --dst 10.96.0.10 --proto udp --port 53 -o json
      lost DNS queries, one JSON object a line
  observer watch 'host 10.224.2.16 and (tcp port 80 or 443) and not src net 10.224.0.0/16'
      the same in the words of tcpdump
  observer watch --pod nginx-test/nginx-0
      what dies on its way to this pod or from it
  observer watch --all --src 10.0.0.10 --port 443
      the whole way of this client's packets through hooks, tables and NAT, also of those that live
  observer watch --pcap drops.pcapng --snaplen 1500 --duration 5m
      a capture for Wireshark of what died, each packet with the rule or policy that killed it as its comment
  observer watch --probes drops --metrics 9469 -o json > /dev/null
      counts for Prometheus, at http://127.0.0.1:9469/metrics
  observer watch --netns pid:4711 --duration 30s --fail-on-drop
      exit code 1 if that process's network namespace drops anything within 30 s

A filter matches a packet by its headers as they are, or by its connection's addresses before or after NAT, in either \
direction. Values of one option are alternatives; different options must all match.

Exit codes: 0 done, 1 --fail-on-drop and a drop was seen, 2 an error.";

/// What `watch` takes, as typed.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is watched.
    #[command(flatten)]
    pub asked: Asked,
    /// Pod, by the addresses that it has, also when it is made anew with others; needs --cri or --kube
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = names::pod)]
    pub pod: Vec<Wanted>,
    /// Service, by its addresses; from --kube, or where no API is from kube-proxy's rules
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = names::service)]
    pub service: Vec<Wanted>,
    /// Begin though a pod or service that is named is not there yet, and watch it from when it has an address
    #[arg(long)]
    pub wait: bool,
    /// Options from this file, in the table `watch` of TOML, unless they are given here or in the environment, as
    /// OBSERVER_WATCH_DST and so on
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show packets that are not dropped, too, with their way (needs path probes)
    #[arg(long)]
    pub all: bool,
    /// What standard output shows
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Keep the trace in this file, as JSON, whatever standard output shows
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Keep the first bytes of every packet that is reported in this file, as pcapng, with the verdict as its comment
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// How many bytes of each packet --pcap keeps, from 64 to 4096 [default: 256]
    #[arg(long, value_name = "BYTES", requires = "pcap", value_parser = clap::value_parser!(u16).range(64..=MAX_SNAPLEN as i64))]
    pub snaplen: Option<u16>,
    /// Count drops by cause for Prometheus, at http://ADDR/metrics: a port (of 127.0.0.1), or address and port
    #[arg(long, value_name = "ADDR", value_parser = address::parse)]
    pub metrics: Option<SocketAddr>,
    /// Send every line as a log record, and totals as metrics, to this OpenTelemetry Collector: http://HOST:4318 or https://HOST:4318
    #[arg(long, value_name = "URL")]
    pub otlp: Option<Endpoint>,
    /// Believe the collector if an authority has signed its certificate that is in this file, in PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub otlp_ca: Option<PathBuf>,
    /// Show the collector this certificate, in PEM, with its chain, if it wants one
    #[arg(long, value_name = "FILE", requires_all = ["otlp", "otlp_key"])]
    pub otlp_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM, not encrypted
    #[arg(long, value_name = "FILE", requires_all = ["otlp", "otlp_cert"])]
    pub otlp_key: Option<PathBuf>,
    /// Send the collector the headers of this file with each request, a line each, such as Authorization: Bearer TOKEN
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub otlp_headers: Option<PathBuf>,
    /// Keep in this file what the collector does not take now, and send it later, also after a restart
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub otlp_buffer: Option<PathBuf>,
    /// How long that file gets at most, in MiB [default: 64]
    #[arg(long, value_name = "MIB", requires = "otlp_buffer", value_parser = clap::value_parser!(u16).range(1..))]
    pub otlp_buffer_size: Option<u16>,
    /// Keep packet and rules in this directory where a replay of the rules comes to something else than the kernel did: a bug
    /// worth reporting; at most 16 cases, readable by their owner only
    #[arg(long, value_name = "DIR")]
    pub keep_disagreements: Option<PathBuf>,
    /// Stop after this many drops; packets that --all shows do not count
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Stop after this long: 500ms, 30s, 5m, 2h
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub duration: Option<Duration>,
    /// Exit with code 1 if a drop was seen
    #[arg(long)]
    pub fail_on_drop: bool,
    /// What is attached.
    #[command(flatten)]
    pub how: ProbeArgs,
}

/// What is watched, as typed.
#[derive(Debug, Default, clap::Args)]
pub struct Asked {
    /// By options.
    #[command(flatten)]
    pub filter: RawFilter,
    /// What to watch in the words of tcpdump, such as 'dst net 10.224.0.0/16 and tcp port 80'; together with the options above
    /// both must match
    #[arg(value_name = "EXPRESSION")]
    pub expression: Vec<String>,
}

/// What is attached, as typed.
#[derive(Debug, Default, clap::Args)]
pub struct ProbeArgs {
    /// How much to attach: path probes see the packet's way, drops alone costs healthy traffic nothing
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub probes: Probes,
    /// Of one CPU, what the optional (path) probes may take, from 0.1 to 100, measured from the programs' own run time;
    /// above it they come off, and that is said; 100 is no limit
    #[arg(long, value_name = "PERCENT", default_value = budget::DEFAULT_PERCENT, value_parser = budget::parse)]
    pub budget: Budget,
    /// Where names of addresses come from.
    #[command(flatten)]
    pub names: names::Args,
}

/// How much to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Probes {
    /// Path probes where the kernel allows them and as long as the budget holds; else as drops.
    #[default]
    Auto,
    /// Only where packets die; a drop that cannot be named arms path probes for its flow until its retransmission is named.
    Drops,
    /// As auto, but an error if the kernel does not allow path probes.
    Path,
    /// No BPF at all: the counters of rules and policies that drop are read; which packets they counted is not known. What auto
    /// comes to where BPF is refused.
    None,
}

/// What to watch and where to write it, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// What to watch.
    pub filter: FilterSpec,
    /// What each packet that the filter lets pass is held against; the filter is no narrower.
    pub expression: Option<Expression>,
    /// Pods and services whose addresses are to be watched besides.
    pub wanted: Vec<Wanted>,
    /// They need not be there at the start.
    pub wait: bool,
    /// Where they are at the start.
    pub found: Vec<Found>,
    /// Show packets that are not dropped, too; never with [`Probes::Drops`] or [`Probes::None`].
    pub all: bool,
    /// What standard output shows.
    pub format: Format,
    /// The trace file.
    pub write: Option<PathBuf>,
    /// The capture.
    pub pcap: Option<PathBuf>,
    /// How many bytes of each packet it keeps.
    pub snaplen: u16,
    /// Where metrics are asked for.
    pub metrics: Option<SocketAddr>,
    /// Where all of it is sent to.
    pub otlp: Option<OtlpConfig>,
    /// Where packets and rules are kept of which a replay is at odds with the kernel.
    pub keep_disagreements: Option<PathBuf>,
    /// Stop after this many drops.
    pub count: Option<NonZeroU64>,
    /// Stop after this long.
    pub duration: Option<Duration>,
    /// Exit with code 1 if a drop was seen.
    pub fail_on_drop: bool,
    /// How much to attach.
    pub probes: Probes,
    /// What the optional probes may take, in thousandths of one CPU; [`u32::MAX`] is no limit.
    pub budget_permille: u32,
    /// Where names of addresses come from.
    pub names: names::Args,
    /// What was put right in the filter; said on standard error.
    pub warnings: Vec<String>,
}

impl Default for WatchConfig {
    /// What `observer watch` alone says.
    fn default() -> Self {
        Self {
            filter: FilterSpec::default(),
            expression: None,
            wanted: Vec::new(),
            wait: false,
            found: Vec::new(),
            all: false,
            format: Format::default(),
            write: None,
            pcap: None,
            snaplen: SNAPLEN,
            metrics: None,
            otlp: None,
            keep_disagreements: None,
            count: None,
            duration: None,
            fail_on_drop: false,
            probes: Probes::default(),
            budget_permille: Budget::default().permille(),
            names: names::Args::default(),
            warnings: Vec::new(),
        }
    }
}

impl Asked {
    /// The filter of the kernel side, what packets that pass it are held against, and what is to be said of either.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn check(&self) -> anyhow::Result<(FilterSpec, Option<Expression>, Vec<String>)> {
        let mut checked = self.filter.check()?;
        let expression =
            Expression::parse(&self.expression, &mut checked.warnings)?.map(|it| it.and(&checked.spec));
        let filter = expression.as_ref().map_or(checked.spec, Expression::widened);
        Ok((filter, expression, checked.warnings))
    }
}

impl Args {
    /// Checks everything that can be checked without asking the system.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn check(self) -> anyhow::Result<WatchConfig> {
        if self.all && matches!(self.how.probes, Probes::Drops | Probes::None) {
            bail!(
                "--all needs path probes: leave out --probes {}, or leave out --all to see only what is dropped",
                if self.how.probes == Probes::Drops {
                    "drops"
                } else {
                    "none"
                }
            );
        }
        if self.pcap.is_some() && self.how.probes == Probes::None {
            bail!("--pcap needs packets, and --probes none sees none: leave out one of them");
        }
        if self.pcap.is_some() && self.pcap == self.write {
            bail!("--pcap and --write name the same file: name two");
        }
        let wanted: Vec<Wanted> = self.pod.into_iter().chain(self.service).collect();
        if self.wait && wanted.is_empty() {
            bail!("--wait is for --pod and --service: name one");
        }
        let (filter, expression, mut warnings) = self.asked.check()?;
        warnings.extend(self.metrics.and_then(address::warning));
        let otlp = self.otlp.map(|endpoint| OtlpConfig {
            endpoint,
            credentials: Credentials {
                authority: self.otlp_ca,
                headers: self.otlp_headers,
                own: self.otlp_cert.zip(self.otlp_key),
            },
            buffer: self.otlp_buffer,
            buffer_bytes: u64::from(self.otlp_buffer_size.unwrap_or(BUFFER_MIB)) << 20,
        });
        Ok(WatchConfig {
            filter,
            expression,
            wanted,
            wait: self.wait,
            found: Vec::new(),
            all: self.all,
            format: self.format,
            write: self.write,
            pcap: self.pcap,
            snaplen: self.snaplen.unwrap_or(SNAPLEN),
            metrics: self.metrics,
            otlp,
            keep_disagreements: self.keep_disagreements,
            count: self.count,
            duration: self.duration,
            fail_on_drop: self.fail_on_drop,
            probes: self.how.probes,
            budget_permille: self.how.budget.permille(),
            names: self.how.names,
            warnings,
        })
    }
}
