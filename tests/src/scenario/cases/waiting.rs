//! A person who waits for longer than a second sees what for, on the terminal alone; and nothing of it afterwards.

use anyhow::{Result, bail};

use super::super::run::{Lab, Place};
use crate::exec;
use crate::observer::code;
use crate::results::Outcome;
use crate::terminal::Terminal;

/// Rows and columns.
const USUAL: (u16, u16) = (24, 80);
/// What a terminal sends at the end of what is typed: for each time that it is asked for more.
const END_OF_INPUT: &str = "\u{4}\u{4}\u{4}\u{4}";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let patience = lab.patience;
    // It reads what is typed, and nobody types.
    let mut page = Terminal::start(program, &["report", "-"], USUAL, "xterm-256color")?;
    page.wait("what is waited for", patience, |it| it.contains("reading - … "))?;
    page.keys(END_OF_INPUT)?;
    let status = code(page.end(patience)?);
    if status != 0 || page.screen().contains("reading") || page.screen().trim().is_empty() {
        bail!("after the wait, with {status}:\n{}", page.screen());
    }

    // Not on a terminal nothing is said, however long it takes.
    let script = format!(
        "(sleep 3) | {} report - 2>{}/said >/dev/null; wc -c <{1}/said",
        program.display(),
        place.work.display()
    );
    let said = exec::shell(None, &script)?;
    if said.trim() != "0" {
        bail!("{} bytes were said where there is no terminal", said.trim());
    }
    Ok(Outcome::Passed)
}
