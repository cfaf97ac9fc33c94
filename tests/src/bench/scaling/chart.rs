//! A plot of lines, both axes by powers of ten, as SVG text.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Beside the plot, for the numbers.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 30.0;
/// What tells lines apart, also without colour.
const STYLES: [(&str, &str); 3] = [("#1f5fa8", "none"), ("#b3471b", "6 3"), ("#2d7d46", "2 3")];

/// Lines by name.
pub(super) struct Chart {
    title: String,
    lines: Vec<(String, Vec<[f64; 2]>)>,
}

impl Chart {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            lines: Vec::new(),
        }
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Adds a point to a line. There is no place for what is not above zero.
    pub(super) fn point(&mut self, line: &str, x: f64, y: f64) {
        let point = [x, y];
        if !point.iter().all(|value| value.is_finite() && *value > 0.0) {
            return;
        }
        match self.lines.iter_mut().find(|(name, _)| name == line) {
            Some((_, points)) => points.push(point),
            None => self.lines.push((line.to_owned(), vec![point])),
        }
    }

    pub(super) fn svg(&self) -> String {
        let [x, y] = [0, 1].map(|axis| self.decades(axis));
        let at = |[px, py]: [f64; 2]| {
            let right = LEFT + share(px, x) * (WIDTH - LEFT - RIGHT);
            let down = HEIGHT - BOTTOM - share(py, y) * (HEIGHT - TOP - BOTTOM);
            (right, down)
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\">{title}</text>\n",
            title = escaped(&self.title)
        );
        for power in x.0..=x.1 {
            let (right, _) = at([10_f64.powi(power), 10_f64.powi(y.0)]);
            _ = writeln!(
                svg,
                "<path d=\"M{right:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/><text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                decade(power)
            );
        }
        for power in y.0..=y.1 {
            let (_, down) = at([10_f64.powi(x.0), 10_f64.powi(power)]);
            _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {down:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                down + 4.0,
                decade(power)
            );
        }
        for ((name, points), (index, (color, dashes))) in self.lines.iter().zip((0..).zip(STYLES)) {
            let points: Vec<(f64, f64)> = points.iter().map(|point| at(*point)).collect();
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
                path.join(" ")
            );
            for (x, y) in points {
                _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>"
                );
            }
            _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"34\" fill=\"{color}\">{}</text>",
                LEFT + f64::from(index) * 150.0,
                escaped(name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The powers of ten that hold all values of an axis.
    fn decades(&self, axis: usize) -> (i32, i32) {
        let points = self.lines.iter().flat_map(|(_, points)| points);
        let logs: Vec<f64> = points.map(|point| point[axis].log10()).collect();
        let least = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !least.is_finite() {
            return (0, 1);
        }
        let first = least.floor() as i32;
        (first, (most.ceil() as i32).max(first + 1))
    }
}

/// How far along the axis a value lies, 0 to 1.
fn share(value: f64, (first, last): (i32, i32)) -> f64 {
    (value.log10() - f64::from(first)) / f64::from(last - first)
}

fn decade(power: i32) -> String {
    if power < 0 {
        format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power))
    } else {
        super::number(10_u64.pow(power.unsigned_abs()))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_between_their_powers_of_ten() {
        let mut chart = Chart::new("a < b");
        chart.point("one", 10.0, 1.0);
        chart.point("one", 1_000.0, 100.0);
        chart.point("none", 10.0, 0.0);
        let svg = chart.svg();
        // From the lower left corner to the upper right one.
        assert!(svg.contains("points=\"60.0,270.0 620.0,40.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("none</text>"));
        assert!(svg.contains(">1,000</text>"));
    }

    #[test]
    fn a_plot_without_points_is_a_plot() {
        assert!(Chart::new("nothing").svg().ends_with("</svg>\n"));
    }

    #[test]
    fn small_powers_are_decimals() {
        assert_eq!([-2, 0, 3].map(decade), ["0.01", "1", "1,000"]);
    }
}
