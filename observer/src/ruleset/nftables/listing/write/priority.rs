//! Names of priorities: those that mean something at a hook.

use crate::ruleset::nftables::listing::model::Family;

/// So far from a named priority it is still written relative to it.
const NEAR: u64 = 10;

/// `filter`, `dstnat - 10`, `-500`
pub(super) fn priority(family: Family, hook: &str, priority: i64) -> String {
    let near = named(family, hook).iter().find(|(_, named)| {
        priority
            .checked_sub(*named)
            .is_some_and(|by| by.unsigned_abs() <= NEAR)
    });
    match near {
        None => priority.to_string(),
        Some((name, named)) => match priority - named {
            0 => (*name).to_owned(),
            by if by > 0 => format!("{name} + {by}"),
            by => format!("{name} - {}", -by),
        },
    }
}

fn named(family: Family, hook: &str) -> &'static [(&'static str, i64)] {
    match (family, hook) {
        (Family::Bridge, "prerouting") => &[("dstnat", -300), ("filter", -200)],
        (Family::Bridge, "output") => &[("filter", -200), ("out", 100)],
        (Family::Bridge, "postrouting") => &[("filter", -200), ("srcnat", 300)],
        (Family::Bridge, _) => &[("filter", -200)],
        (Family::Arp | Family::Netdev, _) | (_, "ingress" | "egress") => &[("filter", 0)],
        (_, "prerouting") => &[
            ("raw", -300),
            ("mangle", -150),
            ("dstnat", -100),
            ("filter", 0),
            ("security", 50),
        ],
        (_, "postrouting") => &[
            ("raw", -300),
            ("mangle", -150),
            ("filter", 0),
            ("security", 50),
            ("srcnat", 100),
        ],
        _ => &[("raw", -300), ("mangle", -150), ("filter", 0), ("security", 50)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_near_a_name_are_relative_to_it() {
        let of = |hook, number| priority(Family::Inet, hook, number);
        assert_eq!(of("prerouting", -100), "dstnat");
        assert_eq!(of("prerouting", -110), "dstnat - 10");
        assert_eq!(of("prerouting", -111), "-111");
        // Translation of destinations has no name in OUTPUT.
        assert_eq!(of("output", -100), "-100");
        assert_eq!(of("postrouting", 110), "srcnat + 10");
        assert_eq!(of("input", i64::MIN), i64::MIN.to_string());
        assert_eq!(priority(Family::Bridge, "prerouting", -300), "dstnat");
    }
}
