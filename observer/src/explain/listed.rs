//! Tables as nft lists them, beside those that iptables-save shows. iptables-nft keeps its tables in nf_tables, and nft lists them,
//! too, without what their extensions ask: those are asked as iptables-nft-save shows them.

use anyhow::bail;

use super::rules::{Rules, table_family};
use crate::report::record::{Hook, RulesetSource, Tool};
use crate::ruleset::nftables::listing::{self, Ruleset};
use crate::ruleset::xtables::save::{self, Family};

/// So many chains that are not asked are named.
const MOST_NAMED: usize = 8;

impl Rules {
    /// Adds what nft lists: the tables that may see packets of a family.
    ///
    /// # Errors
    /// One line that says what to do: there is none, or it was given already.
    pub fn add_listed(&mut self, from: &str, listed: Ruleset, family: Family) -> anyhow::Result<()> {
        let of = table_family(family);
        self.notes.extend(beyond(&listed));
        let sees = |table: &listing::Table| {
            table.family == listing::Family::Inet || table.family.name() == of.name()
        };
        let tables: Vec<_> = listed.tables.into_iter().filter(sees).collect();
        if tables.is_empty() {
            bail!(
                "--ruleset {from}: nft lists no table of {} or inet, whose packet this is",
                of.name()
            );
        }
        if let Some(twice) = tables
            .iter()
            .find(|table| self.nft.table(table.family, &table.name).is_some())
        {
            bail!(
                "--ruleset {from}: table {} {} is in another of the files already: give it once",
                twice.family.name(),
                twice.name
            );
        }
        self.sources.push(RulesetSource {
            from: from.to_owned(),
            family: None,
            tool: Some(Tool::Nft),
            tables: tables.iter().map(name).collect(),
        });
        self.nft.tables.extend(tables);
        Ok(())
    }

    /// To be called when all is there: what is shown twice is asked once.
    pub fn settle(&mut self, family: Family) {
        let of = table_family(family);
        let mut left_out = Vec::new();
        for (index, saved) in self.saved.iter().enumerate() {
            let found = self
                .nft
                .tables
                .iter()
                .position(|table| table.family.name() == of.name() && table.name == *saved.name);
            let Some(at) = found.filter(|at| is_same(saved, &self.nft.tables[*at])) else {
                continue;
            };
            let listed = self.nft.tables.remove(at);
            left_out.push(name(&listed));
            // iptables-nft-save also shows chains that are not there.
            if let Some(table) = self.tables.get_mut(index) {
                for chain in &mut table.chains {
                    if listed.chain(&chain.name).is_none_or(|known| known.base.is_none()) {
                        chain.base = None;
                    }
                }
            }
        }
        for source in self
            .sources
            .iter_mut()
            .filter(|source| source.tool == Some(Tool::Nft))
        {
            source.tables.retain(|name| !left_out.contains(name));
        }
        self.sources
            .retain(|source| source.tool != Some(Tool::Nft) || !source.tables.is_empty());
        self.notes.extend(self.nft.tables.iter().filter_map(in_part));
        if self.nft.tables.is_empty() {
            let hidden = self.hidden().iter();
            let notes: Vec<_> = hidden
                .map(|what| format!("{what}; it is not asked: nft -j list ruleset would show it"))
                .collect();
            self.notes.extend(notes);
        }
    }
}

/// `inet lab`
fn name(table: &listing::Table) -> String {
    format!("{} {}", table.family.name(), table.name)
}

/// Whether iptables-save and nft show one and the same table.
fn is_same(saved: &save::Table, listed: &listing::Table) -> bool {
    match saved.is_nft {
        Some(is_nft) => is_nft,
        // The file does not say: as many rules in each chain, and none that the other has not.
        None => {
            let rules = |name: &str| listed.chain(name).map_or(0, |chain| chain.rules.len());
            saved
                .chains
                .iter()
                .all(|chain| rules(&chain.name) == chain.rules.len())
                && listed
                    .chains
                    .iter()
                    .all(|chain| saved.chain(&chain.name).is_some())
        }
    }
}

/// What is not known of a table of iptables-nft where only nft lists it.
fn in_part(table: &listing::Table) -> Option<String> {
    let statements = table
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .flat_map(|rule| &rule.statements);
    let mut extensions = statements.filter(|statement| matches!(statement, listing::Statement::Xt { .. }));
    extensions.next().map(|_| {
        format!(
            "table {} has extensions of iptables, and nft does not list what they ask: iptables-nft-save shows more",
            name(table)
        )
    })
}

/// Base chains that have a say and are not asked: those of devices and bridges.
fn beyond(listed: &Ruleset) -> Option<String> {
    let is_beyond = |family: listing::Family, hook: &str| match family {
        listing::Family::Bridge | listing::Family::Netdev => true,
        listing::Family::Inet => !IP_HOOKS
            .iter()
            .any(|known| known.name().eq_ignore_ascii_case(hook)),
        _ => false,
    };
    let mut names = Vec::new();
    for table in &listed.tables {
        let bases = table
            .chains
            .iter()
            .filter_map(|chain| Some((chain, chain.base.as_ref()?)));
        names.extend(
            bases
                .filter(|(_, base)| is_beyond(table.family, &base.hook))
                .map(|(chain, _)| format!("{} {}", name(table), chain.name)),
        );
    }
    let more = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    let and = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!names.is_empty()).then(|| {
        format!(
            "chains of devices and bridges are not evaluated, and may drop it: {}{and}",
            names.join(", ")
        )
    })
}

/// The hooks of IP.
const IP_HOOKS: [Hook; 5] = [
    Hook::Prerouting,
    Hook::Input,
    Hook::Forward,
    Hook::Output,
    Hook::Postrouting,
];
