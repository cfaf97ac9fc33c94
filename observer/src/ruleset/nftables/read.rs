//! Reads nf_tables' tables out of kernel memory, starting from the base chains that hooks call.
//!
//! `struct nft_chain` has two blobs of rules, one of which is in force (`net->nft.gencursor`); a rule there is a
//! header with its handle and length, then its expressions (include/net/netfilter/nf_tables.h, v6.1 … v6.18).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};

use super::TableExpressions;
use super::expr::Decoder;
use crate::kernel::{Reader, Symbols};
use crate::report::record::{Backend, TableFamily};
use crate::ruleset::hooks::{HookFunction, hook_of};
use crate::ruleset::layout::{NftLayout, XtLayout};
use crate::ruleset::{Base, Chain, Counter, Policy, Rule, Table};

/// A larger chain than any that works.
const MOST_BLOB_BYTES: u64 = 256 << 20;
/// `NFT_NAME_MAXLEN`
const NAME_BYTES: usize = 256;
/// `NFT_CHAIN_BASE`
const CHAIN_IS_BASE: u8 = 1;

/// The tables of one namespace.
#[derive(Default)]
pub struct Reading {
    /// The tables that a hook calls into, in whatever family.
    pub tables: Vec<Table>,
    /// Where the rules of each of them lie.
    pub expressions: Vec<TableExpressions>,
}

/// Reads every table that one of `functions` calls into.
pub fn read(
    memory: &impl Reader,
    symbols: &Symbols,
    nft: &NftLayout,
    xtables: Option<&XtLayout>,
    net: u64,
    functions: &[HookFunction],
) -> Reading {
    let cursor = u64::from(memory.u8(net.wrapping_add(nft.gencursor)).unwrap_or(0) & 1);
    let mut walk = Walk {
        memory,
        nft,
        cursor,
        decoder: Decoder::new(memory, symbols, nft, xtables),
    };
    // By address, so that a table is read once however many base chains it has.
    let mut tables = BTreeMap::new();
    for function in functions
        .iter()
        .filter(|function| is_nft_function(&function.name))
    {
        if let Some(table) = memory.u64(function.private.wrapping_add(nft.chain_table)) {
            tables.entry(table).or_insert_with(|| walk.table(table));
        }
    }
    let (tables, expressions) = tables.into_values().flatten().unzip();
    Reading { tables, expressions }
}

/// Functions whose private pointer is a base chain.
pub fn is_nft_function(name: &str) -> bool {
    name.starts_with("nft_do_chain") || name.starts_with("nf_route_table_hook") || name == "nft_nat_do_chain"
}

struct Walk<'a, R> {
    memory: &'a R,
    nft: &'a NftLayout,
    cursor: u64,
    decoder: Decoder<'a, R>,
}

impl<R: Reader> Walk<'_, R> {
    fn table(&mut self, at: u64) -> Option<(Table, TableExpressions)> {
        let name = self
            .memory
            .string(self.memory.u64(at.wrapping_add(self.nft.table_name))?, NAME_BYTES)?;
        let family = family(self.bits(at, self.nft.table_family_bit, 6)?)?;
        let addresses = self.chain_addresses(at.wrapping_add(self.nft.table_chains))?;
        let index: HashMap<u64, usize> = addresses.iter().copied().zip(0..).collect();
        let mut hasher = DefaultHasher::new();
        let mut blobs = Vec::new();
        let mut chains: Vec<Chain> = addresses
            .iter()
            .map(|chain| self.chain(*chain, family, &index, &mut hasher, &mut blobs))
            .collect::<Option<_>>()?;
        let mut jumps = vec![0; chains.len()];
        chains.iter().flat_map(Chain::next).for_each(|to| jumps[to] += 1);
        for chain in 0..chains.len() {
            chains[chain].mapped = self.is_mapped(&chains, &jumps, chain);
        }
        let table = Table {
            backend: Backend::Nft,
            family,
            name,
            chains,
            hash: hasher.finish(),
            address: at,
        };
        Some((table, TableExpressions::new(blobs, self.decoder.take_functions())))
    }

    /// Whether more refers to a chain than its own rules and the jumps to it: then elements of verdict maps do
    /// (`nft_data_hold`, net/netfilter/nf_tables_api.c, v6.1 … v6.18). A base chain is no map's.
    fn is_mapped(&self, chains: &[Chain], jumps: &[u64], index: usize) -> bool {
        let chain = &chains[index];
        let uses = self
            .nft
            .chain_use
            .and_then(|at| self.memory.u32(chain.address.wrapping_add(at)));
        let known = chain.rules.len() as u64 + jumps[index];
        chain.base.is_none() && uses.is_none_or(|uses| u64::from(uses) > known)
    }

    /// The chains that are active in this generation, in the order of the table's list.
    fn chain_addresses(&self, head: u64) -> Option<Vec<u64>> {
        let mut found = Vec::new();
        // The list can change under our eyes: it must end even if it has become a ring without its head.
        let mut seen = HashSet::from([head]);
        let mut at = self.memory.u64(head)?;
        while seen.insert(at) {
            let chain = at.wrapping_sub(self.nft.chain_list);
            if self.bits(chain, self.nft.chain_genmask_bit, 2)? & (1 << self.cursor) == 0 {
                found.push(chain);
            }
            at = self.memory.u64(at)?;
        }
        Some(found)
    }

    fn chain(
        &mut self,
        at: u64,
        family: TableFamily,
        index: &HashMap<u64, usize>,
        hasher: &mut DefaultHasher,
        blobs: &mut Vec<[u64; 2]>,
    ) -> Option<Chain> {
        let name = self
            .memory
            .string(self.memory.u64(at.wrapping_add(self.nft.chain_name))?, NAME_BYTES)?;
        let flags = self.bits(at, self.nft.chain_flags_bit, 5)?;
        let base = if flags & CHAIN_IS_BASE == 0 {
            None
        } else {
            Some(self.base(at.wrapping_sub(self.nft.base_chain), family)?)
        };
        let (rules, blob) = self.rules(at, index, hasher)?;
        blobs.push(blob);
        hasher.write(name.as_bytes());
        // Large matches, comments among them, lie behind pointers.
        rules
            .iter()
            .filter_map(|rule| rule.comment.as_deref())
            .for_each(|comment| hasher.write(comment.as_bytes()));
        hasher.write_u8(base.as_ref().map_or(2, |base| base.policy as u8));
        Some(Chain {
            name,
            base,
            rules,
            address: at,
            mapped: false,
        })
    }

    fn base(&self, at: u64, family: TableFamily) -> Option<Base> {
        let hook = self.memory.u32(at.wrapping_add(self.nft.base_hooknum))?;
        let stats = self.memory.u64(at.wrapping_add(self.nft.base_stats))?;
        let counter = (stats != 0).then_some(Counter {
            address: stats,
            plain: false,
            bytes_first: true,
        });
        Some(Base {
            hook: hook_of(family, hook)?,
            priority: self
                .memory
                .u32(at.wrapping_add(self.nft.base_priority))?
                .cast_signed(),
            policy: if self.memory.u8(at.wrapping_add(self.nft.base_policy))? == 0 {
                Policy::Drop
            } else {
                Policy::Accept
            },
            counter,
        })
    }

    /// The rules of a chain, and where they begin and end.
    fn rules(
        &mut self,
        chain: u64,
        index: &HashMap<u64, usize>,
        hasher: &mut DefaultHasher,
    ) -> Option<(Vec<Rule>, [u64; 2])> {
        let blob = self
            .memory
            .u64(chain.wrapping_add(self.nft.blobs + 8 * self.cursor))?;
        if blob == 0 {
            return Some((Vec::new(), [0; 2]));
        }
        let size = self.memory.u64(blob).filter(|size| *size <= MOST_BLOB_BYTES)?;
        let start = blob.wrapping_add(self.nft.blob_data);
        let bytes = self.memory.bytes(start, usize::try_from(size).ok()?)?;
        hasher.write(&bytes);
        let mut rules = Vec::new();
        let mut at = 0;
        while at + 8 <= bytes.len() {
            let header = u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
            // is_last: 1, dlen: 12, handle: 42
            if header & 1 != 0 {
                break;
            }
            let len = (header >> 1 & 0xfff) as usize;
            let handle = header >> 13 & ((1 << 42) - 1);
            let mut rule = self
                .decoder
                .rule(handle, bytes.get(at + 8..at + 8 + len)?, index)?;
            rule.offset = u32::try_from(at).ok()?;
            rules.push(rule);
            at += 8 + len;
        }
        Some((rules, [start, start.wrapping_add(size)]))
    }

    fn bits(&self, at: u64, bit: u64, len: u32) -> Option<u8> {
        let byte = self.memory.u8(at.wrapping_add(bit / 8))?;
        Some(byte >> (bit % 8) & ((1 << len) - 1))
    }
}

/// `NFPROTO_*`
fn family(number: u8) -> Option<TableFamily> {
    Some(match number {
        1 => TableFamily::Inet,
        2 => TableFamily::Ip,
        3 => TableFamily::Arp,
        5 => TableFamily::Netdev,
        7 => TableFamily::Bridge,
        10 => TableFamily::Ip6,
        _ => return None,
    })
}
