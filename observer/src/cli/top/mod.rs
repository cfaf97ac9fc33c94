//! `observer top`: what it takes, and the loop that it runs.

mod drive;
mod freeze;
mod keys;
mod screen;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use super::span;
use super::watch::{Asked, ProbeArgs, WatchConfig};

pub use drive::run;

const EXAMPLES: &str = "\
Keys:
  Enter details   Tab causes or flows   / search   s sort   p pause   f freeze to a file   ? help   q end

Examples:
  observer top
      what dies on this node, the fastest first
  observer top --dst 10.224.0.0/16
      what dies on its way to these pods
  observer top --netns node02 --freeze-dir /root
      in that network namespace; what f writes is kept in /root, and observer report reads it

The page needs a terminal; for files and pipes there is observer watch.

Exit codes: 0 done, 2 an error.";

/// What `top` takes, as typed.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is watched.
    #[command(flatten)]
    pub asked: Asked,
    /// Options from this file, in the table `top` of TOML, unless they are given here or in the environment, as OBSERVER_TOP_DST
    /// and so on
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Stop after this long: 500ms, 30s, 5m, 2h
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub duration: Option<Duration>,
    /// Where f writes its files [default: the working directory, or where that cannot be written to, the one for temporary files]
    #[arg(long, value_name = "DIR")]
    pub freeze_dir: Option<PathBuf>,
    /// What is attached.
    #[command(flatten)]
    pub how: ProbeArgs,
}

/// What to watch, checked, and where to keep what is frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopConfig {
    /// What to watch.
    pub watch: WatchConfig,
    /// Where frozen files go.
    pub freeze_dir: Option<PathBuf>,
}

impl Args {
    /// Checks everything that can be checked without asking the system.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn check(self) -> anyhow::Result<TopConfig> {
        let (filter, expression, warnings) = self.asked.check()?;
        Ok(TopConfig {
            watch: WatchConfig {
                filter,
                expression,
                duration: self.duration,
                probes: self.how.probes,
                budget_permille: self.how.budget.permille(),
                names: self.how.names,
                warnings,
                ..WatchConfig::default()
            },
            freeze_dir: self.freeze_dir,
        })
    }
}
