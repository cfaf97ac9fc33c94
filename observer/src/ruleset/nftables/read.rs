//! Reads nf_tables' tables out of kernel memory, starting from the base chains that hooks call.
//!
//! `struct nft_chain` has two blobs of rules, one of which is in force (`net->nft.gencursor`); a rule there is a
//! header with its handle and length, then its expressions (include/net/netfilter/nf_tables.h, v6.1 … v6.18).

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher};

use foldhash::HashMap;
use foldhash::quality::{FixedState, FoldHasher};

use super::TableExpressions;
use super::expr::Decoder;
use crate::kernel::raw::{u32_at, u64_at};
use crate::kernel::{Reader, Symbols};
use crate::report::record::{Backend, TableFamily};
use crate::ruleset::hooks::{HookFunction, hook_of};
use crate::ruleset::layout::{NftLayout, XtLayout};
use crate::ruleset::{Base, Chain, Counter, Policy, Table};

/// A larger chain than any that works.
const MOST_BLOB_BYTES: u64 = 256 << 20;
/// `NFT_NAME_MAXLEN`
const NAME_BYTES: usize = 256;
/// Names are mostly shorter.
const SHORT_NAME_BYTES: usize = 64;
/// `XT_MAX_COMMENT_LEN`
const COMMENT_BYTES: usize = 256;
/// Comments are mostly shorter.
const SHORT_COMMENT_BYTES: usize = 128;
/// More chains than any table that works.
const MOST_CHAINS: usize = 1 << 20;
/// So many chains are read at once: the bytes of so many are in memory at a time.
const AT_ONCE: usize = 1024;
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

/// What a `struct nft_chain` says.
struct Head {
    address: u64,
    /// Where its name lies.
    name_at: u64,
    is_base: bool,
    /// Where its rules lie in this generation; 0: it has none.
    blob: u64,
    /// How much refers to it.
    uses: Option<u32>,
}

/// A rule in a chain's bytes.
struct RawRule<'a> {
    /// Where it begins, in bytes.
    offset: u32,
    handle: u64,
    expressions: &'a [u8],
}

/// What was read of a table's chains so far.
struct Chains<'a> {
    chains: Vec<Chain>,
    /// Where the rules of each begin and end.
    blobs: Vec<[u64; 2]>,
    hasher: FoldHasher<'a>,
}

impl<R: Reader> Walk<'_, R> {
    fn table(&mut self, at: u64) -> Option<(Table, TableExpressions)> {
        let name = self
            .memory
            .string(self.memory.u64(at.wrapping_add(self.nft.table_name))?, NAME_BYTES)?;
        let family = family(self.bits(at, self.nft.table_family_bit, 6)?)?;
        let heads = self.heads(at.wrapping_add(self.nft.table_chains))?;
        let index: HashMap<u64, usize> = heads.iter().map(|head| head.address).zip(0..).collect();
        let state = FixedState::default();
        let mut read = Chains {
            chains: Vec::new(),
            blobs: Vec::new(),
            hasher: state.build_hasher(),
        };
        for heads in heads.chunks(AT_ONCE) {
            self.chains(heads, family, &index, &mut read)?;
        }
        let Chains {
            mut chains,
            blobs,
            hasher,
        } = read;
        let mut jumps = vec![0; chains.len()];
        chains.iter().flat_map(Chain::next).for_each(|to| jumps[to] += 1);
        for ((chain, head), jumps) in chains.iter_mut().zip(&heads).zip(jumps) {
            chain.mapped = is_mapped(chain, jumps, head.uses);
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

    /// The chains that are active in this generation, in the order of the table's list.
    fn heads(&self, list: u64) -> Option<Vec<Head>> {
        let nodes = self.memory.list(list, MOST_CHAINS)?;
        let mut heads = Vec::new();
        let len_bytes = self.head_bytes();
        for nodes in nodes.chunks(AT_ONCE) {
            let addresses = nodes.iter().map(|node| node.wrapping_sub(self.nft.chain_list));
            let pieces: Vec<(u64, usize)> = addresses.map(|address| (address, len_bytes)).collect();
            let gathered = self.memory.gather(&pieces);
            for (piece, (address, _)) in pieces.iter().enumerate() {
                heads.extend(self.head(*address, gathered.get(piece)?)?);
            }
        }
        Some(heads)
    }

    /// Length of what is wanted of a `struct nft_chain`, in bytes.
    fn head_bytes(&self) -> usize {
        let nft = self.nft;
        let ends = [
            nft.blobs + 16,
            nft.chain_name + 8,
            nft.chain_flags_bit / 8 + 1,
            nft.chain_genmask_bit / 8 + 1,
            nft.chain_use.map_or(0, |at| at + 4),
        ];
        ends.into_iter()
            .max()
            .and_then(|end| usize::try_from(end).ok())
            .unwrap_or(0)
    }

    /// A chain's head out of its bytes; `Some(None)` if it is not active in this generation.
    fn head(&self, address: u64, bytes: &[u8]) -> Option<Option<Head>> {
        let nft = self.nft;
        let at = |offset: u64| usize::try_from(offset).ok();
        let bits = |bit: u64, len: u32| {
            let byte = bytes.get(at(bit / 8)?)?;
            Some(byte >> (bit % 8) & ((1 << len) - 1))
        };
        if bits(nft.chain_genmask_bit, 2)? & (1 << self.cursor) != 0 {
            return Some(None);
        }
        Some(Some(Head {
            address,
            name_at: u64_at(bytes, at(nft.chain_name)?)?,
            is_base: bits(nft.chain_flags_bit, 5)? & CHAIN_IS_BASE != 0,
            blob: u64_at(bytes, at(nft.blobs + 8 * self.cursor)?)?,
            uses: nft.chain_use.and_then(|offset| u32_at(bytes, at(offset)?)),
        }))
    }

    /// Reads some of a table's chains.
    fn chains(
        &mut self,
        heads: &[Head],
        family: TableFamily,
        index: &HashMap<u64, usize>,
        read: &mut Chains<'_>,
    ) -> Option<()> {
        let names: Vec<u64> = heads.iter().map(|head| head.name_at).collect();
        let names = self.memory.strings(&names, SHORT_NAME_BYTES, NAME_BYTES);
        let places = self.places(heads)?;
        let gathered = self.memory.gather(&places);
        let blobs = heads.iter().enumerate().map(|(place, head)| match head.blob {
            0 => Some(Vec::new()),
            _ => raw_rules(gathered.get(place)?),
        });
        let blobs: Vec<Vec<RawRule<'_>>> = blobs.collect::<Option<_>>()?;
        let expressions: Vec<&[u8]> = blobs.iter().flatten().map(|rule| rule.expressions).collect();
        self.decoder.learn(&expressions);
        let first = read.chains.len();
        // Where comments lie, and the chain and rule of each.
        let mut comments = Vec::new();
        for (place, ((head, name), blob)) in heads.iter().zip(names).zip(&blobs).enumerate() {
            let mut rules = Vec::with_capacity(blob.len());
            for raw in blob {
                let (mut rule, comment_at) = self.decoder.rule(raw.handle, raw.expressions, index)?;
                rule.offset = raw.offset;
                comments.extend(comment_at.map(|at| (at, first + place, rules.len())));
                rules.push(rule);
            }
            let base = if head.is_base {
                Some(self.base(head.address.wrapping_sub(self.nft.base_chain), family)?)
            } else {
                None
            };
            read.chains.push(Chain {
                name: name?,
                base,
                rules,
                address: head.address,
                mapped: false,
            });
            let (start, len) = places[place];
            read.blobs.push([start, start.wrapping_add(len as u64)]);
        }
        let addresses: Vec<u64> = comments.iter().map(|(at, ..)| *at).collect();
        let texts = self
            .memory
            .strings(&addresses, SHORT_COMMENT_BYTES, COMMENT_BYTES);
        for (text, (_, chain, rule)) in texts.into_iter().zip(comments) {
            read.chains[chain].rules[rule].comment = text.map(Into::into);
        }
        for (place, chain) in read.chains[first..].iter().enumerate() {
            hash(&mut read.hasher, chain, gathered.get(place).unwrap_or_default());
        }
        Some(())
    }

    /// Where the rules of chains lie, and their length in bytes.
    fn places(&self, heads: &[Head]) -> Option<Vec<(u64, usize)>> {
        let sizes: Vec<(u64, usize)> = heads.iter().map(|head| (head.blob, 8)).collect();
        let sizes = self.memory.gather(&sizes);
        let place = |(index, head): (usize, &Head)| {
            if head.blob == 0 {
                return Some((0, 0));
            }
            let size = u64_at(sizes.get(index)?, 0).filter(|size| *size <= MOST_BLOB_BYTES)?;
            Some((
                head.blob.wrapping_add(self.nft.blob_data),
                usize::try_from(size).ok()?,
            ))
        };
        heads.iter().enumerate().map(place).collect()
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

    fn bits(&self, at: u64, bit: u64, len: u32) -> Option<u8> {
        let byte = self.memory.u8(at.wrapping_add(bit / 8))?;
        Some(byte >> (bit % 8) & ((1 << len) - 1))
    }
}

/// The rules in a chain's bytes; `None` if they do not hold together.
fn raw_rules(bytes: &[u8]) -> Option<Vec<RawRule<'_>>> {
    let mut rules = Vec::new();
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let header = u64_at(bytes, at)?;
        // is_last: 1, dlen: 12, handle: 42
        if header & 1 != 0 {
            break;
        }
        let len = (header >> 1 & 0xfff) as usize;
        rules.push(RawRule {
            offset: u32::try_from(at).ok()?,
            handle: header >> 13 & ((1 << 42) - 1),
            expressions: bytes.get(at + 8..at + 8 + len)?,
        });
        at += 8 + len;
    }
    Some(rules)
}

/// Whether more refers to a chain than its own rules and the jumps to it: then elements of verdict maps do
/// (`nft_data_hold`, net/netfilter/nf_tables_api.c, v6.1 … v6.18). A base chain is no map's.
fn is_mapped(chain: &Chain, jumps: u64, uses: Option<u32>) -> bool {
    let known = chain.rules.len() as u64 + jumps;
    chain.base.is_none() && uses.is_none_or(|uses| u64::from(uses) > known)
}

/// Adds a chain, whose rules have these bytes. Large matches, comments among them, lie behind pointers.
fn hash(hasher: &mut impl Hasher, chain: &Chain, rules: &[u8]) {
    hasher.write(rules);
    hasher.write(chain.name.as_bytes());
    chain
        .rules
        .iter()
        .filter_map(|rule| rule.comment.as_deref())
        .for_each(|comment| hasher.write(comment.as_bytes()));
    hasher.write_u8(chain.base.as_ref().map_or(2, |base| base.policy as u8));
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
