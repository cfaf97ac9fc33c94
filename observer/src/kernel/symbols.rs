//! Names of kernel functions, from `/proc/kallsyms`.

use std::fs::File;
use std::io::{self, Read};

/// So much of the file is read at once: it has some five million bytes, of which half are kept.
const CHUNK_BYTES: usize = 64 * 1024;
/// No line is longer; what would be is none.
const MOST_LINE_BYTES: usize = 4096;
/// Behind each name.
const END: u8 = b'\n';

/// The text symbols of the kernel and its modules, sorted by address.
#[derive(Default)]
pub struct Symbols {
    /// Address, and where the name begins in `names`.
    entries: Vec<(u64, u32)>,
    /// Names, as they came, each with [`END`] behind it.
    names: String,
    /// Addresses of the few variables that are of use.
    data: Vec<(&'static str, u64)>,
}

/// Variables to remember, where the kernel shows them (CONFIG_KALLSYMS_ALL).
const VARIABLES: [&str; 1] = ["nf_tables_net_id"];

/// A function: its name and how far into it an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name, without what the compiler put behind it (`.isra.0`).
    pub name: &'a str,
    /// Bytes from its start.
    pub offset: u64,
}

impl Symbols {
    /// Reads the symbols, a piece at a time.
    ///
    /// # Errors
    /// The file cannot be read. It can be read without privilege but shows no addresses then: see [`Self::is_empty`].
    pub fn load() -> io::Result<Self> {
        Self::read(File::open("/proc/kallsyms")?)
    }

    fn read(mut from: impl Read) -> io::Result<Self> {
        let mut symbols = Self::default();
        let mut bytes = vec![0; CHUNK_BYTES];
        let mut filled = 0;
        loop {
            let count = match from.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            filled += count;
            let whole = bytes[..filled].iter().rposition(|byte| *byte == END);
            let taken = whole.map_or(0, |at| at + 1);
            symbols.lines(&bytes[..taken]);
            bytes.copy_within(taken..filled, 0);
            filled -= taken;
            if filled > MOST_LINE_BYTES {
                filled = 0;
            }
        }
        symbols.lines(&bytes[..filled]);
        Ok(symbols.sorted())
    }

    /// Whether no address is known: hidden by `kernel.kptr_restrict`, or there are no symbols.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Symbols out of the text of the file.
    pub fn parse(text: &str) -> Self {
        let mut symbols = Self::default();
        symbols.lines(text.as_bytes());
        symbols.sorted()
    }

    /// Takes what is of use of whole lines.
    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == END) {
            let Some((address, kind, name)) = words(line) else {
                continue;
            };
            // The padding before a function (`__pfx_`) is none.
            let is_function = matches!(kind, b't' | b'T' | b'w' | b'W') && !name.starts_with(b"__pfx_");
            let variable = VARIABLES.into_iter().find(|known| known.as_bytes() == name);
            if !is_function && variable.is_none() {
                continue;
            }
            let Some((address, name)) = hexadecimal(address).zip(std::str::from_utf8(name).ok()) else {
                continue;
            };
            if let Some(variable) = variable.filter(|variable| self.data(variable).is_none()) {
                self.data.push((variable, address));
            }
            if let Some(at) = u32::try_from(self.names.len()).ok().filter(|_| is_function) {
                self.entries.push((address, at));
                self.names.push_str(name);
                self.names.push(char::from(END));
            }
        }
    }

    /// Of several at one address the first is kept.
    fn sorted(mut self) -> Self {
        self.entries.sort_by_key(|(address, _)| *address);
        self.entries.dedup_by_key(|(address, _)| *address);
        self.entries.shrink_to_fit();
        self.names.shrink_to_fit();
        self
    }

    /// The function that an address lies in.
    pub fn of(&self, address: u64) -> Option<Symbol<'_>> {
        let index = self
            .entries
            .partition_point(|(start, _)| *start <= address)
            .checked_sub(1)?;
        let start = self.entries[index].0;
        Some(Symbol {
            name: plain(self.name(index)),
            offset: address - start,
        })
    }

    /// Start and end of a function, by its exact name or with a compiler's suffix.
    pub fn range(&self, name: &str) -> Option<[u64; 2]> {
        let is_it = |at: u32| {
            let rest = self.names.as_bytes().get(at as usize..)?;
            let next = rest.strip_prefix(name.as_bytes())?.first()?;
            matches!(*next, END | b'.').then_some(())
        };
        let mut entries = self.entries.iter();
        let index = entries.position(|(_, at)| is_it(*at).is_some())?;
        let end = self.entries.get(index + 1).map_or(u64::MAX, |(next, _)| *next);
        Some([self.entries[index].0, end])
    }

    /// Address of a variable.
    pub fn data(&self, name: &str) -> Option<u64> {
        self.data
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, address)| *address)
    }

    fn name(&self, index: usize) -> &str {
        let name = self.names.get(self.entries[index].1 as usize..).unwrap_or("");
        name.split_once(char::from(END)).map_or(name, |(name, _)| name)
    }
}

/// Address, kind and name of a line such as `ffffffff81f282d0 T nf_hook_slow`.
fn words(line: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
    let [kind] = *kind else { return None };
    Some((address, kind, name))
}

/// An address; zero is one that is hidden.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.len() > 16 {
        return None;
    }
    let number = digits.iter().try_fold(0, |number: u64, digit| {
        Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?))
    });
    number.filter(|number| *number != 0)
}

/// Without `.isra.0`, `.constprop.0`, `.part.0`, `.cold`: the function as the source names it.
fn plain(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff81000000 T _text
ffffffff81f282c0 T __pfx_nf_hook_slow
ffffffff81f283f0 T nf_hook_slow_list
ffffffff81f282d0 T nf_hook_slow
ffffffff81f28400 d some_data
ffffffffc0a7b0f0 t nft_do_chain.isra.0\t[nf_tables]
ffffffffc0a7c000 t nft_after\t[nf_tables]
";

    #[test]
    fn an_address_is_named_by_the_function_it_lies_in() {
        let symbols = Symbols::parse(TEXT);
        assert_eq!(
            symbols.of(0xffff_ffff_81f2_82d0 + 0x40),
            Some(Symbol {
                name: "nf_hook_slow",
                offset: 0x40
            })
        );
        assert_eq!(
            symbols.of(0xffff_ffff_c0a7_b0f1),
            Some(Symbol {
                name: "nft_do_chain",
                offset: 1
            })
        );
        assert_eq!(symbols.of(0x1000), None);
    }

    #[test]
    fn a_function_ends_where_the_next_begins() {
        let symbols = Symbols::parse(TEXT);
        assert_eq!(
            symbols.range("nf_hook_slow"),
            Some([0xffff_ffff_81f2_82d0, 0xffff_ffff_81f2_83f0])
        );
        assert_eq!(
            symbols.range("nft_do_chain"),
            Some([0xffff_ffff_c0a7_b0f0, 0xffff_ffff_c0a7_c000])
        );
        assert_eq!(symbols.range("nf_hook"), None);
    }

    #[test]
    fn of_several_functions_with_one_name_the_first_in_memory_is_found() {
        let text = "3000 t twice\n1000 t twice.cold\n2000 t twice_more\n1000 t other_name\n";
        let symbols = Symbols::parse(text);
        assert_eq!(symbols.range("twice"), Some([0x1000, 0x2000]));
        assert_eq!(
            symbols.range("other_name"),
            None,
            "the first at an address is kept"
        );
    }

    #[test]
    fn variables_are_found_wherever_they_lie() {
        for kind in ["b", "D"] {
            let symbols = Symbols::parse(&format!("9000 {kind} nf_tables_net_id\t[nf_tables]\n"));
            assert_eq!(symbols.data("nf_tables_net_id"), Some(0x9000));
            assert!(symbols.is_empty(), "a variable is no function");
        }
    }

    /// Gives so many bytes at once.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(to.len());
            let (now, later) = self.0.split_at(count);
            to[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn lines_that_come_in_pieces_are_put_together() {
        let whole = Symbols::parse(TEXT);
        for piece in 1..TEXT.len() {
            // Without the end of the last line, as well.
            let read = Symbols::read(Pieces(TEXT.trim_end().as_bytes(), piece)).expect("is read");
            assert_eq!(
                (&read.entries, &read.names),
                (&whole.entries, &whole.names),
                "{piece}"
            );
        }
    }

    #[test]
    fn a_line_without_an_end_is_left_out_and_takes_no_memory() {
        let mut text = vec![b'a'; 1 << 20];
        text.extend(b"\nffffffff81f282d0 T nf_hook_slow\n");
        let symbols = Symbols::read(Pieces(&text, 1000)).expect("is read");
        assert_eq!(symbols.entries.len(), 1);
        assert!(symbols.range("nf_hook_slow").is_some());
    }

    #[test]
    fn hidden_addresses_are_no_symbols() {
        assert!(Symbols::parse("0000000000000000 T nf_hook_slow\n").is_empty());
        assert!(Symbols::parse("garbage\n\n").is_empty());
    }
}
