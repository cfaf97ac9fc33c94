//! The readers, on messages that a kernel (6.18) sent and on the rulesets they are about.

use super::netlink::messages;
use super::*;
use crate::cluster::rules::parse_save;

fn sample(hex: &str) -> Vec<netlink::Message> {
    let byte = |at: &str| u8::from_str_radix(at, 16).expect("hex");
    let bytes = |line: &str| -> Vec<u8> {
        (0..line.len() / 2)
            .map(|at| byte(&line[2 * at..2 * at + 2]))
            .collect()
    };
    hex.lines().flat_map(|line| messages(&bytes(line))).collect()
}

fn shown(runs: &[Run]) -> Vec<String> {
    let show = |run: &Run| {
        let steps: Vec<String> = run.steps.iter().map(ToString::to_string).collect();
        let (hook, verdict) = (
            run.hook.as_deref().unwrap_or("?"),
            run.verdict.as_deref().unwrap_or("-"),
        );
        let port = run.packet.dport.unwrap_or_default();
        format!(
            "{port} {hook} {} {} {}: {} {verdict}",
            run.family,
            run.table,
            run.chain,
            steps.join(" > ")
        )
    };
    runs.iter().map(show).collect()
}

fn nftables() -> Vec<Run> {
    let listed = serde_json::from_str(include_str!("samples/nftables.json")).expect("ruleset");
    let events = sample(include_str!("samples/nftables.hex"));
    let events = events.iter().filter_map(nft::read).collect();
    assemble_nft(events, &Rulebook::read_nftables(&listed))
}

fn xtables(book: &Rulebook) -> Vec<Run> {
    let events = sample(include_str!("samples/xtables.hex"));
    assemble_xtables(events.iter().filter_map(xtables::read).collect(), book)
}

fn saved() -> Rulebook {
    let saved = parse_save(include_str!("samples/xtables.save")).expect("ruleset");
    Rulebook::read_xtables(saved.into_iter().map(|(place, counted)| (place, counted.text)))
}

#[test]
fn what_nftables_tells_becomes_runs_through_base_chains() {
    let expected = [
        "9 PREROUTING ip nat pre: pre policy ACCEPT",
        "9 INPUT ip filter INPUT: INPUT 1 > INPUT 2 DROP",
        "99 PREROUTING ip nat pre: pre 1 ACCEPT",
        "9 INPUT ip filter INPUT: INPUT 1 > INPUT 2 DROP",
        "7 PREROUTING ip nat pre: pre policy ACCEPT",
        "7 INPUT ip filter INPUT: INPUT policy ACCEPT",
        "7 INPUT inet lab input: input policy DROP",
    ];
    assert_eq!(shown(&nftables()), expected);
}

#[test]
fn handles_are_those_of_the_rules() {
    let steps = &nftables()[1].steps;
    assert_eq!(
        steps.iter().map(|step| step.handle).collect::<Vec<_>>(),
        [Some(2), Some(3)]
    );
}

#[test]
fn what_xtables_logs_becomes_runs_through_tables() {
    let expected = [
        "9 OUTPUT ip raw OUTPUT: OUTPUT 1 > OUTPUT policy ACCEPT",
        "9 OUTPUT ip nat OUTPUT: OUTPUT policy ACCEPT",
        "9 OUTPUT ip filter OUTPUT: OUTPUT 1 > INNER 1 > INNER 2 > OUTPUT policy ACCEPT",
        "9 POSTROUTING ip nat POSTROUTING: POSTROUTING policy ACCEPT",
        "98 OUTPUT ip raw OUTPUT: OUTPUT 1 > OUTPUT policy ACCEPT",
        "98 OUTPUT ip nat OUTPUT: OUTPUT 1 ACCEPT",
        "7 OUTPUT ip filter OUTPUT: OUTPUT policy ACCEPT",
        "7 POSTROUTING ip nat POSTROUTING: POSTROUTING policy ACCEPT",
    ];
    assert_eq!(shown(&xtables(&saved())), expected);
}

#[test]
fn an_unconditional_rule_is_not_taken_for_the_policy() {
    // Were there two rules in OUTPUT, what the kernel calls policy 2 would be the second of them.
    let text = include_str!("samples/xtables.save").replace("-j INNER\n", "-j INNER\n-A OUTPUT -j ACCEPT\n");
    let saved = parse_save(&text).expect("ruleset");
    let book = Rulebook::read_xtables(saved.into_iter().map(|(place, counted)| (place, counted.text)));
    let runs = shown(&xtables(&book));
    assert_eq!(
        runs[2],
        "9 OUTPUT ip filter OUTPUT: OUTPUT 1 > INNER 1 > INNER 2 > OUTPUT 2 ACCEPT"
    );
}

#[test]
fn other_messages_are_passed_over() {
    let message = netlink::Message {
        kind: 2,
        family: 0,
        body: Vec::new(),
    };
    assert_eq!((nft::read(&message), xtables::read(&message)), (None, None));
}
