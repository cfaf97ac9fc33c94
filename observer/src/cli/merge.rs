//! `observer merge FILE…`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::progress::Progress;
use super::{Outcome, span, tell};
use crate::merge::{Merged, Wanted, merge};
use crate::report::{Format, Outputs, Report as _, escape};

const EXAMPLES: &str = "\
Examples:
  observer merge master.json node02.json
      each packet once, with its way through both nodes
  observer merge master.json node02.json --ahead node02=1500ms -o json > both.json
      where the clock of node02 is known to be 1.5 s ahead of master's

Each trace is of observer watch --all on one node, with --write or -o json. A packet is the same if it left one node with \
the addresses and ports with which it came to the other, and by its protocol, IP identification, length, flags and time; where more \
than one fits, none is joined. What a node tells of a packet in pieces is put together first. Times are by the clock of the first trace. IPv6 has no identification, so its packets are not joined.

Exit codes: 0 done, 2 a file cannot be read.";

/// What `merge` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Traces of observer watch, one of each node
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    pub files: Vec<PathBuf>,
    /// How far a node's clock is ahead of the first trace's: node02=1500ms, or node02=-2s; estimated from the packets for others
    #[arg(long, value_name = "NODE=SPAN", value_parser = ahead)]
    pub ahead: Vec<(String, i64)>,
    /// How far apart in time what two nodes tell of one packet may be
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = span::parse)]
    pub window: Duration,
    /// What standard output shows
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

fn ahead(text: &str) -> Result<(String, i64), String> {
    let Some((node, by)) = text.rsplit_once('=').filter(|(node, _)| !node.is_empty()) else {
        return Err("write a node and a span, like node02=1500ms or node02=-2s".to_owned());
    };
    let (sign, digits) = match by.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, by.strip_prefix('+').unwrap_or(by)),
    };
    if matches!(digits, "0" | "0s" | "0ms") {
        return Ok((node.to_owned(), 0));
    }
    let span = span::parse(digits)?;
    let nanos = i64::try_from(span.as_nanos()).map_err(|error| error.to_string())?;
    Ok((node.to_owned(), sign * nanos))
}

/// Joins the traces and prints them.
///
/// # Errors
/// One line that says which file cannot be read.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let wanted = Wanted {
        files: args.files,
        ahead_ns: args.ahead.into_iter().collect::<BTreeMap<_, _>>(),
        window: args.window,
    };
    let progress = Progress::new(&format!("joining {} traces", wanted.files.len()));
    let merged = merge(&wanted).map_err(|(path, error)| {
        anyhow::Error::new(error).context(escape(&path.to_string_lossy()).into_owned())
    })?;
    drop(progress);
    let mut outputs = Outputs::open(args.format, None)?;
    for line in &merged.lines {
        outputs.line(line)?;
    }
    outputs.finish()?;
    said(&merged);
    Ok(Outcome::Done)
}

fn said(merged: &Merged) {
    for note in &merged.notes {
        tell(note);
    }
    let mut words = format!("{} packets were joined from more than one trace", merged.joined);
    if merged.pieces > 0 {
        let pieces = merged.pieces;
        words.push_str(&format!(
            "; {pieces} lines were put to what their own node told of the packet before"
        ));
    }
    if merged.ambiguous > 0 {
        let ambiguous = merged.ambiguous;
        words.push_str(&format!(
            "; {ambiguous} lines fit more than one and are left apart"
        ));
    }
    tell(&words);
}
