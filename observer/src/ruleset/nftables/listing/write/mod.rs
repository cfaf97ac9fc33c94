//! Writes a ruleset as `nft list ruleset` does.

mod expressions;
mod nat;
mod objects;
mod priority;
mod sets;
mod statements;
mod values;

use std::fmt::Write as _;

use super::datatype::Datatype;
use super::expression::Expression;
use super::model::{BaseChain, Chain, Family, Rule, Ruleset, Table};
use super::statement::Statement;

/// Whether handles are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handles {
    /// As `nft list ruleset`.
    Hidden,
    /// As `nft -a list ruleset`.
    Shown,
}

impl Ruleset {
    /// The ruleset as `nft list ruleset` writes it. What is known only as JSON is a comment at the end.
    pub fn text(&self, handles: Handles) -> String {
        let mut out = String::new();
        self.tables
            .iter()
            .for_each(|table| write_table(&mut out, table, handles));
        for unknown in &self.unknown {
            let _ = writeln!(out, "# not known: {unknown}");
        }
        out
    }
}

impl Rule {
    /// The rule as `nft list` writes it, without its handle.
    pub fn text(&self, family: Family) -> String {
        let mut out = String::new();
        values::write_joined(&mut out, &self.statements, " ", |out, statement| {
            statements::write_statement(out, statement, family);
        });
        if let Some(comment) = &self.comment {
            let _ = write!(out, " comment \"{comment}\"");
        }
        out
    }
}

impl Statement {
    /// The statement as `nft list` writes it.
    pub fn text(&self, family: Family) -> String {
        let mut out = String::new();
        statements::write_statement(&mut out, self, family);
        out
    }
}

impl Expression {
    /// The expression as `nft list` writes it where it is compared with something of these types.
    pub fn text(&self, types: &[Datatype]) -> String {
        let mut out = String::new();
        values::write_value(&mut out, self, types);
        out
    }
}

/// The text of a table while it is written: blocks with an empty line between them.
struct Block<'a> {
    out: &'a mut String,
    handles: Handles,
    /// Whether an empty line comes before the next block.
    follows: bool,
}

impl Block<'_> {
    fn begin(&mut self, kind: &str, name: &str, handle: Option<u64>) {
        if self.follows {
            self.out.push('\n');
        }
        self.follows = true;
        let _ = write!(self.out, "\t{kind} {name} {{");
        write_handle(self.out, handle, self.handles);
        self.out.push('\n');
    }

    fn end(&mut self) {
        self.out.push_str("\t}\n");
    }
}

fn write_handle(out: &mut String, handle: Option<u64>, handles: Handles) {
    if let (Some(handle), Handles::Shown) = (handle, handles) {
        let _ = write!(out, " # handle {handle}");
    }
}

fn write_table(out: &mut String, table: &Table, handles: Handles) {
    let _ = write!(out, "table {} {} {{", table.family.name(), table.name);
    write_handle(out, table.handle, handles);
    out.push('\n');
    if !table.flags.is_empty() {
        let _ = writeln!(out, "\tflags {}", table.flags.join(","));
    }
    if let Some(comment) = &table.comment {
        let _ = writeln!(out, "\tcomment \"{comment}\"");
    }
    let mut block = Block {
        out,
        handles,
        follows: !table.flags.is_empty(),
    };
    for object in &table.objects {
        objects::write_object(&mut block, object);
    }
    for set in &table.sets {
        sets::write_set(&mut block, set);
    }
    for flowtable in &table.flowtables {
        objects::write_flowtable(&mut block, flowtable, table.family);
    }
    for chain in &table.chains {
        write_chain(&mut block, chain, table.family);
    }
    out.push_str("}\n");
}

fn write_chain(block: &mut Block<'_>, chain: &Chain, family: Family) {
    block.begin("chain", &chain.name, chain.handle);
    if let Some(comment) = &chain.comment {
        let _ = writeln!(block.out, "\t\tcomment \"{comment}\"");
    }
    if let Some(base) = &chain.base {
        write_base(block.out, base, family);
    }
    for rule in &chain.rules {
        let _ = write!(block.out, "\t\t{}", rule.text(family));
        write_handle(block.out, rule.handle, block.handles);
        block.out.push('\n');
    }
    block.end();
}

fn write_base(out: &mut String, base: &BaseChain, family: Family) {
    let _ = write!(out, "\t\ttype {} hook {} ", base.kind, base.hook);
    match base.devices.as_slice() {
        [] => {}
        [one] => {
            let _ = write!(out, "device \"{one}\" ");
        }
        several => {
            let _ = write!(out, "devices = {{ {} }} ", several.join(", "));
        }
    }
    let _ = write!(
        out,
        "priority {};",
        priority::priority(family, &base.hook, base.priority)
    );
    if let Some(policy) = &base.policy {
        let _ = write!(out, " policy {policy};");
    }
    out.push('\n');
}
