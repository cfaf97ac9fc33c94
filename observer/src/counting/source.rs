//! The source of lines where no BPF may be: a look at the counters a few times a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::asked::Asked;
use super::pace::{PERCENT, Pace, spent};
use super::reader::{Inventory, Reader};
use super::teller::Teller;
use super::tools::Tools;
use crate::cli::watch::{Narrowed, Source, WatchConfig};
use crate::live::{clock, inode, kernel_release, node_name};
use crate::names::FoundBy;
use crate::report::record::{Event, FilterInfo, FilterLine, Line, ProbesLine, Start, Summary, Time};
use crate::report::span;

/// As many as a new counter is read before it can rise, so many more until nothing moves, and no more than these.
const FIRST_LOOKS: std::ops::RangeInclusive<usize> = 4..=12;
/// So many calm looks in a row are the beginning.
const CALM: usize = 3;
/// Longer than replacing a table takes.
const BETWEEN_FIRST_LOOKS: Duration = Duration::from_millis(50);

/// The source.
pub struct Counting {
    /// Absent while it looks.
    reader: Option<Reader>,
    job: Option<JoinHandle<(Reader, Vec<Line>, Duration)>>,
    /// What is asked for from the next look on.
    asked: Option<Asked>,
    pace: Pace,
    next: Instant,
    lines: VecDeque<Line>,
    node: String,
    started_ns: u64,
    counted: u64,
}

impl Counting {
    /// Finds the tools, reads every counter; the first line is ready when it returns. `why`: what keeps BPF away, if that was
    /// not asked for.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open(config: &WatchConfig, why: Option<&str>) -> Result<Self> {
        if config.all {
            bail!(
                "--all needs path probes: leave it out to see the counters of rules and policies that drop"
            );
        }
        if !nix::unistd::geteuid().is_root() {
            bail!("the counters of rules are only shown to root: run observer with sudo");
        }
        let tools = Tools::find();
        if tools.is_none() {
            bail!("neither iptables-save nor nft is there: install iptables or nftables");
        }
        let wanted = config
            .filter
            .netns
            .iter()
            .map(inode)
            .collect::<Result<Vec<u32>>>()?;
        let node = node_name();
        let of_rules = config.found.iter().find(|found| found.by == FoundBy::Rules);
        if let Some(found) = of_rules {
            bail!(
                "{}: no Kubernetes API tells of it, and kube-proxy's rules are not asked where only counters are read: give --kube, or \
                 its address with --host",
                found.wanted.words()
            );
        }
        let narrowed = config.narrowed(&config.found)?;
        let asked = Asked::of_narrowed(&narrowed);
        let has_filter = !asked.is_all();
        let teller = Teller::new(asked, tools.is_legacy_plain());
        let mut counting = Self {
            reader: Some(Reader::new(tools, teller, node.clone(), wanted, has_filter)),
            job: None,
            asked: None,
            pace: Pace::default(),
            next: Instant::now(),
            lines: VecDeque::new(),
            node,
            started_ns: clock::monotonic_ns(),
            counted: 0,
        };
        // Several times: new counters tell nothing at first, for a restore that is under way may have them to set yet.
        let mut calm = 0;
        for number in 1..=*FIRST_LOOKS.end() {
            counting.look().await?;
            let is_restless = counting.reader.as_ref().is_some_and(Reader::is_restless);
            calm = if is_restless { 0 } else { calm + 1 };
            if number >= *FIRST_LOOKS.start() && calm >= CALM {
                break;
            }
            sleep(BETWEEN_FIRST_LOOKS).await;
        }
        counting.lines.clear();
        (counting.started_ns, counting.counted) = (clock::monotonic_ns(), 0);
        let line = counting.start(config, narrowed.info, why);
        counting.lines.push_back(line);
        Ok(counting)
    }

    fn start(&mut self, config: &WatchConfig, filter: FilterInfo, why: Option<&str>) -> Line {
        let inventory = self.reader.as_ref().map(Reader::inventory).unwrap_or_default();
        let start = Start {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel_release(),
            filter,
            probes: Vec::new(),
            attribution: attribution(),
            notes: notes(&inventory, why, self.pace.begin(), config),
        };
        Line::new(Time::now(), self.node.clone(), Event::Start(Box::new(start)))
    }

    /// Begins to look, and looks to the end.
    async fn look(&mut self) -> Result<()> {
        self.begin();
        self.end().await
    }

    /// A look takes as long as the tools do: a thread of its own waits for them.
    fn begin(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            if let Some(asked) = self.asked.take() {
                reader.ask(asked);
            }
            self.next = Instant::now();
            self.job = Some(spawn_blocking(move || {
                let before = spent();
                let lines = reader.look();
                let cost = spent().saturating_sub(before).saturating_sub(reader.refresh_cost);
                (reader, lines, cost)
            }));
        }
    }

    /// Waits for the look that is under way. It may be dropped while it waits.
    async fn end(&mut self) -> Result<()> {
        let Some(job) = &mut self.job else {
            return Ok(());
        };
        let ended = job.await;
        self.job = None;
        let Ok((reader, lines, cost)) = ended else {
            bail!("reading the counters failed; please report it");
        };
        self.reader = Some(reader);
        self.pace.took(cost);
        self.next += self.pace.interval();
        for line in lines {
            if let Event::Counter(counter) = &line.event {
                self.counted = self.counted.saturating_add(counter.packets);
            }
            self.lines.push_back(line);
        }
        Ok(())
    }

    /// Says that looks have become seldomer, or more frequent again.
    fn tell_pace(&mut self) {
        let Some(interval) = self.pace.news() else { return };
        let line = ProbesLine {
            text: format!("counters are read {}", every(interval)),
            probes: Vec::new(),
        };
        self.lines
            .push_back(Line::new(Time::now(), self.node.clone(), Event::Probes(line)));
    }
}

impl Source for Counting {
    async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if self.job.is_none() {
                sleep_until(self.next).await;
                self.begin();
            }
            self.end().await?;
            self.tell_pace();
        }
    }

    async fn stop(&mut self) -> Result<Vec<Line>> {
        self.end().await?;
        // What died since the last look.
        self.look().await?;
        let mut lines: Vec<Line> = self.lines.drain(..).collect();
        let summary = Summary {
            counted: Some(self.counted),
            duration_ns: clock::monotonic_ns().saturating_sub(self.started_ns),
            ..Summary::default()
        };
        lines.push(Line::new(Time::now(), self.node.clone(), Event::Summary(summary)));
        Ok(lines)
    }

    fn refilter(&mut self, narrowed: Narrowed, text: String) -> Result<()> {
        self.asked = Some(Asked::of_narrowed(&narrowed));
        let filter = narrowed.info;
        let line = Event::Filter(Box::new(FilterLine { text, filter }));
        self.lines
            .push_back(Line::new(Time::now(), self.node.clone(), line));
        Ok(())
    }
}

/// Whether counters can be read here: by root, and with one of the tools.
pub fn is_possible() -> bool {
    nix::unistd::geteuid().is_root() && !Tools::find().is_none()
}

/// What answers to expect.
pub fn attribution() -> BTreeMap<String, String> {
    let counted = "counters only: which rule or policy drops and how fast, not which packets";
    [
        ("legacy", counted),
        ("iptables-nft", counted),
        (
            "nft",
            "counters only: rules that count, not policies and not rules without a counter",
        ),
    ]
    .into_iter()
    .map(|(backend, expected)| (backend.to_owned(), expected.to_owned()))
    .collect()
}

fn notes(inventory: &Inventory, why: Option<&str>, interval: Duration, config: &WatchConfig) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(why.map(|why| format!("no BPF, so only counters are read: {why}")));
    notes.push(
        "counters do not say which packets they counted: the filter's, their flow and their way are not known; what is not \
         dropped by a rule or policy is not seen"
            .to_owned(),
    );
    let counted: Vec<String> = inventory
        .counted
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(book, count)| format!("{count} of {book}"))
        .collect();
    let namespaces = match inventory.namespaces {
        1 => "1 network namespace".to_owned(),
        count => format!("{count} network namespaces"),
    };
    notes.push(if counted.is_empty() {
        "no rule or policy that drops and counts was found".to_owned()
    } else {
        format!(
            "rules and policies that drop: {}, in {namespaces}; read {}",
            counted.join(", "),
            every(interval)
        )
    });
    if !config.filter.ifaces.is_empty() {
        notes.push("--iface is left out: by which device packets came or left is not counted".to_owned());
    }
    if config.pcap.is_some() {
        notes.push("--pcap keeps nothing: packets are not seen, only counted".to_owned());
    }
    if inventory.uncounted > 0 {
        notes.push(format!(
            "{} rules and policies of nft that can drop do not count what they drop, and cannot be seen: add `counter` to them",
            inventory.uncounted
        ));
    }
    notes.extend(inventory.gaps.iter().map(|gap| (*gap).to_owned()));
    for (count, what) in [
        (inventory.unread, "rulesets could not be read: their tool failed"),
        (
            inventory.closed,
            "network namespaces cannot be entered, and are not read: CAP_SYS_ADMIN is missing, or they are gone",
        ),
        (
            inventory.left_out,
            "network namespaces more are not read: choose with --netns",
        ),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    notes
}

/// `every 250 ms, to take at most 10 % of one CPU`
fn every(interval: Duration) -> String {
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    format!("every {}, to take at most {PERCENT} % of one CPU", span(nanos))
}
