//! Rules to explain a packet by: saved tables, ready to be asked.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::evaluate::Table;
use crate::report::record::{Backend, RulesetSource, TableFamily, Tool};
use crate::ruleset::ipset::{self, Sets};
use crate::ruleset::nftables::listing::Ruleset;
use crate::ruleset::xtables::save::{self, Document, Family, Item};

/// So many chains or sets are named.
const MOST_NAMED: usize = 8;
/// More than any real ruleset.
const MOST_BYTES: u64 = 256 << 20;

/// Tables that may see packets of one family, from anywhere.
#[derive(Default)]
pub struct Rules {
    /// Where they are from.
    pub sources: Vec<RulesetSource>,
    /// As they are saved.
    pub saved: Vec<save::Table>,
    /// As they are evaluated, by the same index; made by [`Rules::settle`].
    pub tables: Vec<Table>,
    /// The sets of ipset that they ask.
    pub sets: Sets,
    /// Tables of nf_tables that are asked as nft lists them.
    pub nft: Ruleset,
    /// Whether nft has listed its tables.
    pub(super) is_listed: bool,
    /// Tables that iptables-nft-save cannot show.
    hidden: Vec<String>,
    /// What is to be known about them.
    pub notes: Vec<String>,
}

impl Rules {
    /// Reads files that `iptables-save` or `nft -j list ruleset` wrote, and in `ipsets` those of `ipset save`; tables of the other
    /// family are left out.
    ///
    /// # Errors
    /// One line that says what to do: a file that cannot be read, or is none, or has nothing of this family.
    pub fn read(paths: &[impl AsRef<Path>], ipsets: &[PathBuf], family: Family) -> anyhow::Result<Self> {
        let mut rules = Self::default();
        for path in ipsets {
            let sets = read(path).and_then(|text| Ok(ipset::parse(&text)?));
            rules
                .sets
                .add(sets.with_context(|| format!("--ipset {}", path.display()))?);
        }
        for path in paths {
            let path = path.as_ref();
            let name = path.display().to_string();
            let text = read(path).with_context(|| format!("--ruleset {name}"))?;
            if text.trim_start().starts_with('{') {
                let listed = Ruleset::read(&text).with_context(|| {
                    format!("--ruleset {name}: cannot be read as what nft -j list ruleset prints")
                })?;
                rules.add_listed(&name, listed, family)?;
                continue;
            }
            if text.trim_start().starts_with("table ") {
                bail!(
                    "--ruleset {name}: line 1 is nft's own language: give what nft -j list ruleset prints, or iptables-save"
                );
            }
            let document = save::parse(&text).with_context(|| format!("--ruleset {name}"))?;
            if document.tables().next().is_none() {
                bail!(
                    "--ruleset {name}: holds no table: give what iptables-save or nft -j list ruleset prints"
                );
            }
            let before = rules.saved.len();
            rules.add(&name, document, family);
            if rules.saved.len() == before {
                let tool = tool_of(family);
                bail!(
                    "--ruleset {name}: holds no rules of {tool}, whose packet this is: give what {tool}-save prints"
                );
            }
        }
        let missing = rules.sets.missing(&rules.saved);
        if !missing.is_empty() {
            let note = format!(
                "what is in the sets of ipset is not known without what ipset save printed there (--ipset FILE): {}",
                named(&missing)
            );
            rules.notes.push(note);
        }
        rules.settle(family);
        Ok(rules)
    }

    /// Adds the tables of a family.
    pub fn add(&mut self, from: &str, document: Document, family: Family) {
        let mut names = Vec::new();
        let mut is_nft = None;
        for item in document.items {
            let table = match item {
                Item::Table(table) => table,
                Item::Remark(text) => {
                    // iptables-nft-save says so of a table that somebody has changed with nft, and of one with base chains that
                    // are not its own.
                    if text.contains("Table `") && text.contains("incompatible") {
                        let what = text.trim_start_matches(['#', ' ']);
                        self.hidden
                            .push(format!("{from} does not show all rules: {what}"));
                    }
                    continue;
                }
            };
            if table.family.is_some_and(|of| of != family) {
                continue;
            }
            names.push(table.name.to_string());
            is_nft = is_nft.or(table.is_nft);
            self.saved.push(table);
        }
        if !names.is_empty() {
            self.sources.push(RulesetSource {
                from: from.to_owned(),
                family: Some(table_family(family)),
                tool: is_nft.map(tool),
                tables: names,
            });
        }
    }

    /// Tables that the tool cannot show.
    pub(super) fn hidden(&self) -> &[String] {
        &self.hidden
    }

    /// The command that shows and edits a table, and what holds it, where that is known.
    pub fn held_by(&self, table: usize) -> Option<(Tool, Backend)> {
        let is_nft = self.saved.get(table)?.is_nft?;
        Some((tool(is_nft), if is_nft { Backend::Nft } else { Backend::Legacy }))
    }
}

/// Names, and how many more there are.
pub(super) fn named(names: &[&str]) -> String {
    let told = names
        .iter()
        .take(MOST_NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn tool(is_nft: bool) -> Tool {
    if is_nft {
        Tool::IptablesNft
    } else {
        Tool::IptablesLegacy
    }
}

/// The trace's word for a family.
pub(super) fn table_family(family: Family) -> TableFamily {
    match family {
        Family::Ip => TableFamily::Ip,
        Family::Ip6 => TableFamily::Ip6,
    }
}

fn tool_of(family: Family) -> &'static str {
    match family {
        Family::Ip => "iptables",
        Family::Ip6 => "ip6tables",
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!("is larger than {} MiB: no ruleset is", MOST_BYTES >> 20);
    }
    // Comments may be in any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
