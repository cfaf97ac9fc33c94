//! The probes on the functions that write nf_tables' verdicts: what is left where its trace hook cannot be had.
//!
//! A rule's expressions are evaluated one after the other until one writes a verdict; most can only say "no match"
//! (net/netfilter/nft_*.c, v6.1 … v6.18).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::Ebpf;

use super::Symbols;
use super::kprobes::Kprobes;
use super::retired::Retired;

/// Goes through a base chain.
const CHAIN: &str = "nft_do_chain";
/// Writes the verdict that is written in a rule. Always there, and enough to be of use.
const IMMEDIATE: &str = "nft_immediate_eval";
/// Evaluates what elements of sets and maps limit, not only rules.
const IN_ELEMENTS: &str = "nft_connlimit_eval";
/// Expressions that can write a verdict other than "no match". On 6.1 masquerading has a function for each family.
const WRITERS: [&str; 28] = [
    "nft_lookup_eval",
    "nft_reject_inet_eval",
    "nft_reject_ipv4_eval",
    "nft_reject_ipv6_eval",
    "nft_reject_netdev_eval",
    "nft_reject_bridge_eval",
    "nft_target_eval_xt",
    "nft_target_eval_bridge",
    "nft_match_eval",
    "nft_match_large_eval",
    "nft_nat_eval",
    "nft_nat_inet_eval",
    "nft_masq_eval",
    "nft_masq_ipv4_eval",
    "nft_masq_ipv6_eval",
    "nft_masq_inet_eval",
    "nft_redir_eval",
    "nft_queue_eval",
    "nft_queue_sreg_eval",
    "nft_synproxy_eval",
    "nft_fwd_netdev_eval",
    "nft_fwd_neigh_eval",
    "nft_objref_eval",
    "nft_objref_map_eval",
    "nft_ct_set_zone_eval",
    IN_ELEMENTS,
    "nft_fib_inet_eval",
    "nft_exthdr_tcp_strip_eval",
];
/// Beginnings of the names of those that cannot.
const HARMLESS: [&str; 31] = [
    "nft_bitwise_",
    "nft_byteorder_eval",
    "nft_cmp",
    "nft_counter_eval",
    "nft_ct_get_",
    "nft_ct_set_eval",
    "nft_dup_",
    "nft_dynset_eval",
    "nft_exthdr_",
    "nft_fib4_",
    "nft_fib6_",
    "nft_fib_netdev_eval",
    "nft_flow_offload_eval",
    "nft_inner_eval",
    "nft_jhash_",
    "nft_last_eval",
    "nft_limit_",
    "nft_log_eval",
    "nft_meta_",
    "nft_ng_",
    "nft_notrack_eval",
    "nft_osf_eval",
    "nft_payload_",
    "nft_quota_eval",
    "nft_range_eval",
    "nft_rt_get_eval",
    "nft_socket_eval",
    "nft_symhash_",
    "nft_tproxy_eval",
    "nft_tunnel_get_eval",
    "nft_xfrm_get_eval",
];

const CHAIN_ENTRY: &str = "nft_do_chain_entry";
const CHAIN_EXIT: &str = "nft_do_chain_exit";
const EVAL_ENTRY: &str = "nft_eval_entry";
const EVAL_EXIT: &str = "nft_eval_exit";
/// Their programs, the one for [`IMMEDIATE`] named after it.
const PROGRAMS: [&str; 5] = [EVAL_ENTRY, EVAL_EXIT, IMMEDIATE, CHAIN_ENTRY, CHAIN_EXIT];

/// What is attached.
#[derive(Default)]
pub(super) struct VerdictProbes {
    probes: Kprobes,
    /// Functions by address whose verdicts are seen, and since when; those that write none since ever.
    since_ns: BTreeMap<u64, u64>,
    /// What could not be attached to is not tried again.
    refused: BTreeSet<u64>,
}

/// What an expression's function can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Immediate,
    Writer(&'static str),
    Harmless,
    Unknown,
}

impl VerdictProbes {
    /// Attaches what is not attached yet; false if nothing was to do. `nft_do_chain` comes last: whoever is seen to enter
    /// it is seen to the end.
    pub(super) fn attach(
        &mut self,
        (ebpf, retired): (&mut Ebpf, &mut Retired),
        symbols: &Symbols,
        functions: &BTreeSet<u64>,
        now_ns: fn() -> u64,
    ) -> Result<bool> {
        let is_first = !self.is_on();
        let in_elements = symbols.range(IN_ELEMENTS).map(|[start, _]| start);
        let wanted: Vec<u64> = functions
            .iter()
            .copied()
            .chain(in_elements)
            .filter(|function| !self.since_ns.contains_key(function) && !self.refused.contains(function))
            .collect();
        if !is_first && wanted.is_empty() {
            return Ok(false);
        }
        self.probes.load(ebpf, &PROGRAMS)?;
        for function in wanted {
            self.attach_writer(ebpf, symbols, function, now_ns);
        }
        if is_first && let Err(error) = self.attach_chain(ebpf, symbols, now_ns) {
            self.detach(ebpf, retired)?;
            return Err(error);
        }
        Ok(true)
    }

    fn attach_writer(&mut self, ebpf: &mut Ebpf, symbols: &Symbols, function: u64, now_ns: fn() -> u64) {
        match kind(symbols, function) {
            Kind::Immediate => {}
            Kind::Harmless => {
                self.since_ns.insert(function, 0);
            }
            Kind::Writer(name) => {
                // The exit first: an entry without its exit would be waited for.
                let attached = self
                    .probes
                    .attach(ebpf, EVAL_EXIT, name)
                    .and_then(|()| self.probes.attach(ebpf, EVAL_ENTRY, name));
                match attached {
                    Ok(()) => {
                        self.since_ns.insert(function, now_ns());
                    }
                    Err(error) => {
                        log::info!("what {name} decides is not seen: {error:#}");
                        self.refused.insert(function);
                    }
                }
            }
            Kind::Unknown => {
                log::info!(
                    "not known whether the function at {function:#x} decides: rules are named less surely"
                );
                self.refused.insert(function);
            }
        }
    }

    fn attach_chain(&mut self, ebpf: &mut Ebpf, symbols: &Symbols, now_ns: fn() -> u64) -> Result<()> {
        self.probes.attach(ebpf, IMMEDIATE, IMMEDIATE)?;
        let immediate = symbols.range(IMMEDIATE).context("it has no symbol")?;
        self.since_ns.insert(immediate[0], now_ns());
        self.probes.attach(ebpf, CHAIN_EXIT, CHAIN)?;
        self.probes.attach(ebpf, CHAIN_ENTRY, CHAIN)
    }

    /// Takes everything off, `nft_do_chain` first.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf, retired: &mut Retired) -> Result<()> {
        self.since_ns.clear();
        self.refused.clear();
        self.probes.detach(ebpf, retired)
    }

    pub(super) fn is_on(&self) -> bool {
        self.probes.is_on()
    }

    /// Whether what this function decided was seen since that time, or it decides nothing.
    pub(super) fn sees(&self, function: u64, since_ns: u64) -> bool {
        self.since_ns.get(&function).is_some_and(|from| *from <= since_ns)
    }

    /// What is attached, as the `start` line says it.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.probes.names()
    }
}

fn kind(symbols: &Symbols, function: u64) -> Kind {
    let Some(symbol) = symbols.of(function).filter(|symbol| symbol.offset == 0) else {
        return Kind::Unknown;
    };
    if symbol.name == IMMEDIATE {
        return Kind::Immediate;
    }
    if let Some(name) = WRITERS.iter().find(|name| **name == symbol.name) {
        return Kind::Writer(name);
    }
    if HARMLESS.iter().any(|start| symbol.name.starts_with(start)) {
        return Kind::Harmless;
    }
    Kind::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_by_what_they_can_decide() {
        let symbols = Symbols::parse(
            "1000 T nft_immediate_eval\n2000 t nft_reject_ipv4_eval\t[nft_reject_ipv4]\n3000 t nft_payload_eval\n\
             4000 t nft_exthdr_tcp_strip_eval\n5000 t nft_exthdr_ipv6_eval\n6000 t nft_new_eval\n",
        );
        assert_eq!(kind(&symbols, 0x1000), Kind::Immediate);
        assert_eq!(kind(&symbols, 0x2000), Kind::Writer("nft_reject_ipv4_eval"));
        assert_eq!(kind(&symbols, 0x3000), Kind::Harmless);
        assert_eq!(
            kind(&symbols, 0x4000),
            Kind::Writer("nft_exthdr_tcp_strip_eval"),
            "the one of its kind that drops"
        );
        assert_eq!(kind(&symbols, 0x5000), Kind::Harmless);
        assert_eq!(kind(&symbols, 0x6000), Kind::Unknown);
        assert_eq!(
            kind(&symbols, 0x6001),
            Kind::Unknown,
            "not the beginning of a function"
        );
        assert_eq!(kind(&Symbols::default(), 0x1000), Kind::Unknown);
    }

    /// Every `nft_*_eval` that evaluates a rule's expression, in the modules of Debian's 6.1 and 6.12, by `nm`.
    const OF_DEBIAN: &str = "nft_bitwise_eval nft_byteorder_eval nft_cmp_eval nft_connlimit_eval nft_counter_eval \
        nft_ct_get_eval nft_ct_get_fast_eval nft_ct_set_eval nft_ct_set_zone_eval nft_dup_ipv4_eval nft_dup_ipv6_eval \
        nft_dup_netdev_eval nft_dynset_eval nft_exthdr_dccp_eval nft_exthdr_ipv4_eval nft_exthdr_ipv6_eval \
        nft_exthdr_sctp_eval nft_exthdr_tcp_eval nft_exthdr_tcp_set_eval nft_exthdr_tcp_strip_eval nft_fib4_eval \
        nft_fib4_eval_type nft_fib6_eval nft_fib6_eval_type nft_fib_inet_eval nft_fib_netdev_eval nft_flow_offload_eval \
        nft_fwd_neigh_eval nft_fwd_netdev_eval nft_inner_eval nft_jhash_eval nft_last_eval nft_limit_bytes_eval \
        nft_limit_pkts_eval nft_log_eval nft_lookup_eval nft_masq_eval nft_masq_inet_eval nft_masq_ipv4_eval \
        nft_masq_ipv6_eval nft_match_eval nft_match_large_eval nft_meta_bridge_get_eval nft_meta_bridge_set_eval \
        nft_meta_get_eval nft_meta_set_eval nft_nat_eval nft_nat_inet_eval nft_ng_inc_eval nft_ng_random_eval \
        nft_notrack_eval nft_objref_eval nft_objref_map_eval nft_osf_eval nft_payload_eval nft_payload_set_eval \
        nft_queue_eval nft_queue_sreg_eval nft_quota_eval nft_range_eval nft_redir_eval nft_reject_bridge_eval \
        nft_reject_inet_eval nft_reject_ipv4_eval nft_reject_ipv6_eval nft_rt_get_eval nft_socket_eval nft_symhash_eval \
        nft_synproxy_eval nft_target_eval_bridge nft_target_eval_xt nft_tproxy_eval nft_tunnel_get_eval nft_xfrm_get_eval";

    #[test]
    fn of_every_function_of_debians_kernels_it_is_known_whether_it_decides() {
        for name in OF_DEBIAN.split_whitespace() {
            let symbols = Symbols::parse(&format!("1000 t {name}\n"));
            assert_ne!(kind(&symbols, 0x1000), Kind::Unknown, "{name}");
        }
    }

    #[test]
    fn what_a_function_decided_is_seen_from_when_it_is_watched() {
        let probes = VerdictProbes {
            since_ns: BTreeMap::from([(0x1000, 500), (0x2000, 0)]),
            ..VerdictProbes::default()
        };
        assert!(probes.sees(0x1000, 500) && probes.sees(0x1000, 501));
        assert!(!probes.sees(0x1000, 499), "it was not watched yet");
        assert!(probes.sees(0x2000, 1));
        assert!(!probes.sees(0x3000, 501));
    }
}
