//! What conntrack has dropped, by `/proc/net/stat/nf_conntrack`: one line for each CPU, in hexadecimal, below the names of its
//! columns (`ct_cpu_seq_show`, net/netfilter/nf_conntrack_standalone.c).

/// The columns that count packets that died, and what that means.
pub(super) const DROPS: [(&str, &str); 2] = [
    (
        "drop",
        "conntrack could not make an entry for a packet: its table is full (`sysctl net.netfilter.nf_conntrack_count \
         net.netfilter.nf_conntrack_max`), or memory is short",
    ),
    (
        "insert_failed",
        "conntrack could not enter a new connection: one with the same addresses and ports, after translation, was there \
         already (two queries sent at once from one socket; a translation that has no free port left)",
    ),
];

/// The columns of [`DROPS`], in their order, added up over all CPUs; `None` if the file is not as expected.
pub(super) fn read(text: &str) -> Option<[u64; DROPS.len()]> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split_ascii_whitespace().collect();
    let columns: Vec<usize> = DROPS
        .iter()
        .map(|(wanted, _)| names.iter().position(|name| name == wanted))
        .collect::<Option<_>>()?;
    let mut sums = [0_u64; DROPS.len()];
    for line in lines {
        let values: Vec<&str> = line.split_ascii_whitespace().collect();
        for (sum, column) in sums.iter_mut().zip(&columns) {
            let value = u64::from_str_radix(values.get(*column)?, 16).ok()?;
            *sum = sum.saturating_add(value);
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_added_up() {
        // Linux 3.10 and 6.1 have different columns.
        let old = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop\n\
                   00000002  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003 0000000a 00000000\n\
                   00000002  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000001 00000000\n";
        assert_eq!(read(old), Some([11, 4]));
        let new = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n\
                   00000000  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 000000ff 00000000\n";
        assert_eq!(read(new), Some([255, 0]));
    }

    #[test]
    fn what_is_not_understood_says_nothing() {
        for text in [
            "",
            "entries found\n00 00\n",
            "drop insert_failed\n0\n",
            "drop insert_failed\nx y\n",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
