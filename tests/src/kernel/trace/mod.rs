//! The kernel's own record of which rules packets matched, as truth for the paths that observer reports.
//!
//! nf_tables tells it by netlink for packets that a rule `meta nftrace set 1` has marked; x_tables logs it for packets
//! that a TRACE rule has. Both rules are the lab's, first on PREROUTING and OUTPUT, and left out of what is compared.

pub mod ident;
pub mod netlink;
mod nft;
mod rulebook;
mod xtables;

use anyhow::{Context, Result};

use crate::cluster::{Family, write_sysctl};
use crate::exec;
use crate::netns::Netns;
use ident::Ident;
use netlink::Socket;
pub use rulebook::Rulebook;

/// The table of the lab's rule in nf_tables.
pub const LAB_TABLE: &str = "lab-trace";

/// One thing that the kernel said about a packet in a table.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    family: &'static str,
    table: String,
    chain: String,
    /// nf_tables: what else the kernel said about this packet has the same.
    id: u32,
    begins: bool,
    hook: Option<&'static str>,
    what: What,
    verdict: Option<&'static str>,
    packet: Option<Ident>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// nf_tables: the rule with this handle.
    Handle(u64),
    /// x_tables: the rule with this number.
    Number(u32),
    /// x_tables: the rule with this number, or the policy if the chain has fewer.
    Last(u32),
    /// nf_tables: the policy.
    Policy,
    /// nf_tables: the end of a chain.
    End,
}

/// A packet's run through one base chain, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `legacy` or `nft`.
    pub backend: &'static str,
    /// The table's family.
    pub family: String,
    /// The table.
    pub table: String,
    /// The base chain.
    pub chain: String,
    /// The hook, if it can be told.
    pub hook: Option<String>,
    /// The packet as it was at the first rule.
    pub packet: Ident,
    /// The rules it matched, in order, and the policy.
    pub steps: Vec<Step>,
    /// The verdict, if the kernel says it (x_tables says it of policies only).
    pub verdict: Option<String>,
    id: u32,
}

#[cfg(test)]
impl Run {
    /// A run as judges of paths see it: backend, family, table and base chain, which is named after its hook.
    pub fn for_test(
        table: [&'static str; 4],
        packet: Ident,
        steps: Vec<Step>,
        verdict: Option<&str>,
    ) -> Self {
        let [backend, family, table, chain] = table;
        Self {
            backend,
            family: family.to_owned(),
            table: table.to_owned(),
            chain: chain.to_owned(),
            hook: Some(chain.to_owned()),
            packet,
            steps,
            verdict: verdict.map(str::to_owned),
            id: 0,
        }
    }
}

/// A rule, or the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The chain.
    pub chain: String,
    /// The rule's number in it, if the rule is still there.
    pub rule: Option<u32>,
    /// nf_tables: its handle.
    pub handle: Option<u64>,
    /// Whether it is no rule but the policy.
    pub policy: bool,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.rule, self.handle) {
            _ if self.policy => write!(f, "{} policy", self.chain),
            (Some(rule), _) => write!(f, "{} {rule}", self.chain),
            (None, Some(handle)) => write!(f, "{} handle {handle}", self.chain),
            (None, None) => write!(f, "{} ?", self.chain),
        }
    }
}

/// What nf_tables has told so far.
#[derive(Debug, Default)]
pub struct Told(Vec<Event>);

impl Told {
    /// By packets and base chains.
    pub fn runs(&self, book: &Rulebook) -> Vec<Run> {
        assemble_nft(self.0.clone(), book)
    }
}

/// Listens to the traces of one namespace.
#[derive(Debug)]
pub struct Tracer {
    nft: Socket,
    legacy: Option<Socket>,
}

impl Tracer {
    /// Lays the rules that mark packets and starts to listen. `legacy` is the family whose tables of x_tables are to
    /// be traced too.
    pub fn start(netns: &Netns, legacy: Option<Family>) -> Result<Self> {
        let listening = Self::listen(netns)?;
        exec::run(Some(netns), "nft", &["-f", "-"], &marking_rules())?;
        let legacy = legacy.map(|family| trace_xtables(netns, family)).transpose()?;
        Ok(Self { legacy, ..listening })
    }

    /// Starts to listen to what rules of others have marked.
    pub fn listen(netns: &Netns) -> Result<Self> {
        let nft = netns.run(|| {
            let socket = Socket::open()?;
            socket.join(nft::GROUP)?;
            Ok(socket)
        })?;
        Ok(Self { nft, legacy: None })
    }

    /// What has been told since the last call, by packets and tables.
    pub fn runs(&self, netns: &Netns, family: Family) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        if let Some(socket) = &self.legacy {
            let book = Rulebook::of_xtables(netns, family)?;
            let events = socket.drain()?.iter().filter_map(xtables::read).collect();
            runs.extend(assemble_xtables(events, &book));
        }
        runs.extend(self.nft_runs(&Rulebook::of_nftables(netns)?)?);
        Ok(runs)
    }

    /// Adds what nf_tables has told since the last call; returns how many messages that were.
    pub fn gather(&self, told: &mut Told) -> Result<usize> {
        let before = told.0.len();
        told.0.extend(self.nft.drain()?.iter().filter_map(nft::read));
        Ok(told.0.len() - before)
    }

    /// What nf_tables has told since the last call, where its rules are known already.
    pub fn nft_runs(&self, book: &Rulebook) -> Result<Vec<Run>> {
        let events = self.nft.drain()?.iter().filter_map(nft::read).collect();
        Ok(assemble_nft(events, book))
    }
}

fn marking_rules() -> String {
    let chain = |hook: &str| {
        format!(
            "chain {hook} {{ type filter hook {hook} priority -500; policy accept; meta nftrace set 1; }}\n"
        )
    };
    format!(
        "table inet {LAB_TABLE} {{\n{}{}}}\n",
        chain("prerouting"),
        chain("output")
    )
}

fn trace_xtables(netns: &Netns, family: Family) -> Result<Socket> {
    let (tool, number) = match family {
        Family::Ip => ("iptables-legacy", "2"),
        Family::Ip6 => ("ip6tables-legacy", "10"),
    };
    let socket = netns.run(|| {
        write_sysctl(&format!("net.netfilter.nf_log.{number}"), "nfnetlink_log")
            .context("TRACE cannot be read here: load nfnetlink_log")?;
        let socket = Socket::open()?;
        xtables::listen(&socket)?;
        Ok(socket)
    })?;
    for chain in ["PREROUTING", "OUTPUT"] {
        exec::run(
            Some(netns),
            tool,
            &["-w", "30", "-t", "raw", "-I", chain, "-j", "TRACE"],
            "",
        )?;
    }
    Ok(socket)
}

/// Runs of nf_tables: a message with the packet's headers begins one, the others follow with the same id.
fn assemble_nft(events: Vec<Event>, book: &Rulebook) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for event in events {
        if event.begins {
            let Some(packet) = event.packet.clone() else {
                continue;
            };
            runs.push(Run {
                backend: "nft",
                family: event.family.to_owned(),
                table: event.table.clone(),
                chain: event.chain.clone(),
                hook: book.hook(event.family, &event.table, &event.chain),
                packet,
                steps: Vec::new(),
                verdict: None,
                id: event.id,
            });
        }
        let same =
            |run: &&mut Run| run.id == event.id && run.family == event.family && run.table == event.table;
        let Some(run) = runs.iter_mut().rev().find(same) else {
            continue;
        };
        run.steps.extend(book.step(&event));
        run.verdict = event.verdict.map(str::to_owned).or(run.verdict.take());
    }
    runs.retain(|run| run.table != LAB_TABLE);
    runs
}

/// The lab's own TRACE rule. The kernel tells of it only for packets that `nftrace` marked before.
fn lab_rule(table: &str, hook: &str) -> Option<Step> {
    (table == "raw" && ["PREROUTING", "OUTPUT"].contains(&hook)).then(|| Step {
        chain: hook.to_owned(),
        rule: Some(1),
        ..Step::default()
    })
}

/// Runs of x_tables: what is said of one packet in one table on one hook, until something else is said of it.
fn assemble_xtables(events: Vec<Event>, book: &Rulebook) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for event in events {
        let (Some(packet), Some(hook)) = (&event.packet, event.hook) else {
            continue;
        };
        let last = runs.iter().rposition(|run| run.packet.same_packet(packet));
        let same = last.filter(|at| {
            let run = &runs[*at];
            run.table == event.table && run.hook.as_deref() == Some(hook) && run.verdict.is_none()
        });
        let at = same.unwrap_or_else(|| {
            runs.push(Run {
                backend: "legacy",
                family: event.family.to_owned(),
                table: event.table.clone(),
                chain: hook.to_owned(),
                hook: Some(hook.to_owned()),
                packet: packet.clone(),
                steps: lab_rule(&event.table, hook).into_iter().collect(),
                verdict: None,
                id: 0,
            });
            runs.len() - 1
        });
        let Some(step) = book.step(&event) else {
            continue;
        };
        let is_lab_rule = lab_rule(&event.table, hook).as_ref() == Some(&step);
        runs[at].verdict = book.verdict(&event.table, &step);
        if !(is_lab_rule && runs[at].steps.len() == 1) {
            runs[at].steps.push(step);
        }
    }
    runs
}

#[cfg(test)]
mod tests;
