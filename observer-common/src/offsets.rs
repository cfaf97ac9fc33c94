//! Byte offsets of the running kernel's structures, found in its BTF at start.

/// An offset that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets; [`ABSENT`] where the kernel lacks the field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `sk_buff.sk`
    pub skb_sk: u32,
    /// `sk_buff._skb_refdst`
    pub skb_dst: u32,
    /// `sk_buff._nfct`
    pub skb_nfct: u32,
    /// `sk_buff.len`
    pub skb_len: u32,
    /// Byte that holds `sk_buff.pkt_type` in its low three bits.
    pub skb_pkt_type: u32,
    /// `sk_buff.skb_iif`
    pub skb_iif: u32,
    /// `sk_buff.mark`
    pub skb_mark: u32,
    /// `sk_buff.protocol`
    pub skb_protocol: u32,
    /// `sk_buff.network_header`
    pub skb_network_header: u32,
    /// `sk_buff.mac_header`
    pub skb_mac_header: u32,
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.data`
    pub skb_data: u32,
    /// `sk_buff.tail`
    pub skb_tail: u32,
    /// `net_device.name`
    pub dev_name: u32,
    /// `net_device.ifindex`
    pub dev_ifindex: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sock_net: u32,
    /// `dst_entry.dev`
    pub dst_dev: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `net.nf.hooks_ipv4`; `hooks_ipv6` follows at once.
    pub net_hooks: u32,
    /// `nf_conn.tuplehash[0].tuple`
    pub ct_original: u32,
    /// `nf_conn.tuplehash[1].tuple`
    pub ct_reply: u32,
    /// `nf_conn.status`
    pub ct_status: u32,
    /// `nf_conn.ct_net`
    pub ct_net: u32,
    /// `bpf_array.pptrs`
    pub array_pptrs: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`
    pub nsproxy_net: u32,
    /// 1 if the `kfree_skb` tracepoint passes a reason.
    pub has_reason: u32,
    /// Which argument of `percpu_alloc_percpu` is the size, in bytes.
    pub alloc_size_arg: u32,
    /// Byte that holds `sk_buff.encapsulation`.
    pub skb_encapsulation: u32,
    /// Its bit in that byte.
    pub skb_encapsulation_bit: u32,
    /// `sk_buff.inner_network_header`
    pub skb_inner_network: u32,
    /// `nf_hook_state.hook`, a byte
    pub state_hook: u32,
    /// `nf_hook_state.pf`
    pub state_pf: u32,
    /// `nf_hook_state.in`
    pub state_in: u32,
    /// `nf_hook_state.out`
    pub state_out: u32,
    /// `nf_hook_state.net`
    pub state_net: u32,
    /// How many CPUs are possible. With one, rule counters lie in the rules themselves.
    pub possible_cpus: u32,
    /// BTF type of `struct linux_mib`, which is nothing but words; 0: programs read through the helper.
    pub cast_words: u32,
    /// BTF type of the kernel's function `bpf_rdonly_cast`, 0 if there is none: user space puts it into the object.
    pub cast_function: u32,
}

/// In the object: the number of a helper that no kernel has, where `bpf_rdonly_cast` is to be called.
pub const CAST_CALL: u32 = 0x6361_7374;

impl Offsets {
    /// Nothing found yet: what the object file holds before user space overrides it.
    pub const fn absent() -> Self {
        Self {
            skb_dev: ABSENT,
            skb_sk: ABSENT,
            skb_dst: ABSENT,
            skb_nfct: ABSENT,
            skb_len: ABSENT,
            skb_pkt_type: ABSENT,
            skb_iif: ABSENT,
            skb_mark: ABSENT,
            skb_protocol: ABSENT,
            skb_network_header: ABSENT,
            skb_mac_header: ABSENT,
            skb_head: ABSENT,
            skb_data: ABSENT,
            skb_tail: ABSENT,
            dev_name: ABSENT,
            dev_ifindex: ABSENT,
            dev_net: ABSENT,
            sock_net: ABSENT,
            dst_dev: ABSENT,
            net_inum: ABSENT,
            net_hooks: ABSENT,
            ct_original: ABSENT,
            ct_reply: ABSENT,
            ct_status: ABSENT,
            ct_net: ABSENT,
            array_pptrs: ABSENT,
            task_nsproxy: ABSENT,
            nsproxy_net: ABSENT,
            has_reason: 0,
            alloc_size_arg: ABSENT,
            skb_encapsulation: ABSENT,
            skb_encapsulation_bit: ABSENT,
            skb_inner_network: ABSENT,
            state_hook: ABSENT,
            state_pf: ABSENT,
            state_in: ABSENT,
            state_out: ABSENT,
            state_net: ABSENT,
            possible_cpus: 0,
            cast_words: 0,
            cast_function: 0,
        }
    }
}

/// Byte offsets of nf_tables' structures. An element of an array map: the module may be loaded at any time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NftOffsets {
    /// 1 if the rest is filled.
    pub known: u32,
    /// `nft_pktinfo.skb`
    pub pkt_skb: u32,
    /// `nft_pktinfo.state`
    pub pkt_state: u32,
    /// Byte that holds `nft_traceinfo.trace`.
    pub trace_on: u32,
    /// Its bit in that byte.
    pub trace_on_bit: u32,
    /// `nft_traceinfo.pkt`; [`ABSENT`] where `__nft_trace_packet` is given the packet.
    pub trace_pkt: u32,
    /// `nft_traceinfo.basechain`
    pub trace_base: u32,
    /// `nft_traceinfo.rule`; [`ABSENT`] where `__nft_trace_packet` is given the rule.
    pub trace_rule: u32,
    /// `nft_traceinfo.verdict`; [`ABSENT`] where `__nft_trace_packet` is given the verdict.
    pub trace_verdict: u32,
    /// `nft_base_chain.chain`
    pub base_chain: u32,
    /// `nft_base_chain.policy`
    pub base_policy: u32,
    /// `nft_regs.verdict`
    pub regs_verdict: u32,
}

impl NftOffsets {
    /// nf_tables is not there.
    pub const fn absent() -> Self {
        Self {
            known: 0,
            pkt_skb: ABSENT,
            pkt_state: ABSENT,
            trace_on: ABSENT,
            trace_on_bit: ABSENT,
            trace_pkt: ABSENT,
            trace_base: ABSENT,
            trace_rule: ABSENT,
            trace_verdict: ABSENT,
            base_chain: ABSENT,
            base_policy: ABSENT,
            regs_verdict: ABSENT,
        }
    }
}

#[cfg(feature = "user")]
// SAFETY: plain integers, no padding.
unsafe impl aya::Pod for Offsets {}
#[cfg(feature = "user")]
// SAFETY: plain integers, no padding.
unsafe impl aya::Pod for NftOffsets {}
