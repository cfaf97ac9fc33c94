//! The lab's command line.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use observer_tests::cluster::{Backend, Cluster, Data, Family, Setup};
use observer_tests::results::Results;
use observer_tests::run_dir::RunDir;
use observer_tests::scenario::run::Lab;
use observer_tests::schema::Schema;
use observer_tests::{bench, demo, exec, nftables, oracle, replay, scenario};

/// Clusters of network namespaces, and scenarios that drop packets in them.
#[derive(Parser)]
#[command(name = "observer-lab")]
struct Cli {
    /// The directory that holds clusters, scenarios and rules.
    #[arg(long, default_value = env!("CARGO_MANIFEST_DIR"), hide_default_value = true)]
    data: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the scenarios whose name contains FILTER in this kernel.
    Run {
        /// The observer to test.
        #[arg(long, required_unless_present = "kernel_only")]
        observer: Option<PathBuf>,
        /// A package (.deb or .rpm) with that observer in it; may be given for each.
        #[arg(long = "package", value_name = "FILE")]
        packages: Vec<PathBuf>,
        /// Run no observer: check only that the kernel does what the scenarios say.
        #[arg(long, conflicts_with = "observer")]
        kernel_only: bool,
        /// Append a JSON line per scenario.
        #[arg(long)]
        results: Option<PathBuf>,
        /// Keep what observer wrote, in this directory.
        #[arg(long)]
        keep: Option<PathBuf>,
        /// Print where the time of each scenario went.
        #[arg(long)]
        times: bool,
        /// Seconds to wait for something that must happen.
        #[arg(long, default_value = "10")]
        patience: u64,
        /// Only the scenarios that every kernel runs.
        #[arg(long)]
        every_kernel: bool,
        /// Only the scenarios that show the same on a kernel that is too old for observer's programs.
        #[arg(long)]
        without_bpf: bool,
        /// Beside those, one variant of each scenario that shows something where packets can be followed.
        #[arg(long)]
        of_paths: bool,
        /// One variant of each scenario; which one goes round from scenario to scenario, and begins with this.
        #[arg(long, value_name = "TURN")]
        one_variant: Option<usize>,
        /// Only scenarios with this in their name.
        #[arg(default_value = "")]
        filter: String,
    },
    /// Show the case observer was made for.
    Demo {
        /// Which iptables writes the rules.
        #[arg(default_value = "legacy")]
        backend: Which,
        /// The observer to show.
        #[arg(long)]
        observer: PathBuf,
    },
    /// Measure observer on this machine's kernel.
    Bench {
        /// The observer to measure.
        #[arg(long)]
        observer: PathBuf,
    },
    /// Measure what it takes to read and to ask 50,000 rules of each kind.
    BenchSize {
        /// The observer to measure.
        #[arg(long)]
        observer: PathBuf,
        /// Only rules whose kind has this in its name: legacy, nft, native.
        #[arg(default_value = "")]
        only: String,
    },
    /// Measure what 20,000 rules cost that are rewritten every second, and whether a drop is mislabelled.
    BenchRewrite {
        /// The observer to measure.
        #[arg(long)]
        observer: PathBuf,
        /// Only rules whose kind has this in its name: legacy, nft, native.
        #[arg(default_value = "")]
        only: String,
    },
    /// Measure how the cost grows with rules, namespaces and drops, and write docs/benchmarks.md.
    BenchScaling {
        /// The observer to measure.
        #[arg(long)]
        observer: PathBuf,
    },
    /// Measure what observer takes while a policy drops more than it can tell, for a minute.
    BenchFlood {
        /// The observer to measure.
        #[arg(long)]
        observer: PathBuf,
    },
    /// Measure what watching costs the packets that this kernel forwards.
    BenchPaths {
        /// The observer to measure.
        #[arg(long)]
        observer: PathBuf,
        /// How many times each watcher is measured.
        #[arg(long, default_value = "5")]
        rounds: usize,
        /// Only watchers with this in their name.
        #[arg(default_value = "")]
        only: String,
    },
    /// Do pieces of observer's work once, for callgrind, which counts their instructions.
    Instructions,
    /// Set a cluster up, run a shell command, take it down.
    Cluster {
        /// Its name in `clusters`.
        name: String,
        /// Which iptables writes the rules; `native` for nft itself.
        #[arg(long, default_value = "legacy")]
        backend: Which,
        /// Use IPv6 addresses where the files leave it open.
        #[arg(long)]
        ip6: bool,
        /// The command; node namespaces have their own names.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Hold the evaluator of rules against this kernel: random rulesets, random packets.
    Replay {
        /// The same seed makes the same rulesets and packets; without it, another each time.
        #[arg(long)]
        seed: Option<u64>,
        /// Rulesets.
        #[arg(long, default_value = "40")]
        cases: u64,
        /// Packets for each ruleset.
        #[arg(long, default_value = "50")]
        packets: u64,
        /// The first case, to see one again.
        #[arg(long, default_value = "0")]
        from: u64,
        /// Which iptables holds the rules.
        #[arg(long, default_value = "legacy")]
        backend: Which,
        /// IPv6.
        #[arg(long)]
        ip6: bool,
        /// With random tables of nft's own beside those of iptables.
        #[arg(long)]
        mixed: bool,
        /// With rules that ask random sets of ipset.
        #[arg(long)]
        ipset: bool,
    },
    /// Watch with observer while random packets go through random rulesets, and hold each answer against the kernel.
    Oracle {
        /// The observer to try.
        #[arg(long)]
        observer: PathBuf,
        /// The same seed makes the same rulesets and packets; without it, another each time.
        #[arg(long)]
        seed: Option<u64>,
        /// Packets.
        #[arg(long, default_value = "2000")]
        packets: u64,
        /// Packets for each ruleset.
        #[arg(long, default_value = "100")]
        per_ruleset: u64,
        /// The first ruleset, to see one again.
        #[arg(long, default_value = "0")]
        from: u64,
        /// Who holds the rules: `native` is nft's own.
        #[arg(long, default_value = "legacy")]
        backend: Which,
        /// IPv6.
        #[arg(long)]
        ip6: bool,
        /// Send all packets of a ruleset at once.
        #[arg(long)]
        bursts: bool,
        /// What observer is told to attach.
        #[arg(long, default_value = "auto")]
        probes: String,
        /// Shrink what is wrong, and write it as scenarios into this directory.
        #[arg(long)]
        save: Option<PathBuf>,
    },
    /// Evaluate random packets against random rulesets of nft and hold the result against the kernel.
    NftEvaluate {
        /// What chance begins with; each ruleset has the seed after that of the one before.
        #[arg(long, default_value = "1")]
        seed: u64,
        /// How many rulesets.
        #[arg(long, default_value = "100")]
        rulesets: usize,
        /// How many packets for each.
        #[arg(long, default_value = "40")]
        packets: usize,
        /// Of which families.
        #[arg(long, default_value = "ip")]
        family: Families,
    },
    /// Load files of rules, list them with nft, and compare the text with what is written from the JSON.
    NftRender {
        /// Files for `nft -f`.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Load rulesets, and compare what is read of them over netlink with what nft lists.
    NftNetlink {
        /// What chance begins with.
        #[arg(long, default_value = "1")]
        seed: u64,
        /// How many random rulesets beside the files.
        #[arg(long, default_value = "0")]
        rulesets: usize,
        /// Write the kernel's messages about the only file here instead.
        #[arg(long)]
        record: Option<PathBuf>,
        /// Files for `nft -f`, and, if they end with `.save` or `.rules`, for iptables-nft-restore.
        files: Vec<PathBuf>,
    },
    /// List the scenarios.
    List {
        /// Only scenarios with this in their name.
        #[arg(default_value = "")]
        filter: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Legacy,
    Nft,
    Native,
}

/// Families of nf_tables whose chains see the same packets.
#[derive(Clone, Copy, ValueEnum)]
enum Families {
    /// ip, ip6 and inet.
    Ip,
    Bridge,
    /// netdev, and ingress of inet.
    Netdev,
    Arp,
}

impl Families {
    fn of_frames(self) -> Option<nftables::FrameFamily> {
        match self {
            Self::Ip => None,
            Self::Bridge => Some(nftables::FrameFamily::Bridge),
            Self::Netdev => Some(nftables::FrameFamily::Netdev),
            Self::Arp => Some(nftables::FrameFamily::Arp),
        }
    }
}

impl From<Which> for Backend {
    fn from(which: Which) -> Self {
        match which {
            Which::Legacy => Self::Legacy,
            Which::Nft => Self::Nft,
            Which::Native => Self::Native,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("observer-lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A seed that is another each time.
fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

fn run(cli: Cli) -> Result<bool> {
    let data = Data::new(&cli.data);
    match cli.verb {
        Verb::Run {
            observer,
            kernel_only: _,
            packages,
            results,
            keep,
            times,
            patience,
            every_kernel,
            without_bpf,
            of_paths,
            one_variant,
            filter,
        } => {
            let mut variants = scenario::list(&data, &filter)?;
            variants.retain(|variant| !without_bpf || variant.without_bpf);
            variants.retain(|variant| {
                !(every_kernel || of_paths) || variant.every_kernel || (of_paths && variant.of_paths)
            });
            if let Some(turn) = one_variant {
                variants = scenario::one_of_each(variants, turn, |_| true);
            } else if of_paths {
                variants = scenario::one_of_each(variants, 0, |variant| !variant.every_kernel);
            }
            if variants.is_empty() {
                bail!("no scenario has `{filter}` in its name; see `observer-lab list`");
            }
            let built = |path: PathBuf| {
                path.canonicalize()
                    .with_context(|| format!("there is no {}: build it first", path.display()))
            };
            let observer = observer.map(built).transpose()?;
            let run = RunDir::start()?;
            let schema = Schema::read(&data.docs())?;
            if schema.is_none() {
                eprintln!("observer-lab: docs/trace-v1.schema.json is not there; lines are not validated");
            }
            let mut results = Results::open(results.as_deref())?;
            let lab = Lab {
                data,
                observer,
                packages,
                run,
                schema,
                patience: Duration::from_secs(patience),
                keep,
                times,
            };
            lab.run_all(&variants, &mut results)
        }
        Verb::Demo { backend, observer } => {
            let run = RunDir::start()?;
            if matches!(backend, Which::Native) {
                bail!("the demo has rules of iptables: legacy or nft");
            }
            demo::run(&data, &observer, backend.into(), &run)?;
            Ok(true)
        }
        Verb::Bench { observer } => {
            let run = RunDir::start()?;
            bench::run(&data, &observer, &run)?;
            Ok(true)
        }
        Verb::BenchSize { observer, only } => {
            bench::size::run(&data, &observer, &RunDir::start()?, &only)?;
            Ok(true)
        }
        Verb::BenchRewrite { observer, only } => {
            bench::rewrite::run(&data, &observer, &RunDir::start()?, &only)?;
            Ok(true)
        }
        Verb::BenchScaling { observer } => {
            bench::scaling::run(&data, &observer, &RunDir::start()?)?;
            Ok(true)
        }
        Verb::BenchFlood { observer } => {
            bench::flood::run(&data, &observer, &RunDir::start()?)?;
            Ok(true)
        }
        Verb::BenchPaths {
            observer,
            rounds,
            only,
        } => {
            let run = RunDir::start()?;
            bench::paths::run(&data, &observer, &run, rounds, &only)?;
            Ok(true)
        }
        Verb::Instructions => {
            bench::instructions::run();
            Ok(true)
        }
        Verb::Cluster {
            name,
            backend,
            ip6,
            command,
        } => {
            let run = RunDir::start()?;
            let family = if ip6 { Family::Ip6 } else { Family::Ip };
            let setup = Setup {
                backend: backend.into(),
                family,
                prefix: String::new(),
            };
            let _cluster = Cluster::up(&data, &name, &setup, &run)?;
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(command.join(" ")).process_group(0);
            exec::confine(&mut shell, None);
            let mut child = shell.spawn().context("cannot run sh")?;
            run.has_group(child.id())?;
            Ok(child.wait()?.success())
        }
        Verb::Replay {
            seed,
            cases,
            packets,
            from,
            backend,
            ip6,
            mixed,
            ipset,
        } => {
            let run = RunDir::start()?;
            let trial = replay::Trial {
                seed: seed.unwrap_or_else(seconds),
                cases,
                packets,
                backend: backend.into(),
                family: if ip6 { Family::Ip6 } else { Family::Ip },
                from,
                mixed,
                ipset,
            };
            replay::print(&trial, &run)
        }
        Verb::Oracle {
            observer,
            seed,
            packets,
            per_ruleset,
            from,
            backend,
            ip6,
            bursts,
            probes,
            save,
        } => {
            let run = RunDir::start()?;
            let observer = observer
                .canonicalize()
                .with_context(|| format!("there is no {}: build it first", observer.display()))?;
            let trial = oracle::Trial {
                seed: seed.unwrap_or_else(seconds),
                backend: backend.into(),
                family: if ip6 { Family::Ip6 } else { Family::Ip },
                packets,
                per_ruleset,
                from,
                bursts,
                probes,
                observer,
                save,
            };
            oracle::print(&trial, &data, &run)
        }
        Verb::NftEvaluate {
            seed,
            rulesets,
            packets,
            family,
        } => {
            let amount = nftables::Amount {
                seed,
                rulesets,
                packets,
            };
            nftables::evaluate(&RunDir::start()?, family.of_frames(), amount)
        }
        Verb::NftRender { files } => nftables::render(&RunDir::start()?, &files),
        Verb::NftNetlink {
            seed,
            rulesets,
            record,
            files,
        } => {
            let read = |path: PathBuf| {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Ok((path.display().to_string(), text))
            };
            let files = files.into_iter().map(read).collect::<Result<Vec<_>>>()?;
            let run = RunDir::start()?;
            match (record, files.as_slice()) {
                (Some(to), [only]) => nftables::record_netlink(&run, only, &to),
                (Some(_), _) => bail!("--record takes one file"),
                (None, _) => nftables::print_netlink(
                    &run,
                    &nftables::Corpus {
                        files: &files,
                        seed,
                        rulesets,
                    },
                ),
            }
        }
        Verb::List { filter } => {
            for variant in scenario::list(&data, &filter)? {
                println!("{}", variant.name);
            }
            Ok(true)
        }
    }
}
