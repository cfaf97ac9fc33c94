//! What the kernel sent of rulesets, and what nft lists of the same.

use super::*;
use crate::kernel::netlink::{Attributes, Batch};
use crate::ruleset::nftables::listing::{Family, Handles, Statement, Table};

/// What the kernel (6.18, x86_64) sent of `tests-data/nft/hard-cases.nft`; `observer-lab nft-netlink --record` writes it.
#[cfg(target_endian = "little")]
const HARD_CASES: &[u8] = include_bytes!("../../../../tests-data/nft/hard-cases.netlink");
/// The same as nft 1.0.6 lists it. Each rule's comment says what is hard about it.
const LISTED: &str = include_str!("../../../../tests-data/nft/hard-cases.txt");

#[test]
#[cfg(target_endian = "little")]
fn hard_cases_are_put_together_as_nft_writes_them() {
    let listed = read(HARD_CASES);
    assert!(listed.unread.is_none(), "{}", listed.unread);
    let rules = listed.ruleset.tables.iter().flat_map(|table| {
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        rules.map(|rule| rule.text(table.family))
    });
    let ours: Vec<String> = rules.collect();
    let theirs: Vec<&str> = LISTED
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(" comment "))
        .collect();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
#[cfg(target_endian = "little")]
fn sets_and_maps_are_read_with_their_elements() {
    let text = read(HARD_CASES).ruleset.text(Handles::Hidden);
    for part in [
        "elements = { 10.0.0.0/8, 172.16.0.1,\n\t\t\t     192.168.1.1-192.168.1.77, 255.255.255.0/24 }",
        "elements = { 22 : accept, 53 : jump d, 80 : goto d }",
        "elements = { 10.0.0.0/8 . 80-90 : drop }",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
#[cfg(target_endian = "little")]
fn bytes_cut_anywhere_are_less_and_nothing_else() {
    for len in (0..HARD_CASES.len()).step_by(7) {
        read(&HARD_CASES[..len]);
    }
}

#[test]
#[cfg(target_endian = "little")]
fn what_is_told_twice_is_said_to_be_odd_and_rules_keep_their_chains() {
    let once = read(HARD_CASES).ruleset;
    let twice = read(&[HARD_CASES, HARD_CASES].concat());
    assert!(!twice.unread.is_none());
    for (one, two) in once.tables.iter().zip(&twice.ruleset.tables) {
        let names = |table: &Table| {
            table
                .chains
                .iter()
                .map(|chain| chain.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(one), names(two));
        for (one, two) in one.chains.iter().zip(&two.chains) {
            assert_eq!(two.rules.len(), 2 * one.rules.len(), "{}", one.name);
        }
    }
}

const NEW_TABLE: u16 = 10 << 8;
const NEW_CHAIN: u16 = NEW_TABLE | 3;
const NEW_RULE: u16 = NEW_TABLE | 6;
/// Of family ip.
const OF_IP: [u8; 4] = [2, 0, 0, 0];

/// An expression's name, and what puts its attributes in.
pub(super) type Named<'a> = (&'a str, &'a dyn Fn(&mut Attributes<'_>));

/// What is sent of a table of family ip with a chain and one rule of these expressions.
pub(super) fn sent(table_name: &str, chain_name: &str, expressions: &[Named<'_>]) -> Batch {
    let mut batch = Batch::default();
    batch.message(NEW_TABLE, 0, 0, &OF_IP, |table| table.string(1, table_name));
    batch.message(NEW_CHAIN, 0, 0, &OF_IP, |chain| {
        chain.string(1, table_name);
        chain.string(3, chain_name);
    });
    batch.message(NEW_RULE, 0, 0, &OF_IP, |rule| {
        rule.string(1, table_name);
        rule.string(2, chain_name);
        rule.bytes(3, &7_u64.to_be_bytes());
        rule.nest(4, |list| {
            for (name, attributes) in expressions {
                list.nest(1, |one| {
                    one.string(1, name);
                    one.nest(2, |data| attributes(data));
                });
            }
        });
    });
    batch
}

/// A table with a chain and one rule of these expressions: names and attributes.
fn rule(expressions: &[Named<'_>]) -> Listed {
    read(sent("t", "c", expressions).bytes())
}

/// What is not known is not guessed: the rule is there, and that it was not read is said.
fn assert_unread(listed: &Listed) {
    assert_eq!(listed.unread.to_string(), "a rule of chain c (handle 7)");
    let rule = &listed.ruleset.tables[0].chains[0].rules[0];
    assert!(matches!(&*rule.statements, [Statement::Unknown(_)]));
    assert_eq!(rule.handle, Some(7));
}

#[test]
fn an_expression_that_is_not_known_makes_its_rule_unread() {
    assert_unread(&rule(&[("wormhole", &|_| {})]));
    // Beside one that is.
    assert_unread(&rule(&[("counter", &counter), ("wormhole", &|_| {})]));
    assert!(rule(&[("counter", &counter)]).unread.is_none());
}

fn counter(attributes: &mut Attributes<'_>) {
    attributes.bytes(1, &0_u64.to_be_bytes());
    attributes.bytes(2, &0_u64.to_be_bytes());
}

#[test]
fn a_register_that_nothing_was_loaded_into_is_not_guessed() {
    let compare = |register: u32| {
        rule(&[("cmp", &move |cmp| {
            cmp.be32(1, register);
            cmp.be32(2, 0);
            cmp.nest(3, |data| data.bytes(1, &[0; 4]));
        })])
    };
    for register in [0, 1, 5, 8, 23, 24, u32::MAX] {
        assert_unread(&compare(register));
    }
}

#[test]
fn a_load_over_a_part_of_a_register_makes_it_unknown() {
    let load = |to: u32, key: u32| {
        move |meta: &mut Attributes<'_>| {
            meta.be32(1, to);
            meta.be32(2, key);
        }
    };
    let compare = |cmp: &mut Attributes<'_>| {
        cmp.be32(1, 1);
        cmp.be32(2, 0);
        cmp.nest(3, |data| data.bytes(1, b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"));
    };
    let (name, mark) = (load(1, 6), load(9, 3));
    assert!(rule(&[("meta", &name), ("cmp", &compare)]).unread.is_none());
    // The name of a device has sixteen bytes, of which the mark takes the second four.
    assert_unread(&rule(&[("meta", &name), ("meta", &mark), ("cmp", &compare)]));
    assert!(
        rule(&[("meta", &mark), ("meta", &name), ("cmp", &compare)])
            .unread
            .is_none()
    );
}

#[test]
fn a_comparison_of_bytes_that_lie_the_other_way_round_is_not_taken_for_one_of_numbers() {
    let meta = |meta: &mut Attributes<'_>| {
        meta.be32(1, 1);
        meta.be32(2, 3);
    };
    let compare = |operator: u32| {
        move |cmp: &mut Attributes<'_>| {
            cmp.be32(1, 1);
            cmp.be32(2, operator);
            cmp.nest(3, |data| data.bytes(1, &1_u32.to_ne_bytes()));
        }
    };
    let (equal, less) = (compare(0), compare(2));
    assert!(rule(&[("meta", &meta), ("cmp", &equal)]).unread.is_none());
    assert_unread(&rule(&[("meta", &meta), ("cmp", &less)]));
}

#[test]
fn a_table_told_twice_is_said_to_be_odd() {
    let mut batch = Batch::default();
    for _ in 0..2 {
        batch.message(NEW_TABLE, 0, 0, &OF_IP, |table| table.string(1, "t"));
    }
    let listed = read(batch.bytes());
    assert_eq!(listed.ruleset.tables.len(), 1);
    assert_eq!(listed.ruleset.tables[0].family, Family::Ip);
    assert_eq!(listed.unread.to_string(), "a message of the kernel");
}
