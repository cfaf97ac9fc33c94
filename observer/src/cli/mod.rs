//! The command line: one file a verb. Raw words are parsed first, then turned into checked values.

pub mod address;
pub mod budget;
pub mod check;
pub mod completions;
pub mod explain;
pub mod expression;
pub mod filter;
pub mod man;
pub mod merge;
pub mod names;
pub(crate) mod progress;
pub mod report;
pub mod settings;
pub mod span;
pub mod top;
pub mod watch;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::report::escape;

/// Says live which netfilter rule or default policy dropped a packet, and why.
#[derive(Debug, Parser)]
#[command(
    name = "observer",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(about = "Says live which netfilter rule or default policy dropped a packet, and why")]
pub struct Cli {
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch packets die, and say what killed each of them.
    Watch(watch::Args),
    /// Watch causes and flows by rate, live on the terminal.
    Top(top::Args),
    /// Say what this kernel allows, and how exact the answers will be.
    Check(check::Args),
    /// Say what the rules would do to a packet, and why, without sending one.
    Explain(explain::Args),
    /// Sum up traces and captures: what killed the most, whom, and when.
    Report(report::Args),
    /// Join the traces of several nodes: each packet once, with its whole way.
    Merge(merge::Args),
    /// Print the completions for a shell.
    Completions(completions::Args),
    /// Print the manual page.
    Man,
}

/// How a verb ended, where nothing is left to be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All done.
    Done,
    /// `--fail-on-drop`, and there was one.
    DropSeen,
    /// It did not work out, and why has been said.
    Failed,
}

impl Outcome {
    /// The exit code of the contract.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::DropSeen => 1,
            Self::Failed => 2,
        }
    }
}

/// The whole program: parses the command line, runs the verb, says what went wrong.
///
/// `open` attaches the probes of `watch`, within a tokio runtime of one thread. `facts` looks at the kernel for `check`.
pub fn main<S: watch::Source>(
    open: impl AsyncFnOnce(&watch::WatchConfig) -> anyhow::Result<S>,
    facts: impl FnOnce() -> anyhow::Result<check::CheckReport>,
) -> ExitCode {
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(said(&error).code()),
    };
    let result = match cli.command {
        Command::Watch(args) => args.check().and_then(|config| watch::run(&config, open)),
        Command::Top(args) => args.check().and_then(|config| top::run(&config, open)),
        Command::Check(args) => facts().and_then(|report| check::print(&report, args.format)),
        Command::Explain(args) => explain::run(args),
        Command::Report(args) => report::run(&args),
        Command::Merge(args) => merge::run(args),
        Command::Completions(args) => completions::print(&args),
        Command::Man => man::print(),
    };
    ExitCode::from(result.unwrap_or_else(|error| said(&error)).code())
}

/// The command line with what the environment and a file add to it. Wrong usage, and help, end the process.
fn parsed() -> anyhow::Result<Cli> {
    let words: Vec<_> = std::env::args_os().collect();
    let mut command = Cli::command();
    command.build();
    let parse = |words: &[OsString]| {
        let matches = command.clone().try_get_matches_from(words);
        matches.unwrap_or_else(|error| error.exit())
    };
    let matches = parse(&words);
    let words = settings::completed(&command, &matches, words, |name| std::env::var(name).ok())?;
    Cli::from_arg_matches(&parse(&words)).map_err(|error| error.exit())
}

/// Says an error in one line. A reader that has gone away is none.
fn said(error: &anyhow::Error) -> Outcome {
    let is_broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_broken_pipe) {
        return Outcome::Done;
    }
    tell(&format!("{error:#}"));
    Outcome::Failed
}

/// One line on standard error.
fn tell(message: &str) {
    // There is nobody left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "observer: {}", escape(message));
}
