//! What an ICMP message says, by type and code: the words that ping and the RFCs use.

use super::record::Proto;

/// Type, code where it makes a difference, words.
type Row = (u8, Option<u8>, &'static str);

/// RFC 792, RFC 1812.
const V4: &[Row] = &[
    (0, None, "echo reply"),
    (3, Some(0), "network unreachable"),
    (3, Some(1), "host unreachable"),
    (3, Some(2), "protocol unreachable"),
    (3, Some(3), "port unreachable"),
    (3, Some(4), "fragmentation needed"),
    (3, Some(9), "network prohibited"),
    (3, Some(10), "host prohibited"),
    (3, Some(13), "prohibited by a filter"),
    (5, None, "redirect"),
    (8, None, "echo request"),
    (11, Some(0), "TTL exceeded"),
    (11, Some(1), "reassembly took too long"),
];

/// RFC 4443, RFC 4861, RFC 2710, RFC 3810.
const V6: &[Row] = &[
    (1, Some(0), "no route"),
    (1, Some(1), "prohibited by a filter"),
    (1, Some(3), "address unreachable"),
    (1, Some(4), "port unreachable"),
    (2, None, "packet too big"),
    (3, Some(0), "hop limit exceeded"),
    (3, Some(1), "reassembly took too long"),
    (128, None, "echo request"),
    (129, None, "echo reply"),
    (130, None, "MLD query"),
    (131, None, "MLD report"),
    (132, None, "MLD done"),
    (133, None, "router solicitation"),
    (134, None, "router advertisement"),
    (135, None, "neighbour solicitation"),
    (136, None, "neighbour advertisement"),
    (137, None, "redirect"),
    (143, None, "MLD report"),
];

/// `echo request`; numbers where there is no word: `type 40 code 2`.
pub fn message(proto: Option<Proto>, kind: u8, code: Option<u8>) -> String {
    let table = if proto == Some(Proto::ICMPV6) { V6 } else { V4 };
    let fits = |row: &&Row| row.0 == kind && (row.1.is_none() || row.1 == code);
    let found = table.iter().find(fits);
    let mut words = found.map_or_else(|| format!("type {kind}"), |(_, _, words)| (*words).to_owned());
    // A code that the words do not tell already.
    let is_told = found.is_some_and(|row| row.1.is_some());
    if let Some(code) = code.filter(|code| *code != 0 && !is_told) {
        words.push_str(&format!(" code {code}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_messages_have_words_and_others_their_numbers() {
        let v4 = |kind, code| message(Some(Proto::ICMP), kind, code);
        assert_eq!(v4(8, Some(0)), "echo request");
        assert_eq!(v4(8, None), "echo request");
        assert_eq!(v4(3, Some(3)), "port unreachable");
        assert_eq!(v4(3, Some(6)), "type 3 code 6");
        assert_eq!(v4(5, Some(1)), "redirect code 1");
        assert_eq!(v4(13, Some(0)), "type 13");
        assert_eq!(
            message(Some(Proto::ICMPV6), 135, Some(0)),
            "neighbour solicitation"
        );
        assert_eq!(message(Some(Proto::ICMPV6), 8, Some(0)), "type 8");
    }
}
