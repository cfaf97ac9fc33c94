//! The one time that is written anywhere: when the tree was committed, or what `SOURCE_DATE_EPOCH` says
//! (reproducible-builds.org/specs/source-date-epoch).

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// The variable that says another time, and that dpkg-deb, rpmbuild and others read.
const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// A time, in seconds since 1970.
pub struct Moment {
    seconds: u64,
}

impl Moment {
    /// That of this tree.
    pub fn of_the_tree() -> Result<Self> {
        let said = match env::var(VARIABLE) {
            Ok(said) => said,
            Err(_) => process::stdout_of(Command::new("git").current_dir(workspace::root()).args([
                "log",
                "-1",
                "--format=%ct",
            ]))
            .with_context(|| format!("this tree is no git repository: set {VARIABLE}"))?,
        };
        let seconds = said
            .trim()
            .parse()
            .with_context(|| format!("{VARIABLE} is no number of seconds"))?;
        Ok(Self { seconds })
    }

    /// Makes a command write this time instead of its own.
    pub fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(VARIABLE, self.seconds.to_string())
    }

    /// As tar and date take it.
    pub fn at(&self) -> String {
        format!("@{}", self.seconds)
    }

    /// As a changelog of Debian has it: `Fri, 27 Nov 2026 15:44:58 +0000`.
    pub fn as_mail(&self) -> Result<String> {
        self.formatted("+%a, %d %b %Y %H:%M:%S +0000")
    }

    /// As a changelog of rpm has it: `Fri Nov 27 2026`.
    pub fn as_day(&self) -> Result<String> {
        self.formatted("+%a %b %d %Y")
    }

    /// As JSON has it (RFC 3339).
    pub fn as_json(&self) -> Result<String> {
        self.formatted("+%Y-%m-%dT%H:%M:%SZ")
    }

    fn formatted(&self, format: &str) -> Result<String> {
        let mut date = process::neutral("date");
        let text = process::stdout_of(date.args(["-u", "-d", &self.at(), format]));
        Ok(text
            .context("date cannot write the tree's time")?
            .trim()
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_each_reader_wants_it() {
        let moment = Moment {
            seconds: 1_700_000_000,
        };
        assert_eq!(moment.as_mail().unwrap(), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(moment.as_day().unwrap(), "Tue Nov 14 2023");
        assert_eq!(moment.as_json().unwrap(), "2023-11-14T22:13:20Z");
    }
}
