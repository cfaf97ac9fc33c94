//! Which CPUs there are, from `/sys/devices/system/cpu`.

use std::fs;

/// Numbers of the CPUs that run; at least CPU 0.
pub fn online_cpus() -> Vec<u32> {
    let list = listed("online");
    if list.is_empty() { vec![0] } else { list }
}

/// How many CPUs the kernel has made room for: its `nr_cpu_ids`. With one, x_tables keeps its counters in the rules.
pub fn possible_cpus() -> u32 {
    listed("possible").last().map_or(1, |last| last + 1)
}

fn listed(which: &str) -> Vec<u32> {
    fs::read_to_string(format!("/sys/devices/system/cpu/{which}"))
        .map(|text| parse(&text))
        .unwrap_or_default()
}

/// `0-3,8` to its numbers. What is no number is passed over.
fn parse(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last.min(first.saturating_add(1 << 16)));
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_are_read() {
        assert_eq!(parse("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(parse("0\n"), [0]);
        assert_eq!(parse(""), Vec::<u32>::new());
        assert_eq!(parse("x-3,5"), [5]);
    }
}
