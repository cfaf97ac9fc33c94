//! What the kernel counted, and whether a way fits it: every rule that the way certainly matched counted once for each time,
//! and no other did.

use std::collections::BTreeMap;

use observer::evaluate::{Place as At, Table, Verdict, Way, WayEnd};

use crate::cluster::rules::{Counters, Place};

/// Packets by place.
pub(super) type Moved = BTreeMap<Place, u64>;

pub(super) fn moved(before: &Counters, after: &Counters) -> Moved {
    let count = |of: &Counters, place: &Place| of.get(place).map_or(0, |counted| counted.packets);
    let changed = after
        .keys()
        .map(|place| (place.clone(), count(after, place) - count(before, place)));
    changed.filter(|(_, packets)| *packets > 0).collect()
}

/// Whether what moved ends packets.
pub(super) fn died(moved: &Moved, counters: &Counters) -> bool {
    moved
        .keys()
        .any(|place| counters.get(place).is_some_and(|counted| counted.drops()))
}

pub(super) fn is_open(way: &Way) -> bool {
    matches!(way.end, WayEnd::Open(_))
}

/// Whether the kernel may have gone this way.
pub(super) fn fits(way: &Way, tables: &[Table], moved: &Moved) -> bool {
    let mut left = moved.clone();
    let mut maybe = Vec::new();
    for passage in way.passages() {
        let Some(table) = tables.get(passage.table) else {
            return false;
        };
        for step in &passage.steps {
            let is_taken = step.is_sure || passage.doubts.iter().any(|doubt| doubt.place == step.place);
            if !is_taken {
                maybe.push((table, step.place));
            } else if !take(&mut left, &place(table, step.place)) {
                return false;
            }
        }
    }
    // A rule that does nothing may match or not, and so may those of the chain that it leads to: of these the sure ones
    // have their count by now.
    for (table, at) in maybe {
        if take(&mut left, &place(table, at)) {
            forget_chain(&mut left, table, at);
        }
    }
    // Beyond what cannot be told anything may have counted.
    is_open(way) || left.is_empty()
}

fn take(left: &mut Moved, place: &Place) -> bool {
    match left.get_mut(place) {
        Some(1) => left.remove(place).is_some(),
        Some(packets) => {
            *packets -= 1;
            true
        }
        None => false,
    }
}

fn forget_chain(left: &mut Moved, table: &Table, at: At) {
    use observer::evaluate::Action;
    let rule = at
        .rule
        .and_then(|rule| table.chains.get(at.chain)?.rules.get(rule));
    let Some(Action::Jump(to) | Action::Goto(to)) = rule.map(|rule| &rule.action) else {
        return;
    };
    let Some(chain) = table.chains.get(*to) else {
        return;
    };
    left.retain(|place, _| place.table != table.name || place.chain != chain.name);
    for index in 0..chain.rules.len() {
        forget_chain(
            left,
            table,
            At {
                chain: *to,
                rule: Some(index),
            },
        );
    }
}

fn place(table: &Table, at: At) -> Place {
    Place {
        table: table.name.clone(),
        chain: table
            .chains
            .get(at.chain)
            .map(|chain| chain.name.clone())
            .unwrap_or_default(),
        rule: at.rule.map(|rule| rule + 1),
    }
}

pub(super) fn moves_text(moved: &Moved) -> String {
    let text = |(place, packets): (&Place, &u64)| match packets {
        1 => place.to_string(),
        packets => format!("{place} ×{packets}"),
    };
    moved.iter().map(text).collect::<Vec<_>>().join(", ")
}

pub(super) fn way_text(way: &Way, tables: &[Table]) -> String {
    let mut words = Vec::new();
    for passage in way.passages() {
        let Some(table) = tables.get(passage.table) else {
            continue;
        };
        for step in &passage.steps {
            let sure = if step.is_sure { "" } else { "?" };
            words.push(format!("{}{sure}", place(table, step.place)));
        }
        if let Verdict::Open(_, why) = &passage.verdict {
            words.push(why.clone());
        }
    }
    format!("{}: {:?}", words.join(", "), way.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer::evaluate::{Bounds, Course, Dev, InForce, Packet, Unknown, ways, xtables};
    use observer::ruleset::ipset::Sets;
    use observer::ruleset::xtables::save;

    /// Ways of a packet that comes in by `a` through these rules of FORWARD.
    fn told(rules: &str) -> (Vec<Way>, Vec<Table>) {
        let text = format!("*filter\n:FORWARD ACCEPT\n{rules}\nCOMMIT\n");
        let saved = save::parse(&text).expect("parses");
        let tables: Vec<_> = saved
            .tables()
            .map(|table| xtables::table(table, &Sets::default()))
            .collect();
        let packet = Packet {
            in_dev: Dev::named("a"),
            ..Packet::default()
        };
        let bounds = &mut Bounds {
            merges: false,
            ..Bounds::default()
        };
        let asked = InForce {
            tables: &tables,
            nft: None,
        };
        (ways(asked, &packet, Course::Forward, &Unknown, bounds), tables)
    }

    fn moved(places: &[(Option<usize>, u64)]) -> Moved {
        let place = |rule: Option<usize>| Place {
            table: "filter".into(),
            chain: "FORWARD".into(),
            rule,
        };
        places
            .iter()
            .map(|(rule, packets)| (place(*rule), *packets))
            .collect()
    }

    #[test]
    fn a_way_fits_only_if_all_of_it_counted_and_nothing_else() {
        let (ways, tables) = told("-A FORWARD -i a\n-A FORWARD -i b");
        assert!(fits(&ways[0], &tables, &moved(&[(Some(1), 1), (None, 1)])));
        for wrong in [
            moved(&[(None, 1)]),
            moved(&[(Some(1), 1)]),
            moved(&[(Some(1), 1), (Some(2), 1), (None, 1)]),
            moved(&[(Some(1), 2), (None, 1)]),
        ] {
            assert!(!fits(&ways[0], &tables, &wrong), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_known_may_have_counted_or_not() {
        let (ways, tables) = told("-A FORWARD -m limit --limit 1/s\n-A FORWARD -m limit --limit 1/s -j DROP");
        let fit = |moved: &Moved| ways.iter().filter(|way| fits(way, &tables, moved)).count();
        assert_eq!(fit(&moved(&[(Some(1), 1), (Some(2), 1)])), 1);
        assert_eq!(fit(&moved(&[(None, 1)])), 1);
        assert_eq!(fit(&moved(&[(Some(2), 1), (None, 1)])), 0);
    }
}
