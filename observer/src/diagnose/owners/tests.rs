//! Rules as real programs write them, and who they are taken for.

mod containers;
mod corpus;
mod hosts;
mod kubernetes;
mod nobody;
mod world;

use world::World;

use super::entry::{ADVICE, FILES, Owner, advice, all};

/// The owner's text has these words, and the command is this one.
#[track_caller]
fn check(world: &World, words: &str, command: Option<&str>) {
    let (who, found) = world.told();
    let who = who.unwrap_or_else(|| panic!("nobody is named, wanted {words}"));
    assert!(who.contains(words), "{who}");
    assert_eq!(found.as_deref(), command, "{who}");
}

#[test]
fn every_file_can_be_read() {
    for (file, text) in FILES {
        if let Err(error) = toml::from_str::<Owner>(text) {
            panic!("{file}: {error}");
        }
    }
    assert_eq!(all().len(), FILES.len());
    if let Err(error) = toml::from_str::<toml::Table>(ADVICE) {
        panic!("advice: {error}");
    }
    assert!(!advice().is_empty());
}

/// A placeholder that nothing fills would silently make a case useless.
#[test]
fn every_gap_of_every_sentence_and_command_can_be_filled() {
    let values = [
        "in",
        "out",
        "src",
        "dst",
        "dport",
        "proto",
        "hook",
        "table",
        "chain",
        "family",
        "ip",
        "service_ns",
        "service_name",
    ];
    for owner in all() {
        for case in &owner.cases {
            let mut patterns = kept_by(&case.when);
            for fix in &case.fixes {
                patterns.extend(kept_by(&fix.when));
                let templates = [
                    Some(&fix.text),
                    fix.iptables.as_ref(),
                    fix.nft.as_ref(),
                    fix.command.as_ref(),
                ];
                for gap in templates
                    .into_iter()
                    .flatten()
                    .flat_map(|template| gaps(template))
                {
                    assert!(
                        values.contains(&gap.as_str()) || patterns.contains(&gap),
                        "{}: {gap}",
                        case.says
                    );
                }
                let has_command = fix.iptables.is_some() || fix.nft.is_some() || fix.command.is_some();
                assert!(has_command, "{}: {}", case.says, fix.text);
            }
            for gap in gaps(&case.says) {
                let known = kept_by(&case.when);
                assert!(
                    values.contains(&gap.as_str()) || known.contains(&gap),
                    "{}: {gap}",
                    case.says
                );
            }
        }
    }
}

/// A name that only one of the alternatives keeps cannot be relied on.
fn kept_by(when: &super::entry::When) -> Vec<String> {
    let lists = [
        &when.table,
        &when.chain,
        &when.text,
        &when.comment,
        &when.in_dev,
        &when.out_dev,
    ];
    let of_list = |list: &Vec<String>| {
        let mut each = list.iter().map(|pattern| gaps(pattern));
        let first = each.next().unwrap_or_default();
        let rest: Vec<Vec<String>> = each.collect();
        let everywhere = move |gap: &String| rest.iter().all(|gaps| gaps.contains(gap));
        first.into_iter().filter(everywhere).collect::<Vec<_>>()
    };
    lists.into_iter().flat_map(of_list).collect()
}

fn gaps(template: &str) -> Vec<String> {
    let parts = template.split('{').skip(1);
    parts
        .filter_map(|part| Some(part.split_once('}')?.0.to_owned()))
        .collect()
}
