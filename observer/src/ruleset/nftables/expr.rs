//! One rule's expressions, as they are copied into a chain's blob.
//!
//! An expression is `ops` and then its private data; `ops->size` is the length of both
//! (`struct nft_expr`, include/net/netfilter/nf_tables.h, v6.1 … v6.18).

use std::collections::BTreeSet;
use std::rc::Rc;

use foldhash::HashMap;

use super::by_iptables;
use crate::kernel::raw::{string, u32_at, u64_at};
use crate::kernel::{Reader, Symbols};
use crate::ruleset::layout::{NftLayout, XtLayout};
use crate::ruleset::{Counter, Rule, Step};

/// `nft_expr_ops.eval`: the first member in every version.
const OPS_EVAL: u64 = 0;
/// What `meta … set`, `ct … set` and `ip … set` are evaluated by (net/netfilter/nft_meta.c, nft_ct.c, nft_payload.c).
const SETS: [&str; 4] = [
    "nft_meta_set_eval",
    "nft_meta_bridge_set_eval",
    "nft_ct_set_eval",
    "nft_payload_set_eval",
];
/// What targets of ebtables are evaluated by (net/netfilter/nft_compat.c).
const OF_BRIDGE: &str = "nft_target_eval_bridge";
/// Targets of ebtables that are given a verdict of their own (`--mark-target DROP`).
const WITH_VERDICT: [&str; 4] = ["mark", "dnat", "snat", "redirect"];
/// Objects that can end a packet (`NFT_OBJECT_*`, include/uapi/linux/netfilter/nf_tables.h): an expectation that clashes
/// with another's, a handshake that does not come about. Of the others some do if memory is short.
const DECIDERS: [(u32, &str); 2] = [(9, "ct expectation"), (10, "synproxy")];
/// `NFT_META_MARK`, include/uapi/linux/netfilter/nf_tables.h
const META_MARK: u8 = 3;
/// `NFT_CT_L3PROTOCOL` and `NFT_CT_PROTOCOL`, the same header: nft 1.0.6 takes a question for them for a mere requirement of
/// what is asked next, and does not list it.
const UNLISTED: [u8; 2] = [7, 10];
/// Longer than any expression.
const MOST_BYTES: u32 = 4096;
/// Length of an expression whose private data is one pointer.
const POINTER_ONLY: usize = 16;
/// `XT_EXTENSION_MAXNAMELEN`
const NAME_BYTES: usize = 30;

/// What is known of expressions with these operations.
#[derive(Debug)]
struct Kind {
    /// Address of the function that evaluates it.
    function: u64,
    /// Whether it writes to the packet or its connection.
    sets: bool,
    name: String,
    size: u32,
    /// xt extension behind nft_compat: its name.
    extension: Option<String>,
    /// Whether it is an extension of ebtables.
    of_bridge: bool,
}

/// What a `struct nft_expr_ops` says. Those of extensions are allocated for each rule (`nft_match_select_ops`,
/// net/netfilter/nft_compat.c), and say the same of all with one extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ops {
    function: u64,
    size: u32,
    of_type: u64,
    data: u64,
}

/// Decodes rules.
pub struct Decoder<'a, R> {
    memory: &'a R,
    symbols: &'a Symbols,
    nft: &'a NftLayout,
    xtables: Option<&'a XtLayout>,
    /// By the operations' address.
    kinds: HashMap<u64, Option<Rc<Kind>>>,
    /// By what the operations say.
    known: HashMap<Ops, Option<Rc<Kind>>>,
    /// The functions that evaluate what was decoded since it was last asked.
    functions: BTreeSet<u64>,
}

/// Expressions after which the rule still surely reaches its verdict: a counter before them counts what they act on.
const NEVER_BREAKS: [&str; 9] = [
    "immediate",
    "target",
    "reject",
    "log",
    "queue",
    "notrack",
    "nat",
    "masq",
    "redir",
];

impl<'a, R: Reader> Decoder<'a, R> {
    /// A decoder with nothing known yet.
    pub fn new(
        memory: &'a R,
        symbols: &'a Symbols,
        nft: &'a NftLayout,
        xtables: Option<&'a XtLayout>,
    ) -> Self {
        Self {
            memory,
            symbols,
            nft,
            xtables,
            kinds: HashMap::default(),
            known: HashMap::default(),
            functions: BTreeSet::new(),
        }
    }

    /// The functions that evaluate what was decoded since this was last asked.
    pub fn take_functions(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.functions)
    }

    /// Decodes a rule; beside it where its comment lies, if that lies elsewhere. `chains` gives the index of a chain by its
    /// address. `None` if it does not hold together.
    pub fn rule(
        &mut self,
        handle: u64,
        bytes: &[u8],
        chains: &HashMap<u64, usize>,
    ) -> Option<(Rule, Option<u64>)> {
        let mut rule = Rule {
            handle,
            ..Rule::default()
        };
        let mut comment_at = None;
        let mut at = 0;
        while at + 8 <= bytes.len() {
            let ops = u64_at(bytes, at)?;
            let kind = self.kind(ops)?;
            let expr = bytes.get(at..at + kind.size as usize)?;
            // None: `nft_do_chain` evaluates it by itself, and then it can only say "no match".
            if kind.function != 0 {
                self.functions.insert(kind.function);
            }
            apply(&mut rule, &kind, expr, chains, self.nft.lookup_dreg_set);
            if kind.name == "objref"
                && let Some(object) = self.deciding_object(expr)
            {
                (rule.step, rule.target) = (Step::MayDrop, Some(object.into()));
            }
            rule.beyond_iptables |= !by_iptables::writes(
                &by_iptables::Expression {
                    name: &kind.name,
                    sets: kind.sets,
                    private: expr.get(8..).unwrap_or_default(),
                },
                self.nft.payload,
            );
            if is_comment(&kind) {
                // Large matches keep their data apart (`struct nft_xt_match_priv`).
                comment_at = (expr.len() == POINTER_ONLY).then(|| u64_at(expr, 8)).flatten();
                let text = expr.get(8..).filter(|_| expr.len() != POINTER_ONLY);
                rule.comment = text.map(|text| string(text).into());
            }
            at += kind.size as usize;
        }
        Some((rule, comment_at))
    }

    /// What a reference to an object (`struct nft_object *`), or to a map of them (`struct nft_objref_map`), can end a
    /// packet by.
    fn deciding_object(&self, expr: &[u8]) -> Option<&'static str> {
        let of = self.nft.objects?;
        let at = u64_at(expr, 8)?;
        let number = if expr.len() == POINTER_ONLY {
            let ops = self.memory.u64(at + of.ops)?;
            self.memory
                .u32(self.memory.u64(ops + of.ops_type)? + of.type_number)?
        } else {
            self.memory.u32(at + of.of_set)?
        };
        DECIDERS
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, name)| *name)
    }

    /// Learns the operations of all expressions of these rules, as many at once as can be told apart: where the second expression of
    /// a rule begins, the operations of the first say.
    pub fn learn(&mut self, rules: &[&[u8]]) {
        let mut rests = rules.to_vec();
        loop {
            rests.retain_mut(|rest| self.skip_known(rest));
            if rests.is_empty() {
                return;
            }
            let mut wanted: Vec<u64> = rests.iter().filter_map(|rest| u64_at(rest, 0)).collect();
            wanted.sort_unstable();
            wanted.dedup();
            self.look_at(&wanted);
        }
    }

    /// Goes on to the first expression whose operations are not known; false if there is none.
    fn skip_known(&self, rest: &mut &[u8]) -> bool {
        while let Some(ops) = u64_at(rest, 0) {
            let Some(known) = self.kinds.get(&ops) else {
                return true;
            };
            let behind = known.as_ref().and_then(|kind| rest.get(kind.size as usize..));
            *rest = behind.unwrap_or_default();
        }
        false
    }

    fn kind(&mut self, ops: u64) -> Option<Rc<Kind>> {
        if let Some(known) = self.kinds.get(&ops) {
            return known.clone();
        }
        self.look_at(&[ops]);
        self.kinds.get(&ops).cloned().flatten()
    }

    fn look_at(&mut self, wanted: &[u64]) {
        let nft = self.nft;
        let ends = [OPS_EVAL + 8, nft.ops_size + 4, nft.ops_type + 8, nft.ops_data + 8];
        let len_bytes = ends.into_iter().max().unwrap_or(0) as usize;
        let pieces: Vec<(u64, usize)> = wanted.iter().map(|ops| (*ops, len_bytes)).collect();
        let gathered = self.memory.gather(&pieces);
        for (piece, at) in wanted.iter().enumerate() {
            let ops = gathered.get(piece).and_then(|bytes| {
                Some(Ops {
                    function: u64_at(bytes, OPS_EVAL as usize)?,
                    size: u32_at(bytes, nft.ops_size as usize)?,
                    of_type: u64_at(bytes, nft.ops_type as usize)?,
                    data: u64_at(bytes, nft.ops_data as usize)?,
                })
            });
            let kind = ops.and_then(|ops| self.of_ops(ops));
            self.kinds.insert(*at, kind);
        }
    }

    fn of_ops(&mut self, ops: Ops) -> Option<Rc<Kind>> {
        if let Some(known) = self.known.get(&ops) {
            return known.clone();
        }
        let kind = self.look(ops).map(Rc::new);
        self.known.insert(ops, kind.clone());
        kind
    }

    fn look(&self, ops: Ops) -> Option<Kind> {
        let Ops { function, size, .. } = ops;
        if !(8..=MOST_BYTES).contains(&size) {
            return None;
        }
        let name = self.memory.string(
            self.memory.u64(ops.of_type.wrapping_add(self.nft.type_name))?,
            NAME_BYTES,
        )?;
        let extension = self.extension(ops.data, &name);
        let symbol = self.symbols.of(function).map(|symbol| symbol.name);
        let sets = symbol.is_some_and(|name| SETS.contains(&name));
        let of_bridge = symbol == Some(OF_BRIDGE);
        Some(Kind {
            function,
            sets,
            name,
            size,
            extension,
            of_bridge,
        })
    }

    /// `ops->data` is the `xt_match` or `xt_target`, net/netfilter/nft_compat.c.
    fn extension(&self, data: u64, name: &str) -> Option<String> {
        let xtables = self.xtables?;
        let at = match name {
            "match" => xtables.match_name,
            "target" => xtables.target_name,
            _ => return None,
        };
        self.memory.string(data.wrapping_add(at), NAME_BYTES)
    }
}

fn apply(rule: &mut Rule, kind: &Kind, expr: &[u8], chains: &HashMap<u64, usize>, dreg_set: Option<u64>) {
    match kind.name.as_str() {
        "counter" => {
            rule.counter = u64_at(expr, 8).map(|address| Counter {
                address,
                plain: false,
                bytes_first: true,
            });
        }
        "immediate" => immediate(rule, expr, chains),
        "target" => target(rule, kind.extension.as_deref().unwrap_or("?"), kind.of_bridge),
        "reject" => (rule.step, rule.target) = (Step::Drop, Some("reject".into())),
        "queue" => (rule.step, rule.target) = (Step::MayDrop, Some("queue".into())),
        "synproxy" => (rule.step, rule.target) = (Step::MayDrop, Some("synproxy".into())),
        // Drops if it cannot set the translation up.
        "nat" | "masq" | "redir" => {
            (rule.step, rule.target) = (Step::MayDrop, Some(kind.name.clone().into()))
        }
        // The key is the first byte of `struct nft_meta`.
        "meta" if kind.sets && expr.get(8) == Some(&META_MARK) => rule.target = Some("mark".into()),
        // The key is the first byte of `struct nft_ct`, too.
        "ct" if !kind.sets && expr.get(8).is_some_and(|key| UNLISTED.contains(key)) => rule.in_part = true,
        "lookup" if is_verdict_map(expr, dreg_set) => {
            (rule.step, rule.target) = (Step::Map, Some("vmap".into()))
        }
        _ => {}
    }
    // What can still say "no match" makes an earlier counter no proof that the rule reached its verdict.
    if kind.name != "counter" && !NEVER_BREAKS.contains(&kind.name.as_str()) && !is_comment(kind) {
        rule.counter = None;
    }
}

fn is_comment(kind: &Kind) -> bool {
    kind.extension.as_deref() == Some("comment")
}

/// `struct nft_immediate_expr`: the data, then the register; register 0 is the verdict.
fn immediate(rule: &mut Rule, expr: &[u8], chains: &HashMap<u64, usize>) {
    if expr.get(24) != Some(&0) {
        return;
    }
    let code = expr
        .get(8..12)
        .and_then(|code| code.try_into().ok())
        .map(i32::from_ne_bytes);
    let to = u64_at(expr, 16).and_then(|chain| chains.get(&chain)).copied();
    (rule.step, rule.target) = match (code, to) {
        (Some(0), _) => (Step::Drop, Some("drop".into())),
        (Some(1), _) => (Step::Accept, Some("accept".into())),
        (Some(-3), Some(chain)) => (Step::Jump(chain), None),
        (Some(-4), Some(chain)) => (Step::Goto(chain), None),
        (Some(-5), _) => (Step::Return, Some("return".into())),
        (Some(-1), _) => (Step::Continue, None),
        _ => (Step::MayDrop, None),
    };
}

fn target(rule: &mut Rule, name: &str, of_bridge: bool) {
    rule.target = Some(name.to_owned().into());
    rule.step = match name {
        _ if of_bridge && WITH_VERDICT.contains(&name) => Step::MayDrop,
        "REJECT" => Step::Drop,
        "NFQUEUE" | "SYNPROXY" | "TPROXY" | "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => {
            Step::MayDrop
        }
        _ => Step::Continue,
    };
}

/// `struct nft_lookup`: the set, a source and a destination register; register 0 is the verdict. A plain set's lookup
/// leaves the destination 0; newer kernels say beside it whether there is one, on older ones it may be either.
fn is_verdict_map(expr: &[u8], dreg_set: Option<u64>) -> bool {
    let is_set = match dreg_set {
        Some(at) => expr.get(8 + at as usize) == Some(&1),
        None => true,
    };
    expr.get(17) == Some(&0) && is_set
}
