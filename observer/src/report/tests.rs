use std::cell::RefCell;
use std::rc::Rc;

use super::record::samples::{self, NOON, drop_line, hook_drop, policy_drop, route_drop, rule_drop};
use super::record::{Confidence, Event, Line};
use super::*;

/// A `Write` whose content the test can still see.
#[derive(Clone, Default)]
struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("UTF-8")
    }
}

fn told(lines: &[Line], look: Look) -> String {
    let page = Page::default();
    let mut text = Text::new(page.clone(), look);
    for line in lines {
        text.line(line).expect("writes");
    }
    text.finish().expect("writes");
    page.text()
}

/// Without the time of day, which depends on the time zone.
fn without_time(text: &str) -> String {
    let cut = |line: &str| line.chars().skip(13).collect::<String>() + "\n";
    text.lines().map(cut).collect()
}

fn later(drop: record::DropLine, millis: u64) -> Line {
    Line {
        time: Time(NOON.0 + millis * 1_000_000),
        ..drop_line(drop)
    }
}

#[test]
fn a_policy_drop_reads_well_at_eighty_columns() {
    let text = told(&[drop_line(policy_drop())], Look::plain(80));
    let expected = "\
DROP tcp 10.224.0.0:41234 → 10.224.2.16:80 SYN 60 bytes
at   FORWARD in node02, flannel.1 → cni0
by   default policy DROP of filter FORWARD (iptables-legacy)  exact
flow NEW, service nginx-test/nginx-service, 10.0.0.10:41234 →
     10.108.94.160:80 before dnat+snat
near 2 ACCEPT rules missed only by their address: 10.244.0.0/16
     rule 11: -A FORWARD -d 10.244.0.0/16 -j ACCEPT
fix  let Docker's own chain pass it
     iptables -I DOCKER-USER -i flannel.1 -o cni0 -j ACCEPT
";
    assert_eq!(without_time(&text), expected);
}

#[test]
fn names_stand_behind_their_addresses_and_rows_wrap_as_ever() {
    let text = told(&[drop_line(samples::named_drop())], Look::plain(80));
    let expected = "\
DROP tcp 10.224.0.0:41234 (node master?) → 10.224.2.16:80
     (nginx-test/nginx-0) SYN 60 bytes
at   FORWARD in node02, flannel.1 → cni0
by   default policy DROP of filter FORWARD (iptables-legacy)  exact
flow NEW, service nginx-test/nginx-service, 10.0.0.10:41234
     (default/client) → 10.108.94.160:80 before dnat+snat
near";
    let text = without_time(&text);
    assert!(text.starts_with(expected), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 - 13), "{text}");
}

#[test]
fn a_service_and_a_namespace_are_named_where_the_rules_do_not() {
    let mut drop = samples::named_drop();
    drop.flow.as_mut().expect("a flow").service = None;
    drop.netns.as_mut().expect("a namespace").name = None;
    let text = told(&[drop_line(drop)], Look::plain(200));
    assert!(text.contains("NEW, service nginx-test/nginx-service, "), "{text}");
    assert!(
        text.contains("netns 4026532281 (nginx-test/nginx-0) on node02"),
        "{text}"
    );
}

#[test]
fn a_name_in_a_trace_that_an_enemy_wrote_steers_nothing() {
    let mut drop = samples::named_drop();
    let names = drop.names.as_mut().expect("names");
    for named in [
        &mut names.src,
        &mut names.dst,
        &mut names.original_src,
        &mut names.netns,
    ] {
        named.as_mut().expect("named").pod = Some("a/\u{1b}[2J\u{202e}\nDROP".into());
    }
    drop.netns.as_mut().expect("a namespace").name = None;
    let text = told(&[drop_line(drop)], Look::plain(80));
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    assert!(!text.contains("\nDROP"), "{text}");
}

#[test]
fn an_owner_is_told_after_who_and_a_long_command_can_be_pasted() {
    let hint = |kind, text: &str, command: Option<&str>| record::Hint {
        kind,
        text: text.into(),
        rule: None,
        command: command.map(str::to_owned),
        owner: None,
    };
    let mut drop = policy_drop();
    drop.flow = None;
    drop.hints = vec![
        hint(record::HintKind::Owner, "Docker sets this policy.", None),
        hint(
            record::HintKind::Fix,
            "accept it",
            Some("ip netns exec node02 iptables-legacy -I DOCKER-USER -i flannel.1 -o cni0 -j ACCEPT"),
        ),
    ];
    let expected = "\
who  Docker sets this policy.
fix  accept it
     ip netns exec node02 iptables-legacy -I DOCKER-USER -i \\
     flannel.1 -o cni0 -j ACCEPT
";
    let text = without_time(&told(&[drop_line(drop)], Look::plain(80)));
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_wide_screen_takes_what_and_where_on_one_line() {
    let text = told(&[drop_line(rule_drop())], Look::plain(200));
    let expected = "\
DROP tcp 10.224.0.0:41234 → 10.224.2.16:80 SYN 60 bytes   FORWARD in node02, flannel.1 → cni0   \
rule 1 of filter KUBE-FORWARD (iptables-legacy)  exact
path FORWARD → KUBE-FORWARD
rule -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
flow NEW, service nginx-test/nginx-service, 10.0.0.10:41234 → 10.108.94.160:80 before dnat+snat
";
    assert_eq!(without_time(&text), expected);
    let text = told(&[drop_line(rule_drop())], Look::plain(130));
    let expected = "\
DROP tcp 10.224.0.0:41234 → 10.224.2.16:80 SYN 60 bytes   FORWARD in node02, flannel.1 → cni0
by   rule 1 of filter KUBE-FORWARD (iptables-legacy)  exact
";
    assert!(without_time(&text).starts_with(expected), "{text}");
}

#[test]
fn a_rule_whose_text_is_not_known_says_so() {
    let told_by = |tool, chain: &str, rule| {
        let mut drop = rule_drop();
        drop.drop.tool = Some(tool);
        drop.drop.chain = Some(chain.into());
        drop.drop.rule = Some(rule);
        told(&[drop_line(drop)], Look::plain(80))
    };
    let told_of = |rule| told_by(record::Tool::IptablesLegacy, "FORWARD", rule);
    let rule = record::Rule {
        number: Some(1),
        target: Some("DROP".into()),
        comment: Some("no guests".into()),
        ..record::Rule::default()
    };
    let text = told_of(rule);
    assert!(
        text.contains("rule target DROP, comment \"no guests\" (its text is not known)\n"),
        "{text}"
    );
    assert!(told_of(record::Rule::default()).contains("rule (its text is not known)\n"));
    let text = told_by(record::Tool::Nft, "guard", record::Rule::default());
    assert!(
        text.contains("rule (for its text: nft -a list chain ip filter guard)\n"),
        "{text}"
    );
    let text = told_by(record::Tool::Nft, "$(reboot)", record::Rule::default());
    assert!(text.contains("rule (its text is not known)\n"), "{text}");
}

#[test]
fn repeats_of_one_moment_and_out_of_order_have_a_span_that_makes_sense() {
    let lines = |millis: [u64; 2]| millis.map(|millis| later(policy_drop(), millis)).to_vec();
    let text = told(&lines([0, 0]), Look::plain(200));
    assert!(text.contains("×2   within 1 ms at "), "{text}");
    let text = told(&lines([300, 0]), Look::plain(200));
    assert!(text.contains("×2   in 300 ms since "), "{text}");
}

#[test]
fn a_drop_outside_netfilter_says_why_in_plain_words() {
    let text = told(&[drop_line(route_drop())], Look::plain(80));
    let expected = "\
DROP icmpv6 fd00::1 → fd00:1::2 echo request 104 bytes mark 0x4000
at   netns 4026532300 on node02, in by eth0
by   routing: IP_INNOROUTES in ip6_pkt_drop  exact
why  There is no route to the destination; check: ip -6 route get
     fd00:1::2
";
    assert_eq!(without_time(&text), expected);
}

#[test]
fn a_hook_function_is_told_with_its_priority_and_what_it_means() {
    let text = told(&[drop_line(hook_drop())], Look::plain(80));
    let expected = "
by   hook function nf_nat_ipv4_out at POSTROUTING, no ruleset,
     priority 100  exact
why  No address was left to translate to.
";
    assert!(without_time(&text).contains(expected), "{text}");
}

#[test]
fn what_is_not_known_is_said_with_its_candidates() {
    let mut drop = policy_drop();
    drop.hints.clear();
    drop.flow = None;
    drop.drop.confidence = Confidence::Unknown;
    drop.drop.cause = None;
    drop.drop.policy = None;
    let candidate = |rule| record::Candidate {
        table: "filter".into(),
        chain: "FORWARD".into(),
        rule: Some(rule),
        text: Some("-j DROP".into()),
        ..record::Candidate::default()
    };
    drop.drop.candidates = (1..=7).map(candidate).collect();
    let text = told(&[drop_line(drop)], Look::plain(80));
    assert!(
        text.contains("netfilter at FORWARD, rule not known (iptables-legacy)\n                  unknown"),
        "{text}"
    );
    assert!(
        text.contains("may  rule 1 of filter FORWARD: -j DROP") && text.contains("and 2 more"),
        "{text}"
    );
}

#[test]
fn the_lines_about_the_run_read_well() {
    let lines = [
        samples::start_line(),
        samples::lost_line(),
        samples::flood_line(),
        samples::summary_line(),
    ];
    let expected = "     observer 0.1.0 on node02, kernel 6.12.0: watching dst
     10.224.0.0/16 proto tcp
     answers to expect: iptables-nft and legacy: exact; nft:
     inferred: by replay
note kernel locked down (integrity): no kprobes
LOST 12 drops were not seen since TIME (ring-buffer)
FOLD folded in the kernel since TIME: 70200 drops in 2
     flows, more than can be told one by one
     70123 of udp 10.224.0.0 → 10.224.2.16 in node02
     (NETFILTER_DROP)
SUM  5312 packets died in 1 min 1 s: 14 reported, 5286 filtered, 2
     folded in the kernel, 10 lost
     reported: 12 exact, 1 inferred, 1 unknown
     filtered: 3 of them are no loss (copies, duplicates, frames
     for others)
  12 policy DROP of filter FORWARD
";
    let text = without_time(&told(&lines, Look::plain(80)));
    let since = text.find("since ").expect("since") + 6;
    let text = text.replace(&text[since..since + 12], "TIME");
    assert_eq!(text, expected);
}

#[test]
fn no_width_breaks_the_page_and_no_text_steers_the_terminal() {
    let mut evil = policy_drop();
    evil.in_dev = Some("\u{1b}[31mx\u{202e}".into());
    evil.drop.chain = Some("a\nb\u{9b}2J".into());
    evil.hints[0].text = "\u{1b}]0;title\u{7}".into();
    for width in [40, 80, 120, 200] {
        let text = told(
            &[drop_line(evil.clone()), samples::start_line()],
            Look::plain(width),
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= width),
            "{width}\n{text}"
        );
        assert!(
            !text.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}']),
            "{text}"
        );
    }
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let lines = [drop_line(policy_drop()), samples::summary_line()];
    let color = Look {
        color: true,
        ..Look::plain(80)
    };
    let text = told(&lines, color);
    assert!(text.contains("\u{1b}["));
    let stripped = anstream::adapter::strip_str(&text).to_string();
    assert_eq!(stripped, told(&lines, Look::plain(80)));
}

#[test]
fn repeats_are_counted_not_repeated() {
    let mut lines: Vec<Line> = (0..8).map(|number| later(policy_drop(), number * 1000)).collect();
    lines.push(Line {
        time: Time(NOON.0 + 8_000_000_000),
        ..samples::summary_line()
    });
    let text = told(&lines, Look::plain(200));
    assert_eq!(text.matches("DROP tcp").count(), 1, "{text}");
    assert!(text.contains("×2   in 1.0 s since"), "{text}");
    assert!(text.contains("×4   in 3.0 s since"), "{text}");
    assert!(text.contains("×8   in 7.0 s since"), "{text}");
    assert_eq!(text.matches('×').count(), 3, "{text}");
}

#[test]
fn a_terminal_sees_the_count_of_the_newest_drop_rewritten_in_place() {
    let lines: Vec<Line> = (0..3).map(|number| later(policy_drop(), number * 100)).collect();
    let look = Look {
        is_terminal: true,
        ..Look::plain(80)
    };
    let text = told(&lines, look);
    assert_eq!(text.matches("\u{1b}[1A\r\u{1b}[2K").count(), 1, "{text:?}");
    assert!(
        text.contains("×2   in 100 ms") && text.contains("×3   in 200 ms"),
        "{text}"
    );
}

#[test]
fn a_flood_of_flows_is_summed_up_by_cause() {
    let flood = |number: u16| {
        let mut drop = policy_drop();
        drop.flow = None;
        drop.packet.sport = Some(number);
        later(drop, 0)
    };
    let text = told(&(0..5000).map(flood).collect::<Vec<_>>(), Look::plain(80));
    assert!(
        text.contains("+4950 more flows: policy DROP of filter FORWARD"),
        "{text}"
    );
    assert_eq!(text.matches("DROP tcp").count(), 50);
}

struct Failing(io::ErrorKind);

impl Report for Failing {
    fn line(&mut self, _line: &Line) -> io::Result<()> {
        Err(self.0.into())
    }

    fn tick(&mut self, _now: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_kept_for_the_end_and_the_screen_goes_on() {
    let page = Page::default();
    let mut outputs = Outputs::new(Json::new(page.clone()))
        .with_file(Path::new("t.json"), Failing(io::ErrorKind::StorageFull));
    for line in samples::all() {
        outputs.line(&line).expect("the screen goes on");
    }
    outputs.finish().expect("the screen goes on");
    assert_eq!(page.text().lines().count(), samples::all().len());
    let error = outputs.file_error().expect("is kept");
    assert!(
        error.starts_with("t.json: ") && error.contains("free some space"),
        "{error}"
    );
}

#[test]
fn a_broken_pipe_is_the_screens_own_error() {
    let mut outputs = Outputs::new(Failing(io::ErrorKind::BrokenPipe));
    let error = outputs.line(&samples::lost_line()).expect_err("is broken");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(outputs.file_error().is_none());
}

#[test]
fn every_event_of_the_samples_has_a_text() {
    for line in samples::all() {
        let is_start = matches!(line.event, Event::Start(_));
        let text = told(&[line], Look::plain(80));
        assert!(
            !text.is_empty() && (is_start || text.lines().next().expect("a line").len() > 20),
            "{text}"
        );
    }
}
