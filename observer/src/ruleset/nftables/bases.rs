//! Whether base chains are still as they were read.

use crate::kernel::Reader;
use crate::kernel::raw::u64_at;
use crate::report::record::Backend;
use crate::ruleset::layout::NftLayout;
use crate::ruleset::{Policy, Table};

/// Whether the base chains of nf_tables have the policies and counters that were read. A commit counts its generation first and gives
/// them theirs after that (`nf_tables_commit`, `nft_chain_commit_update`, net/netfilter/nf_tables_api.c v5.10 … v6.18): what is read
/// in between has the new generation and the old policy.
pub fn has_bases(memory: &impl Reader, nft: &NftLayout, tables: &[Table]) -> bool {
    let tables = tables.iter().filter(|table| table.backend != Backend::Legacy);
    let bases: Vec<_> = tables
        .flat_map(|table| &table.chains)
        .filter_map(|chain| Some((chain.address.wrapping_sub(nft.base_chain), chain.base.as_ref()?)))
        .collect();
    let pieces: Vec<(u64, usize)> = bases
        .iter()
        .flat_map(|(at, _)| {
            [
                (at.wrapping_add(nft.base_policy), 1),
                (at.wrapping_add(nft.base_stats), 8),
            ]
        })
        .collect();
    let now = memory.gather(&pieces);
    bases.iter().enumerate().all(|(index, (_, base))| {
        let policy = now.get(2 * index).and_then(|bytes| bytes.first());
        let counter = now.get(2 * index + 1).and_then(|bytes| u64_at(bytes, 0));
        policy.map(|policy| *policy == 0) == Some(base.policy == Policy::Drop)
            && counter == Some(base.counter.map_or(0, |counter| counter.address))
    })
}
