//! Whether this kernel and machine can run a scenario at all.

use anyhow::Result;

use crate::exec;
use crate::netns::Netns;
use crate::run_dir::RunDir;

/// The first of the needed shell commands that fails in an empty namespace, with its words.
pub(super) fn lacking(needs: &[String], run: &RunDir) -> Result<Option<String>> {
    if needs.is_empty() {
        return Ok(None);
    }
    let name = format!("lab-{}-features", std::process::id());
    run.will_name(&name)?;
    let netns = Netns::create(&name)?;
    Ok(needs.iter().find_map(|need| {
        let why = exec::shell(Some(&netns), need).err()?.to_string();
        Some(format!("this kernel lacks something: {}", why.replace('\n', " ")))
    }))
}
