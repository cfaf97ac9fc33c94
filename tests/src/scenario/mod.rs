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
                of_paths: false,
                feature: None,
                case: Some(case.run),
            });
        }
    }
    variants.retain(|variant| variant.name.contains(filter));
    Ok(variants)
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
