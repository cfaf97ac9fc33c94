use std::collections::BTreeSet;

use super::http::{MAX_HEAD, answer};
use super::labels::bounded;
use super::*;
use crate::report::record::samples::{self, drop_line, policy_drop, route_drop, rule_drop};
use crate::report::record::{DropLine, Layer, Rule};

fn shown(lines: &[Line]) -> String {
    let (mut metrics, registry) = Metrics::new();
    for line in lines {
        metrics.line(line).expect("counts");
    }
    page(&registry)
}

/// The value of the series whose line begins like this and has all these labels.
fn value(page: &str, name: &str, labels: &[&str]) -> Option<u64> {
    let mut found = page.lines().filter(|line| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    });
    let line = found.next()?;
    assert_eq!(found.next(), None, "more than one series: {page}");
    line.rsplit_once(' ')?.1.parse().ok()
}

fn by_rule(number: u32) -> DropLine {
    let mut line = rule_drop();
    line.drop.rule = Some(Rule {
        number: Some(number),
        ..Rule::default()
    });
    line
}

#[test]
fn drops_are_counted_by_their_cause() {
    let mut lines: Vec<Line> = (0..3).map(|_| drop_line(policy_drop())).collect();
    lines.push(drop_line(rule_drop()));
    lines.push(drop_line(route_drop()));
    let page = shown(&lines);
    let drops = "observer_drops_total";
    let policy = [
        "policy=\"DROP\"",
        "table=\"filter\"",
        "chain=\"FORWARD\"",
        "cause=\"policy\"",
        "confidence=\"exact\"",
    ];
    assert_eq!(value(&page, drops, &policy), Some(3), "{page}");
    let rule = [
        "chain=\"KUBE-FORWARD\"",
        "rule=\"-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\"",
    ];
    assert_eq!(value(&page, drops, &rule), Some(1), "{page}");
    let route = [
        "layer=\"routing\"",
        "reason=\"IP_INNOROUTES\"",
        "netns=\"4026532300\"",
    ];
    assert_eq!(value(&page, drops, &route), Some(1), "{page}");
    assert_eq!(value(&page, "observer_beyond_series_total", &[]), Some(0));
}

#[test]
fn what_a_rule_has_counted_is_no_part_of_its_identity() {
    let counted = |text: String| {
        let mut line = by_rule(1);
        line.drop.rule.as_mut().expect("a rule").text = Some(text);
        drop_line(line)
    };
    let lines = [1, 2, 3].map(|count| {
        counted(format!(
            "udp dport 9 counter packets {count} bytes {} quota 10 mbytes used {count} bytes drop",
            count * 35
        ))
    });
    let page = shown(&lines);
    let rule = ["rule=\"udp dport 9 counter quota 10 mbytes drop\""];
    assert_eq!(value(&page, "observer_drops_total", &rule), Some(3), "{page}");
}

#[test]
fn the_owner_is_a_name_and_not_a_sentence() {
    let mut drop = policy_drop();
    drop.hints[0].owner = Some("Docker");
    let page = shown(&[drop_line(drop)]);
    assert_eq!(
        value(&page, "observer_drops_total", &["owner=\"Docker\""]),
        Some(1)
    );
}

#[test]
fn a_flood_of_rules_makes_a_bounded_page_and_nothing_is_left_out() {
    let more = 3_000;
    let lines: Vec<Line> = (1..=MAX_SERIES as u32 + more)
        .chain([1, 1])
        .map(|number| drop_line(by_rule(number)))
        .collect();
    let page = shown(&lines);
    let drops: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("observer_drops_total{"))
        .collect();
    assert_eq!(drops.len(), MAX_SERIES + 1);
    let sum: usize = drops
        .iter()
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok())
        .sum();
    assert_eq!(sum, lines.len());
    assert_eq!(
        value(&page, "observer_drops_total", &["rule=\"rule 1\""]),
        Some(3)
    );
    let other = ["rule=\"other\"", "layer=\"netfilter\"", "chain=\"other\""];
    assert_eq!(value(&page, "observer_drops_total", &other), Some(more.into()));
    assert_eq!(
        value(&page, "observer_beyond_series_total", &[]),
        Some(more.into())
    );
}

#[test]
fn a_name_that_an_enemy_chose_makes_no_line_label_or_escape_sequence() {
    let mut drop = policy_drop();
    let hostile = "x\"} 7\nobserver_drops_total{a=\"\\\u{1b}[2J\u{202e}\r\0";
    drop.drop.chain = Some(hostile.into());
    drop.drop.table = Some("x\\".into());
    drop.netns.as_mut().expect("a namespace").name = Some(hostile.into());
    let page = shown(&[drop_line(drop)]);
    let lines: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("observer_drops_total{"))
        .collect();
    assert_eq!(lines.len(), 1, "{page}");
    assert!(lines[0].ends_with(" 1"), "{page}");
    assert!(
        lines[0].contains(r#"chain="x\"} 7\\nobserver_drops_total{a=\"\\\\x1b[2J\\u{202e}\\r\\x00""#)
            || lines[0].contains(r#"chain="x\"} 7\\nobserver_drops_total{a=\"\\\\x1b"#),
        "{page}"
    );
    assert!(lines[0].contains(r#"table="x\\""#), "{page}");
    assert!(!page.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'));
}

#[test]
fn a_value_is_bounded_and_long_rules_stay_two() {
    for text in ["é".repeat(100_000), "\u{1b}".repeat(100_000), "a".repeat(161)] {
        assert!(bounded(&text).chars().count() <= 161);
        assert!(bounded(&text).ends_with('…'));
    }
    assert_eq!(bounded(&"a".repeat(160)), "a".repeat(160));
    let long = |number| {
        let mut line = by_rule(number);
        line.drop.rule.as_mut().expect("a rule").text = Some("-A X ".to_owned() + &"y".repeat(5_000));
        drop_line(line)
    };
    let page = shown(&[long(1), long(2), long(2)]);
    assert_eq!(
        value(&page, "observer_drops_total", &["(rule 2)"]),
        Some(2),
        "{page}"
    );
    assert_eq!(
        value(&page, "observer_drops_total", &["(rule 1)"]),
        Some(1),
        "{page}"
    );
}

#[test]
fn what_is_lost_and_folded_is_counted_by_place_and_a_counter_never_falls() {
    let (mut metrics, registry) = Metrics::new();
    let lost = |place: &str, count| {
        Line::new(
            samples::NOON,
            "node02",
            Event::Lost(Lost {
                count,
                place: place.into(),
                ..Lost::default()
            }),
        )
    };
    for line in [lost("flood", 9), lost("ring-buffer", 2), lost("flood", 1)] {
        metrics.line(&line).expect("counts");
    }
    for kernel_drops in [20, 30, 25] {
        let summary = Summary {
            kernel_drops,
            filtered: 4,
            not_loss: 3,
            folded: Some(10),
            ..Summary::default()
        };
        metrics.running(&Running {
            summary,
            drop_time_ns: kernel_drops * 100_000_000,
            path_time_ns: 0,
        });
    }
    let page = page(&registry);
    assert_eq!(
        value(&page, "observer_lost_total", &["where=\"flood\""]),
        Some(10),
        "{page}"
    );
    assert_eq!(
        value(&page, "observer_lost_total", &["where=\"ring-buffer\""]),
        Some(2)
    );
    assert_eq!(
        value(&page, "observer_kernel_drops_total", &[]),
        Some(30),
        "{page}"
    );
    assert_eq!(value(&page, "observer_filtered_total", &[]), Some(4));
    assert_eq!(value(&page, "observer_not_loss_total", &[]), Some(3));
    assert_eq!(value(&page, "observer_folded_total", &[]), Some(10));
    assert!(
        page.contains("observer_probe_seconds_total{probes=\"drops\"} 3.0\n"),
        "{page}"
    );
}

#[test]
fn counters_have_a_family_of_their_own() {
    let page = shown(&[
        samples::start_line(),
        samples::counter_line(),
        samples::counter_line(),
    ]);
    let labels = ["effect=\"drop\"", "policy=\"DROP\"", "chain=\"FORWARD\""];
    assert_eq!(
        value(&page, "observer_counted_total", &labels),
        Some(10),
        "{page}"
    );
    assert_eq!(value(&page, "observer_drops_total", &[]), None);
    assert_eq!(value(&page, "observer_watch", &["kernel="]), Some(1), "{page}");
}

#[test]
fn every_line_of_a_trace_can_be_counted_and_layers_have_their_names() {
    let page = shown(&samples::all());
    assert!(page.ends_with("# EOF\n"));
    assert!(
        page.contains(&format!("layer=\"{}\"", Layer::Other.name())),
        "{page}"
    );
    assert!(
        page.contains(concat!(
            "observer_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1\n"
        )),
        "{page}"
    );
}

#[test]
fn garbage_is_refused_and_the_page_not_made_for_it() {
    let status = |head: &[u8]| {
        let bytes = answer(head, || panic!("the page was made"));
        String::from_utf8(bytes).expect("text")[9..12].to_owned()
    };
    let too_long = vec![b'A'; MAX_HEAD];
    for (head, expected) in [
        (&b"\r\n\r\n"[..], "400"),
        (b"GET /metrics HTTP/1.1", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", "400"),
        (b"GET metrics HTTP/1.1\r\n\r\n", "400"),
        (b"get /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"GET /metrics\0 HTTP/1.1\r\n\r\n", "400"),
        (b"\xff\xfe /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"GET /metrics HTTP/1.1 x\r\n\r\n", "400"),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", "404"),
        (b"GET /metrics/../etc HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (&too_long, "431"),
    ] {
        assert_eq!(status(head), expected, "{}", head.escape_ascii());
    }
}

#[test]
fn nothing_of_a_request_is_in_the_answer() {
    let bytes = answer(
        b"GET /<script>evil</script> HTTP/1.1\r\nX: evil\r\n\r\n",
        String::new,
    );
    assert!(!String::from_utf8(bytes).expect("text").contains("evil"));
}

#[test]
fn a_head_without_carriage_returns_and_a_query_are_taken_and_head_has_no_body() {
    for request in [
        &b"GET /metrics HTTP/1.0\n\n"[..],
        b"GET /metrics?x=1 HTTP/1.1\r\nA: b\r\n\r\n",
    ] {
        let bytes = answer(request, || "page".into());
        assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n") && bytes.ends_with(b"\r\n\r\npage"));
    }
    let bytes = answer(b"HEAD /metrics HTTP/1.1\r\n\r\n", || "page".into());
    let text = String::from_utf8(bytes).expect("text");
    assert!(
        text.contains("\r\nContent-Length: 4\r\n") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
}

/// What `deploy` has for others' programs, and the words in it that begin like ours.
#[test]
fn the_dashboard_and_the_alert_rules_ask_for_what_there_is() {
    let dashboard = include_str!("../../../../deploy/grafana-dashboard.json");
    let alerts = include_str!("../../../../deploy/alerts.yaml");
    let (mut metrics, registry) = Metrics::new();
    for line in samples::all() {
        metrics.line(&line).expect("counts");
    }
    metrics.running(&Running::default());
    let page = page(&registry);
    let known: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| {
            let (name, kind) = line.split_once(' ')?;
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            Some(format!("{name}{suffix}"))
        })
        .collect();
    for (file, text) in [("dashboard", dashboard), ("alerts", alerts)] {
        let words: BTreeSet<&str> = text
            .split(|one: char| !one.is_ascii_alphanumeric() && one != '_')
            .filter(|word| word.starts_with("observer_"))
            .collect();
        assert!(words.len() > 3, "{file}: {words:?}");
        for word in words {
            assert!(
                known.contains(word),
                "{file} asks for {word}, there are {known:?}"
            );
        }
    }
    serde_json::from_str::<serde_json::Value>(dashboard).expect("JSON");
}

/// What they group by is a label that the documentation has, or Prometheus' own.
#[test]
fn the_dashboard_and_the_alert_rules_group_by_labels_that_there_are() {
    let documented = include_str!("../../../../docs/metrics.md");
    let texts = [
        include_str!("../../../../deploy/grafana-dashboard.json"),
        include_str!("../../../../deploy/alerts.yaml"),
    ];
    let mut groups = 0;
    for text in texts {
        for group in text.split(" by (").skip(1) {
            groups += 1;
            let group = group.split(')').next().unwrap_or_default();
            for label in group.split(", ").filter(|label| *label != "instance") {
                assert!(documented.contains(&format!("`{label}`")), "{label}");
            }
        }
    }
    assert!(groups > 5);
}
