//! The ruleset in force, as nft lists it.

use super::Ruleset;
use crate::ruleset::text::run_tool;

impl Ruleset {
    /// Runs `nft` in the namespace with this inode. None if it is not installed, fails, or prints no ruleset.
    pub fn list(inode: u32) -> Option<Self> {
        Self::run(inode, &["-j", "list", "ruleset"])
    }

    /// As [`Self::list`], of one table.
    pub fn list_table(inode: u32, family: &str, table: &str) -> Option<Self> {
        Self::run(inode, &["-j", "list", "table", family, table])
    }

    fn run(inode: u32, words: &[&str]) -> Option<Self> {
        let text = run_tool(inode, "nft", words)?;
        Self::read(&text)
            .inspect_err(|error| log::warn!("nft {}: {error}", words.join(" ")))
            .ok()
    }
}
