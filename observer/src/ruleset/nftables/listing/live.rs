//! The ruleset in force: as the kernel lists it, or nft where that cannot be put together.

use super::{Family, Ruleset};
use crate::ruleset::nftables::netlink::{Listed, Of, OfIptables, list, list_with_iptables};
use crate::ruleset::text::run_tool;
use crate::ruleset::xtables::save;

/// A ruleset, and who listed it.
#[derive(Debug)]
pub struct InForce {
    /// The tables.
    pub ruleset: Ruleset,
    /// Who listed them.
    pub by: ListedBy,
    /// What is there and is not known: nft, which might know it, cannot be run.
    pub unread: Option<String>,
}

/// Who listed a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedBy {
    /// The kernel, over netlink.
    Kernel,
    /// `nft -j list ruleset`
    Nft,
}

impl ListedBy {
    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "nf_tables in the kernel",
            Self::Nft => "nft -j list ruleset",
        }
    }
}

impl InForce {
    /// Of the namespace with this inode. `None` if neither the kernel nor nft lists it.
    pub fn of(inode: u32) -> Option<Self> {
        let asked = list(inode, Of::All).inspect_err(|error| log::debug!("nf_tables over netlink: {error}"));
        let run = || Ruleset::run(inode, &["-j", "list", "ruleset"]);
        Self::or_nft(asked.ok(), run)
    }

    /// As [`Self::of`]; and the tables of iptables-nft of a family, as the kernel lists them at the same time. None if it does not.
    pub fn with_iptables(inode: u32, family: save::Family) -> (Option<Self>, Option<OfIptables>) {
        let asked = list_with_iptables(inode, family)
            .inspect_err(|error| log::debug!("nf_tables over netlink: {error}"));
        let run = || Ruleset::run(inode, &["-j", "list", "ruleset"]);
        match asked {
            Ok((listed, of_iptables)) => (Self::or_nft(Some(listed), run), Some(of_iptables)),
            Err(_) => (Self::or_nft(None, run), None),
        }
    }

    /// As [`Self::of`], of one table.
    pub fn of_table(inode: u32, family: Family, table: &str) -> Option<Self> {
        let asked = list(inode, Of::Table(family, table))
            .inspect_err(|error| log::debug!("nf_tables over netlink: {error}"));
        let run = || Ruleset::run(inode, &["-j", "list", "table", family.name(), table]);
        Self::or_nft(asked.ok(), run)
    }

    /// What the kernel listed if it is whole; else what `run` lists, if it can be run.
    pub fn or_nft(asked: Option<Listed>, run: impl FnOnce() -> Option<Ruleset>) -> Option<Self> {
        let by_kernel = |listed: Listed| Self {
            unread: (!listed.unread.is_none()).then(|| listed.unread.to_string()),
            ruleset: listed.ruleset,
            by: ListedBy::Kernel,
        };
        match asked {
            Some(listed) if listed.unread.is_none() => Some(by_kernel(listed)),
            asked => run()
                .map(|ruleset| Self {
                    ruleset,
                    by: ListedBy::Nft,
                    unread: None,
                })
                .or_else(|| asked.map(by_kernel)),
        }
    }
}

impl Ruleset {
    /// Runs `nft` in the namespace with this inode. `None` if it is not installed, fails, or prints no ruleset.
    fn run(inode: u32, words: &[&str]) -> Option<Self> {
        let text = run_tool(inode, "nft", words)?;
        Self::read(&text)
            .inspect_err(|error| log::warn!("nft {}: {error}", words.join(" ")))
            .ok()
    }
}
