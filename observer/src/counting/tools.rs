//! The tools that show rules with their counters, as they are installed here.

use std::fs;
use std::path::PathBuf;

use super::listing;
use super::reading::{Shapes, TableReading};
use super::saved;
use crate::report::record::{Backend, TableFamily};
use crate::ruleset::nftables::listing::{Family, InForce, Ruleset};
use crate::ruleset::nftables::netlink::{Of, list_here, tables_here};
use crate::ruleset::text::{find, run_here};

/// What one tool shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Book {
    /// Legacy iptables, whether of IPv6.
    Legacy {
        /// ip6tables.
        v6: bool,
    },
    /// iptables-nft, whether of IPv6.
    IptablesNft {
        /// ip6tables.
        v6: bool,
    },
    /// nft's own tables.
    Nft,
}

impl Book {
    fn family(v6: bool) -> TableFamily {
        if v6 { TableFamily::Ip6 } else { TableFamily::Ip }
    }

    /// `legacy`, `iptables-nft` or `nft`, as the start line has them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Legacy { .. } => "legacy",
            Self::IptablesNft { .. } => "iptables-nft",
            Self::Nft => "nft",
        }
    }
}

/// Where they are. A node may have but one `iptables-save`, for the one backend that it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools {
    /// IPv4 and IPv6.
    legacy: [Option<PathBuf>; 2],
    nft: [Option<PathBuf>; 2],
    list: Option<PathBuf>,
}

impl Tools {
    /// Looks for them.
    pub(super) fn find() -> Self {
        let of = |suffix: &str| {
            ["iptables", "ip6tables"].map(|name| {
                find(&format!("{name}-{suffix}-save")).or_else(|| {
                    let plain = find(&format!("{name}-save"))?;
                    // Of the two backends' one program, by its real name: xtables-nft-multi, xtables-legacy-multi, xtables-multi.
                    let real = fs::canonicalize(&plain).ok()?;
                    let is_nft = real.file_name()?.to_str()?.contains("nft");
                    (is_nft == (suffix == "nft")).then_some(plain)
                })
            })
        };
        Self {
            legacy: of("legacy"),
            nft: of("nft"),
            list: find("nft"),
        }
    }

    /// What is installed of these, for the error where nothing is.
    pub(super) fn is_none(&self) -> bool {
        self.list.is_none() && self.legacy.iter().chain(&self.nft).all(Option::is_none)
    }

    /// Whether legacy tables are shown by a tool of the plain name: then commands are told by it, too.
    pub(super) fn is_legacy_plain(&self) -> bool {
        let [tool, _] = &self.legacy;
        tool.as_ref()
            .is_some_and(|tool| !tool.to_string_lossy().contains("legacy"))
    }

    /// What cannot be shown although it is there, or may be.
    pub(super) fn gaps(&self, has_legacy: [bool; 2], may_have_nft: bool) -> Vec<&'static str> {
        let mut gaps = Vec::new();
        if (0..2).any(|index| has_legacy[index] && self.legacy[index].is_none()) {
            gaps.push("there are tables of legacy iptables, which cannot be read: its iptables-save is not installed");
        }
        if may_have_nft && self.list.is_none() && tables_here().is_err() {
            gaps.push(
                "whether nft has tables of its own is not known: the kernel does not list them, and nft is not installed",
            );
        }
        gaps
    }

    /// The books that there may be something in, in the calling thread's namespace.
    pub(super) fn books(&self, has_legacy: [bool; 2], may_have_nft: bool) -> Vec<Book> {
        let mut books = Vec::new();
        for (index, v6) in [(0, false), (1, true)] {
            if has_legacy[index] && self.legacy[index].is_some() {
                books.push(Book::Legacy { v6 });
            }
        }
        if !may_have_nft {
            return books;
        }
        // Asked once more: most namespaces have no table at all.
        let listed = tables_here().ok();
        let has = |wanted: fn(Family) -> bool| {
            listed
                .as_ref()
                .is_none_or(|listed| listed.iter().any(|(family, _)| wanted(*family)))
        };
        for (index, has) in [(0, has(|of| of == Family::Ip)), (1, has(|of| of == Family::Ip6))] {
            if has && self.nft[index].is_some() {
                books.push(Book::IptablesNft { v6: index == 1 });
            }
        }
        if has(|_| true) && (self.list.is_some() || listed.is_some()) {
            books.push(Book::Nft);
        }
        books
    }

    /// Reads a book in the calling thread's namespace; `None` if that did not work. `shown`: tables of iptables-nft, which nft
    /// would list, too.
    pub(super) fn read(
        &self,
        book: Book,
        shapes: &Shapes,
        shown: &[(TableFamily, String)],
    ) -> Option<Vec<TableReading>> {
        let save = |tools: &[Option<PathBuf>; 2], v6: bool, backend| {
            let text = run_here(tools[usize::from(v6)].as_ref()?, &["-c"])?;
            Some(saved::tables(&text, backend, Book::family(v6), shapes))
        };
        match book {
            Book::Legacy { v6 } => save(&self.legacy, v6, Backend::Legacy),
            Book::IptablesNft { v6 } => save(&self.nft, v6, Backend::Nft),
            Book::Nft => {
                let asked = list_here(Of::All)
                    .inspect_err(|error| log::debug!("nf_tables over netlink: {error}"))
                    .ok();
                let run = || {
                    let text = run_here(self.list.as_ref()?, &["-j", "list", "ruleset"])?;
                    Ruleset::read(&text)
                        .inspect_err(|error| log::warn!("nft -j list ruleset: {error}"))
                        .ok()
                };
                let ruleset = InForce::or_nft(asked, run)?.ruleset;
                let is_known =
                    |family, name: &str| shown.iter().any(|(of, known)| *of == family && known == name);
                Some(listing::tables(&ruleset, shapes, is_known))
            }
        }
    }
}
