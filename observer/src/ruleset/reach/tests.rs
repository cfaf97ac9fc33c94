use super::*;
use crate::report::record::{Backend, TableFamily};
use crate::ruleset::{Base, Policy, Rule};

fn chain(name: &str, hook: Option<Hook>, mapped: bool, steps: &[Step]) -> Chain {
    let rules = steps.iter().map(|step| Rule {
        step: *step,
        ..Rule::default()
    });
    Chain {
        name: name.to_owned(),
        base: hook.map(|hook| Base {
            hook,
            priority: 0,
            policy: Policy::Accept,
            counter: None,
        }),
        rules: rules.collect(),
        address: 0,
        mapped,
    }
}

/// As kube-proxy does it: forward jumps to a check whose map leads to a chain that rejects; input only accepts; output
/// jumps to a chain that nothing else leads to.
fn table() -> Table {
    Table {
        backend: Backend::Nft,
        family: TableFamily::Ip,
        name: "kube-proxy".to_owned(),
        chains: vec![
            chain("forward", Some(Hook::Forward), false, &[Step::Jump(3)]),
            chain("input", Some(Hook::Input), false, &[Step::Accept]),
            chain("output", Some(Hook::Output), false, &[Step::Goto(5)]),
            chain("check", None, false, &[Step::Map]),
            chain("reject", None, true, &[Step::Drop]),
            chain("other", None, false, &[Step::Drop]),
        ],
        hash: 0,
        address: 0,
    }
}

#[test]
fn a_map_may_lead_to_every_chain_that_an_element_leads_to() {
    let table = table();
    assert_eq!(table.hooks_of(4), [Hook::Forward]);
    assert_eq!(table.hooks_of(3), [Hook::Forward]);
    assert_eq!(table.hooks_of(5), [Hook::Output]);
    assert_eq!(table.hooks_of(1), [Hook::Input]);
    let all: Vec<Vec<usize>> = (0..table.chains.len())
        .map(|chain| table.bases_of(chain))
        .collect();
    assert_eq!(table.all_bases(), all);
}

#[test]
fn what_a_mapped_chain_jumps_to_is_reached_as_well() {
    let mut table = table();
    table.chains[4].rules[0].step = Step::Jump(5);
    assert_eq!(table.hooks_of(5), [Hook::Forward, Hook::Output]);
}

#[test]
fn the_way_is_known_only_where_no_map_is_on_it() {
    let table = table();
    assert_eq!(
        table.only_path(2, 5),
        Some(vec![2, 5]),
        "the other base chain's map is no matter"
    );
    assert_eq!(table.only_path(0, 4), None);
    assert_eq!(table.only_path(0, 0), Some(vec![0]));
}

#[test]
fn chains_that_jump_in_a_ring_are_walked_once() {
    let mut table = table();
    table.chains[5].rules[0].step = Step::Jump(5);
    assert_eq!(table.hooks_of(5), [Hook::Output]);
    assert_eq!(table.only_path(2, 5), None);
}
