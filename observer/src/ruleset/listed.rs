//! Rules of nf_tables' own tables as nft prints them, found by their handles.

use std::collections::HashMap;
use std::rc::Rc;

use super::nftables::listing::{self, Family, Ruleset, Statement};
use super::text::{Saved, run_tool};
use super::texts::Texts;
use super::{Rule, Table};

/// Tables with more rules are shown from their model: their texts would take as much again.
const MOST_TEXTS: usize = 4096;

/// Where the rules of a large table are in the list that shows them.
#[derive(Debug, PartialEq)]
pub struct ListedTable {
    ruleset: Rc<Ruleset>,
    /// Its place among the list's.
    table: usize,
    /// By the name of a chain: its place in the list, and those of its rules there.
    chains: HashMap<String, (usize, Vec<u32>)>,
}

impl ListedTable {
    /// The text of a rule, by its index in its chain.
    pub fn rule(&self, chain: &str, index: usize) -> Option<String> {
        let (chain, places) = self.chains.get(chain)?;
        let table = self.ruleset.tables.get(self.table)?;
        let rules = &table.chains.get(*chain)?.rules;
        let rule = rules.get(usize::try_from(*places.get(index)?).ok()?)?;
        Some(rule.text(table.family))
    }

    /// Whether it has every rule of the table.
    pub fn fits(&self, table: &Table) -> bool {
        let mut chains = table.chains.iter();
        chains.all(|chain| {
            let known = self.chains.get(&chain.name);
            known.is_some_and(|(_, places)| places.len() == chain.rules.len())
        })
    }
}

/// Where each rule of a chain is in a list, as far as they are there: found by their handles, most often in the same order.
fn places(of: &[Rule], listed: &[listing::Rule]) -> Vec<u32> {
    let mut by_handle: Option<HashMap<Option<u64>, usize>> = None;
    let mut find = |handle| {
        let by_handle =
            by_handle.get_or_insert_with(|| (listed.iter().map(|rule| rule.handle)).zip(0..).collect());
        by_handle.get(&handle).copied()
    };
    let place = |(index, rule): (usize, &Rule)| {
        let handle = Some(rule.handle);
        let is_here = listed.get(index).is_some_and(|listed| listed.handle == handle);
        let at = if is_here { Some(index) } else { find(handle) };
        u32::try_from(at?).ok()
    };
    of.iter().enumerate().map_while(place).collect()
}

impl Saved {
    /// One table as the kernel listed it, and whether its rules ask extensions of iptables, which that list only names.
    pub fn of_ruleset(listed: &Rc<Ruleset>, table: &Table) -> Option<(Self, bool)> {
        let family = Family::named(table.family.name())?;
        let is_it = |one: &listing::Table| one.family == family && one.name == table.name;
        let at = listed.tables.iter().position(is_it)?;
        let known = &listed.tables[at];
        let by_name = known.chains.iter().map(|chain| chain.name.as_str());
        let by_name: HashMap<&str, usize> = by_name.zip(0..).collect();
        let rules_of = |chain: Option<usize>| -> &[listing::Rule] {
            let chain = chain.and_then(|chain| known.chains.get(chain));
            chain.map(|chain| chain.rules.as_slice()).unwrap_or_default()
        };
        let placed = table.chains.iter().map(|chain| {
            let at = by_name.get(chain.name.as_str()).copied();
            (chain, at, places(&chain.rules, rules_of(at)))
        });
        let mut all = known.chains.iter().flat_map(|chain| &chain.rules);
        let is_extension = |statement: &Statement| matches!(statement, Statement::Xt { .. });
        let has_extensions = all.any(|rule| rule.statements.iter().any(is_extension));
        let saved = if table.rule_count() > MOST_TEXTS {
            let chains =
                placed.map(|(chain, at, places)| (chain.name.clone(), (at.unwrap_or_default(), places)));
            Self::of_listed(
                &table.name,
                ListedTable {
                    ruleset: Rc::clone(listed),
                    table: at,
                    chains: chains.collect(),
                },
            )
        } else {
            let texts = placed.map(|(chain, at, places)| {
                let rules = rules_of(at);
                let mut texts = Texts::default();
                let found = places.iter().filter_map(|place| rules.get(*place as usize));
                found.for_each(|rule| texts.push(&rule.text(family)));
                texts.shrink();
                (chain.name.clone(), texts)
            });
            Self::of_table(&table.name, texts.collect())
        };
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
        assert_eq!(comment(&text), Some("no # handle 9"));
        assert_eq!(
            saved.rule("mine", "forward", 1),
            Some("tcp dport { 22, 80 } accept".into())
        );
    }

    #[test]
    fn a_listing_that_lacks_a_rule_does_not_fit() {
        let table = table(&[4, 5, 3]);
        assert!(!Saved::listed(LISTED, &table).fits(&table));
    }

    /// A list of one chain with these rules, a port each.
    fn list(handles: impl Iterator<Item = u64>) -> Rc<Ruleset> {
        let rules = handles.map(|handle| {
            format!(
                r#"{{"rule":{{"family":"inet","table":"mine","chain":"forward","handle":{handle},"expr":[
                {{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{handle}}}}},
                {{"drop":null}}]}}}}"#
            )
        });
        let head = r#"{"table":{"family":"inet","name":"mine","handle":1}},
            {"chain":{"family":"inet","table":"mine","name":"forward","handle":2}}"#;
        let objects: Vec<String> = [head.to_owned()].into_iter().chain(rules).collect();
        let text = format!(r#"{{"nftables":[{}]}}"#, objects.join(","));
        Rc::new(Ruleset::read(&text).expect("a list"))
    }

    #[test]
    fn large_tables_are_told_as_small_ones() {
        for most in [20, MOST_TEXTS as u64 + 20] {
            let listed = list((10..most).rev());
            // In another order, and one that was deleted before it was listed.
            let handles: Vec<u64> = (10..most - 7).chain(most - 3..most).collect();
            let table = table(&handles);
            let (saved, has_extensions) = Saved::of_ruleset(&listed, &table).expect("is there");
            assert_eq!(saved.keeps_model(), handles.len() > MOST_TEXTS);
            assert!(saved.fits(&table) && !has_extensions);
            for (index, handle) in handles.iter().enumerate() {
                let text = saved.rule("mine", "forward", index).expect("a rule");
                assert_eq!(text, format!("tcp dport {handle} drop"));
            }
            assert_eq!(saved.rule("mine", "forward", handles.len()), None);
            assert_eq!(saved.rule("other", "forward", 0), None);
            assert_eq!(saved.rule("mine", "other", 0), None);
            let lacking = self::table(&[handles.as_slice(), &[5]].concat());
            let (saved, _) = Saved::of_ruleset(&listed, &lacking).expect("is there");
            assert!(!saved.fits(&lacking));
        }
    }

    #[test]
    fn a_name_that_nft_would_misread_is_not_asked_for() {
        assert!(is_word("kube-proxy"));
        for name in ["", "-x", "a b", "a;flush", "a\n"] {
            assert!(!is_word(name), "{name:?}");
        }
    }
}
