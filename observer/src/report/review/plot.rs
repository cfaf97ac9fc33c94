//! Plots as inline SVG.

use std::fmt::Write as _;

use super::html::safe;

/// A bar and what it stands for.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) packets: u64,
}

/// The width of every plot, in its own units.
const WIDTH: u64 = 900;
/// The height of upright bars.
const HEIGHT: u64 = 160;
/// The height of a lying bar with its name above it.
const ROW: u64 = 34;
/// So much of a name stands at a bar; all of it is in the table, and in the bar's title.
const NAME_CHARS: usize = 110;

/// Upright bars side by side, for times.
pub(super) fn columns(items: &[Item]) -> String {
    let most = most(items);
    let step = WIDTH / (items.len().max(1) as u64);
    let mut svg = begin("Packets over time", HEIGHT + 20);
    for (number, item) in (0..).zip(items) {
        let height = scaled(item.packets, most, HEIGHT);
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\"><title>{}: {}</title></rect>",
            number * step,
            HEIGHT - height,
            step.saturating_sub(1).max(1),
            safe(&item.name),
            item.packets
        );
    }
    for (item, x, anchor) in [(items.first(), 0, "start"), (items.last(), WIDTH, "end")] {
        if let Some(item) = item {
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT + 15,
                safe(&item.name)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Lying bars one below the other, for names.
pub(super) fn bars(items: &[Item]) -> String {
    let most = most(items);
    let mut svg = begin("Packets by name", ROW * items.len() as u64);
    for (number, item) in (0..).zip(items) {
        let name: String = item.name.chars().take(NAME_CHARS).collect();
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"{}\">{} {}</text>\n<rect x=\"0\" y=\"{}\" width=\"{}\" height=\"12\"><title>{}: {}</title></rect>",
            number * ROW + 12,
            item.packets,
            safe(&name),
            number * ROW + 16,
            scaled(item.packets, most, WIDTH),
            safe(&item.name),
            item.packets
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn begin(title: &str, height: u64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n")
}

fn most(items: &[Item]) -> u64 {
    items.iter().map(|item| item.packets).max().unwrap_or(0).max(1)
}

/// What is not nothing is seen.
fn scaled(packets: u64, most: u64, length: u64) -> u64 {
    let scaled = u128::from(packets) * u128::from(length) / u128::from(most);
    (scaled as u64).max(u64::from(packets > 0))
}
