//! Rules as the tools print them: what `iptables-save` of either backend prints, matched with what was read from the kernel. Of
//! nf_tables the kernel's own list is enough mostly; else the tool is run in the namespace. Where it is not installed, or what it prints
//! does not fit, there is no text.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::string::FromUtf8Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::Table;
use super::listed::ListedTable;
use super::nftables::netlink::{TextsOfIptables, texts_of_iptables};
use super::texts::Texts;
use super::xtables::save;
use crate::kernel::{NetnsNames, enter};
use crate::privilege::{OF_TOOLS, capabilities};
use crate::report::record::{Backend, TableFamily};

/// Where the tools are: not where `PATH` says, since this runs as root.
const DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/sbin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];
/// A tool that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any real ruleset prints.
const MOST_BYTES: u64 = 256 << 20;

/// One line of `iptables-save`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRule<'a> {
    /// Its chain.
    pub chain: &'a str,
    /// The whole line, from `-A` on.
    pub text: &'a str,
}

/// What `iptables-save` printed, by table; or one table of nf_tables' own.
#[derive(Debug, Default, PartialEq)]
pub struct Saved {
    tables: HashMap<String, Rc<SavedTable>>,
    /// A large table of nf_tables' own, by its name.
    listed: Option<(String, ListedTable)>,
}

/// A table: the rules of each chain in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SavedTable {
    /// The lines that declare its chains, in order: `:FORWARD DROP [5:300]`. None for what nft lists.
    headings: Option<Vec<String>>,
    /// Rules by chain.
    pub chains: HashMap<String, Texts>,
}

impl SavedTable {
    /// A table of iptables whose chains are declared so, without rules.
    pub fn declared(headings: Vec<String>) -> Self {
        Self {
            headings: Some(headings),
            chains: HashMap::new(),
        }
    }

    /// Its rules one by one ([`save::each_rule`]), with the table without them; `None` if it is none of iptables', or not understood.
    pub fn each_rule(&self, name: &str, take: &mut dyn FnMut(usize, save::Rule)) -> Option<save::Table> {
        let headings = self.headings.as_ref()?.iter().map(String::as_str);
        let lines = self.chains.values().flat_map(Texts::iter);
        save::each_rule(name, headings, lines, take)
    }

    /// The text of a rule, by its index in its chain.
    pub fn rule(&self, chain: &str, index: usize) -> Option<&str> {
        self.chains.get(chain)?.get(index)
    }
}

impl Saved {
    /// What `iptables-save` prints for a backend and family in the namespace with this inode: of nf_tables put together from what the
    /// kernel lists; the tool is run for legacy tables, and for those in which something is not known.
    pub fn of(inode: u32, backend: Backend, family: TableFamily) -> Option<Self> {
        if backend == Backend::Nft
            && let Some(of) = of_kernel(inode, family)
        {
            let mut saved = Self::default();
            let tables = of.tables.into_iter();
            saved
                .tables
                .extend(tables.map(|(name, table)| (name, Rc::new(table))));
            for (table, _) in &of.not_told {
                let of_tool = Self::parse(&run_save(inode, backend, family, Some(table))?);
                saved.tables.extend(of_tool.tables);
            }
            return Some(saved);
        }
        Some(Self::parse(&run_save(inode, backend, family, None)?))
    }

    /// One table's rules, by chain.
    pub fn of_table(name: &str, chains: HashMap<String, Texts>) -> Self {
        let table = SavedTable {
            headings: None,
            chains,
        };
        Self {
            tables: HashMap::from([(name.to_owned(), Rc::new(table))]),
            listed: None,
        }
    }

    /// One large table.
    pub fn of_listed(name: &str, listed: ListedTable) -> Self {
        Self {
            tables: HashMap::new(),
            listed: Some((name.to_owned(), listed)),
        }
    }

    /// Whether its texts are put together when they are told, from a model that it keeps.
    pub fn keeps_model(&self) -> bool {
        self.listed.is_some()
    }

    /// Reads the tool's output.
    pub fn parse(text: &str) -> Self {
        let mut tables: HashMap<String, SavedTable> = HashMap::new();
        let mut table: Option<&mut SavedTable> = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                let begun = tables.entry(name.to_owned()).or_default();
                begun.headings.get_or_insert_default();
                table = Some(begun);
            } else if let (Some(chain), Some(table)) = (line.strip_prefix(':'), table.as_mut()) {
                let name = chain.split(' ').next().unwrap_or(chain);
                table.chains.entry(name.to_owned()).or_default();
                table.headings.get_or_insert_default().push(line.to_owned());
            } else if let (Some(rule), Some(table)) = (line.strip_prefix("-A "), table.as_mut()) {
                let name = rule.split(' ').next().unwrap_or(rule);
                match table.chains.get_mut(name) {
                    Some(chain) => chain.push(line),
                    None => _ = table.chains.insert(name.to_owned(), [line].into_iter().collect()),
                }
            }
        }
        let whole = |(name, mut table): (_, SavedTable)| {
            table.chains.values_mut().for_each(Texts::shrink);
            (name, Rc::new(table))
        };
        Self {
            tables: tables.into_iter().map(whole).collect(),
            listed: None,
        }
    }

    /// A table.
    pub fn table(&self, name: &str) -> Option<&Rc<SavedTable>> {
        self.tables.get(name)
    }

    /// The text of a rule, by its index in its chain.
    pub fn rule(&self, table: &str, chain: &str, index: usize) -> Option<Cow<'_, str>> {
        match &self.listed {
            Some((name, listed)) if name == table => listed.rule(chain, index).map(Cow::Owned),
            _ => self.tables.get(table)?.rule(chain, index).map(Cow::Borrowed),
        }
    }

    /// Every rule of a table of iptables.
    pub fn rules(&self, table: &str) -> impl Iterator<Item = SavedRule<'_>> {
        let chains = self.tables.get(table).into_iter().flat_map(|table| &table.chains);
        chains.flat_map(|(chain, rules)| rules.iter().map(move |text| SavedRule { chain, text }))
    }

    /// Whether this is the table that was read from the kernel: the same chains with as many rules, and the same
    /// targets. iptables-nft shows all the built-in chains of a table, also those that are not there.
    pub fn fits(&self, table: &Table) -> bool {
        if let Some((name, listed)) = &self.listed {
            return *name == table.name && listed.fits(table);
        }
        let Some(saved) = self.tables.get(&table.name) else {
            return false;
        };
        let chains = &saved.chains;
        let mut read = table.chains.iter();
        let names: HashSet<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
        chains
            .iter()
            .all(|(name, texts)| texts.is_empty() || names.contains(name.as_str()))
            && read.all(|chain| {
                chains.get(&chain.name).is_some_and(|texts| {
                    texts.len() == chain.rules.len()
                        && texts
                            .iter()
                            .zip(&chain.rules)
                            .all(|(text, rule)| same_target(text, rule.target.as_deref()))
                })
            })
    }
}

/// A rule without an extension's target may jump, or have none: then nothing is compared.
fn same_target(text: &str, target: Option<&str>) -> bool {
    let Some(target) = target else { return true };
    let words = words(text);
    let named = words
        .iter()
        .position(|word| word == "-j")
        .and_then(|at| words.get(at + 1));
    named.is_none_or(|named| named.eq_ignore_ascii_case(target))
}

/// The words of a line, with quotes taken off and `\"` and `\\` undone, as `iptables-restore` reads them.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The tables of iptables-nft as the kernel lists them.
fn of_kernel(inode: u32, family: TableFamily) -> Option<TextsOfIptables> {
    let family = match family {
        TableFamily::Ip => save::Family::Ip,
        TableFamily::Ip6 => save::Family::Ip6,
        _ => return None,
    };
    let of = texts_of_iptables(inode, family)
        .inspect_err(|error| log::debug!("tables of iptables-nft over netlink: {error}"))
        .ok()?;
    for (table, what) in &of.not_told {
        log::debug!("table {table} of iptables-nft: not understood: {what}");
    }
    Some(of)
}

/// What `iptables-save` prints for a backend and family in the namespace with this inode, of one table or of all.
pub fn run_save(inode: u32, backend: Backend, family: TableFamily, table: Option<&str>) -> Option<String> {
    let name = tool_name(backend, family)?;
    // Distributions that never had two call the only one by its plain name; what it prints must fit anyway.
    let plain = name.replace("-legacy", "").replace("-nft", "");
    let args = table.map(|table| ["-t", table]);
    let args = args.as_ref().map_or(&[][..], |args| &args[..]);
    run_tool(inode, name, args).or_else(|| run_tool(inode, &plain, args))
}

fn tool_name(backend: Backend, family: TableFamily) -> Option<&'static str> {
    Some(match (backend, family) {
        (Backend::Legacy, TableFamily::Ip) => "iptables-legacy-save",
        (Backend::Legacy, TableFamily::Ip6) => "ip6tables-legacy-save",
        (Backend::Nft, TableFamily::Ip) => "iptables-nft-save",
        (Backend::Nft, TableFamily::Ip6) => "ip6tables-nft-save",
        _ => return None,
    })
}

/// Runs a tool in the namespace with this inode and returns what it printed.
pub fn run_tool(inode: u32, name: &str, args: &[&str]) -> Option<String> {
    // Where one is already one needs no privilege to enter.
    if NetnsNames::own() == Some(inode) {
        return run_here(&find(name)?, args);
    }
    run_in(&NetnsNames::path(inode)?, &find(name)?, args)
}

/// Where a tool is, if it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// Runs a tool in the network namespace of the calling thread and returns what it printed.
pub fn run_here(tool: &Path, args: &[&str]) -> Option<String> {
    let mut command = command(tool, args);
    confined(&mut command, || Ok(()));
    output(command)
}

fn run_in(netns: &Path, tool: &Path, args: &[&str]) -> Option<String> {
    let netns = netns.to_owned();
    let mut command = command(tool, args);
    // Before what every tool does: it is left no right to enter anything.
    let entering = move || {
        capabilities::raise_for_entering();
        enter(&netns)
    };
    confined(&mut command, entering);
    output(command)
}

fn command(tool: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Has a command do something after the fork, and then leaves it the capabilities of a tool.
fn confined(command: &mut Command, mut first: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    let is_root = nix::unistd::geteuid().is_root();
    // SAFETY: between fork and exec only system calls are made (`open`, `setns`, `capset`, `prctl`); nothing is shared with
    // another thread.
    unsafe {
        command.pre_exec(move || {
            first()?;
            capabilities::leave_to_tool(OF_TOOLS, is_root)
        });
    }
}

fn output(mut command: Command) -> Option<String> {
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(MOST_BYTES).read_to_end(&mut text);
        // The other side may have given up.
        let _ = sender.send(read.map(|_| text));
    });
    let output = receiver.recv_timeout(PATIENCE);
    if output.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    // It ends once the child has closed its side.
    let _ = reader.join();
    let text = output.ok()?.ok()?;
    let lossy = |error: FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
    status
        .success()
        .then(|| String::from_utf8(text).unwrap_or_else(lossy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "\
# Generated
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [5:300]
:DOCKER-USER - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -d 10.244.0.0/16 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -j X
COMMIT
";

    #[test]
    fn rules_are_found_by_table_chain_and_place() {
        let saved = Saved::parse(SAVED);
        assert_eq!(
            saved.rule("filter", "FORWARD", 1),
            Some("-A FORWARD -d 10.244.0.0/16 -j ACCEPT".into())
        );
        assert_eq!(saved.rule("filter", "FORWARD", 2), None);
        assert_eq!(
            saved.rule("nat", "PREROUTING", 0),
            Some("-A PREROUTING -j X".into())
        );
        assert_eq!(saved.rules("filter").count(), 2);
    }

    #[test]
    fn a_table_is_modelled_with_its_policies_and_its_rules_in_order() {
        let saved = Saved::parse(SAVED);
        let mut rules = Vec::new();
        let table = saved
            .table("filter")
            .and_then(|table| table.each_rule("filter", &mut |chain, rule| rules.push((chain, rule))));
        let table = table.expect("a table");
        let forward = table.chain("FORWARD").expect("a chain");
        assert_eq!(table.chains[forward].policy, Some(save::Policy::Drop));
        let texts: Vec<_> = rules
            .iter()
            .map(|(chain, rule)| table.text(*chain, rule))
            .collect();
        assert_eq!(texts[1], "-A FORWARD -d 10.244.0.0/16 -j ACCEPT");
        assert_eq!(texts.len(), 2);
        assert_eq!(saved.table("raw"), None);
        let texts = HashMap::from([("x".to_owned(), ["drop"].into_iter().collect())]);
        let listed = Saved::of_table("filter", texts);
        let table = listed.table("filter").expect("a table");
        assert_eq!(table.each_rule("filter", &mut |_, _| {}), None);
    }

    #[test]
    fn quotes_and_backslashes_are_undone() {
        assert_eq!(
            words("-m comment --comment \"a \\\"b\\\" \\\\c\" -j X"),
            ["-m", "comment", "--comment", "a \"b\" \\c", "-j", "X"]
        );
        assert_eq!(words("--comment \"\" -j X"), ["--comment", "", "-j", "X"]);
        assert_eq!(words("\"open"), ["open"]);
    }
}
