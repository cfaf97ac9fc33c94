//! The rules of a table one after the other, from their lines: whoever needs all of them at once has [`parse`](super::parse()).

use super::line::Line;
use super::parse::{MOST, MOST_BYTES, Unresolved, action};
use super::table::{Rule, Table};
use super::target::Action;

/// Reads a table whose chains are declared by `headings` and whose rules are `lines`, as `iptables-save` prints them. `take` is given
/// the index of each rule's chain, and the rule; the table is returned without them. `None` if a line is not understood, as for
/// [`parse`](super::parse()).
pub fn each_rule<'a>(
    name: &str,
    headings: impl Iterator<Item = &'a str>,
    lines: impl Iterator<Item = &'a str>,
    take: &mut dyn FnMut(usize, Rule),
) -> Option<Table> {
    let mut head = Unresolved::named(name);
    for heading in headings.take(MOST) {
        head.chain(heading.strip_prefix(':')?).ok()?;
    }
    let table = head.resolve();
    for (index, line) in lines.enumerate() {
        if index >= MOST || line.len() > MOST_BYTES {
            return None;
        }
        let (chain, rule) = table.read(line)?;
        take(chain, rule);
    }
    Some(table)
}

impl Table {
    /// Reads a line of one of its rules: the index of the chain, and the rule.
    pub fn read(&self, line: &str) -> Option<(usize, Rule)> {
        let line = Line::read(line)
            .inspect_err(|what| log::debug!("table {}: a rule {what}", self.name))
            .ok()?;
        let chain = self.chain(&line.chain)?;
        let target = line.target;
        let rule = Rule {
            counters: line.counters,
            header: line.header,
            matches: line.matches,
            action: target.map_or(Action::None, |target| action(&self.index, target)),
            ..Rule::default()
        };
        Some((chain, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const HEADINGS: [&str; 2] = [":FORWARD DROP [5:300]", ":MINE - [0:0]"];
    const RULES: [&str; 4] = [
        "-A FORWARD -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j MINE",
        "-A MINE -m comment --comment \"a b\" -g FORWARD",
        "-A MINE -j LOG --log-prefix \"x y\"",
        "-A MINE -j RETURN",
    ];

    #[test]
    fn rules_one_by_one_are_those_of_the_whole_table() {
        let text = format!("*filter\n{}\n{}\nCOMMIT\n", HEADINGS.join("\n"), RULES.join("\n"));
        let whole = parse(&text)
            .expect("rules")
            .into_tables()
            .next()
            .expect("a table");
        let mut rules: Vec<Vec<Rule>> = vec![Vec::new(); 2];
        let table = each_rule(
            "filter",
            HEADINGS.into_iter(),
            RULES.into_iter(),
            &mut |chain, rule| {
                rules[chain].push(rule);
            },
        );
        let mut table = table.expect("a table");
        assert!(table.chains.iter().all(|chain| chain.rules.is_empty()));
        for (chain, rules) in table.chains.iter_mut().zip(rules) {
            chain.rules = rules;
        }
        assert_eq!(table, whole);
    }

    #[test]
    fn a_line_that_is_not_understood_is_not_passed_over() {
        let of = |line: &'static str| {
            each_rule(
                "filter",
                HEADINGS.into_iter(),
                [RULES[0], line].into_iter(),
                &mut |_, _| {},
            )
        };
        assert!(of(RULES[1]).is_some());
        assert!(of("-A NOWHERE -j DROP").is_none());
        assert!(of("-j DROP").is_none());
        let heading = ["FORWARD DROP"];
        assert!(each_rule("filter", heading.into_iter(), RULES.into_iter(), &mut |_, _| {}).is_none());
    }
}
