//! `observer completions SHELL`

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome};

/// What `completions` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  observer completions bash > /etc/bash_completion.d/observer")]
pub struct Args {
    /// The shell.
    pub shell: Shell,
}

/// Prints them.
///
/// # Errors
/// What the system says of writing them.
pub fn print(args: &Args) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "observer", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Outcome::Done)
}
