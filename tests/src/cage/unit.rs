//! What a systemd unit leaves a service: its capability bounding set and its system calls, as systemd would set them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use seccompiler::{BpfProgram, TargetArch, compile_from_json};

/// The part of a unit that can be had without systemd.
pub(super) struct Unit {
    /// Names as the cage has them: `sys_admin`.
    pub(super) capabilities: Vec<String>,
    /// The filter of system calls.
    pub(super) filter: BpfProgram,
}

impl Unit {
    /// Reads a unit of this repository.
    pub(super) fn read(path: &str) -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if setting(&text, "NoNewPrivileges") != ["yes"] {
            bail!("{path} lets new privileges be had");
        }
        let capabilities = setting(&text, "CapabilityBoundingSet");
        let capabilities = capabilities
            .into_iter()
            .map(|name| Ok(name.strip_prefix("CAP_").context("a capability")?.to_lowercase()))
            .collect::<Result<Vec<_>>>()?;
        let mut calls = BTreeSet::new();
        for word in setting(&text, "SystemCallFilter") {
            expand(&word, &mut calls)?;
        }
        if capabilities.is_empty() || calls.is_empty() {
            bail!("{path} takes nothing away");
        }
        Ok(Self {
            capabilities,
            filter: filter(&calls)?,
        })
    }
}

/// The words of a setting.
fn setting(text: &str, name: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(found, _)| *found == name).map(|(_, value)| value);
    values
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// The calls of a set (`@system-service`), as systemd lists them, and of the sets in it.
fn expand(word: &str, calls: &mut BTreeSet<String>) -> Result<()> {
    if !word.starts_with('@') {
        calls.insert(word.to_owned());
        return Ok(());
    }
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", word])
        .output();
    let output = output.context("cannot run systemd-analyze: is systemd installed?")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let members = text.lines().skip(1).map(str::trim);
    for member in members.filter(|member| !member.is_empty() && !member.starts_with('#')) {
        expand(member, calls)?;
    }
    Ok(())
}

/// Allows these and answers others with `ENOSYS`. A call that is not one of this processor is left out, as systemd does.
fn filter(calls: &BTreeSet<String>) -> Result<BpfProgram> {
    let compiled = |rules: &str| {
        let json = format!(
            r#"{{"unit": {{"mismatch_action": {{"errno": 38}}, "match_action": "allow", "filter": [{rules}]}}}}"#
        );
        compile_from_json(json.as_bytes(), TargetArch::x86_64)
    };
    let rules = calls.iter().map(|call| format!(r#"{{"syscall": "{call}"}}"#));
    let known: Vec<String> = rules.filter(|rule| compiled(rule).is_ok()).collect();
    let mut filters = compiled(&known.join(", ")).context("the unit's filter")?;
    filters.remove("unit").context("the unit's filter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_word_by_word_and_comments_are_none() {
        let text = "# A=1\nA=x y\nB=z\nA=w\n";
        assert_eq!(setting(text, "A"), ["x", "y", "w"]);
        assert!(setting(text, "C").is_empty());
    }

    #[test]
    fn a_call_that_is_none_is_left_out_and_the_others_stay() {
        let calls = ["read", "write", "no_such_call"].map(str::to_owned).into();
        let few = filter(&calls).expect("a filter");
        let fewer = filter(&["read".to_owned()].into()).expect("a filter");
        assert!(few.len() > fewer.len());
    }
}
