//! Scenarios: small TOML files in `tests/scenarios` that say what to send, what the kernel's counters must show,
//! and what observer must report.

mod cases;
mod check;
mod culprit;
mod explain;
mod features;
mod judge;
pub mod native;
pub mod path;
mod phase;
pub mod run;
pub mod spec;
pub mod step;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::cluster::{Backend, Data, Family};
use cases::Code;
use spec::{Header, Run};

/// One run of a scenario: a scenario file lists backends and families, and each pair is a variant.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The scenario's name, `seed-…`.
    pub scenario: String,
    /// Name for people and results: the scenario's, and what tells its variants apart.
    pub name: String,
    /// Which iptables.
    pub backend: Backend,
    /// Which family.
    pub family: Family,
    /// Whether every kernel runs it.
    pub every_kernel: bool,
    /// Whether it shows something only where packets can be followed.
    pub of_paths: bool,
    /// Whether it shows the same on a kernel that is too old for observer's programs.
    pub without_bpf: bool,
    /// The row of the table of kernels that it counts for.
    pub feature: Option<String>,
    /// Code instead of a file, for the few that do not fit data.
    case: Option<Code>,
}

/// Every variant whose name contains `filter`, in order.
pub fn list(data: &Data, filter: &str) -> Result<Vec<Variant>> {
    let mut variants = Vec::new();
    for scenario in data.list("scenarios")? {
        let text = data.read(&format!("scenarios/{scenario}.toml"))?;
        let spec = Header::parse(&text).with_context(|| format!("scenarios/{scenario}.toml"))?;
        let runs = spec.runs();
        let backends = runs.iter().any(|run| run.backend != runs[0].backend);
        let families = runs.iter().any(|run| run.family != runs[0].family);
        for Run { backend, family } in runs {
            let mut name = scenario.clone();
            if backends {
                name += &format!(":{}", backend.word());
            }
            if families {
                name += &format!(":{}", family.word());
            }
            variants.push(Variant {
                scenario: scenario.clone(),
                name,
                backend,
                family,
                every_kernel: spec.every_kernel,
                of_paths: spec.is_of_paths(),
                without_bpf: spec.is_without_bpf(),
                feature: spec.feature.clone(),
                case: None,
            });
        }
    }
    for case in cases::ALL {
        for backend in case.backends {
            let mut name = case.name.to_owned();
            if case.backends.len() > 1 {
                name += &format!(":{}", backend.word());
            }
            variants.push(Variant {
                scenario: case.name.to_owned(),
                name,
                backend: *backend,
                family: Family::Ip,
                every_kernel: case.every_kernel,
                of_paths: case.of_paths,
                without_bpf: case.without_bpf,
                feature: None,
                case: Some(case.run),
            });
        }
    }
    variants.retain(|variant| variant.name.contains(filter));
    Ok(variants)
}

/// One variant of each scenario that is `thinned`, and all of the others. Which one it is goes round, so that every family and
/// backend has its share; another `turn` takes the next one of each.
pub fn one_of_each(variants: Vec<Variant>, turn: usize, thinned: impl Fn(&Variant) -> bool) -> Vec<Variant> {
    let mut sizes = BTreeMap::<String, usize>::new();
    for variant in &variants {
        *sizes.entry(variant.scenario.clone()).or_default() += 1;
    }
    let (mut scenario, mut round, mut index) = (String::new(), turn, 0);
    let mut kept = Vec::new();
    for variant in variants {
        // Those of a scenario follow each other.
        if variant.scenario == scenario {
            index += 1;
        } else {
            (scenario, index) = (variant.scenario.clone(), 0);
            round += 1;
        }
        let size = sizes.get(&scenario).copied().unwrap_or(1);
        if !thinned(&variant) || index == round % size {
            kept.push(variant);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::spec::Scenario;
    use super::*;
    use crate::cluster::{Setup, template::Names};
    use std::path::Path;

    fn data() -> Data {
        Data::new(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    fn sizes(all: &[Variant], of: &Variant) -> usize {
        all.iter().filter(|one| one.scenario == of.scenario).count()
    }

    #[test]
    fn one_of_each_leaves_no_scenario_out_and_both_families_in() {
        let all = list(&data(), "").expect("scenarios");
        let scenarios = |variants: &[Variant]| {
            let names = variants.iter().map(|variant| variant.scenario.clone());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let thin = one_of_each(all.clone(), 0, |_| true);
        assert_eq!(scenarios(&thin), scenarios(&all));
        assert_eq!(thin.len(), scenarios(&all).len());
        let names = |variants: &[Variant]| {
            let names = variants.iter().map(|variant| variant.name.clone());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let next = one_of_each(all.clone(), 1, |_| true);
        let two: Vec<&Variant> = all.iter().filter(|one| sizes(&all, one) == 2).collect();
        assert!(two.len() > 10);
        let (thin_names, next_names) = (names(&thin), names(&next));
        for variant in two {
            assert!(thin_names.contains(&variant.name) != next_names.contains(&variant.name));
        }
        for family in [Family::Ip, Family::Ip6] {
            assert!(thin.iter().any(|variant| variant.family == family));
        }
        let kept = one_of_each(all.clone(), 0, |variant| !variant.every_kernel);
        let of_every_kernel = |variants: &[Variant]| variants.iter().filter(|one| one.every_kernel).count();
        assert_eq!(of_every_kernel(&kept), of_every_kernel(&all));
    }

    #[test]
    fn every_scenario_file_is_well_formed() {
        let data = data();
        let variants = list(&data, "").expect("scenarios");
        assert!(variants.len() > 10);
        for variant in variants.iter().filter(|variant| variant.case.is_none()) {
            let text = data
                .read(&format!("scenarios/{}.toml", variant.scenario))
                .expect("scenario");
            let spec = Header::parse(&text).expect("scenario");
            let (cluster, _) = data.cluster(&spec.cluster).expect("cluster");
            let setup = Setup {
                backend: variant.backend,
                family: variant.family,
                prefix: String::new(),
            };
            let mut names = Names::new(&setup);
            names.set("work", "/tmp");
            for node in &cluster.node {
                names.set(&format!("inode:{}", node.name), "4026532000");
                names.set(&format!("pid:{}", node.name), "1");
            }
            if let Some(words) = cluster.names.get(variant.family.word()) {
                words.iter().for_each(|(word, meaning)| names.set(word, meaning));
            }
            let filled = names
                .fill(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", variant.name));
            let scenario =
                Scenario::parse(&filled).unwrap_or_else(|error| panic!("{}: {error}", variant.name));
            scenario
                .can_fail()
                .unwrap_or_else(|why| panic!("{}: {why}", variant.name));
        }
    }

    #[test]
    fn names_tell_variants_apart() {
        let mut names: Vec<String> = list(&data(), "")
            .expect("scenarios")
            .into_iter()
            .map(|variant| variant.name)
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
