//! Base chains of every family, and what leads to a chain.

use super::*;
use crate::ruleset::Chain;

/// The only base chain's hook, in a table of this family (`NFPROTO_*`) with this hook number.
fn hook(family: u8, number: u32) -> Option<(TableFamily, Hook)> {
    let mut dump = memory(&[]);
    dump.put(TABLE + 0x48, &[family]);
    dump.put_u32(FORWARD - NFT.base_chain + NFT.base_hooknum, number);
    let table = table(&dump)?;
    Some((table.family, table.chains[0].base.as_ref()?.hook))
}

#[test]
fn each_family_s_base_chains_have_its_hooks() {
    assert_eq!(hook(1, 5), Some((TableFamily::Inet, Hook::Ingress)));
    assert_eq!(hook(1, 3), Some((TableFamily::Inet, Hook::Output)));
    assert_eq!(hook(3, 1), Some((TableFamily::Arp, Hook::Output)));
    assert_eq!(hook(5, 0), Some((TableFamily::Netdev, Hook::Ingress)));
    assert_eq!(hook(5, 1), Some((TableFamily::Netdev, Hook::Egress)));
    assert_eq!(hook(7, 0), Some((TableFamily::Bridge, Hook::Prerouting)));
    assert_eq!(hook(2, 5), None, "IPv4 alone has no ingress");
    assert_eq!(hook(4, 0), None, "no such family");
}

#[test]
fn tables_and_chains_keep_their_addresses() {
    let table = table(&memory(&[])).expect("reads");
    assert_eq!(table.address, TABLE);
    let addresses: Vec<u64> = table.chains.iter().map(|chain| chain.address).collect();
    assert_eq!(addresses, [FORWARD, USER]);
}

/// Whether a map may lead to USER, which has one rule, when a jump leads there and this is its `use`.
fn is_mapped(uses: u32) -> bool {
    let mut dump = memory(&[rule(4, &[verdict(-3, USER)])]);
    dump.put_u32(FORWARD + 80, 9);
    dump.put_u32(USER + 80, uses);
    let table = table(&dump).expect("reads");
    assert!(!table.chains[0].mapped, "a base chain is no map's");
    table.chain("USER").is_some_and(|chain: &Chain| chain.mapped)
}

#[test]
fn what_refers_to_a_chain_beside_its_rules_and_jumps_is_a_map_s_element() {
    assert!(!is_mapped(2));
    assert!(is_mapped(3));
    // Where the count cannot be had, a map may lead anywhere.
    let without = NftLayout {
        chain_use: None,
        ..NFT
    };
    let table = reading_with(&memory(&[]), &without).tables.pop().expect("reads");
    assert!(table.chains[1].mapped);
}

#[test]
fn a_translation_may_fail_and_its_counter_counts() {
    let rules = [rule(4, &[expr("counter", &[0x5000]), expr("masq", &[])])];
    let table = table(&memory(&rules)).expect("reads");
    let rule = &table.chains[0].rules[0];
    assert_eq!((rule.step, rule.target.as_deref()), (Step::MayDrop, Some("masq")));
    assert_eq!(rule.counter.map(|counter| counter.address), Some(0x5000));
}
