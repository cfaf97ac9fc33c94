//! A table of nf_tables as it lies in memory, put together by hand.

mod at_once;
mod families;

use super::{Expressions, Reading, has_bases, read};
use crate::kernel::{Dump, Reader, Symbols};
use crate::report::record::{Backend, Hook, TableFamily};
use crate::ruleset::hooks::HookFunction;
use crate::ruleset::layout::{NftLayout, ObjectLayout, PayloadLayout, SeqLayout, XtLayout};
use crate::ruleset::{Policy, Snapshot, Step, Table};

const NET: u64 = 0xffff_8880_0000_0000;
const TABLE: u64 = 0xffff_8880_0001_0000;
/// A base chain lies inside its `nft_base_chain`.
const FORWARD: u64 = 0xffff_8880_0002_0100;
const USER: u64 = 0xffff_8880_0003_0000;
const GONE: u64 = 0xffff_8880_0004_0000;
const NAMES: u64 = 0xffff_8880_0005_0000;
const BLOBS: u64 = 0xffff_8880_0100_0000;
const OPS: u64 = 0xffff_8880_0007_0000;
const XT: u64 = 0xffff_8880_0008_0000;
const OBJECT: u64 = 0xffff_8880_0009_0000;

const NFT: NftLayout = NftLayout {
    blobs: 0,
    chain_list: 32,
    chain_table: 64,
    chain_name: 88,
    chain_flags_bit: 84 * 8,
    chain_genmask_bit: 84 * 8 + 6,
    chain_use: Some(80),
    base_chain: 0x80,
    base_policy: 0x40,
    base_stats: 0x48,
    base_priority: 0x20,
    base_hooknum: 0x24,
    table_chains: 0x20,
    table_name: 0x40,
    table_family_bit: 0x48 * 8,
    blob_data: 8,
    ops_size: 16,
    ops_type: 24,
    ops_data: 32,
    type_name: 40,
    lookup_dreg_set: Some(10),
    objects: Some(ObjectLayout {
        ops: 0x10,
        ops_type: 8,
        type_number: 4,
        of_set: 0,
    }),
    payload: Some(PayloadLayout { offset: 1, len: 2 }),
    gencursor: 8,
    seq: Some(SeqLayout::InNet(0)),
};

const XT_LAYOUT: XtLayout = XtLayout {
    private: 0,
    name: 0,
    size: 0,
    hook_entry: 0,
    underflow: 0,
    stacksize: 0,
    jumpstack: 0,
    entries: 0,
    target_name: 16,
    match_name: 16,
};

/// Expressions by their operations: name, size, extension.
const KINDS: [(&str, u32, &str); 9] = [
    ("counter", 16, ""),
    ("immediate", 32, ""),
    ("cmp", 24, ""),
    ("match", 16, "comment"),
    ("target", 24, "REJECT"),
    ("lookup", 64, ""),
    ("limit", 16, ""),
    ("masq", 24, ""),
    ("objref", 16, ""),
];

fn ops(name: &str) -> u64 {
    let index = KINDS
        .iter()
        .position(|(known, ..)| *known == name)
        .expect("known expression");
    OPS + 0x100 * index as u64
}

/// The function that evaluates an expression.
fn function_of(name: &str) -> u64 {
    ops(name) + 0x10_0000
}

/// An expression: its operations, its private data, and zeroes up to its size.
fn expr(name: &str, private: &[u64]) -> Vec<u8> {
    let size = KINDS
        .iter()
        .find(|(known, ..)| *known == name)
        .expect("known expression")
        .1;
    let mut bytes: Vec<u8> = ops(name).to_ne_bytes().to_vec();
    private.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
    bytes.resize(size as usize, 0);
    bytes
}

/// An immediate verdict: code and chain in the data, register 0.
fn verdict(code: i32, chain: u64) -> Vec<u8> {
    expr("immediate", &[u64::from(code.cast_unsigned()), chain])
}

fn rule(handle: u64, exprs: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = exprs.concat();
    let mut bytes = (handle << 13 | (body.len() as u64) << 1).to_ne_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn put_chain(dump: &mut Dump, at: u64, name: u64, flags: u8, genmask: u8, rules: &[Vec<u8>]) {
    let blob = BLOBS + (at & 0xf_ffff);
    // All but its place in the list, which is known already.
    dump.put(at, &[0; NFT.chain_list as usize]);
    dump.put(at + NFT.chain_list + 8, &[0; 64]);
    dump.put_u64(at, blob);
    dump.put_u64(at + NFT.chain_table, TABLE);
    dump.put(at + 84, &[flags | genmask << 6]);
    dump.put_u64(at + NFT.chain_name, name);
    let rules = rules.concat();
    let mut bytes = (rules.len() as u64).to_ne_bytes().to_vec();
    bytes.extend(rules);
    dump.put(blob, &bytes);
}

/// Links the chains into the table's list.
fn put_list(dump: &mut Dump, chains: &[u64]) {
    let head = TABLE + NFT.table_chains;
    let mut nodes = vec![head];
    nodes.extend(chains.iter().map(|chain| chain + NFT.chain_list));
    nodes.push(head);
    nodes.windows(2).for_each(|pair| dump.put_u64(pair[0], pair[1]));
}

/// ip filter: FORWARD (policy drop, counted) with the rules given, USER with a REJECT, and a chain that the current
/// generation no longer has.
fn memory(forward: &[Vec<u8>]) -> Dump {
    let mut dump = Dump::default();
    dump.put(NET + NFT.gencursor, &[0]);
    let mut names = b"filter\0\0FORWARD\0USER\0\0\0\0GONE\0\0\0\0a comment".to_vec();
    names.resize(512, 0);
    dump.put(NAMES, &names);
    dump.put_u64(TABLE + NFT.table_name, NAMES);
    dump.put(TABLE + 0x48, &[2]);
    put_list(&mut dump, &[FORWARD, USER, GONE]);
    put_chain(&mut dump, FORWARD, NAMES + 8, 1, 0, forward);
    let base = FORWARD - NFT.base_chain;
    dump.put(base + NFT.base_policy, &[0]);
    dump.put_u64(base + NFT.base_stats, 0x7000);
    dump.put_u32(base + NFT.base_priority, 0);
    dump.put_u32(base + NFT.base_hooknum, 2);
    let reject = rule(9, &[expr("counter", &[0x5010]), expr("target", &[])]);
    put_chain(&mut dump, USER, NAMES + 16, 0, 0, &[reject]);
    put_chain(&mut dump, GONE, NAMES + 24, 0, 1, &[]);
    for (index, (name, size, extension)) in KINDS.iter().enumerate() {
        let at = OPS + 0x100 * index as u64;
        let (of_type, text) = (at + 0x80, at + 0xc0);
        dump.put(at, &[0; 0x80]);
        dump.put_u64(at, function_of(name));
        dump.put_u32(at + NFT.ops_size, *size);
        dump.put_u64(at + NFT.ops_type, of_type);
        dump.put_u64(of_type + NFT.type_name, text);
        dump.put(text, format!("{name:\0<32}").as_bytes());
        let xt = XT + 0x100 * index as u64;
        dump.put_u64(at + NFT.ops_data, xt);
        dump.put(xt + 16, format!("{extension:\0<32}").as_bytes());
    }
    dump
}

fn table(dump: &Dump) -> Option<Table> {
    reading(dump).tables.pop()
}

fn reading(dump: &impl Reader) -> Reading {
    reading_with(dump, &NFT)
}

fn reading_with(dump: &impl Reader, nft: &NftLayout) -> Reading {
    let function = HookFunction {
        hook: Hook::Forward,
        family: TableFamily::Ip,
        device: None,
        address: 0,
        name: "nft_do_chain_ipv4".to_owned(),
        private: FORWARD,
        priority: Some(0),
        in_nat: false,
    };
    read(dump, &Symbols::default(), nft, Some(&XT_LAYOUT), NET, &[function])
}

/// A commit that gives a base chain its policy after it has counted its generation: what was read before is not in force.
#[test]
fn a_base_chain_with_another_policy_or_counter_is_not_what_was_read() {
    let mut dump = memory(&[]);
    let tables = reading(&dump).tables;
    let base = FORWARD - NFT.base_chain;
    assert!(has_bases(&dump, &NFT, &tables));
    dump.put(base + NFT.base_policy, &[1]);
    assert!(!has_bases(&dump, &NFT, &tables));
    dump.put(base + NFT.base_policy, &[0]);
    assert!(has_bases(&dump, &NFT, &tables));
    dump.put_u64(base + NFT.base_stats, 0x8000);
    assert!(!has_bases(&dump, &NFT, &tables));
}

#[test]
fn chains_of_this_generation_are_read_with_their_rules() {
    let rules = [
        rule(
            3,
            &[
                expr("cmp", &[]),
                expr("match", &[NAMES + 32]),
                expr("counter", &[0x5000]),
                verdict(0, 0),
            ],
        ),
        rule(4, &[expr("counter", &[0x5020]), verdict(-3, USER)]),
        rule(5, &[verdict(1, 0)]),
    ];
    let table = table(&memory(&rules)).expect("reads");
    assert_eq!((table.family, table.name.as_str()), (TableFamily::Ip, "filter"));
    let names: Vec<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(names, ["FORWARD", "USER"]);
    let forward = &table.chains[0];
    let base = forward.base.as_ref().expect("base chain");
    assert_eq!((base.hook, base.policy), (Hook::Forward, Policy::Drop));
    assert_eq!(base.counter.map(|counter| counter.address), Some(0x7000));
    let steps: Vec<Step> = forward.rules.iter().map(|rule| rule.step).collect();
    assert_eq!(steps, [Step::Drop, Step::Jump(1), Step::Accept]);
    let handles: Vec<u64> = forward.rules.iter().map(|rule| rule.handle).collect();
    assert_eq!(handles, [3, 4, 5]);
    assert_eq!(
        forward.rules[0].comment.as_deref(),
        Some("a comment"),
        "a large match keeps its data apart"
    );
    assert_eq!(
        forward.rules[0].counter.map(|counter| counter.address),
        Some(0x5000)
    );
    assert_eq!(
        table.chains[1].rules[0].step,
        Step::Drop,
        "REJECT through nft_compat"
    );
}

#[test]
fn rules_are_found_by_the_addresses_of_their_expressions() {
    let rules = [
        rule(3, &[expr("cmp", &[]), verdict(0, 0)]),
        rule(4, &[verdict(1, 0)]),
    ];
    let reading = reading(&memory(&rules));
    let functions: Vec<u64> = ["immediate", "cmp", "counter", "target"]
        .map(function_of)
        .to_vec();
    let expressions = Expressions::new(1, reading.expressions);
    for function in functions {
        assert!(
            expressions.functions_of(1).any(|of| of == function),
            "{function:x}"
        );
    }
    assert_eq!(expressions.functions_of(0).count(), 0, "another table's");
    assert!(
        !expressions.functions().any(|of| of == function_of("masq")),
        "not in use"
    );
    let legacy = Table {
        backend: Backend::Legacy,
        chains: Vec::new(),
        ..reading.tables[0].clone()
    };
    let snapshot = Snapshot {
        tables: vec![legacy, reading.tables[0].clone()],
        expressions,
        ..Snapshot::default()
    };
    let start = BLOBS + (FORWARD & 0xf_ffff) + NFT.blob_data;
    assert_eq!(snapshot.rule_of_expression(start + 8), Some((1, 0, 0)), "cmp");
    assert_eq!(
        snapshot.rule_of_expression(start + 8 + 24),
        Some((1, 0, 0)),
        "drop"
    );
    let second = start + 8 + 24 + 32;
    assert_eq!(snapshot.rule_of_expression(second), None, "the header of a rule");
    assert_eq!(snapshot.rule_of_expression(second + 8), Some((1, 0, 1)));
    assert_eq!(
        snapshot.rule_of_expression(second + 8 + 32),
        None,
        "behind the last"
    );
    assert_eq!(snapshot.rule_of_expression(start - 1), None);
}

#[test]
fn a_counter_before_something_that_can_still_miss_is_no_proof() {
    let rules = [
        rule(3, &[expr("counter", &[0x5000]), expr("cmp", &[]), verdict(0, 0)]),
        rule(
            4,
            &[expr("counter", &[0x5020]), expr("limit", &[]), verdict(0, 0)],
        ),
        rule(5, &[verdict(0, 0)]),
    ];
    let table = table(&memory(&rules)).expect("reads");
    for rule in &table.chains[0].rules {
        assert_eq!(
            (rule.step, rule.counter),
            (Step::Drop, None),
            "handle {}",
            rule.handle
        );
    }
}

#[test]
fn a_named_synproxy_or_expectation_may_drop_and_a_named_counter_does_not() {
    for (number, step) in [(10_u32, Step::MayDrop), (9, Step::MayDrop), (1, Step::Continue)] {
        let mut dump = memory(&[rule(3, &[expr("objref", &[OBJECT])])]);
        dump.put_u64(OBJECT + 0x10, OBJECT + 0x100);
        dump.put_u64(OBJECT + 0x108, OBJECT + 0x200);
        dump.put(OBJECT + 0x204, &number.to_ne_bytes());
        let table = table(&dump).expect("reads");
        assert_eq!(table.chains[0].rules[0].step, step, "{number}");
    }
    let dangling = memory(&[rule(3, &[expr("objref", &[OBJECT])])]);
    let table = table(&dangling).expect("reads");
    assert_eq!(table.chains[0].rules[0].target, None, "the object cannot be read");
}

#[test]
fn a_lookup_in_a_set_is_no_verdict_map() {
    // sreg 1, dreg 0, dreg_set.
    let lookup = |dreg_set: u64| expr("lookup", &[0x9000, 1 | dreg_set << 16]);
    let rules = [
        rule(3, &[lookup(0), expr("counter", &[0x5000]), verdict(0, 0)]),
        rule(4, &[lookup(1)]),
    ];
    let table = table(&memory(&rules)).expect("reads");
    let steps: Vec<Step> = table.chains[0].rules.iter().map(|rule| rule.step).collect();
    assert_eq!(steps, [Step::Drop, Step::Map]);
}

#[test]
fn a_rule_that_nft_put_into_a_table_of_iptables_is_told_from_one_of_iptables() {
    let beyond = |exprs: &[Vec<u8>]| {
        let table = table(&memory(&[rule(7, exprs)])).expect("a table");
        table.is_beyond_iptables()
    };
    let (counter, drops) = (expr("counter", &[1]), verdict(0, 0));
    assert!(!beyond(&[
        expr("cmp", &[]),
        expr("match", &[NAMES]),
        counter.clone(),
        drops.clone()
    ]));
    assert!(beyond(&[expr("lookup", &[1, 0, 0]), counter, drops]));
}

#[test]
fn the_other_generation_has_its_own_rules() {
    let mut dump = memory(&[rule(3, &[verdict(0, 0)])]);
    dump.put(NET + NFT.gencursor, &[1]);
    // The second blob of FORWARD is empty; USER's, too; GONE is active only in the second generation.
    for chain in [FORWARD, USER, GONE] {
        dump.put_u64(chain + 8, 0);
    }
    let table = table(&dump).expect("reads");
    assert_eq!(table.chains.len(), 3);
    assert!(table.chains.iter().all(|chain| chain.rules.is_empty()));
}

#[test]
fn memory_that_cannot_be_read_or_lies_is_no_table() {
    let good = rule(3, &[verdict(0, 0)]);
    let mut unknown = good.clone();
    unknown[8..16].copy_from_slice(&0xdead_u64.to_ne_bytes());
    assert!(
        table(&memory(&[unknown])).is_none(),
        "an expression without operations"
    );
    let mut too_long = good;
    too_long[0..8].copy_from_slice(&(3_u64 << 13 | 0xfff << 1).to_ne_bytes());
    assert!(
        table(&memory(&[too_long])).is_none(),
        "a rule longer than its chain"
    );
    let mut endless = memory(&[]);
    endless.put_u64(GONE + NFT.chain_list, USER + NFT.chain_list);
    endless.put_u64(USER + NFT.chain_list, GONE + NFT.chain_list);
    // Ends after a bounded number of steps.
    table(&endless);
}
