//! Back to text, as `iptables-save` prints it.

use std::fmt;

use super::table::{Chain, Document, Item, Rule, Table};
use super::target::Action;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            match item {
                Item::Remark(text) => writeln!(f, "{text}")?,
                Item::Table(table) => write!(f, "{table}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*{}", self.name)?;
        for chain in &self.chains {
            writeln!(f, "{}", heading(chain))?;
        }
        for (index, chain) in self.chains.iter().enumerate() {
            for rule in &chain.rules {
                if let Some(counters) = rule.counters {
                    write!(f, "[{}:{}] ", counters.packets, counters.bytes)?;
                }
                writeln!(f, "{}", self.text(index, rule))?;
            }
        }
        writeln!(f, "COMMIT")
    }
}

/// The line that declares a chain: `:FORWARD DROP [5:300]`
pub fn heading(chain: &Chain) -> String {
    let policy = chain.policy.map_or("-", super::table::Policy::name);
    match chain.counters {
        Some(counters) => format!(
            ":{} {policy} [{}:{}]",
            chain.name, counters.packets, counters.bytes
        ),
        None => format!(":{} {policy}", chain.name),
    }
}

impl Table {
    /// A rule of a chain, from `-A` on, in its writer's words.
    pub fn text(&self, chain: usize, rule: &Rule) -> String {
        match &rule.written {
            Some(text) => text.to_string(),
            None => self.printed(chain, rule),
        }
    }

    /// A rule of a chain, from `-A` on, in the tool's words.
    pub(super) fn printed(&self, chain: usize, rule: &Rule) -> String {
        printed(chain, rule, &|chain| {
            self.chains.get(chain).map(|chain| &*chain.name)
        })
    }
}

/// A rule of a chain, from `-A` on, in the tool's words. `named` gives chains their names.
pub(super) fn printed<'a>(chain: usize, rule: &Rule, named: &dyn Fn(usize) -> Option<&'a str>) -> String {
    let name = |chain: usize| named(chain).unwrap_or("?");
    let mut out = format!("-A {}", name(chain));
    rule.header.render(&mut out);
    for found in &rule.matches {
        found.render(&mut out);
    }
    let target = match &rule.action {
        Action::None => return out,
        Action::Accept => " -j ACCEPT",
        Action::Drop => " -j DROP",
        Action::Return => " -j RETURN",
        Action::Queue => " -j QUEUE",
        Action::Jump(chain) => &format!(" -j {}", name(*chain)),
        Action::Goto(chain) => &format!(" -g {}", name(*chain)),
        action => {
            if let Some(extension) = action.extension() {
                out.push_str(" -j ");
                out.push_str(&extension.name);
                extension.render(&mut out);
            }
            return out;
        }
    };
    out.push_str(target);
    out
}

impl fmt::Display for super::extension::Extension {
    /// Its name and options, without `-m` or `-j`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = String::new();
        self.render(&mut options);
        write!(f, "{}{options}", self.name)
    }
}
