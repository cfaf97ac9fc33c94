//! The unit that comes with observer, as systemd reads it: nothing unknown in it, and no more exposed than it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::run::{Lab, Place};
use crate::results::Outcome;

const UNIT: &str = "observer/systemd/observer.service";
/// Where the unit says that observer is.
const INSTALLED: &str = "/usr/local/sbin/observer";
/// What `systemd-analyze security` may come to, in tenths: 0 is no exposure, 100 is no sandbox.
const MOST_EXPOSED: &str = "37";

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(UNIT);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let copy = place.work.join("observer.service");
    // It need not be installed to be tested.
    fs::write(&copy, text.replace(INSTALLED, &program.to_string_lossy()))?;
    let copy = copy.to_string_lossy().into_owned();
    let mut failures = Vec::new();
    if !text.contains(&format!("\nExecStart={INSTALLED} ")) {
        failures.push(format!("the unit does not start {INSTALLED}"));
    }
    let exposed = format!("--threshold={MOST_EXPOSED}");
    for args in [
        &["verify", "--man=no", &copy][..],
        &["security", "--offline=true", "--no-pager", &exposed, &copy],
    ] {
        let output = Command::new("systemd-analyze").args(args).output();
        let output = output.context("cannot run systemd-analyze: is systemd installed?")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let own: Vec<&str> = errors
            .lines()
            .filter(|line| line.contains("observer.service"))
            .collect();
        if !output.status.success() || !own.is_empty() {
            let said = String::from_utf8_lossy(&output.stdout);
            let last = said.lines().last().unwrap_or_default();
            failures.push(format!("systemd-analyze {}: {last} {}", args[0], errors.trim()));
        }
    }
    Ok(Outcome::of(failures))
}
