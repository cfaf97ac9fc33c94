//! A look at all namespaces: the counters of each, compared with the look before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::differ::Ledger;
use super::node::{self, Namespace, NfTables};
use super::pace::spent;
use super::reading::{Shapes, TableReading};
use super::statistics;
use super::teller::{Teller, entering, rate};
use super::tools::{Book, Tools};
use crate::kernel::NetnsNames;
use crate::live::clock;
use crate::report::record::{
    Cause, CounterInfo, CounterLine, CounterMatch, Event, Line, Lost, Netns, TableFamily, Time,
};

/// How often namespaces and their tables are looked for, at most.
const REFRESH: Duration = Duration::from_secs(5);
/// Looking for them takes one part in so many of one CPU.
const REFRESH_SHARE: u32 = 60;
/// So many counters are told of in one look; the rest is counted as lost.
const MOST_TOLD: usize = 256;

/// What is read, and what it showed.
pub(super) struct Reader {
    tools: Tools,
    teller: Teller,
    names: NetnsNames,
    node: String,
    /// Inodes, if not all namespaces are asked for.
    wanted: Vec<u32>,
    has_filter: bool,
    spaces: BTreeMap<u32, Space>,
    nf_tables: NfTables,
    /// When namespaces are looked for next.
    refresh: Instant,
    /// CPU time that looking for them took in the last look.
    pub(super) refresh_cost: Duration,
    /// Namespaces that are not read: there are too many.
    left_out: usize,
    /// Namespaces that could not be entered.
    closed: usize,
    /// What the tools that are here cannot show.
    gaps: BTreeSet<&'static str>,
}

/// A namespace.
struct Space {
    namespace: Namespace,
    books: Vec<Book>,
    shapes: HashMap<Book, Shapes>,
    ledgers: HashMap<Book, Ledger>,
    statistics: Option<Statistics>,
}

struct Statistics {
    values: [u64; statistics::DROPS.len()],
    totals: [u64; statistics::DROPS.len()],
    since_ns: u64,
}

/// What one look at a namespace showed.
struct Seen {
    books: Vec<(Book, Vec<TableReading>, u64)>,
    statistics: String,
}

/// What is there to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    /// Namespaces in which there are tables.
    pub(super) namespaces: usize,
    /// By `legacy`, `iptables-nft`, `nft`: the rules and policies whose counters are read.
    pub(super) counted: BTreeMap<&'static str, usize>,
    /// Those that can drop and do not count.
    pub(super) uncounted: usize,
    /// Rulesets that their tool did not show.
    pub(super) unread: usize,
    /// Namespaces that are not read: there are too many, or they cannot be entered.
    pub(super) left_out: usize,
    pub(super) closed: usize,
    /// What the tools that are here cannot show.
    pub(super) gaps: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(
        tools: Tools,
        teller: Teller,
        node: String,
        wanted: Vec<u32>,
        has_filter: bool,
    ) -> Self {
        Self {
            tools,
            teller,
            names: NetnsNames::default(),
            node,
            wanted,
            has_filter,
            spaces: BTreeMap::new(),
            nf_tables: NfTables::default(),
            refresh: Instant::now(),
            refresh_cost: Duration::ZERO,
            left_out: 0,
            closed: 0,
            gaps: BTreeSet::new(),
        }
    }

    /// Something else is asked for from now on.
    pub(super) fn ask(&mut self, asked: Asked) {
        self.teller.ask(asked);
    }

    /// Looks once; the lines are what has risen since the last time.
    pub(super) fn look(&mut self) -> Vec<Line> {
        self.teller.begin();
        self.refresh_cost = Duration::ZERO;
        if self.refresh <= Instant::now() {
            let before = spent();
            self.refresh();
            self.refresh_cost = spent().saturating_sub(before);
            self.refresh = Instant::now() + REFRESH.max(self.refresh_cost * REFRESH_SHARE);
        }
        let mut lines = Vec::new();
        let inodes: Vec<u32> = self.spaces.keys().copied().collect();
        for inode in inodes {
            self.look_into(inode, &mut lines);
        }
        self.bounded(lines)
    }

    /// Whether in the last look a table was new or rewritten, or a counter had fallen.
    pub(super) fn is_restless(&self) -> bool {
        let mut ledgers = self.spaces.values().flat_map(|space| space.ledgers.values());
        ledgers.any(|ledger| ledger.is_restless)
    }

    /// What is read at present.
    pub(super) fn inventory(&self) -> Inventory {
        let mut inventory = Inventory {
            left_out: self.left_out,
            closed: self.closed,
            gaps: self.gaps.iter().copied().collect(),
            ..Inventory::default()
        };
        for space in self.spaces.values() {
            inventory.namespaces += usize::from(!space.books.is_empty());
            inventory.unread += space.books.len().saturating_sub(space.ledgers.len());
            for (book, shapes) in &space.shapes {
                let (places, uncounted) = shapes.sizes();
                *inventory.counted.entry(book.name()).or_default() += places;
                inventory.uncounted += uncounted;
            }
        }
        inventory
    }

    /// Namespaces come and go, and tables in them.
    fn refresh(&mut self) {
        self.names.forget();
        let mut found = node::namespaces(&self.wanted);
        let has_nft = self.nf_tables.is_there();
        (self.left_out, self.closed) = (0, 0);
        self.gaps.clear();
        let mut spaces = BTreeMap::new();
        for namespace in found.drain(..) {
            let tools = &self.tools;
            let books = namespace.within(|| {
                let names = ["ip_tables_names", "ip6_tables_names"];
                let has_legacy = names.map(|name| !node::proc_net(name).trim().is_empty());
                let books = tools.books(has_legacy, has_nft);
                (books, tools.gaps(has_legacy, has_nft))
            });
            let Some((books, gaps)) = books else {
                self.closed += 1;
                continue;
            };
            self.gaps.extend(gaps);
            let inode = namespace.inode;
            let known = self.spaces.remove(&inode);
            if books.is_empty() && known.is_none() && !spaces.is_empty() {
                continue;
            }
            if spaces.len() >= node::MOST {
                self.left_out += 1;
                continue;
            }
            let mut space = known.unwrap_or_else(|| Space {
                namespace: namespace.clone(),
                books: Vec::new(),
                shapes: HashMap::new(),
                ledgers: HashMap::new(),
                statistics: None,
            });
            space.shapes.retain(|book, _| books.contains(book));
            space.ledgers.retain(|book, _| books.contains(book));
            (space.namespace, space.books) = (namespace, books);
            spaces.insert(inode, space);
        }
        self.spaces = spaces;
    }

    fn look_into(&mut self, inode: u32, lines: &mut Vec<Line>) {
        let Some(space) = self.spaces.get_mut(&inode) else {
            return;
        };
        let (tools, books, shapes) = (&self.tools, &space.books, &space.shapes);
        // A reading that fails is left out: the next one is compared with the one before.
        let Some(seen) = space.namespace.within(|| see(tools, books, shapes)) else {
            return;
        };
        let netns = Netns {
            inode,
            name: self.names.name(inode),
        };
        let enter = entering(inode, &mut self.names);
        for (book, tables, now_ns) in seen.books {
            let rises = space.ledgers.entry(book).or_default().take(&tables, now_ns);
            space.shapes.entry(book).or_default().keep(&tables);
            let now = clock::wall(now_ns);
            for rise in &rises {
                let Some(table) = tables.get(rise.table) else {
                    continue;
                };
                let since = clock::wall(rise.since_ns);
                let told = (table, rise);
                let line = self.teller.line(&netns, enter.as_deref(), told, (since, now_ns));
                lines.extend(
                    line.map(|line| Line::new(now, self.node.clone(), Event::Counter(Box::new(line)))),
                );
            }
        }
        if let Some(values) = statistics::read(&seen.statistics) {
            let filter = self.has_filter.then_some(CounterMatch::Possible);
            for line in space.statistics(values, &netns, filter) {
                lines.push(Line::new(
                    Time::now(),
                    self.node.clone(),
                    Event::Counter(Box::new(line)),
                ));
            }
        }
    }

    /// The most of them first; what is beyond telling is counted.
    fn bounded(&self, mut lines: Vec<Line>) -> Vec<Line> {
        if lines.len() <= MOST_TOLD {
            return lines;
        }
        let packets = |line: &Line| match &line.event {
            Event::Counter(counter) => counter.packets,
            _ => 0,
        };
        lines.sort_by_key(|line| std::cmp::Reverse(packets(line)));
        let rest = lines.split_off(MOST_TOLD);
        let lost = Lost {
            count: rest.iter().map(packets).sum::<u64>().max(1),
            since: None,
            place: "counters".to_owned(),
            flow_count: None,
            flows: Vec::new(),
        };
        lines.push(Line::new(Time::now(), self.node.clone(), Event::Lost(lost)));
        lines
    }
}

/// Reads every book, within the namespace.
fn see(tools: &Tools, books: &[Book], shapes: &HashMap<Book, Shapes>) -> Seen {
    let none = Shapes::default();
    let mut shown: Vec<(TableFamily, String)> = Vec::new();
    let mut seen = Vec::new();
    for book in books {
        let Some(tables) = tools.read(*book, shapes.get(book).unwrap_or(&none), &shown) else {
            continue;
        };
        if matches!(book, Book::IptablesNft { .. }) {
            shown.extend(tables.iter().map(|table| (table.family, table.name.clone())));
        }
        seen.push((*book, tables, clock::monotonic_ns()));
    }
    Seen {
        books: seen,
        statistics: node::proc_net("stat/nf_conntrack"),
    }
}

impl Space {
    fn statistics(
        &mut self,
        values: [u64; statistics::DROPS.len()],
        netns: &Netns,
        filter: Option<CounterMatch>,
    ) -> Vec<CounterLine> {
        let now_ns = clock::monotonic_ns();
        let Some(known) = &mut self.statistics else {
            self.statistics = Some(Statistics {
                values,
                totals: [0; statistics::DROPS.len()],
                since_ns: now_ns,
            });
            return Vec::new();
        };
        let mut lines = Vec::new();
        for (index, (name, text)) in statistics::DROPS.iter().enumerate() {
            // Down: its 32 bits are full, or a CPU has gone.
            let packets = values[index].saturating_sub(known.values[index]);
            if packets == 0 {
                continue;
            }
            known.totals[index] = known.totals[index].saturating_add(packets);
            lines.push(CounterLine {
                netns: Some(netns.clone()),
                counter: CounterInfo {
                    cause: Cause::Hook,
                    function: Some("conntrack".to_owned()),
                    statistic: Some((*name).to_owned()),
                    text: Some((*text).to_owned()),
                    ..CounterInfo::default()
                },
                packets,
                bytes: None,
                since: clock::wall(known.since_ns),
                rate: rate(packets, now_ns.saturating_sub(known.since_ns)),
                total: known.totals[index],
                filter,
                hints: Vec::new(),
            });
        }
        (known.values, known.since_ns) = (values, now_ns);
        lines
    }
}
