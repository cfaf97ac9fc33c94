//! How an observer that watched is ended, and what is wrong whatever it was to see.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::super::check;
use crate::observer::{self, Observer, read_lines};

/// Interrupts it. Its lines in `trace`, and as failures sums that do not add up and an exit code that is not 0.
pub(super) fn ended(
    observer: &mut Observer,
    trace: &Path,
    patience: Duration,
) -> Result<(Vec<Value>, Vec<String>)> {
    observer.signal(Signal::SIGINT)?;
    let code = observer::code(observer.wait(patience)?);
    let lines = read_lines(trace)?;
    let mut failures = check::totals(&lines, lines.last().unwrap_or(&Value::Null));
    if code != 0 {
        failures.push(format!(
            "observer ended with {code}: {}",
            observer.stderr().trim()
        ));
    }
    Ok((lines, failures))
}
