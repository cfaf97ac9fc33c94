//! `observer watch`: what it takes, and the loop that it runs.

mod drive;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;

use super::filter::{FilterSpec, RawFilter};
use super::span;
use crate::report::Format;

pub use drive::{Source, drive, run};

const EXAMPLES: &str = "\
Examples:
  observer watch --dst 10.224.0.0/16
      what dies on its way to these pods, also while it is still addressed to their service
  observer watch --dst 10.96.0.10 --proto udp --port 53 -o json
      lost DNS queries, one JSON object a line
  observer watch --netns pid:4711 --duration 30s --fail-on-drop
      exit code 1 if that process's network namespace drops anything within 30 s

A filter matches a packet by its headers as they are, or by its connection's addresses before or after NAT, in either \
direction. Values of one option are alternatives; different options must all match.

Exit codes: 0 done, 1 --fail-on-drop and a drop was seen, 2 an error.";

/// What `watch` takes, as typed.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Destination address or network, such as 10.224.2.16 or fd00::/64
    #[arg(long, value_name = "CIDR")]
    pub dst: Vec<String>,
    /// Source address or network
    #[arg(long, value_name = "CIDR")]
    pub src: Vec<String>,
    /// Port, of either side
    #[arg(long, value_name = "N")]
    pub port: Vec<String>,
    /// Protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(long, value_name = "P")]
    pub proto: Vec<String>,
    /// Device that the packet came in by or was to leave by
    #[arg(long, value_name = "IF")]
    pub iface: Vec<String>,
    /// Network namespace: a name of ip netns, an inode number of lsns, or pid:N
    #[arg(long, value_name = "NAME|INODE|pid:N")]
    pub netns: Vec<String>,
    /// Show packets that are not dropped, too (needs path probes: not in this version)
    #[arg(long)]
    pub all: bool,
    /// What standard output shows
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Keep the trace in this file, as JSON, whatever standard output shows
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Stop after this many drops
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Stop after this long: 500ms, 30s, 5m, 2h
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub duration: Option<Duration>,
    /// Exit with code 1 if a drop was seen
    #[arg(long)]
    pub fail_on_drop: bool,
    /// How much to attach: drops costs healthy traffic nothing
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub probes: Probes,
}

/// How much to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Probes {
    /// What this kernel and this filter suggest.
    #[default]
    Auto,
    /// Only where packets die.
    Drops,
    /// Also along the path of the packets that match (not in this version).
    Path,
}

/// What to watch and where to write it, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchConfig {
    /// What to watch.
    pub filter: FilterSpec,
    /// What standard output shows.
    pub format: Format,
    /// The trace file.
    pub write: Option<PathBuf>,
    /// Stop after this many drops.
    pub count: Option<NonZeroU64>,
    /// Stop after this long.
    pub duration: Option<Duration>,
    /// Exit with code 1 if a drop was seen.
    pub fail_on_drop: bool,
    /// How much to attach; never [`Probes::Path`] in this version.
    pub probes: Probes,
    /// What was put right in the filter; said on standard error.
    pub warnings: Vec<String>,
}

impl Args {
    /// Checks everything that can be checked without asking the system.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn check(self) -> anyhow::Result<WatchConfig> {
        if self.all {
            bail!(
                "--all needs path probes, not in this version; leave it out to see the packets that are dropped"
            );
        }
        if self.probes == Probes::Path {
            bail!("--probes path is not in this version; use --probes drops");
        }
        let raw = RawFilter {
            dst: self.dst,
            src: self.src,
            ports: self.port,
            protos: self.proto,
            ifaces: self.iface,
            netns: self.netns,
        };
        let checked = raw.check()?;
        Ok(WatchConfig {
            filter: checked.spec,
            format: self.format,
            write: self.write,
            count: self.count,
            duration: self.duration,
            fail_on_drop: self.fail_on_drop,
            probes: self.probes,
            warnings: checked.warnings,
        })
    }
}
