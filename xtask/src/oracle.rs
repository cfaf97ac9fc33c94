//! `cargo xtask oracle`: observer beside random rulesets and random packets, with the kernel as the judge.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::lab::{Lab, Place};
use crate::test::Choice;
use crate::{setup, workspace};

/// The options of `cargo xtask oracle`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The same seed makes the same rulesets and packets; without it, another each time
    #[arg(long)]
    seed: Option<u64>,
    /// Who holds the rules; one after the other where nothing is said
    #[arg(long, value_parser = ["legacy", "iptables-nft", "nft"])]
    backend: Option<String>,
    /// The packets' family; one after the other where nothing is said
    #[arg(long, value_parser = ["ip", "ip6"])]
    family: Option<String>,
    /// host, or a series such as 6.12, in a virtual machine
    #[arg(long, value_name = "KERNEL", default_value = "host")]
    kernel: Choice,
    /// Packets of each backend and family
    #[arg(long, default_value_t = 2000)]
    packets: u64,
    /// Packets for each ruleset
    #[arg(long, default_value_t = 200)]
    per_ruleset: u64,
    /// Send all packets of a ruleset at once
    #[arg(long)]
    bursts: bool,
    /// What observer is told to attach
    #[arg(long, default_value = "auto")]
    probes: String,
}

/// Builds and runs. The code is 1 when anything that observer said was wrong.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let Choice::One(place) = arguments.kernel else {
        bail!("one kernel at a time: host, or a series such as 6.12");
    };
    if place == Place::Host && !nix::unistd::geteuid().is_root() {
        bail!("the oracle needs root here: sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask oracle");
    }
    setup::lab()?;
    let lab = Lab::build(&[place])?;
    let found = workspace::target().join("oracle");
    let mut worst = 0;
    for backend in chosen(arguments.backend.as_deref(), &["legacy", "iptables-nft", "nft"]) {
        for family in chosen(arguments.family.as_deref(), &["ip", "ip6"]) {
            let words = words(arguments, backend, family);
            worst = worst.max(lab.oracle(place, &words, &found)?);
        }
    }
    Ok(ExitCode::from(u8::try_from(worst).unwrap_or(u8::MAX)))
}

fn chosen<'a>(one: Option<&'a str>, all: &[&'a str]) -> Vec<&'a str> {
    one.map_or_else(|| all.to_vec(), |one| vec![one])
}

/// What the lab is told.
fn words(arguments: &Arguments, backend: &str, family: &str) -> Vec<String> {
    let backend = match backend {
        "iptables-nft" => "nft",
        "nft" => "native",
        other => other,
    };
    let mut words = vec!["--backend".to_owned(), backend.to_owned()];
    let numbers = [
        ("--packets", Some(arguments.packets)),
        ("--per-ruleset", Some(arguments.per_ruleset)),
        ("--seed", arguments.seed),
    ];
    for (name, number) in numbers {
        words.extend(
            number
                .into_iter()
                .flat_map(|number| [name.to_owned(), number.to_string()]),
        );
    }
    words.extend(["--probes".to_owned(), arguments.probes.clone()]);
    words.extend((family == "ip6").then(|| "--ip6".to_owned()));
    words.extend(arguments.bursts.then(|| "--bursts".to_owned()));
    words
}
