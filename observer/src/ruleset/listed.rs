//! Rules of nf_tables' own tables as nft prints them, found by their handles.

use std::collections::HashMap;

use super::Table;
use super::nftables::listing::{Family, Ruleset, Statement};
use super::text::{Saved, run_tool};
use super::texts::Texts;

impl Saved {
    /// One table as the kernel listed it, and whether its rules ask extensions of iptables, which that list only names.
    pub fn of_ruleset(listed: &Ruleset, table: &Table) -> Option<(Self, bool)> {
        let family = Family::named(table.family.name())?;
        let known = listed.table(family, &table.name)?;
        let by_name = known
            .chains
            .iter()
            .map(|chain| (chain.name.as_str(), chain.rules.as_slice()));
        let listed: HashMap<&str, &[_]> = by_name.collect();
        let rules = |chain: &super::Chain| -> Texts {
            let of_chain = listed.get(chain.name.as_str()).copied().unwrap_or_default();
            let by_handle: HashMap<_, _> = of_chain.iter().map(|rule| (rule.handle, rule)).collect();
            let found = chain
                .rules
                .iter()
                .map_while(|rule| by_handle.get(&Some(rule.handle)));
            let mut texts = Texts::default();
            found.for_each(|rule| texts.push(&rule.text(family)));
            texts.shrink();
            texts
        };
        let mut all = known.chains.iter().flat_map(|chain| &chain.rules);
        let is_extension = |statement: &Statement| matches!(statement, Statement::Xt { .. });
        let has_extensions = all.any(|rule| rule.statements.iter().any(is_extension));
        let chains = table.chains.iter();
        let saved = Self::of_table(
            &table.name,
            chains.map(|chain| (chain.name.clone(), rules(chain))).collect(),
        );
        Some((saved, has_extensions))
    }

    /// One table in the namespace with this inode, as nft lists it.
    pub fn run_nft(inode: u32, table: &Table) -> Option<Self> {
        let args = ["-a", "list", "table", table.family.name(), &table.name];
        // A name that nft would take for something else is not asked for.
        let is_plain = is_word(&table.name);
        let output = is_plain.then(|| run_tool(inode, "nft", &args)).flatten()?;
        Some(Self::listed(&output, table))
    }

    /// Puts the rules of a listing in the order of the table's: each by its handle.
    pub fn listed(text: &str, table: &Table) -> Self {
        let texts = by_handle(text);
        let rules = |chain: &super::Chain| {
            let texts = chain
                .rules
                .iter()
                .map_while(|rule| texts.get(&(chain.name.as_str(), rule.handle)));
            texts.copied().collect()
        };
        Self::of_table(
            &table.name,
            table
                .chains
                .iter()
                .map(|chain| (chain.name.clone(), rules(chain)))
                .collect(),
        )
    }
}

/// The comment at the end of a rule of `nft`.
pub fn comment(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once(" comment \"")?;
    rest.strip_suffix('"')
}

fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
        && !name.starts_with('-')
}

/// Rules by chain and handle: within `chain NAME { # handle N`, each line that ends with `# handle N`.
fn by_handle(text: &str) -> HashMap<(&str, u64), &str> {
    let mut found = HashMap::new();
    let mut chain = None;
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix("chain ") {
            chain = head.split(" {").next();
        } else if line == "}" {
            chain = None;
        } else if let (Some(chain), Some((rule, handle))) = (chain, line.rsplit_once(" # handle ")) {
            found.extend(handle.parse().ok().map(|handle| ((chain, handle), rule)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Backend, TableFamily};
    use crate::ruleset::{Chain, Rule};

    const LISTED: &str = "\
table inet mine { # handle 7
\tset bad { # handle 1
\t\ttype ipv4_addr
\t\telements = { 192.0.2.1 }
\t}

\tchain forward { # handle 2
\t\ttype filter hook forward priority filter; policy accept;
\t\tip saddr @bad counter packets 0 bytes 0 drop comment \"no # handle 9\" # handle 4
\t\ttcp dport { 22, 80 } accept # handle 3
\t}
}
";

    fn table(handles: &[u64]) -> Table {
        let rules = handles
            .iter()
            .map(|handle| Rule {
                handle: *handle,
                ..Rule::default()
            })
            .collect();
        Table {
            backend: Backend::Nft,
            family: TableFamily::Inet,
            name: "mine".to_owned(),
            chains: vec![Chain {
                name: "forward".to_owned(),
                base: None,
                rules,
                address: 0,
                mapped: false,
            }],
            hash: 0,
            address: 0,
        }
    }

    #[test]
    fn rules_are_found_by_handle() {
        let table = table(&[4, 3]);
        let saved = Saved::listed(LISTED, &table);
        assert!(saved.fits(&table));
        let text = saved.rule("mine", "forward", 0).expect("text");
        assert_eq!(
            text,
            "ip saddr @bad counter packets 0 bytes 0 drop comment \"no # handle 9\""
        );
        assert_eq!(comment(text), Some("no # handle 9"));
        assert_eq!(
            saved.rule("mine", "forward", 1),
            Some("tcp dport { 22, 80 } accept")
        );
    }

    #[test]
    fn a_listing_that_lacks_a_rule_does_not_fit() {
        let table = table(&[4, 5, 3]);
        assert!(!Saved::listed(LISTED, &table).fits(&table));
    }

    #[test]
    fn a_name_that_nft_would_misread_is_not_asked_for() {
        assert!(is_word("kube-proxy"));
        for name in ["", "-x", "a b", "a;flush", "a\n"] {
            assert!(!is_word(name), "{name:?}");
        }
    }
}
