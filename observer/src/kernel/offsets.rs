//! Fills [`Offsets`] from the running kernel's types.

use observer_common::{ABSENT, BEFORE_BYTES, NftOffsets, Offsets};

use super::{Types, possible_cpus};

/// Module that holds nf_tables' types.
const NF_TABLES: Option<&str> = Some("nf_tables");

/// A structure that is one array of `unsigned long` (include/net/snmp.h), …
const WORDS: &str = "linux_mib";
/// … and how many bytes of it the programs read at once: `HookEvent::before`.
const WORDS_BYTES: u32 = BEFORE_BYTES as u32;

/// What a kernel lacks that the programs cannot do without.
#[derive(Debug, thiserror::Error)]
#[error(
    "this kernel's types have no {0}; observer cannot read its packets: please report it with your kernel's version"
)]
pub struct NoField(&'static str);

/// Finds every offset.
///
/// # Errors
/// A field that the programs cannot do without is not there.
pub fn find(types: &mut Types) -> Result<Offsets, NoField> {
    let mut need = |path: &'static str| types.offset(None, path).ok_or(NoField(path));
    let mut offsets = Offsets {
        skb_dev: need("sk_buff.dev")?,
        skb_sk: need("sk_buff.sk")?,
        skb_dst: need("sk_buff._skb_refdst")?,
        skb_len: need("sk_buff.len")?,
        skb_iif: need("sk_buff.skb_iif")?,
        skb_mark: need("sk_buff.mark")?,
        skb_protocol: need("sk_buff.protocol")?,
        skb_network_header: need("sk_buff.network_header")?,
        skb_head: need("sk_buff.head")?,
        skb_data: need("sk_buff.data")?,
        skb_tail: need("sk_buff.tail")?,
        skb_pkt_type: need("sk_buff.pkt_type")?,
        dev_name: need("net_device.name")?,
        dev_ifindex: need("net_device.ifindex")?,
        dev_net: need("net_device.nd_net.net")?,
        sock_net: need("sock.__sk_common.skc_net.net")?,
        dst_dev: need("dst_entry.dev")?,
        net_inum: need("net.ns.inum")?,
        array_pptrs: need("bpf_array.pptrs")?,
        task_nsproxy: need("task_struct.nsproxy")?,
        nsproxy_net: need("nsproxy.net_ns")?,
        ..Offsets::absent()
    };
    offsets.skb_mac_header = types.offset(None, "sk_buff.mac_header").unwrap_or(ABSENT);
    connection(types, &mut offsets);
    tracepoints(types, &mut offsets)?;
    hooks(types, &mut offsets);
    offsets.net_hooks = types.offset(None, "net.nf.hooks_ipv4").unwrap_or(ABSENT);
    offsets.possible_cpus = possible_cpus();
    casts(types, &mut offsets);
    Ok(offsets)
}

/// What programs need to read memory by loads: since v6.2.
fn casts(types: &mut Types, offsets: &mut Offsets) {
    if types.size(None, WORDS).is_some_and(|size| size >= WORDS_BYTES)
        && let Some((function, words)) = types.numbers("bpf_rdonly_cast", WORDS)
    {
        offsets.cast_function = function;
        offsets.cast_words = words;
    }
}

/// Connections are optional: a kernel may be built without conntrack.
fn connection(types: &mut Types, offsets: &mut Offsets) {
    let mut may = |path: &str| types.offset(None, path);
    offsets.skb_nfct = may("sk_buff._nfct").unwrap_or(ABSENT);
    offsets.ct_status = may("nf_conn.status").unwrap_or(ABSENT);
    offsets.ct_net = may("nf_conn.ct_net").unwrap_or(ABSENT);
    let hashes = may("nf_conn.tuplehash");
    let tuple = may("nf_conntrack_tuple_hash.tuple");
    let size = types.size(None, "nf_conntrack_tuple_hash");
    if let (Some(hashes), Some(tuple), Some(size)) = (hashes, tuple, size) {
        offsets.ct_original = hashes + tuple;
        offsets.ct_reply = hashes + size + tuple;
    }
}

/// What paths need: without these there are none.
fn hooks(types: &mut Types, offsets: &mut Offsets) {
    let mut may = |path: &str| types.offset(None, path).unwrap_or(ABSENT);
    offsets.state_hook = may("nf_hook_state.hook");
    offsets.state_pf = may("nf_hook_state.pf");
    offsets.state_in = may("nf_hook_state.in");
    offsets.state_out = may("nf_hook_state.out");
    offsets.state_net = may("nf_hook_state.net");
    offsets.skb_encapsulation = may("sk_buff.encapsulation");
    offsets.skb_inner_network = may("sk_buff.inner_network_header");
    let bit = types.bit_offset(None, "sk_buff.encapsulation");
    offsets.skb_encapsulation_bit = bit.map_or(0, |bit| bit % 8);
}

/// Offsets of nf_tables' structures; `None` while the module is not there.
pub fn find_nft(types: &mut Types) -> Option<NftOffsets> {
    let mut may = |path: &str| types.offset(NF_TABLES, path);
    Some(NftOffsets {
        known: 1,
        pkt_skb: may("nft_pktinfo.skb")?,
        pkt_state: may("nft_pktinfo.state")?,
        trace_on: may("nft_traceinfo.trace")?,
        trace_pkt: may("nft_traceinfo.pkt").unwrap_or(ABSENT),
        trace_base: may("nft_traceinfo.basechain")?,
        trace_rule: may("nft_traceinfo.rule").unwrap_or(ABSENT),
        trace_verdict: may("nft_traceinfo.verdict").unwrap_or(ABSENT),
        base_chain: may("nft_base_chain.chain")?,
        base_policy: may("nft_base_chain.policy")?,
        regs_verdict: may("nft_regs.verdict")?,
        trace_on_bit: types
            .bit_offset(NF_TABLES, "nft_traceinfo.trace")
            .map_or(0, |bit| bit % 8),
    })
}

fn tracepoints(types: &Types, offsets: &mut Offsets) -> Result<(), NoField> {
    let arguments = types
        .tracepoint("kfree_skb")
        .ok_or(NoField("tracepoint kfree_skb"))?;
    offsets.has_reason = u32::from(arguments.iter().any(|name| name == "skb_drop_reason"));
    if let Some(arguments) = types.tracepoint("percpu_alloc_percpu") {
        // The two sizes stand side by side: size, align.
        let pair = arguments
            .windows(2)
            .position(|pair| pair[0] == "size_t" && pair[1] == "size_t");
        offsets.alloc_size_arg = pair.and_then(|at| u32::try_from(at).ok()).unwrap_or(ABSENT);
    }
    Ok(())
}
