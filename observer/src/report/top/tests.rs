//! The page as it is drawn, on terminals of every size.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::report::record::samples;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn told(lines: impl IntoIterator<Item = Line>) -> Top {
    let mut top = Top::new(false);
    for line in lines {
        top.line(line, seconds(4));
    }
    top
}

fn drawn(top: &mut Top, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
    terminal.draw(|frame| top.draw(frame, seconds(4))).expect("draws");
    let buffer = terminal.backend().buffer();
    let row = |y| {
        let mut cells = (0..columns).map(|x| buffer[(x, y)].symbol());
        let mut text = String::new();
        while let Some(symbol) = cells.next() {
            text.push_str(symbol);
            // A wide character's second cell is no character.
            for _ in 1..fit::columns(symbol) {
                cells.next();
            }
        }
        text.trim_end().to_owned()
    };
    (0..rows).map(row).collect()
}

fn seed() -> Top {
    let mut lines = vec![samples::start_line()];
    lines.extend((0..9).map(|_| samples::drop_line(samples::policy_drop())));
    lines.push(samples::drop_line(samples::rule_drop()));
    told(lines)
}

#[test]
fn eighty_columns_have_head_rows_and_the_selected_row_in_full() {
    let page = drawn(&mut seed(), 80, 24);
    let expected = "\
observer top on node02, kernel 6.12.0: dst 10.224.0.0/16 proto tcp
10 drops, 2.5/s: 10 exact, 0 inferred, 0 unknown
0 folded in the kernel, 0 lost; since 14:03:07
[Causes 2]  Flows 2   by rate
   RATE/S    TOTAL SHARE SURE     CAUSE
>     2.2        9  90 % exact    policy DROP of filter FORWARD (iptables-legac…
      0.2        1  10 % exact    rule 1 of filter KUBE-FORWARD (iptables-legac…";
    let expected = expected.replace("14:03:07", &crate::report::clock::second_of_day(samples::NOON));
    assert_eq!(page[..7].join("\n"), expected);
    assert_eq!(
        page[21],
        "policy DROP of filter FORWARD (iptables-legacy) in node02"
    );
    assert!(page[23].starts_with("q quit  Enter details"), "{}", page[23]);
}

#[test]
fn flows_have_their_service_and_their_cause() {
    let mut top = seed();
    drawn(&mut top, 200, 60);
    top.key(Key::Tab);
    let page = drawn(&mut top, 200, 60).join("\n");
    for part in [
        " Causes 2  [Flows 2]",
        "tcp 10.224.0.0:41234 → 10.224.2.16:80, service nginx-test/nginx-service policy DROP of filter FORWARD (iptables-legacy)",
        "LAST     SURE     FLOW",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let narrow = drawn(&mut top, 40, 10).join("\n");
    assert!(
        narrow.contains("tcp 10.224.0.0:41234 …") || narrow.contains("tcp 10.224"),
        "{narrow}"
    );
}

#[test]
fn details_are_those_of_watch() {
    let mut top = seed();
    drawn(&mut top, 80, 24);
    top.key(Key::Enter);
    let page = drawn(&mut top, 80, 24).join("\n");
    for part in [
        "9 drops, 2.2/s: 9 exact",
        "DROP tcp 10.224.0.0:41234",
        "fix  let Docker's own chain",
        "Esc back",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn paused_it_stands_still_and_says_what_comes() {
    let mut top = seed();
    drawn(&mut top, 80, 24);
    top.key(Key::Char('p'));
    let before = drawn(&mut top, 80, 24);
    assert!(before[0].ends_with("PAUSED"), "{}", before[0]);
    for _ in 0..5 {
        top.line(samples::drop_line(samples::route_drop()), seconds(4));
    }
    let after = drawn(&mut top, 80, 24);
    assert_eq!(after[3..], before[3..]);
    assert!(
        after[1].starts_with("10 drops, 2.5/s (5 more since "),
        "{}",
        after[1]
    );
    top.key(Key::Char(' '));
    assert!(drawn(&mut top, 80, 24)[1].starts_with("15 drops"));
}

#[test]
fn no_size_of_the_terminal_is_too_small() {
    for (columns, rows) in (1..12).flat_map(|rows| [(1, rows), (2, rows), (9, rows), (40, rows)]) {
        let mut top = seed();
        for key in [
            Key::Redraw,
            Key::End,
            Key::Char('/'),
            Key::Enter,
            Key::Enter,
            Key::End,
            Key::Escape,
            Key::Char('?'),
        ] {
            drawn(&mut top, columns, rows);
            top.key(key);
        }
        drawn(&mut top, columns, rows);
    }
    assert_eq!(drawn(&mut seed(), 1, 1), ["…"]);
    let small = drawn(&mut seed(), 40, 10);
    assert_eq!(small.len(), 10);
    assert!(
        small
            .iter()
            .any(|row| row.starts_with(">     2.2        9 policy DROP")),
        "{small:?}"
    );
}

#[test]
fn whatever_names_are_nothing_steers_and_nothing_is_wider_than_the_screen() {
    let hostile = "\u{202e}\u{1b}]0;x\u{7}日本\u{200b}\u{9b}2J\n\u{301}\u{301}\u{5d0}";
    let mut drop = samples::rule_drop();
    drop.drop.chain = Some(hostile.repeat(9));
    drop.in_dev = Some(hostile.to_owned());
    if let Some(netns) = &mut drop.netns {
        netns.name = Some(hostile.to_owned());
    }
    if let Some(flow) = &mut drop.flow {
        flow.service = Some(hostile.to_owned());
    }
    let mut start = samples::start_line();
    start.node = hostile.to_owned();
    for (columns, rows) in [(80, 24), (40, 10), (7, 24), (200, 60)] {
        let mut top = told([start.clone(), samples::drop_line(drop.clone())]);
        top.say(hostile);
        for key in [
            Key::Redraw,
            Key::Tab,
            Key::Enter,
            Key::Escape,
            Key::Char('?'),
            Key::Escape,
            Key::Char('/'),
            Key::Char('\u{202e}'),
        ] {
            for row in drawn(&mut top, columns, rows) {
                assert_eq!(escape(&row), row, "nothing is left to escape");
                assert!(fit::columns(&row) <= usize::from(columns), "{row:?}");
            }
            top.key(key);
        }
    }
}

#[test]
fn it_is_stale_when_something_has_come_and_as_long_as_rates_fall() {
    let mut top = Top::new(false);
    assert!(top.is_stale(seconds(0)));
    drawn(&mut top, 80, 24);
    assert!(!top.is_stale(seconds(4)));
    top.line(samples::drop_line(samples::policy_drop()), seconds(5));
    assert!(top.is_stale(seconds(5)));
    drawn(&mut top, 80, 24);
    assert!(top.is_stale(seconds(9)) && !top.is_stale(seconds(20)));
}

#[test]
fn many_rows_scroll_with_the_selection() {
    let drops = (0..100_u16).map(|port| {
        let mut drop = samples::policy_drop();
        drop.packet.dport = Some(port + 1000);
        samples::drop_line(drop)
    });
    let mut top = told(drops);
    drawn(&mut top, 80, 24);
    for key in [Key::Tab, Key::Char('s'), Key::End] {
        top.key(key);
        drawn(&mut top, 80, 24);
    }
    let page = drawn(&mut top, 80, 24);
    assert!(
        page[20].starts_with('>') && page[20].contains(":1099"),
        "{page:?}"
    );
}
