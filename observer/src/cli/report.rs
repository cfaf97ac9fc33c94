//! `observer report FILE…`

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;

use super::Outcome;
use super::progress::Progress;
use crate::report::{escape, review};
use crate::review::{Review, read};

const EXAMPLES: &str = "\
Examples:
  observer report drops.json
      what killed the most packets, who they were of, and when
  observer report node01.json node02.json drops.pcapng -o html > drops.html
      one page with plots, of two traces and a capture
  observer watch -o json --duration 1m | observer report - -o markdown
      for a ticket

Traces are what observer watch writes with --write or -o json, captures what it writes with --pcap: these are known by the \
comments of their packets. Lines that are broken are passed over and counted.

Exit codes: 0 done, 2 a file cannot be read.";

/// What `report` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Traces and captures of observer watch; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The form
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub form: review::Form,
    /// How many causes and flows are named
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top: u16,
}

/// Reads the files and prints what they add up to.
///
/// # Errors
/// One line that says which file cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let mut all = Review::default();
    let progress = Progress::new("reading");
    for path in &args.files {
        progress.now(&format!("reading {}", path.to_string_lossy()));
        read(&mut all, path).with_context(|| escape(&path.to_string_lossy()).into_owned())?;
    }
    progress.now("summing up");
    let page = review::review(&all, args.form, usize::from(args.top))?;
    drop(progress);
    let mut out = io::stdout().lock();
    out.write_all(page.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Done)
}
