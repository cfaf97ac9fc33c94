//! The ruleset in force, as nft lists it.

use super::Ruleset;
use crate::ruleset::text::run_tool;

impl Ruleset {
    /// Runs `nft` in the namespace with this inode. None if it is not installed, fails, or prints no ruleset.
    pub fn list(inode: u32) -> Option<Self> {
        let text = run_tool(inode, "nft", &["-j", "list", "ruleset"])?;
        Self::read(&text)
            .inspect_err(|error| log::warn!("nft -j list ruleset: {error}"))
            .ok()
    }
}
