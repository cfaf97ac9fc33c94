//! What a scenario file may say.

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::explain::Explain;
use super::native::Native;
use super::path::PathSpec;
use super::step::Step;
use crate::cage::Cage;
use crate::cluster::{Backend, Family};
use crate::kernel::probes;

/// A scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub about: String,
    /// The cluster it runs in.
    pub cluster: String,
    /// One run for each.
    #[serde(default = "legacy")]
    pub backends: Vec<Backend>,
    /// One run for each.
    #[serde(default = "ip")]
    pub families: Vec<Family>,
    /// Instead of both: the pairs to run, `legacy:ip`.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// Shell commands that must work in an empty namespace, or the scenario is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What the kernel must let programs attach to, or the scenario is skipped.
    pub needs_probes: Option<Probes>,
    /// Whether also the kernels run it that run only a part of the scenarios.
    #[serde(default)]
    pub every_kernel: bool,
    /// The row of the table in `docs/kernels.md` that it counts for.
    pub feature: Option<String>,
    /// The nodes whose packets the kernel traces, from before observer starts.
    #[serde(default)]
    pub traced: Vec<String>,
    /// How observer is run.
    #[serde(default)]
    pub observer: ObserverSpec,
    /// What is done before observer starts.
    #[serde(default)]
    pub setup: Vec<Step>,
    /// How observer must end.
    #[serde(default)]
    pub exit: ExitSpec,
    /// A pattern for the summary line.
    pub summary: Option<Value>,
    /// A pattern for the start line.
    pub start: Option<Value>,
    /// The phases, one after the other under the same observer.
    #[serde(default)]
    pub phase: Vec<Phase>,
    /// Instead of phases: the steps of the only one.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Instead of phases.
    #[serde(default)]
    pub culprit: Vec<Culprit>,
    /// Instead of phases.
    #[serde(default)]
    pub native: Vec<Native>,
    /// Instead of phases.
    #[serde(default)]
    pub path: Vec<PathSpec>,
    /// Instead of phases.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// Instead of phases.
    #[serde(default)]
    pub forbid: Vec<Forbid>,
    /// Instead of phases.
    #[serde(default)]
    pub truth: Vec<Truth>,
    /// Instead of phases.
    #[serde(default)]
    pub explain: Vec<Explain>,
    /// Instead of phases.
    #[serde(default)]
    pub others: bool,
}

/// What programs can be attached to, beyond the tracepoint of dropped packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probes {
    /// Functions of hooks and tables: packets' paths can be observed.
    Path,
    /// Nothing else (in `when`: this kernel lets paths not be observed).
    Drops,
    /// Nothing: this kernel is too old for observer's programs.
    None,
}

impl Probes {
    /// Whether this kernel is such a one.
    pub fn is_here(self) -> bool {
        match self {
            Self::Path => probes::path(),
            Self::Drops => probes::programs() && !probes::path(),
            Self::None => !probes::programs(),
        }
    }
}

/// A backend and a family, `nft:ip6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Run {
    /// Which iptables.
    pub backend: Backend,
    /// Which family.
    pub family: Family,
}

impl TryFrom<String> for Run {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        let word = |text: &str| Value::String(text.to_owned());
        let Some((backend, family)) = text.split_once(':') else {
            bail!("`{text}` is no run; write nft:ip6")
        };
        Ok(Self {
            backend: serde_json::from_value(word(backend))?,
            family: serde_json::from_value(word(family))?,
        })
    }
}

/// The part of a scenario file that can be read before its placeholders are filled in.
#[derive(Debug, Clone, Deserialize)]
pub struct Header {
    /// The cluster it runs in.
    pub cluster: String,
    /// One run for each.
    #[serde(default = "legacy")]
    pub backends: Vec<Backend>,
    /// One run for each.
    #[serde(default = "ip")]
    pub families: Vec<Family>,
    /// Instead of both lists: the pairs to run, `legacy:ip`.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// Shell commands that must work.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What the kernel must let programs attach to.
    pub needs_probes: Option<Probes>,
    /// Whether every kernel runs it.
    #[serde(default)]
    pub every_kernel: bool,
    /// The row of the table of kernels.
    pub feature: Option<String>,
    /// How observer is run; placeholders and all.
    #[serde(default)]
    pub observer: ObserverSpec,
    /// Rules of which more is expected where packets can be followed.
    #[serde(default)]
    pub native: Vec<serde::de::IgnoredAny>,
    /// Ways, which are looked at only there.
    #[serde(default)]
    pub path: Vec<serde::de::IgnoredAny>,
}

impl Header {
    /// Reads the header of a scenario file.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Whether it shows something only where packets can be followed.
    pub fn is_of_paths(&self) -> bool {
        let is_for_others = matches!(self.needs_probes, Some(Probes::Drops | Probes::None));
        let shows = self.needs_probes.is_some() || !self.native.is_empty() || !self.path.is_empty();
        shows && !is_for_others
    }

    /// Whether it shows the same on a kernel that is too old for observer's programs: it asks for
    /// none.
    pub fn is_without_bpf(&self) -> bool {
        let (cage, args) = (&self.observer.cage, &self.observer.args);
        let asks_for_none = args.windows(2).any(|words| words == ["--probes", "none"]);
        let needs_none = cage.no_bpf || cage.linux_3_10 || asks_for_none;
        self.needs_probes == Some(Probes::None) || (needs_none && !self.observer.fails)
    }

    /// Every pair of backend and family that it runs with.
    pub fn runs(&self) -> Vec<Run> {
        if !self.runs.is_empty() {
            return self.runs.clone();
        }
        let pairs = self
            .families
            .iter()
            .flat_map(|&family| self.backends.iter().map(move |&it| (it, family)));
        pairs.map(|(backend, family)| Run { backend, family }).collect()
    }
}

/// How observer is run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserverSpec {
    /// The verb; `watch` if absent.
    pub verb: Option<String>,
    /// Arguments after `watch -o json`.
    #[serde(default)]
    pub args: Vec<String>,
    /// What it is kept from.
    #[serde(default)]
    pub cage: Cage,
    /// Whether it must refuse to start: no start line is awaited, nothing is sent.
    #[serde(default)]
    pub fails: bool,
    /// Whether it ends by itself (`--count`, `--duration`, an error): it is not interrupted.
    #[serde(default)]
    pub ends: bool,
    /// The signal that ends it, `SIGINT` if absent.
    pub signal: Option<String>,
    /// Text on the standard output; the trace that is checked goes to a file through `--write`.
    #[serde(default)]
    pub text: bool,
}

/// How observer must end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitSpec {
    /// Its exit code.
    #[serde(default)]
    pub code: i32,
    /// How many lines on the standard error.
    pub stderr_lines: Option<usize>,
    /// What these must contain, whatever the case.
    #[serde(default)]
    pub stderr: Vec<String>,
    /// What the standard output must contain.
    #[serde(default)]
    pub stdout: Vec<String>,
    /// What it must not contain.
    #[serde(default)]
    pub not_stdout: Vec<String>,
}

/// Steps, and what must have come of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Done before the counters are read: replacing rules, adding nodes.
    #[serde(default)]
    pub setup: Vec<Step>,
    /// Done after.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Rules and policies that drop packets.
    #[serde(default)]
    pub culprit: Vec<Culprit>,
    /// The same of native nftables.
    #[serde(default)]
    pub native: Vec<Native>,
    /// The ways of packets; only where paths can be observed.
    #[serde(default)]
    pub path: Vec<PathSpec>,
    /// Other lines that must be there.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// Lines that must not.
    #[serde(default)]
    pub forbid: Vec<Forbid>,
    /// Counters that must rise.
    #[serde(default)]
    pub truth: Vec<Truth>,
    /// What `observer explain` must say afterwards.
    #[serde(default)]
    pub explain: Vec<Explain>,
    /// Whether drops that nothing here describes are allowed.
    #[serde(default)]
    pub others: bool,
}

/// A number of packets.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Count {
    /// This many.
    Exactly(u64),
    /// Something between.
    Between {
        /// At least.
        #[serde(default)]
        min: u64,
        /// At most.
        #[serde(default = "no_end")]
        max: u64,
    },
}

/// A rule or policy that drops packets: its counter must rise, no other dropping counter of the node may, and
/// observer must report as many drops as the counter says, with this place and its text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Culprit {
    /// The node whose rules it is in.
    pub node: String,
    /// Which iptables wrote the rule, if not that of the run.
    pub backend: Option<Backend>,
    /// The table.
    #[serde(default = "filter")]
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's number in it; absent: the chain's policy.
    pub rule: Option<usize>,
    /// The hook, if the chain is not named after it.
    pub hook: Option<String>,
    /// How many packets.
    pub packets: Count,
    /// The chains from the base chain down. nf_tables keeps no record, so there it may be absent.
    pub chain_path: Option<Vec<String>>,
    /// `exact` unless said otherwise.
    pub confidence: Option<Value>,
    /// More that the lines must match.
    #[serde(default)]
    pub line: Value,
    /// Whether observer must report these (the default) or must not.
    #[serde(default = "yes")]
    pub reported: bool,
    /// Whether observer sees counters only: its lines of kind `counter` add up to the packets.
    #[serde(default)]
    pub counted: bool,
    /// Only on such a kernel.
    pub when: Option<Probes>,
}

/// Lines that must be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How many.
    #[serde(default = "some")]
    pub count: Count,
    /// What they match.
    pub line: Value,
    /// Only on such a kernel.
    pub when: Option<Probes>,
}

/// Lines that must not be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// What they match.
    pub line: Value,
    /// Only on such a kernel.
    pub when: Option<Probes>,
}

/// A counter of the kernel that must rise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// The node.
    pub node: String,
    /// Its name, see `kernel::stats`.
    pub counter: String,
    /// By how much.
    pub packets: Count,
}

fn legacy() -> Vec<Backend> {
    vec![Backend::Legacy]
}

fn ip() -> Vec<Family> {
    vec![Family::Ip]
}

fn filter() -> String {
    "filter".into()
}

fn yes() -> bool {
    true
}

fn some() -> Count {
    Count::Between {
        min: 1,
        max: u64::MAX,
    }
}

fn no_end() -> u64 {
    u64::MAX
}

impl Count {
    /// The least that satisfies it.
    pub fn least(self) -> u64 {
        match self {
            Self::Exactly(count) => count,
            Self::Between { min, .. } => min,
        }
    }

    /// Whether `count` satisfies it.
    pub fn allows(self, count: u64) -> bool {
        match self {
            Self::Exactly(exactly) => count == exactly,
            Self::Between { min, max } => (min..=max).contains(&count),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(count) => write!(f, "{count}"),
            Self::Between { min, max: u64::MAX } => write!(f, "at least {min}"),
            Self::Between { min, max } => write!(f, "{min} to {max}"),
        }
    }
}

impl Scenario {
    /// Reads a scenario file.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        if !scenario.phase.is_empty() && scenario.has_top_level_phase() {
            bail!("write either [[phase]] or [[step]], not both");
        }
        let compares = |phase: &Phase| phase.path.iter().any(|path| path.truth.is_some());
        if scenario.traced.is_empty() && scenario.phases().iter().any(compares) {
            bail!("a path is compared with the kernel's trace, and no node is `traced`");
        }
        Ok(scenario)
    }

    /// The phases, the one at the top level included.
    pub fn phases(&self) -> Vec<Phase> {
        if !self.phase.is_empty() {
            return self.phase.clone();
        }
        vec![Phase {
            setup: Vec::new(),
            step: self.step.clone(),
            culprit: self.culprit.clone(),
            native: self.native.clone(),
            path: self.path.clone(),
            expect: self.expect.clone(),
            forbid: self.forbid.clone(),
            truth: self.truth.clone(),
            explain: self.explain.clone(),
            others: self.others,
        }]
    }

    /// A scenario that asks for nothing is an error: it could not fail.
    pub fn can_fail(&self) -> Result<()> {
        let exit = &self.exit;
        let asks_at_end = exit.code != 0 || !exit.stdout.is_empty() || !exit.not_stdout.is_empty();
        let sends = |phase: &Phase| phase.step.iter().any(Step::sends);
        let asks = |phase: &Phase| {
            let drops = !phase.culprit.is_empty() || !phase.native.is_empty();
            let proof = drops || !phase.path.is_empty() || !phase.truth.is_empty();
            proof
                || !phase.expect.is_empty()
                || phase.explain.iter().any(Explain::asks)
                || phase.step.iter().any(Step::checks)
        };
        if asks_at_end || self.phases().iter().all(|phase| sends(phase) && asks(phase)) {
            return Ok(());
        }
        bail!("a phase sends nothing or asks for nothing: it cannot fail")
    }

    fn has_top_level_phase(&self) -> bool {
        !self.step.is_empty()
            || !self.culprit.is_empty()
            || !self.native.is_empty()
            || !self.path.is_empty()
            || !self.expect.is_empty()
            || !self.forbid.is_empty()
            || !self.truth.is_empty()
            || !self.explain.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_an_error() {
        for text in [
            "about = 'x'\ncluster = 'c'\n[[culprits]]\nnode = 'a'",
            "about = 'x'\ncluster = 'c'\n[[step]]\ndo = 'udp'\nfrom = 'a'\nto = '10.0.0.1'\nport = 1\nconut = 3",
            "about = 'x'\ncluster = 'c'\n[[step]]\ndo = 'upd'",
        ] {
            assert!(Scenario::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scenario_that_asks_for_nothing_is_an_error() {
        let sends =
            "about = 'x'\ncluster = 'c'\n[[step]]\ndo = 'udp'\nfrom = 'a'\nto = '10.0.0.1'\nport = 1\n";
        assert!(Scenario::parse(sends).expect("scenario").can_fail().is_err());
        let asks = format!("{sends}[[truth]]\nnode = 'a'\ncounter = 'Ip.OutRequests'\npackets = 1\n");
        assert!(Scenario::parse(&asks).expect("scenario").can_fail().is_ok());
    }

    #[test]
    fn counts_are_a_number_or_a_range() {
        assert!(Count::Exactly(3).allows(3) && !Count::Exactly(3).allows(4));
        let range: Count = serde_json::from_str("{\"min\": 2}").expect("count");
        assert!(range.allows(2) && range.allows(99) && !range.allows(1));
    }
}
