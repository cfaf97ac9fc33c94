//! What the screen says of a packet that was not dropped: the packet, its connection, its way.

use super::block::render;
use super::clock::time_of_day;
use super::layout::{Row, Tone};
use super::record::{Line, PathLine};
use super::terminal::Look;
use super::{way, words};

pub(super) fn pass(line: &Line, pass: &PathLine, look: Look) -> String {
    let mut rows = vec![Row {
        time: time_of_day(line.time),
        tone: Tone::Good,
        ..Row::new("PASS", words::packet(&pass.packet, pass.names.as_deref()))
    }];
    let flow = words::flow(
        pass.flow.as_ref(),
        &pass.packet,
        pass.names.as_deref(),
        pass.matched,
    );
    rows.extend(flow.map(|flow| Row::new("flow", flow)));
    rows.extend(way::of_pass(&pass.path, look));
    render(&rows, look)
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::{NOON, drop_line, pass_line, policy_drop};
    use super::super::record::{Event, Time};
    use super::super::{Report as _, Text};
    use super::*;

    fn told(lines: &[Line], look: Look) -> String {
        let mut page = Vec::new();
        let mut text = Text::new(&mut page, look);
        for line in lines {
            text.line(line).expect("writes");
        }
        text.finish().expect("writes");
        drop(text);
        String::from_utf8(page).expect("UTF-8")
    }

    /// The sample, so much later and changed.
    fn passing(millis: u64, change: impl FnOnce(&mut PathLine)) -> Line {
        let mut line = pass_line();
        line.time = Time(NOON.0 + millis * 1_000_000);
        if let Event::Path(pass) = &mut line.event {
            change(pass);
        }
        line
    }

    #[test]
    fn the_first_packet_of_a_flow_is_told_and_repeats_are_counted() {
        let lines: Vec<Line> = (0..4).map(|number| passing(number * 1000, |_| {})).collect();
        let text = told(&lines, Look::plain(120));
        assert_eq!(text.matches("PASS tcp").count(), 1, "{text}");
        assert!(
            text.contains("×2   in 1.0 s since") && text.contains("→ 10.108.94.160:80  passed\n"),
            "{text}"
        );
        assert!(text.contains("×4   in 3.0 s since"), "{text}");
    }

    #[test]
    fn answers_and_drops_of_the_flow_are_told_as_well() {
        let answer = passing(1, |pass| {
            std::mem::swap(&mut pass.packet.src, &mut pass.packet.dst);
            std::mem::swap(&mut pass.packet.sport, &mut pass.packet.dport);
        });
        let lines = [passing(0, |_| {}), answer, drop_line(policy_drop())];
        let text = told(&lines, Look::plain(120));
        assert_eq!(
            (text.matches("PASS tcp").count(), text.matches("DROP tcp").count()),
            (2, 1),
            "{text}"
        );
        assert!(!text.contains(" since ") && !text.contains(" within "), "{text}");
    }

    #[test]
    fn a_terminal_sees_the_count_of_the_newest_packet_rewritten_in_place() {
        let look = Look {
            is_terminal: true,
            ..Look::plain(80)
        };
        let lines: Vec<Line> = (0..3).map(|number| passing(number * 100, |_| {})).collect();
        let text = told(&lines, look);
        assert_eq!(text.matches("\u{1b}[1A\r\u{1b}[2K").count(), 1, "{text:?}");
    }

    #[test]
    fn a_flood_of_passes_is_summed_up_and_hides_no_drop() {
        let flood = |number: u16| {
            passing(0, |pass| {
                pass.flow = None;
                pass.packet.sport = Some(number);
            })
        };
        let mut lines = vec![drop_line(policy_drop())];
        lines.extend((0..5000).map(flood));
        lines.push(drop_line(policy_drop()));
        let text = told(&lines, Look::plain(80));
        assert_eq!(text.matches("PASS tcp").count(), 10);
        assert!(text.contains("+4990 more flows passed\n"), "{text}");
        assert_eq!(text.matches("DROP tcp").count(), 1, "the second is a repeat");
        assert!(text.contains("×2   within 1 ms at "), "{text}");
    }
}
