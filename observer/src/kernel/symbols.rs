//! Names of kernel functions, from `/proc/kallsyms`.

use std::fs;
use std::io;

/// The text symbols of the kernel and its modules, sorted by address.
#[derive(Default)]
pub struct Symbols {
    /// Address, and where the name begins in `names`.
    entries: Vec<(u64, u32)>,
    /// Names, one after the other.
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
    /// Reads the symbols.
    ///
    /// # Errors
    /// The file cannot be read. It can be read without privilege but shows no addresses then: see [`Self::is_empty`].
    pub fn load() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/kallsyms")?))
    }

    /// Whether no address is known: hidden by `kernel.kptr_restrict`, or there are no symbols.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Symbols out of the text of the file.
    pub fn parse(text: &str) -> Self {
        let mut found: Vec<(u64, &str)> = text.lines().filter_map(text_symbol).collect();
        found.sort_by_key(|(address, _)| *address);
        found.dedup_by_key(|(address, _)| *address);
        let mut symbols = Self::default();
        for (address, name) in found {
            let Ok(at) = u32::try_from(symbols.names.len()) else {
                break;
            };
            symbols.entries.push((address, at));
            symbols.names.push_str(name);
        }
        for name in VARIABLES {
            symbols.data.extend(
                text.lines()
                    .find_map(|line| variable(line, name))
                    .map(|address| (name, address)),
            );
        }
        symbols.names.shrink_to_fit();
        symbols.entries.shrink_to_fit();
        symbols
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
        let index = (0..self.entries.len()).find(|index| plain(self.name(*index)) == name)?;
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
        let start = self.entries[index].1 as usize;
        let end = self
            .entries
            .get(index + 1)
            .map_or(self.names.len(), |(_, at)| *at as usize);
        &self.names[start..end]
    }
}

/// Address and name of a line such as `ffffffff81f282d0 T nf_hook_slow`, if it is a function's. The padding before
/// a function (`__pfx_`) is none.
fn text_symbol(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16)
        .ok()
        .filter(|address| *address != 0)?;
    let kind = words.next()?;
    let name = words.next()?;
    (matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with("__pfx_")).then_some((address, name))
}

fn variable(line: &str, name: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16)
        .ok()
        .filter(|address| *address != 0)?;
    (words.nth(1) == Some(name)).then_some(address)
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
    fn hidden_addresses_are_no_symbols() {
        assert!(Symbols::parse("0000000000000000 T nf_hook_slow\n").is_empty());
        assert!(Symbols::parse("garbage\n\n").is_empty());
    }
}
