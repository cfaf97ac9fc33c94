//! The page that a run writes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Chart;

/// The page as it grows.
pub(super) struct Page {
    text: String,
    plots: Vec<(String, String)>,
}

impl Page {
    pub(super) fn new() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        let text = format!(
            "# How it grows\n\n\
             `cargo xtask bench scaling` writes this page and its plots; it needs root and some minutes. What single things cost, and how they \
             are measured, is in [performance.md](performance.md); `cargo xtask bench drops`, `size`, `rewrite` and `paths` measure that. \
             `cargo xtask bench instructions` counts the instructions of pieces of the work in user space, which are the same on every machine: \
             those recorded are in [tests/instructions.txt](../tests/instructions.txt), and CI fails when one is off by more than 5 %.\n\n\
             This run: Linux {}, {processors} processors, a load of {load} when it began.\n",
            kernel.trim()
        );
        Self {
            text,
            plots: Vec::new(),
        }
    }

    pub(super) fn section(&mut self, title: &str, about: &str, columns: &[&str]) {
        let line = vec!["---"; columns.len()].join(" | ");
        let head = columns.join(" | ");
        _ = write!(self.text, "\n## {title}\n{about}\n\n| {head} |\n| {line} |\n");
    }

    /// Adds a row, and shows it at once.
    pub(super) fn row(&mut self, fields: &[String]) {
        let line = format!("| {} |", fields.join(" | "));
        println!("{line}");
        self.text.push_str(&line);
        self.text.push('\n');
    }

    pub(super) fn plot(&mut self, name: &str, chart: &Chart) {
        _ = write!(self.text, "\n![{}](plots/{name}.svg)\n", chart.title());
        self.plots.push((format!("{name}.svg"), chart.svg()));
    }

    pub(super) fn write(&self, docs: &Path) -> Result<()> {
        let plots = docs.join("plots");
        fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display()))?;
        for (name, svg) in &self.plots {
            let file = plots.join(name);
            fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let file = docs.join("benchmarks.md");
        fs::write(&file, &self.text).with_context(|| format!("cannot write {}", file.display()))
    }
}
