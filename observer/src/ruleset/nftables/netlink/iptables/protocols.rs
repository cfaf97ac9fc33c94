//! Names of protocols as the tools print them: this machine's own, from /etc/protocols.

use std::fs::File;
use std::io::Read as _;

const FILE: &str = "/etc/protocols";
/// More than any such file has.
const MOST_BYTES: u64 = 1 << 20;
/// What iptables calls them where the machine has no name.
const KNOWN: [(u8, &str); 9] = [
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (132, "sctp"),
    (135, "ipv6-mh"),
    (136, "udplite"),
];

/// The names, by their numbers.
pub(super) struct Protocols(Vec<Option<Box<str>>>);

impl Protocols {
    /// This machine's.
    pub(super) fn of_machine() -> Self {
        let mut text = String::new();
        // Without the file there are the names that iptables knows.
        let read = File::open(FILE).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
        if let Err(error) = read {
            log::debug!("{FILE}: {error}");
        }
        Self::read(&text)
    }

    /// Of a number that comes twice the first name counts.
    pub(super) fn read(text: &str) -> Self {
        let mut names: Vec<Option<Box<str>>> = vec![None; 256];
        let known = KNOWN.into_iter().map(|(number, name)| (name, number));
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            Some((words.next()?, words.next()?.parse::<u8>().ok()?))
        });
        for (name, number) in lines.chain(known) {
            names[usize::from(number)].get_or_insert_with(|| name.into());
        }
        Self(names)
    }

    /// A name, or the number.
    pub(super) fn name(&self, number: u8) -> String {
        match self.0.get(usize::from(number)).and_then(Option::as_deref) {
            Some(name) => name.to_owned(),
            None => number.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_names_come_before_those_that_iptables_knows() {
        let of = Protocols::read("# x\nip\t0\tIP\nipv6-icmp 58 IPv6-ICMP # x\nmine 58\nbad x\n\nfar 300\n");
        assert_eq!(of.name(58), "ipv6-icmp");
        assert_eq!((of.name(6), of.name(253)), ("tcp".to_owned(), "253".to_owned()));
        assert_eq!(Protocols::read("").name(58), "icmpv6");
    }
}
