//! docs/owners.md is written from the data: `UPDATE_DOCS=1 cargo test -p observer owners`.

use std::fmt::Write as _;

use super::entry::{Case, Fix, Owner, When, advice, all};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/owners.md");

const HEAD: &str = "\
# Who wrote the rule, and what to do

For a rule or policy that dropped a packet `observer watch` says whose it is and gives one next step: `hints` of kind
`owner` and `fix`. This is all that it can say, written out of the source by a test
(`UPDATE_DOCS=1 cargo test -p observer owners`); the data is one file an owner in `observer/src/diagnose/owners`.

- The first case of which everything holds is told, and the answer names what it is known by. Where none holds and a chain on
  the way has an owner's name all the same (in a table that the owner does not write, say), nobody is named.
- Nothing is said of a drop whose rule is not known (`confidence: unknown`).
- In patterns `*` is anything and `{word}` a word that is used in the answer. `{in}`, `{dst}` and the like are the packet's own
  values. A value that a shell or a tool would read as more than one plain word is in no command: then the next step that
  needs none is given, or none.
- A command is for the drop's network namespace: outside observer's own `ip netns exec NAME` or `nsenter --net=FILE` stands
  before it. Commands that ask a daemon or a cluster (*anywhere*) are as they are.
- Those that begin with `IPTABLES` are written with the tool that made the table: `iptables-legacy`, `iptables-nft`,
  `ip6tables-legacy`, `ip6tables-nft`; `nft` for tables of its own.
- *inside* means that both devices are bridges, overlays or veths of containers and pods, by their names
  (`observer/src/diagnose/owners/devices.rs`): only then is a whole way opened, else only what this packet needs.
- Answers go the other way. Where no rule accepts ESTABLISHED they need a line of their own, which observer gives when they
  are dropped.
- Where iptables-legacy and iptables-nft both have rules at the hook that dropped, that is said as well: a packet must pass both.

observer itself runs none of these commands.
";

#[test]
fn the_owners_in_the_documentation_are_these() {
    let written = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &written).expect("docs/owners.md can be written");
    }
    let found = std::fs::read_to_string(PATH).expect("docs/owners.md can be read");
    assert_eq!(found, written, "run UPDATE_DOCS=1 cargo test -p observer owners");
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    for owner in all() {
        section(&mut text, owner);
    }
    text.push_str("\n## Next steps for any of them\n\nWhere a case has none of its own that fits.\n\n");
    text.push_str("| if | next step |\n| --- | --- |\n");
    for fix in advice() {
        let _ = writeln!(
            text,
            "| {} | {}: {} |",
            conditions(&fix.when),
            cell(&fix.text),
            commands(fix)
        );
    }
    text
}

fn section(text: &mut String, owner: &Owner) {
    let _ = write!(text, "\n## {}\n\nRead in: {}.", owner.name, cell(&owner.read_in));
    if !owner.chains.is_empty() {
        let _ = write!(text, " Its chains: {}.", codes(&owner.chains));
    }
    if !owner.tables.is_empty() {
        let _ = write!(text, " Its tables: {}.", codes(&owner.tables));
    }
    text.push_str("\n\n| known by | said | next step |\n| --- | --- | --- |\n");
    for case in &owner.cases {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            conditions(&case.when),
            cell(&case.says),
            steps(case)
        );
    }
}

fn steps(case: &Case) -> String {
    let step = |fix: &Fix| {
        let when = conditions(&fix.when);
        let when = if when.is_empty() {
            when
        } else {
            format!("if {when}: ")
        };
        format!("{when}{}: {}", cell(&fix.text), commands(fix))
    };
    case.fixes.iter().map(step).collect::<Vec<_>>().join("<br>")
}

fn commands(fix: &Fix) -> String {
    let iptables = fix
        .iptables
        .as_ref()
        .map(|words| format!("`IPTABLES {}`", cell(words)));
    let nft = fix.nft.as_ref().map(|words| format!("`nft '{}'`", cell(words)));
    let command = fix.command.as_ref().map(|command| format!("`{}`", cell(command)));
    let all: Vec<String> = [iptables, nft, command].into_iter().flatten().collect();
    let anywhere = if fix.anywhere { " (anywhere)" } else { "" };
    format!("{}{anywhere}", all.join(" or "))
}

fn conditions(when: &When) -> String {
    let mut parts = Vec::new();
    parts.extend(when.cause.map(|cause| format!("{cause:?}").to_lowercase()));
    parts.extend(when.backend.map(|backend| format!("{backend:?}").to_lowercase()));
    parts.extend(when.hook.map(|hook| hook.name().to_owned()));
    let ct: Vec<String> = when.ct.iter().map(|state| state.name().to_owned()).collect();
    let lists = [
        ("reason", &when.reason),
        ("table", &when.table),
        ("chain", &when.chain),
        ("target", &when.target),
        ("comment", &when.comment),
        ("rule", &when.text),
        ("jump to", &when.jumps),
        ("chain there", &when.beside),
        ("no jump to", &when.without),
        ("conntrack", &ct),
        ("protocol", &when.proto),
        ("flags", &when.flags),
        ("in", &when.in_dev),
        ("out", &when.out_dev),
    ];
    let told = lists.into_iter().filter(|(_, list)| !list.is_empty());
    parts.extend(told.map(|(name, list)| format!("{name} {}", codes(list))));
    parts.extend(when.inside.then(|| "inside".to_owned()));
    parts.extend(
        when.unclaimed
            .then(|| "no chain or table of the above".to_owned()),
    );
    parts.join("; ")
}

fn codes(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", cell(name))).collect();
    quoted.join(", ")
}

/// A cell of a table may hold no bar, and no tag outside of code.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
