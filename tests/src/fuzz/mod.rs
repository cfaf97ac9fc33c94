//! Everything that observer reads and did not write itself, given bytes that chance and coverage choose: nothing panics, hangs or
//! takes memory without bound. `cargo xtask fuzz` runs these targets under libFuzzer; a unit test tries each for a moment.

#[cfg(test)]
mod mutate;
mod targets;

pub use targets::TARGETS;

/// A parser, and what it is to be true of.
pub struct Target {
    /// What is said on the command line.
    pub name: &'static str,
    /// Gives it an input; panics if it does not do what it should.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// The target with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::mutate::Mutator;
    use super::*;

    /// For each target: some seconds in all, without optimisation.
    const INPUTS: usize = 400;

    #[test]
    fn every_target_bears_its_seeds_and_what_chance_makes_of_them() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
            let mut mutator = Mutator::new(1);
            for _ in 0..INPUTS {
                (target.run)(&mutator.input(&seeds));
            }
        }
    }
}
