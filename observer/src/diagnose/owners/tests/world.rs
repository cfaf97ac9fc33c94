//! A drop in a ruleset as the tools print it.

use super::super::{Scene, hints};
use crate::report::record::samples::{addr, policy_drop};
use crate::report::record::{
    Backend, Cause, Confidence, CtState, DropInfo, DropLine, Evidence, Hint, HintKind, Hook, Layer, Proto,
    Rule, TableFamily, TcpFlags, Tool,
};
use crate::ruleset::{self, Base, Chain, Policy, Step, Table};

/// Indexes of table, chain and rule.
type Place = (usize, usize, usize);

/// A ruleset, and a packet that one rule or policy of it has dropped.
pub struct World {
    tables: Vec<Table>,
    texts: Vec<Vec<Vec<String>>>,
    pub line: DropLine,
    pub enter: Option<&'static str>,
}

impl World {
    /// From what `iptables-save` prints.
    pub fn iptables(saved: &str) -> Self {
        Self::with(saved.split("*").skip(1).map(of_iptables).collect())
    }

    /// From what `nft list ruleset` prints, one table.
    pub fn nft(listed: &str) -> Self {
        Self::with(vec![of_nft(listed)])
    }

    fn with(read: Vec<(Table, Vec<Vec<String>>)>) -> Self {
        let (tables, texts) = read.into_iter().unzip();
        let mut line = policy_drop();
        line.hints.clear();
        line.drop = DropInfo::default();
        Self {
            tables,
            texts,
            line,
            enter: Some(""),
        }
    }

    /// The rule with this text has dropped it, on its way from the base chain `path[0]` down.
    pub fn rule(self, text: &str, path: &[&str]) -> Self {
        let place = self.find(text);
        self.rule_at(place, path)
    }

    /// As [`Self::rule`], for one of [`Self::rules`].
    pub fn rule_at(mut self, (table, chain, rule): Place, path: &[&str]) -> Self {
        let text = self.texts[table][chain][rule].as_str();
        let found = &self.tables[table];
        let target = text
            .split_once(" -j ")
            .map(|(_, target)| target.split(' ').next().unwrap_or(target));
        let target = target.or_else(|| {
            ["drop", "reject"]
                .into_iter()
                .find(|verdict| text.contains(verdict))
        });
        let quoted = text
            .split_once("comment \"")
            .and_then(|(_, rest)| rest.split('"').next());
        let rule = Rule {
            number: u32::try_from(rule + 1).ok(),
            text: Some(text.to_owned()),
            target: target.map(str::to_owned),
            comment: quoted.map(str::to_owned),
            ..Rule::default()
        };
        self.line.drop = DropInfo {
            cause: Some(Cause::Rule),
            rule: Some(rule),
            chain: Some(found.chains[chain].name.clone()),
            chain_path: path.iter().map(|name| (*name).to_owned()).collect(),
            ..of(found, hook_of(found, path.first().copied()))
        };
        self
    }

    /// Every rule, with its text.
    pub fn rules(&self) -> impl Iterator<Item = (Place, &str)> {
        let tables = self.texts.iter().enumerate();
        tables.flat_map(|(table, chains)| {
            let chains = chains.iter().enumerate();
            chains.flat_map(move |(chain, rules)| {
                let rules = rules.iter().enumerate();
                rules.map(move |(rule, text)| ((table, chain, rule), text.as_str()))
            })
        })
    }

    /// The policy of a base chain has dropped it.
    pub fn policy(mut self, table: &str, chain: &str) -> Self {
        let found = self
            .tables
            .iter()
            .find(|known| known.name == table)
            .expect("the table is there");
        self.line.drop = DropInfo {
            cause: Some(Cause::Policy),
            policy: Some("DROP".into()),
            chain: Some(chain.into()),
            chain_path: vec![chain.into()],
            ..of(found, hook_of(found, Some(chain)))
        };
        self
    }

    /// The kernel's reason, of a drop that is not netfilter's.
    pub fn reason(mut self, layer: Layer, reason: &str) -> Self {
        self.line.drop = DropInfo {
            layer,
            reason: reason.into(),
            confidence: Confidence::Exact,
            evidence: vec![Evidence::Reason],
            ..DropInfo::default()
        };
        self
    }

    pub fn devices(mut self, in_dev: &str, out_dev: &str) -> Self {
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        (self.line.in_dev, self.line.out_dev) = (some(in_dev), some(out_dev));
        self
    }

    pub fn packet(mut self, src: &str, dst: &str, proto: Proto, dport: Option<u16>) -> Self {
        let packet = &mut self.line.packet;
        (packet.src, packet.dst) = (Some(addr(src)), Some(addr(dst)));
        (packet.proto, packet.dport) = (Some(proto), dport);
        self
    }

    pub fn invalid(mut self, flags: u8) -> Self {
        self.line.packet.tcp_flags = Some(TcpFlags(flags));
        if let Some(flow) = &mut self.line.flow {
            flow.ct_state = Some(CtState::Invalid);
        }
        self
    }

    /// These tables of iptables-nft are there as well.
    pub fn beside(mut self, saved: &str) -> Self {
        for (mut table, texts) in saved.split('*').skip(1).map(of_iptables) {
            table.backend = Backend::Nft;
            self.tables.push(table);
            self.texts.push(texts);
        }
        self
    }

    pub fn ip6(mut self) -> Self {
        self.tables
            .iter_mut()
            .for_each(|table| table.family = TableFamily::Ip6);
        self.line.drop.family = Some(TableFamily::Ip6);
        self
    }

    /// What is said of it.
    pub fn hints(&self) -> Vec<Hint> {
        hints(&Scene {
            line: &self.line,
            tables: &self.tables,
            enter: self.enter,
        })
    }

    /// The owner's text and the command.
    pub fn told(&self) -> (Option<String>, Option<String>) {
        let hints = self.hints();
        let of = |kind| hints.iter().find(|hint| hint.kind == kind);
        (
            of(HintKind::Owner).map(|hint| hint.text.clone()),
            of(HintKind::Fix).and_then(|hint| hint.command.clone()),
        )
    }

    fn find(&self, text: &str) -> Place {
        let found = self.rules().find(|(_, known)| *known == text);
        found.unwrap_or_else(|| panic!("no rule {text}")).0
    }
}

fn hook_of(table: &Table, chain: Option<&str>) -> Option<Hook> {
    Some(table.chain(chain?)?.base.as_ref()?.hook)
}

fn of(table: &Table, hook: Option<Hook>) -> DropInfo {
    DropInfo {
        layer: Layer::Netfilter,
        reason: "NETFILTER_DROP".into(),
        hook,
        backend: Some(table.backend),
        family: Some(table.family),
        table: Some(table.name.clone()),
        tool: Some(match table.backend {
            Backend::Legacy => Tool::IptablesLegacy,
            Backend::Nft => Tool::Nft,
        }),
        confidence: Confidence::Exact,
        evidence: vec![Evidence::XtCounter],
        ..DropInfo::default()
    }
}

/// One table of `iptables-save`: its name, chains with their policies, rules.
fn of_iptables(saved: &str) -> (Table, Vec<Vec<String>>) {
    let mut lines = saved.lines();
    let name = lines.next().expect("a name");
    let mut chains: Vec<(String, Option<Base>, Vec<String>)> = Vec::new();
    for line in lines {
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let name = words.next().expect("a name");
            let policy = words.next().expect("a policy");
            chains.push((name.to_owned(), base(&name.to_lowercase(), policy), Vec::new()));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split(' ').next().expect("a name");
            let chain = chains
                .iter_mut()
                .find(|(known, ..)| known == name)
                .expect("declared");
            chain.2.push(line.to_owned());
        }
    }
    table(Backend::Legacy, TableFamily::Ip, name, chains, " -j ", " -g ")
}

/// One table of `nft list`.
fn of_nft(listed: &str) -> (Table, Vec<Vec<String>>) {
    let mut lines = listed.lines().map(str::trim);
    let head: Vec<&str> = lines.next().expect("a table").split(' ').collect();
    let family = match head[1] {
        "ip" => TableFamily::Ip,
        "ip6" => TableFamily::Ip6,
        _ => TableFamily::Inet,
    };
    let mut chains: Vec<(String, Option<Base>, Vec<String>)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && *line != "}") {
        if let Some(name) = line.strip_prefix("chain ") {
            chains.push((name.trim_end_matches(" {").to_owned(), None, Vec::new()));
        } else if let (true, Some(chain)) = (line.starts_with("type "), chains.last_mut()) {
            let hook = line.split(' ').nth(3).expect("a hook");
            chain.1 = base(
                hook,
                if line.contains("policy drop") {
                    "DROP"
                } else {
                    "ACCEPT"
                },
            );
        } else if let Some(chain) = chains.last_mut() {
            chain.2.push(line.to_owned());
        }
    }
    table(Backend::Nft, family, head[2], chains, "jump ", "goto ")
}

fn base(hook: &str, policy: &str) -> Option<Base> {
    let hooks = [
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
    ];
    let hook = hooks
        .into_iter()
        .find(|known| known.name().to_lowercase() == hook)?;
    Some(Base {
        hook,
        priority: 0,
        policy: if policy == "DROP" {
            Policy::Drop
        } else {
            Policy::Accept
        },
        counter: None,
    })
}

fn table(
    backend: Backend,
    family: TableFamily,
    name: &str,
    read: Vec<(String, Option<Base>, Vec<String>)>,
    jump: &str,
    goto: &str,
) -> (Table, Vec<Vec<String>>) {
    let names: Vec<String> = read.iter().map(|(name, ..)| name.clone()).collect();
    let target = |text: &str, word: &str| {
        let target = text.split_once(word)?.1.split(' ').next()?;
        names.iter().position(|name| name == target)
    };
    let step = |text: &String| match (target(text, jump), target(text, goto)) {
        (Some(to), _) => Step::Jump(to),
        (None, Some(to)) => Step::Goto(to),
        (None, None) => Step::Continue,
    };
    let chains = read.iter().map(|(name, base, texts)| Chain {
        name: name.clone(),
        base: base.clone(),
        rules: texts
            .iter()
            .map(|text| ruleset::Rule {
                step: step(text),
                ..ruleset::Rule::default()
            })
            .collect(),
        address: 0,
        mapped: false,
    });
    let table = Table {
        backend,
        family,
        name: name.to_owned(),
        chains: chains.collect(),
        hash: 0,
        address: 0,
    };
    (table, read.into_iter().map(|(.., texts)| texts).collect())
}
