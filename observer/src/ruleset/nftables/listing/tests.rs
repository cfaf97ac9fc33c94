//! What nft listed twice, as JSON and as text, must be the same read from the one and written as the other.

use super::*;

/// JSON and text, of nft 1.0.6: `nft -j list ruleset`, `nft -a list ruleset`.
macro_rules! sample {
    ($name:literal) => {
        (
            include_str!(concat!("samples/", $name, ".json")),
            include_str!(concat!("samples/", $name, ".txt")),
        )
    };
}

fn without_handles(text: &str) -> String {
    let mut plain = String::new();
    for line in text.lines() {
        let bare = match line.rsplit_once(" # handle ") {
            Some((bare, handle)) if handle.bytes().all(|byte| byte.is_ascii_digit()) => bare,
            _ => line,
        };
        plain.push_str(bare);
        plain.push('\n');
    }
    plain
}

fn read(json: &str) -> Ruleset {
    let ruleset = Ruleset::read(json).expect("a ruleset");
    assert_eq!(ruleset.unknown, Vec::<Value>::new());
    ruleset
}

fn assert_same(written: &str, expected: &str, name: &str) {
    for (at, (ours, theirs)) in written.lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, theirs, "{name}, line {}", at + 1);
    }
    assert_eq!(written, expected, "{name}");
}

#[test]
fn every_sample_is_written_as_nft_writes_it() {
    let samples = [
        ("sets", sample!("sets")),
        ("expressions", sample!("expressions")),
        ("statements", sample!("statements")),
        ("families", sample!("families")),
    ];
    for (name, (json, text)) in samples {
        let ruleset = read(json);
        let expected = as_json_tells(text);
        assert_same(&ruleset.text(Handles::Shown), &expected, name);
        assert_same(&ruleset.text(Handles::Hidden), &without_handles(&expected), name);
    }
}

#[test]
fn what_kube_proxy_and_firewalld_wrote_is_written_as_nft_writes_it() {
    // The text is what the lab loads.
    let samples = [
        (
            "kubeproxy",
            include_str!("samples/kubeproxy.json"),
            include_str!("../../../../../tests/rules/kubeproxy.nft"),
        ),
        (
            "firewalld",
            include_str!("samples/firewalld.json"),
            include_str!("../../../../../tests/rules/firewalld.nft"),
        ),
    ];
    for (name, json, text) in samples {
        let ruleset = read(json);
        assert_same(&ruleset.text(Handles::Hidden), &as_json_tells(text), name);
    }
}

/// Tables of iptables-nft among them: of an extension nft says in JSON only what it is called.
#[test]
fn what_other_programs_wrote_is_written_as_nft_writes_it_but_for_extensions() {
    let samples = [
        ("calico", sample!("calico")),
        ("cilium", sample!("cilium")),
        ("fail2ban", sample!("fail2ban")),
        ("libvirt", sample!("libvirt")),
        ("podman", sample!("podman")),
        ("ufw", sample!("ufw")),
    ];
    for (name, (json, text)) in samples {
        let written = read(json).text(Handles::Shown);
        let expected = as_json_tells(text);
        assert_eq!(written.lines().count(), expected.lines().count(), "{name}");
        for (ours, theirs) in written.lines().zip(expected.lines()) {
            let is_same = ours == theirs || is_same_beside_extensions(ours, theirs);
            assert!(is_same, "{name}: {ours}\n{theirs}");
        }
    }
}

/// Whether a line has everything of ours, in its order, with anything in the places of `xt match set` and `xt target MARK`.
fn is_same_beside_extensions(ours: &str, theirs: &str) -> bool {
    let mut rest = theirs;
    for (index, part) in ours.split("xt ").enumerate() {
        let known = match index {
            0 => part,
            // What follows the kind and the name.
            _ => part.splitn(3, ' ').nth(2).unwrap_or_default(),
        };
        let Some(at) = rest.find(known).filter(|at| index > 0 || *at == 0) else {
            return false;
        };
        rest = &rest[at + known.len()..];
    }
    ours.contains("xt ") && rest.is_empty()
}

#[test]
fn what_nft_leaves_out_of_json_is_all_that_is_missing() {
    let (json, text) = sample!("left-out");
    let ruleset = read(json);
    let written = ruleset.text(Handles::Shown);
    let missing: Vec<_> = text
        .lines()
        .filter(|line| !written.lines().any(|ours| ours == *line))
        .collect();
    let made_up: Vec<_> = written
        .lines()
        .filter(|line| !text.lines().any(|theirs| theirs == *line))
        .collect();
    let of_element = |line: &&str| line.contains("expires");
    assert_eq!(
        missing
            .iter()
            .filter(|line| !of_element(line))
            .copied()
            .collect::<Vec<_>>(),
        [
            "\tflags dormant",
            "\tcomment \"a table\"",
            "\t\tauto-merge",
            "\t\ttypeof ip saddr . iifname . ct mark",
            "\t\tcomment \"a chain\"",
            "\t\ttype filter hook ingress device \"eth0\" priority filter; policy accept;",
        ]
    );
    assert_eq!(
        made_up
            .iter()
            .filter(|line| !of_element(line))
            .copied()
            .collect::<Vec<_>>(),
        [
            "\t\ttype ipv4_addr . ifname . mark",
            "\t\ttype filter hook ingress priority filter; policy accept;",
        ]
    );
}

/// One rule of a table of family inet.
fn rule(statements: &str) -> String {
    let json = format!(
        r#"{{"nftables": [{{"rule": {{"family": "inet", "table": "t", "chain": "c", "expr": {statements}}}}}]}}"#
    );
    read(&json).tables[0].chains[0].rules[0].text(Family::Inet)
}

#[test]
fn statements_that_few_kernels_have() {
    assert_eq!(rule(r#"[{"queue": {"num": 0}}]"#), "queue to 0");
    assert_eq!(
        rule(r#"[{"queue": {"num": {"range": [1, 5]}, "flags": ["bypass", "fanout"]}}]"#),
        "queue flags bypass,fanout to 1-5"
    );
    assert_eq!(
        rule(r#"[{"flow": {"op": "add", "flowtable": "@ft"}}]"#),
        "flow add @ft"
    );
    assert_eq!(
        rule(r#"[{"mangle": {"key": {"meta": {"key": "secmark"}}, "value": "ssh"}}]"#),
        "meta secmark set \"ssh\""
    );
    assert_eq!(
        rule(
            r#"[{"match": {"op": "==", "left": {"socket": {"key": "cgroupv2", "level": 1}}, "right": "a.slice"}}]"#
        ),
        "socket cgroupv2 level 1 \"a.slice\""
    );
}

#[test]
fn extensions_of_xtables_are_shown_by_their_name() {
    let xt = r#"[{"xt": {"type": "match", "name": "recent"}}, {"counter": {"packets": 1, "bytes": 2}},
                 {"xt": {"type": "target", "name": "REJECT"}}]"#;
    assert_eq!(
        rule(xt),
        "xt match recent counter packets 1 bytes 2 xt target REJECT"
    );
}

#[test]
fn what_is_not_known_is_shown_as_it_is() {
    assert_eq!(
        rule(
            r#"[{"match": {"op": "==", "left": {"new": {"key": "x"}}, "right": 5}}, {"newer": [1]}, "as text"]"#
        ),
        r#"{"new":{"key":"x"}} 5 {"newer":[1]} as text"#
    );
    // A member that is not known may change what the others mean.
    let quantum = r#"{"meta":{"key":"mark","quantum":true}}"#;
    assert!(
        rule(&format!(
            r#"[{{"match": {{"op": "==", "left": {quantum}, "right": 1}}}}]"#
        ))
        .starts_with(quantum)
    );
    let ruleset = Ruleset::read(r#"{"nftables": [{"wormhole": {"to": "b"}}, 7]}"#).expect("a ruleset");
    assert_eq!(
        ruleset.text(Handles::Hidden),
        "# not known: {\"wormhole\":{\"to\":\"b\"}}\n# not known: 7\n"
    );
    let object =
        r#"{"nftables": [{"tunnel": {"family": "ip", "table": "t", "name": "x", "handle": 4, "id": 1}}]}"#;
    assert!(
        read(object)
            .text(Handles::Shown)
            .contains("\ttunnel x { # handle 4\n\t\t{")
    );
}

#[test]
fn the_order_of_objects_does_not_matter() {
    let (json, _) = sample!("statements");
    let listed = read(json);
    let mut value: Value = serde_json::from_str(json).expect("JSON");
    let objects = value["nftables"].as_array_mut().expect("a list");
    // Rules first, in their order; then everything else from the end.
    let (rules, mut others): (Vec<_>, Vec<_>) = objects.drain(..).partition(|one| one.get("rule").is_some());
    others.reverse();
    objects.extend(rules.into_iter().chain(others));
    let turned = read(&value.to_string());
    for table in &listed.tables {
        let other = turned.table(table.family, &table.name).expect("the table");
        for chain in &table.chains {
            assert_eq!(other.chain(&chain.name), Some(chain));
        }
        for set in &table.sets {
            assert_eq!(other.set(&set.name), Some(set));
        }
        assert_eq!(
            (other.handle, other.objects.len()),
            (table.handle, table.objects.len())
        );
    }
}

#[test]
fn what_is_no_ruleset_is_said_in_one_line() {
    let deep = format!(
        r#"{{"nftables": [{}1{}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for (text, why) in [
        ("", "EOF"),
        ("table ip filter {\n}", "expected ident"),
        ("[]", "expected an object with the list `nftables`"),
        ("{}", "there is no list `nftables`"),
        (r#"{"nftables": 5}"#, "a list of objects"),
        (r#"{"nftables": []} {"nftables": []}"#, "trailing"),
        (deep.as_str(), "recursion limit"),
    ] {
        let error = Ruleset::read(text).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// Rulesets in which some parts were replaced by others: the same ones each time.
pub(crate) fn damaged(rounds: usize) -> Vec<String> {
    let samples = [sample!("sets").0, sample!("statements").0, sample!("families").0];
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let damaged = |round: usize| {
        let mut value: Value = serde_json::from_str(samples[round % samples.len()]).expect("JSON");
        let objects = value["nftables"].as_array_mut().expect("a list");
        for _ in 0..40 {
            let at = next() % objects.len();
            damage(&mut objects[at], &mut next);
        }
        value.to_string()
    };
    (0..rounds).map(damaged).collect()
}

/// What is read of them can be written.
#[test]
fn damaged_rulesets_do_no_harm() {
    for text in damaged(120) {
        let ruleset = Ruleset::read(&text).expect("it is JSON");
        assert!(!ruleset.text(Handles::Shown).is_empty());
    }
}

/// Puts something else in the place of some part of the value.
fn damage(value: &mut Value, next: &mut impl FnMut() -> usize) {
    let others = [
        Value::Null,
        Value::Bool(true),
        (-1).into(),
        u64::MAX.into(),
        "@".into(),
        "*".into(),
        Value::Array(Vec::new()),
        serde_json::json!({ "set": [] }),
        serde_json::json!({ "range": [1] }),
        serde_json::json!({ "&": [] }),
        serde_json::json!({ "concat": [] }),
        serde_json::json!({ "prefix": { "addr": "x", "len": 999 } }),
    ];
    match value {
        Value::Array(list) if !list.is_empty() && !next().is_multiple_of(8) => {
            let at = next() % list.len();
            damage(&mut list[at], next);
        }
        Value::Object(members) if !members.is_empty() && !next().is_multiple_of(8) => {
            let at = next() % members.len();
            if let Some(inner) = members.values_mut().nth(at) {
                damage(inner, next);
            }
        }
        _ => *value = others[next() % others.len()].clone(),
    }
}
