use std::fs;
use std::path::Path;

use super::*;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests-data/saved");
/// The rules of the cluster that the scenarios are about: written by a person, in the tool's words.
const SEED: &str = include_str!("../../../../../tests/rules/seed.rules");

fn saved() -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(Path::new(DATA))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "save"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a file");
            (path.display().to_string(), text)
        })
        .collect();
    files.sort();
    files
}

fn table(rules: &str) -> Table {
    let text = format!("*filter\n:INPUT ACCEPT [0:0]\n:X - [0:0]\n{rules}\nCOMMIT\n");
    let document = parse(&text).expect("parses");
    document.tables().next().expect("a table").clone()
}

fn rule(rule: &str) -> Rule {
    table(rule).chains[0].rules[0].clone()
}

#[test]
fn what_the_tools_print_comes_back_byte_for_byte_from_the_model() {
    let files = saved();
    assert!(files.len() >= 29, "{}", files.len());
    for (name, text) in files {
        let document = parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(document.to_string(), text, "{name}");
        for table in document.tables() {
            for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
                assert!(rule.is_as_printed(), "{name}: {:?}", rule.written);
            }
        }
    }
    let seed = parse(SEED).expect("parses");
    assert_eq!(seed.to_string(), SEED);
}

#[test]
fn the_family_is_what_the_file_says() {
    for (name, text) in saved() {
        let document = parse(&text).expect("parses");
        let expected = if name.contains(".v6.") {
            Family::Ip6
        } else {
            Family::Ip
        };
        assert!(
            document.tables().all(|table| table.family == Some(expected)),
            "{name}"
        );
    }
    assert_eq!(table("").family, None);
}

/// Extensions whose matching this model cannot say: everything else in the files has types.
#[test]
fn only_extensions_that_are_not_modelled_are_carried_word_for_word() {
    const CARRIED: &[&str] = &[
        "ah",
        "bpf",
        "cgroup",
        "cluster",
        "connbytes",
        "connlimit",
        "cpu",
        "dccp",
        "devgroup",
        "dscp",
        "dst",
        "ecn",
        "esp",
        "eui64",
        "frag",
        "hashlimit",
        "helper",
        "ipv6header",
        "limit",
        "mac",
        "mh",
        "owner",
        "physdev",
        "policy",
        "quota",
        "realm",
        "recent",
        "rpfilter",
        "rt",
        "sctp",
        "set",
        "socket",
        "statistic",
        "string",
        "tcpmss",
        "time",
        "tos",
        "u32",
    ];
    for (name, text) in saved() {
        for table in parse(&text).expect("parses").tables() {
            for found in table
                .chains
                .iter()
                .flat_map(|chain| &chain.rules)
                .flat_map(|rule| &rule.matches)
            {
                if let Match::Other(extension) = found {
                    assert!(CARRIED.contains(&&*extension.name), "{name}: {extension:?}");
                }
            }
        }
    }
}

#[test]
fn an_unknown_extension_is_carried_and_shown() {
    let line =
        "-A INPUT -p tcp -m geoip ! --source-country \"A B\",C --deep x y -j TARPIT --honey \"a\\\"b\"";
    let found = rule(line);
    let Match::Other(extension) = &found.matches[0] else {
        panic!("{found:?}")
    };
    assert_eq!(&*extension.name, "geoip");
    assert_eq!(extension.options[1].values.len(), 2);
    assert!(matches!(&found.action, Action::Other(target) if target.value("--honey") == Some("a\"b")));
    assert_eq!(table(line).text(0, &found), line);
}

#[test]
fn rules_that_people_write_mean_what_iptables_makes_of_them() {
    let by_hand = rule("-A INPUT --protocol tcp --dport 22 -m state --state NEW --jump ACCEPT");
    let printed = rule("-A INPUT -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT");
    assert_eq!(
        (&by_hand.header, &by_hand.action),
        (&printed.header, &printed.action)
    );
    assert_eq!(by_hand.matches, printed.matches);
    assert!(!by_hand.is_as_printed() && printed.is_as_printed());
    let late = rule("-A INPUT -p udp -m comment --comment x --dport 53 -j DROP");
    assert!(matches!(&late.matches[1], Match::Ports("udp", ports) if ports.dport.is_some()));
    let marks = [
        ("--set-mark 0x5/0xff", 5, 0xff),
        ("--set-mark 0x105/0xff", 0x105, 0x1ff),
        ("--or-mark 0x4000", 0x4000, 0x4000),
        ("--and-mark 0xff", 0, 0xffff_ff00),
        ("--xor-mark 3", 3, 0),
    ];
    for (option, value, mask) in marks {
        let found = rule(&format!("-A INPUT -j MARK {option}"));
        assert!(
            matches!(found.action, Action::Mark(change, _) if change == MarkChange { value, mask }),
            "{option}"
        );
    }
}

#[test]
fn jumps_lead_to_chains_wherever_they_are_declared() {
    let text = "*t\n:INPUT DROP\n-A INPUT -j LATER\n-A INPUT -g LATER\n:LATER -\n-A LATER -j LATEST\nCOMMIT";
    let document = parse(text).expect("parses");
    let table = document.tables().next().expect("a table");
    let actions: Vec<_> = table.chains[0]
        .rules
        .iter()
        .map(|rule| rule.action.clone())
        .collect();
    assert_eq!(actions, [Action::Jump(1), Action::Goto(1)]);
    assert!(matches!(&table.chains[1].rules[0].action, Action::Other(target) if &*target.name == "LATEST"));
}

#[test]
fn what_is_not_a_saved_ruleset_is_refused_with_its_line() {
    for (text, line) in [
        ("-A INPUT -j DROP", 1),
        ("*filter\n:INPUT ACCEPT\n-A FORWARD -j DROP\nCOMMIT", 3),
        ("*filter\n:INPUT ACCEPT\n-I INPUT -j DROP\nCOMMIT", 3),
        ("*filter\n:INPUT WHATEVER\nCOMMIT", 2),
        ("*filter\n:INPUT ACCEPT\n:INPUT DROP\nCOMMIT", 3),
        ("*filter\n:INPUT ACCEPT\n-A INPUT -j\nCOMMIT", 3),
        ("*filter\n:INPUT ACCEPT\n*nat\nCOMMIT", 3),
        ("*filter\n:INPUT ACCEPT\n-A INPUT -j DROP", 3),
        ("table inet filter {", 1),
        ("*filter\n:INPUT ACCEPT\n[1:x] -A INPUT -j DROP\nCOMMIT", 3),
    ] {
        assert_eq!(parse(text).expect_err("refuses").line, line, "{text}");
    }
}

#[test]
fn there_is_an_end_to_what_is_read() {
    let many = "\n".repeat(1_000_001);
    assert_eq!(parse(&many).expect_err("refuses").line, 1_000_001);
    let long = format!("*filter\n:INPUT ACCEPT\n-A INPUT{}\nCOMMIT", " -f".repeat(30_000));
    assert_eq!(parse(&long).expect_err("refuses").line, 3);
    let wordy = format!("*filter\n:INPUT ACCEPT\n-A INPUT{}\nCOMMIT", " x".repeat(5_000));
    assert_eq!(parse(&wordy).expect_err("refuses").line, 3);
}

/// A condition that got lost would be a packet that matches wrongly.
#[test]
fn no_word_of_a_rule_gets_lost() {
    for line in [
        "-A INPUT -s example.org -j ACCEPT",
        "-A INPUT -s 10.0.0.1,10.0.0.2 -j ACCEPT",
        "-A INPUT -s 10.0.0.1 -s 10.0.0.2 -j ACCEPT",
        "-A INPUT --dport 22 -j ACCEPT",
        "-A INPUT stray -j ACCEPT",
        "-A INPUT ! -j ACCEPT",
        "-A INPUT -p tcp ! -m tcp --dport 1",
        "-A INPUT -m conntrack --ctstate NEW --ctstate ESTABLISHED -j ACCEPT",
        "-A INPUT -m conntrack --ctstate NOVEL -j ACCEPT",
        "-A INPUT -p tcp -m tcp --dport http -j ACCEPT",
        "-A INPUT -p tcp -m tcp --dport ! 80 -j ACCEPT",
        "-A INPUT -m mark --mark 0x1/zz -j ACCEPT",
    ] {
        let text = format!("*filter\n:INPUT ACCEPT\n{line}\nCOMMIT");
        let Ok(document) = parse(&text) else { continue };
        let rule = &document.tables().next().expect("a table").chains[0].rules[0];
        let carried = !rule.header.unread.is_empty()
            || rule.matches.iter().any(|found| matches!(found, Match::Other(_)))
            || matches!(rule.action, Action::Other(_));
        assert!(carried, "{line}: {rule:?}");
    }
}

#[test]
fn nothing_makes_the_reading_panic() {
    for (_, text) in saved() {
        // Cut anywhere, and with bytes replaced: errors, not panics.
        let mut at = 0;
        while at < text.len() {
            if text.is_char_boundary(at) {
                let _ = parse(&text[..at]);
                let _ = parse(&format!("*filter\n:INPUT ACCEPT\n{}", &text[at..]));
                let _ = parse(&text.replacen(&text[at..=at], "\"", 3));
            }
            at += 977;
        }
    }
}

/// What the fuzzer found: written as a line of their own, they came back as none.
#[test]
fn carriage_returns_at_the_end_of_a_line_are_no_part_of_it() {
    for text in ["\r", "\t\r", "\r\r\n", "*filter\r\r\nCOMMIT\r"] {
        let written = parse(text).expect("lines").to_string();
        assert!(!written.contains('\r'), "{written:?}");
        assert_eq!(parse(&written).expect("again").to_string(), written);
    }
}
