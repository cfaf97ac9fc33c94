//! Rulesets of nf_tables: as nft lists them, and as they lie in the kernel.

use observer::evaluate::nftables::{CtState, Device, Evaluator, IpFamily, Packet};
use observer::kernel::{Reader, Symbols};
use observer::report::record::{Hook, TableFamily};
use observer::ruleset::nftables::listing::{Handles, Ruleset};
use observer::ruleset::nftables::netlink::read as over_netlink;
use observer::ruleset::nftables::read;
use observer::ruleset::{HookFunction, NftLayout, ObjectLayout};

use super::files;

pub(super) fn listed() -> Vec<Vec<u8>> {
    files![
        "observer/src/evaluate/nftables/tests/semantics.json",
        "observer/src/ruleset/nftables/listing/samples/expressions.json",
        "observer/src/ruleset/nftables/listing/samples/families.json",
        "observer/src/ruleset/nftables/listing/samples/firewalld.json",
        "observer/src/ruleset/nftables/listing/samples/kubeproxy.json",
        "observer/src/ruleset/nftables/listing/samples/left-out.json",
        "observer/src/ruleset/nftables/listing/samples/sets.json",
        "observer/src/ruleset/nftables/listing/samples/statements.json",
    ]
}

/// What is read is written as text, and asked about a packet at each hook.
pub(super) fn json(data: &[u8]) {
    let Ok(ruleset) = Ruleset::read(&String::from_utf8_lossy(data)) else {
        return;
    };
    ruleset.text(Handles::Shown);
    let evaluator = Evaluator::new(&ruleset);
    let mut packet = Packet {
        family: Some(IpFamily::V4),
        protocol: Some(6),
        source: "10.224.0.0".parse().ok(),
        destination: "10.224.2.16".parse().ok(),
        sport: Some(40_000),
        dport: Some(80),
        tcp_flags: Some(2),
        later_fragment: Some(false),
        input: Device::Named("eth0".to_owned()),
        ..Packet::default()
    };
    packet.connection.state = Some(CtState::New);
    for hook in ["prerouting", "input", "forward", "output", "postrouting"] {
        let mut left = 100_000;
        for called in evaluator.called(hook, packet.ip_family()) {
            let evaluation = evaluator.ask(called, &packet, &mut left);
            for path in &evaluation.paths {
                assert!(path.outcome.is_some());
                for near in evaluator.near_misses(path, 5) {
                    near.failing.iter().for_each(|failing| _ = failing.distance());
                }
            }
        }
    }
}

pub(super) fn sent() -> Vec<Vec<u8>> {
    let whole = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../observer/tests-data/nft/hard-cases.netlink"
    ));
    vec![whole.to_vec()]
}

/// What is read can be written, and there are no more rules than bytes.
pub(super) fn netlink(data: &[u8]) {
    let listed = over_netlink(data);
    let chains = listed.ruleset.tables.iter().flat_map(|table| &table.chains);
    let rules: usize = chains.map(|chain| chain.rules.len()).sum();
    assert!(rules <= data.len());
    listed.ruleset.text(Handles::Shown);
}

const MOST_MEMORY: usize = 1024;
/// The kernel has no more rules in a chain than memory; here every address has some.
const MOST_AT_ONCE: usize = 4096;

/// Memory that is the input over and over, so that every address is somewhere in it.
struct Everywhere<'a>(&'a [u8]);

impl Reader for Everywhere<'_> {
    fn read_into(&self, address: u64, to: &mut [u8]) -> bool {
        let len = self.0.len() as u64;
        if len == 0 || to.len() > MOST_AT_ONCE {
            return false;
        }
        for (index, byte) in to.iter_mut().enumerate() {
            *byte = self.0[(address.wrapping_add(index as u64) % len) as usize];
        }
        true
    }
}

/// Close together, so that inputs need not be long.
const LAYOUT: NftLayout = NftLayout {
    blobs: 0,
    chain_list: 16,
    chain_table: 32,
    chain_name: 40,
    chain_flags_bit: 48 * 8,
    chain_genmask_bit: 49 * 8,
    chain_use: Some(52),
    base_chain: 64,
    base_policy: 60,
    base_stats: 56,
    base_priority: 24,
    base_hooknum: 28,
    table_chains: 8,
    table_name: 24,
    table_family_bit: 32 * 8,
    blob_data: 8,
    ops_size: 8,
    ops_type: 16,
    ops_data: 24,
    type_name: 32,
    lookup_dreg_set: Some(20),
    objects: Some(ObjectLayout {
        ops: 12,
        ops_type: 20,
        type_number: 28,
        of_set: 36,
    }),
    payload: None,
    gencursor: 4,
    seq: None,
};

/// However its pointers lead, reading ends. Longer inputs only have more of the same.
pub(super) fn memory(data: &[u8]) {
    let data = data.get(..MOST_MEMORY).unwrap_or(data);
    let symbols = Symbols::parse("");
    let functions = [HookFunction {
        hook: Hook::Forward,
        family: TableFamily::Ip,
        device: None,
        address: 1,
        name: "nft_do_chain_ipv4".to_owned(),
        private: 64,
        priority: None,
        in_nat: false,
    }];
    let reading = read(&Everywhere(data), &symbols, &LAYOUT, None, 0, &functions);
    assert_eq!(reading.tables.len(), reading.expressions.len());
}

/// Words that point to each other, and names among them.
pub(super) fn memories() -> Vec<Vec<u8>> {
    let words = |count: u64, step: u64| -> Vec<u8> {
        let word = |index: u64| (index * step % (count * 8)).to_ne_bytes();
        (0..count).flat_map(word).collect()
    };
    let mut named = words(64, 40);
    named[128..138].copy_from_slice(b"immediate\0");
    // Once a sum overflowed: pointers to the very end of memory.
    let last = vec![0xff; 512];
    vec![words(32, 8), words(64, 24), words(16, 0), named, last]
}
