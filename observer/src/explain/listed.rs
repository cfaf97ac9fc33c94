//! Tables as nft lists them, beside those that iptables-save shows. iptables-nft keeps its tables in nf_tables, and nft lists them,
//! too, without what their extensions ask: those are asked as iptables-nft-save shows them.

use anyhow::bail;

use super::rules::{Rules, named, table_family};
use crate::evaluate::{Table, xtables};
use crate::report::record::{Hook, RulesetSource, Tool};
use crate::ruleset::nftables::listing::{self, Expression, Ruleset, Statement, ValueOrName};
use crate::ruleset::xtables::save::{self, Family};

impl Rules {
    /// Adds what nft lists: the tables that may see packets of a family.
    ///
    /// # Errors
    /// One line that says what to do: there is none, or it was given already.
    pub fn add_listed(&mut self, from: &str, listed: Ruleset, family: Family) -> anyhow::Result<()> {
        let of = table_family(family);
        self.is_listed = true;
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
        self.sets.changed_by(&self.saved);
        let sets = &self.sets;
        self.tables = self
            .saved
            .iter()
            .map(|table| xtables::table(table, sets))
            .collect();
        let of = table_family(family);
        for index in 0..self.saved.len() {
            let (saved, listed) = (&self.saved[index], &mut self.nft.tables);
            let found = listed
                .iter_mut()
                .find(|table| table.family.name() == of.name() && table.name == *saved.name);
            let Some(listed) = found.filter(|listed| is_same(saved, listed)) else {
                continue;
            };
            if is_written_by_iptables(listed) {
                once(saved, self.tables.get_mut(index), listed);
                continue;
            }
            // iptables-nft 1.8.9 shows such rules without what it does not know of them.
            let name = name(listed);
            self.tables[index]
                .chains
                .iter_mut()
                .for_each(|chain| chain.base = None);
            let saved_name = saved.name.to_string();
            self.notes.push(format!(
                "table {name} has rules that iptables does not write, and is asked as nft lists it"
            ));
            let shown = |source: &&mut RulesetSource| {
                source.tool != Some(Tool::Nft) && source.tool != Some(Tool::IptablesLegacy)
            };
            for source in self.sources.iter_mut().filter(shown) {
                source.tables.retain(|table| *table != saved_name);
            }
        }
        self.nft
            .tables
            .retain(|table| table.chains.iter().any(|chain| chain.base.is_some()));
        let asked: Vec<String> = self.nft.tables.iter().map(name).collect();
        for source in self
            .sources
            .iter_mut()
            .filter(|source| source.tool == Some(Tool::Nft))
        {
            source.tables.retain(|name| asked.contains(name));
        }
        self.sources.retain(|source| !source.tables.is_empty());
        self.notes.extend(self.nft.tables.iter().filter_map(in_part));
        if !self.is_listed {
            let hidden = self.hidden().iter();
            let notes: Vec<_> = hidden
                .map(|what| format!("{what}; that is not asked: nft -j list ruleset would show it"))
                .collect();
            self.notes.extend(notes);
        }
    }
}

/// Has a base chain asked once that both show; iptables-nft-save also shows chains that are not there, and does not show base chains
/// that are not its own.
fn once(saved: &save::Table, asked: Option<&mut Table>, listed: &mut listing::Table) {
    for chain in asked.into_iter().flat_map(|table| &mut table.chains) {
        if listed.chain(&chain.name).is_none_or(|known| known.base.is_none()) {
            chain.base = None;
        }
    }
    for chain in &mut listed.chains {
        let shown = saved.chain(&chain.name).and_then(|index| saved.chains.get(index));
        if shown.is_some_and(|shown| shown.policy.is_some()) {
            chain.base = None;
        }
    }
}

/// Whether a table has only rules that iptables-nft writes and shows again: plain comparisons, extensions, verdicts.
fn is_written_by_iptables(table: &listing::Table) -> bool {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules
        .flat_map(|rule| &rule.statements)
        .all(|statement| match statement {
            Statement::Match { left, right, .. } => is_plain(left) && is_constant(right),
            // `-j TRACE`
            Statement::Mangle {
                key: Expression::Meta(key),
                ..
            } => key == "nftrace",
            Statement::Verdict(_)
            | Statement::Xt { .. }
            | Statement::Counter(ValueOrName::Value(_))
            | Statement::Limit(ValueOrName::Value(_))
            | Statement::Log(_) => true,
            _ => false,
        })
}

fn is_plain(left: &Expression) -> bool {
    match left {
        Expression::Payload(_) | Expression::Meta(_) => true,
        Expression::Binary { operands, .. } => operands.first().is_some_and(is_plain),
        _ => false,
    }
}

fn is_constant(right: &Expression) -> bool {
    !matches!(
        right,
        Expression::Set(_) | Expression::Reference(_) | Expression::Map { .. } | Expression::Concatenation(_)
    )
}

/// `inet lab`
fn name(table: &listing::Table) -> String {
    format!("{} {}", table.family.name(), table.name)
}

/// Whether iptables-save and nft show one and the same table.
fn is_same(saved: &save::Table, listed: &listing::Table) -> bool {
    match saved.is_nft {
        Some(is_nft) => is_nft,
        // The file does not say: the same policies, and as many rules in each chain that it has.
        None => saved.chains.iter().all(|chain| {
            let known = listed.chain(&chain.name);
            let policy =
                known
                    .and_then(|known| known.base.as_ref())
                    .map(|base| match base.policy.as_deref() {
                        Some("drop") => save::Policy::Drop,
                        _ => save::Policy::Accept,
                    });
            let rules = known.map_or(0, |known| known.rules.len());
            rules == chain.rules.len() && (policy.is_none() || policy == chain.policy)
        }),
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
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "chains of devices and bridges are not evaluated, and may drop it: {}",
            named(&names)
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
