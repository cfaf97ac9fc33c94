//! Offsets of the structures that hold rulesets. Modules bring their own types, so these are found when needed.

use crate::kernel::Types;

/// Module that holds x_tables' types, if they are not built in.
const X_TABLES: Option<&str> = Some("x_tables");
/// Module that holds nf_tables' types.
const NF_TABLES: Option<&str> = Some("nf_tables");
/// Module that holds NAT's types.
const NF_NAT: Option<&str> = Some("nf_nat");

/// All that is needed to read rulesets. A part is `None` while its module is not loaded.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Namespaces and hooks.
    pub net: Option<NetLayout>,
    /// Legacy tables.
    pub xtables: Option<XtLayout>,
    /// nf_tables.
    pub nft: Option<NftLayout>,
}

/// `struct net` and its hook lists, include/net/net_namespace.h, include/linux/netfilter.h.
#[derive(Clone, Copy, Debug)]
pub struct NetLayout {
    /// `net.list`
    pub list: u64,
    /// `net.ns.inum`
    pub inum: u64,
    /// `net.ns.ops`
    pub ops: Option<u64>,
    /// `net.nf.hooks_ipv4`; `hooks_ipv6` follows.
    pub hooks: u64,
    /// `net.nf.hooks_bridge`
    pub hooks_bridge: Option<u64>,
    /// `net.nf.hooks_arp`
    pub hooks_arp: Option<u64>,
    /// Devices and their hooks.
    pub devices: Option<DevicesLayout>,
    /// `net.gen`
    pub generic: Option<u64>,
    /// `nf_hook_entries.hooks`
    pub entries: u64,
    /// `nf_hook_ops.priority`
    pub priority: Option<u64>,
    /// `nf_nat_lookup_hook_priv.entries`
    pub nat_entries: u64,
}

/// A namespace's devices and their hooks, include/linux/netdevice.h.
#[derive(Clone, Copy, Debug)]
pub struct DevicesLayout {
    /// `net.dev_base_head`
    pub head: u64,
    /// `net_device.dev_list`
    pub node: u64,
    /// `net_device.ifindex`
    pub ifindex: u64,
    /// `net_device.name`
    pub name: u64,
    /// `net_device.nf_hooks_ingress`
    pub ingress: Option<u64>,
    /// `net_device.nf_hooks_egress`; since 5.16.
    pub egress: Option<u64>,
}

/// x_tables, include/linux/netfilter/x_tables.h.
#[derive(Clone, Copy, Debug)]
pub struct XtLayout {
    /// `xt_table.private`
    pub private: u64,
    /// `xt_table.name`
    pub name: u64,
    /// `xt_table_info.size`
    pub size: u64,
    /// `xt_table_info.hook_entry`
    pub hook_entry: u64,
    /// `xt_table_info.underflow`
    pub underflow: u64,
    /// `xt_table_info.stacksize`
    pub stacksize: u64,
    /// `xt_table_info.jumpstack`
    pub jumpstack: u64,
    /// `xt_table_info.entries`
    pub entries: u64,
    /// `xt_target.name`
    pub target_name: u64,
    /// `xt_match.name`
    pub match_name: u64,
}

/// nf_tables, include/net/netfilter/nf_tables.h.
#[derive(Clone, Copy, Debug)]
pub struct NftLayout {
    /// `nft_chain.blob_gen_0`; `blob_gen_1` follows.
    pub blobs: u64,
    /// `nft_chain.list`
    pub chain_list: u64,
    /// `nft_chain.table`
    pub chain_table: u64,
    /// `nft_chain.name`
    pub chain_name: u64,
    /// `nft_chain.flags`, first bit
    pub chain_flags_bit: u64,
    /// `nft_chain.genmask`, first bit
    pub chain_genmask_bit: u64,
    /// `nft_chain.use`
    pub chain_use: Option<u64>,
    /// `nft_base_chain.chain`
    pub base_chain: u64,
    /// `nft_base_chain.policy`
    pub base_policy: u64,
    /// `nft_base_chain.stats`
    pub base_stats: u64,
    /// `nft_base_chain.ops.priority`
    pub base_priority: u64,
    /// `nft_base_chain.ops.hooknum`
    pub base_hooknum: u64,
    /// `nft_table.chains`
    pub table_chains: u64,
    /// `nft_table.name`
    pub table_name: u64,
    /// `nft_table.family`, first bit
    pub table_family_bit: u64,
    /// `nft_rule_blob.data`
    pub blob_data: u64,
    /// `nft_expr_ops.size`
    pub ops_size: u64,
    /// `nft_expr_ops.type`
    pub ops_type: u64,
    /// `nft_expr_ops.data`
    pub ops_data: u64,
    /// `nft_expr_type.name`
    pub type_name: u64,
    /// `nft_lookup.dreg_set`
    pub lookup_dreg_set: Option<u64>,
    /// Objects with names.
    pub objects: Option<ObjectLayout>,
    /// What is asked of a packet.
    pub payload: Option<PayloadLayout>,
    /// `net.nft.gencursor`
    pub gencursor: u64,
    /// Where the generation counter lies.
    pub seq: Option<SeqLayout>,
}

/// nf_tables' objects with names (synproxies, expectations, …), include/net/netfilter/nf_tables.h.
#[derive(Clone, Copy, Debug)]
pub struct ObjectLayout {
    /// `nft_object.ops`
    pub ops: u64,
    /// `nft_object_ops.type`
    pub ops_type: u64,
    /// `nft_object_type.type`
    pub type_number: u64,
    /// `nft_set.objtype`: of a map of objects.
    pub of_set: u64,
}

/// `struct nft_payload`, include/net/netfilter/nf_tables_core.h: `base` is its first byte; `offset` has 8 bits, 16 in v6.18.
#[derive(Clone, Copy, Debug)]
pub struct PayloadLayout {
    /// `nft_payload.offset`
    pub offset: usize,
    /// `nft_payload.len`, behind it.
    pub len: usize,
}

/// Where nf_tables counts the generations of a namespace's ruleset.
#[derive(Clone, Copy, Debug)]
pub enum SeqLayout {
    /// `net.nft.base_seq`: in the namespace itself.
    InNet(u64),
    /// `nftables_pernet.base_seq`, found through `net.gen` and the variable `nf_tables_net_id`.
    PerNet(u64),
}

impl Layout {
    /// Finds what is not known yet; parts whose module is still missing stay `None`.
    pub fn refresh(&mut self, types: &mut Types) {
        if self.net.is_none() {
            self.net = net(types);
        }
        if self.xtables.is_none() {
            self.xtables = xtables(types);
        }
        if self.nft.is_none() {
            self.nft = nft(types);
        }
    }
}

fn net(types: &mut Types) -> Option<NetLayout> {
    let devices = devices(types);
    let mut at = |module, path: &str| types.offset(module, path).map(u64::from);
    Some(NetLayout {
        list: at(None, "net.list")?,
        inum: at(None, "net.ns.inum")?,
        ops: at(None, "net.ns.ops"),
        hooks: at(None, "net.nf.hooks_ipv4")?,
        hooks_bridge: at(None, "net.nf.hooks_bridge"),
        hooks_arp: at(None, "net.nf.hooks_arp"),
        devices,
        generic: at(None, "net.gen"),
        entries: at(None, "nf_hook_entries.hooks")?,
        priority: at(None, "nf_hook_ops.priority"),
        // The first member in every version; the module that has the type may not be loaded yet.
        nat_entries: at(NF_NAT, "nf_nat_lookup_hook_priv.entries").unwrap_or(0),
    })
}

fn devices(types: &mut Types) -> Option<DevicesLayout> {
    let mut at = |path: &str| types.offset(None, path).map(u64::from);
    Some(DevicesLayout {
        head: at("net.dev_base_head")?,
        node: at("net_device.dev_list")?,
        ifindex: at("net_device.ifindex")?,
        name: at("net_device.name")?,
        ingress: at("net_device.nf_hooks_ingress"),
        egress: at("net_device.nf_hooks_egress"),
    })
}

fn xtables(types: &mut Types) -> Option<XtLayout> {
    let mut at = |path: &str| types.offset(X_TABLES, path).map(u64::from);
    Some(XtLayout {
        private: at("xt_table.private")?,
        name: at("xt_table.name")?,
        size: at("xt_table_info.size")?,
        hook_entry: at("xt_table_info.hook_entry")?,
        underflow: at("xt_table_info.underflow")?,
        stacksize: at("xt_table_info.stacksize")?,
        jumpstack: at("xt_table_info.jumpstack")?,
        entries: at("xt_table_info.entries")?,
        target_name: at("xt_target.name")?,
        match_name: at("xt_match.name")?,
    })
}

fn nft(types: &mut Types) -> Option<NftLayout> {
    let seq = types
        .offset(None, "net.nft.base_seq")
        .map(|at| SeqLayout::InNet(at.into()))
        .or_else(|| {
            types
                .offset(NF_TABLES, "nftables_pernet.base_seq")
                .map(|at| SeqLayout::PerNet(at.into()))
        });
    let objects = objects(types);
    let payload = payload(types);
    let mut bits = |path: &str| types.bit_offset(NF_TABLES, path).map(u64::from);
    Some(NftLayout {
        objects,
        payload,
        blobs: bits("nft_chain.blob_gen_0")? / 8,
        chain_list: bits("nft_chain.list")? / 8,
        chain_table: bits("nft_chain.table")? / 8,
        chain_name: bits("nft_chain.name")? / 8,
        chain_flags_bit: bits("nft_chain.flags")?,
        chain_genmask_bit: bits("nft_chain.genmask")?,
        chain_use: bits("nft_chain.use").map(|bits| bits / 8),
        base_chain: bits("nft_base_chain.chain")? / 8,
        base_policy: bits("nft_base_chain.policy")? / 8,
        base_stats: bits("nft_base_chain.stats")? / 8,
        base_priority: bits("nft_base_chain.ops.priority")? / 8,
        base_hooknum: bits("nft_base_chain.ops.hooknum")? / 8,
        table_chains: bits("nft_table.chains")? / 8,
        table_name: bits("nft_table.name")? / 8,
        table_family_bit: bits("nft_table.family")?,
        blob_data: bits("nft_rule_blob.data")? / 8,
        ops_size: bits("nft_expr_ops.size")? / 8,
        ops_type: bits("nft_expr_ops.type")? / 8,
        ops_data: bits("nft_expr_ops.data")? / 8,
        type_name: bits("nft_expr_type.name")? / 8,
        lookup_dreg_set: bits("nft_lookup.dreg_set").map(|bits| bits / 8),
        gencursor: bits("net.nft.gencursor")? / 8,
        seq,
    })
}

fn payload(types: &mut Types) -> Option<PayloadLayout> {
    let mut at = |path: &str| {
        types
            .offset(NF_TABLES, path)
            .and_then(|at| usize::try_from(at).ok())
    };
    Some(PayloadLayout {
        offset: at("nft_payload.offset")?,
        len: at("nft_payload.len")?,
    })
}

fn objects(types: &mut Types) -> Option<ObjectLayout> {
    let mut at = |path: &str| types.offset(NF_TABLES, path).map(u64::from);
    Some(ObjectLayout {
        ops: at("nft_object.ops")?,
        ops_type: at("nft_object_ops.type")?,
        type_number: at("nft_object_type.type")?,
        of_set: at("nft_set.objtype")?,
    })
}
