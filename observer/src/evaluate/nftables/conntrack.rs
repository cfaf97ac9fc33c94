//! Whether packets are tracked at all: conntrack works for a family from the first rule on that needs it. What else may
//! have asked for it (other tables of iptables, a program) is not in the ruleset.

use super::packet::IpFamily;
use crate::ruleset::nftables::listing::{Expression, Family, Ruleset, Statement, Table};

/// The families that conntrack works for, surely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tracked {
    v4: bool,
    v6: bool,
}

impl Tracked {
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let mut tracked = Self::default();
        for table in &ruleset.tables {
            let (v4, v6) = match table.family {
                Family::Ip => (true, false),
                Family::Ip6 => (false, true),
                Family::Inet => (true, true),
                _ => (false, false),
            };
            if (v4 || v6) && needs(table) {
                tracked.v4 |= v4;
                tracked.v6 |= v6;
            }
        }
        tracked
    }

    pub(super) fn or(self, v4: bool, v6: bool) -> Self {
        Self {
            v4: self.v4 || v4,
            v6: self.v6 || v6,
        }
    }

    pub(super) fn has(self, family: Option<IpFamily>) -> bool {
        match family {
            Some(IpFamily::V4) => self.v4,
            Some(IpFamily::V6) => self.v6,
            None => self.v4 && self.v6,
        }
    }
}

fn needs(table: &Table) -> bool {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules
        .flat_map(|rule| &rule.statements)
        .any(|statement| match statement {
            Statement::Match { left, right, .. } => is_ct(left) || is_ct(right),
            Statement::Mangle { key, value } => is_ct(key) || is_ct(value),
            Statement::Vmap { key, .. } => is_ct(key),
            // A family's own translation, or one for both.
            Statement::Nat(nat) => nat.family.is_none(),
            _ => false,
        })
}

fn is_ct(expression: &Expression) -> bool {
    match expression {
        Expression::Ct { .. } => true,
        Expression::Concatenation(parts) | Expression::Binary { operands: parts, .. } => {
            parts.iter().any(is_ct)
        }
        Expression::Map { key, .. } => is_ct(key),
        _ => false,
    }
}
