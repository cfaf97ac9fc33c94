//! What nft says in its text but not in its JSON.

/// What `nft list ruleset` prints, without what nft 1.0.6 leaves out of its JSON: comments and flags of tables, comments of
/// chains, `auto-merge`, devices of base chains, milliseconds. Only `typeof` is not made the same.
pub fn as_json_tells(text: &str) -> String {
    let mut known = String::new();
    let mut in_chain = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let at = line.trim_start_matches('\t');
        let depth = line.len() - at.len();
        in_chain = match depth {
            1 => at.starts_with("chain "),
            _ => in_chain,
        };
        let of_table = depth == 1 && (at.starts_with("comment ") || at.starts_with("flags "));
        let of_chain = depth == 2 && in_chain && at.starts_with("comment ");
        if of_table && lines.peek().is_some_and(|next| next.is_empty()) {
            lines.next();
        }
        if of_table || of_chain || at == "auto-merge" {
            continue;
        }
        known.push_str(&without_device(&without_milliseconds(line)));
        known.push('\n');
    }
    known
}

/// `type filter hook ingress device "eth0" priority filter;`
fn without_device(line: &str) -> String {
    let is_base = line.starts_with("\t\ttype ") && line.contains(" hook ");
    let device = line.find(" device").filter(|_| is_base);
    match (device, line.find(" priority ")) {
        (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to..]),
        _ => line.to_owned(),
    }
}

/// `expires 59m59s148ms`
fn without_milliseconds(line: &str) -> String {
    let mut words = Vec::new();
    let mut after = "";
    for word in line.split(' ') {
        let is_time = after == "expires";
        after = word;
        let (time, comma) = match word.strip_suffix(',') {
            Some(time) => (time, ","),
            None => (word, ""),
        };
        match time.strip_suffix("ms").filter(|_| is_time) {
            Some(time) => {
                let seconds = time.trim_end_matches(|c: char| c.is_ascii_digit());
                words.push(format!("{seconds}{comma}"));
            }
            None => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}
