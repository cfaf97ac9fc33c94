//! One of the targets under libFuzzer, which has `main` and the arguments; `cargo xtask fuzz` builds and starts it.

#![no_main]

use std::sync::OnceLock;
use std::{env, fs, process};

use libfuzzer_sys::fuzz_target;
use observer_tests::fuzz::{TARGETS, Target};

/// Names the target; without it the names of all are printed.
const NAME: &str = "OBSERVER_FUZZ_TARGET";
/// An empty directory for its seeds, which must be there before libFuzzer reads it.
const SEEDS: &str = "OBSERVER_FUZZ_SEEDS";

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        CHOSEN.get_or_init(choose);
    },
    |data: &[u8]| {
        (CHOSEN.get_or_init(choose).run)(data);
    }
);

fn choose() -> &'static Target {
    let Ok(name) = env::var(NAME) else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        process::exit(0);
    };
    let Some(target) = Target::named(&name) else {
        eprintln!("{NAME}={name} is no target");
        process::exit(2);
    };
    if let Ok(directory) = env::var(SEEDS) {
        for (index, seed) in (target.seeds)().iter().enumerate() {
            if let Err(error) = fs::write(format!("{directory}/{index}"), seed) {
                eprintln!("cannot write a seed to {directory}: {error}");
                process::exit(2);
            }
        }
    }
    target
}
