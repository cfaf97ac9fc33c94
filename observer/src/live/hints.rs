//! What to make of a drop: the ruleset that it was named against, and how a command gets into its network namespace.

use crate::diagnose::owners::{self, Scene, is_plain};
use crate::kernel::NetnsNames;
use crate::report::record::{DropLine, Hint};
use crate::ruleset::{Snapshot, Table};

/// Who wrote what dropped the packet, and one next step. `snapshots`: those that it can have been named against.
pub fn owner(line: &DropLine, snapshots: [Option<&Snapshot>; 2], names: &mut NetnsNames) -> Vec<Hint> {
    let enter = line.netns.as_ref().and_then(|netns| entering(netns.inode, names));
    let scene = Scene {
        line,
        tables: tables(line, snapshots),
        enter: enter.as_deref(),
    };
    owners::hints(&scene)
}

/// The tables among which the drop's own still is as it was; of a drop that no table decided, those in force.
fn tables<'a>(line: &DropLine, snapshots: [Option<&'a Snapshot>; 2]) -> &'a [Table] {
    let wanted = line.drop.ruleset.as_deref();
    let wanted = wanted.map(|hash| u64::from_str_radix(hash, 16).ok());
    let is_it = |table: &Table| wanted.is_none_or(|wanted| wanted == Some(table.hash));
    let mut snapshots = snapshots.into_iter().flatten();
    let found = snapshots.find(|snapshot| snapshot.tables.iter().any(is_it));
    found.map_or(&[], |snapshot| snapshot.tables.as_slice())
}

/// What stands before a command that is to be run in a namespace: nothing in observer's own.
pub fn entering(inode: u32, names: &mut NetnsNames) -> Option<String> {
    if NetnsNames::own() == Some(inode) {
        return Some(String::new());
    }
    if let Some(name) = names.name(inode) {
        return is_plain(&name).then(|| format!("ip netns exec {name} "));
    }
    let file = names.process_file(inode)?.to_str()?;
    is_plain(file).then(|| format!("nsenter --net={file} "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples::policy_drop;

    #[test]
    fn a_command_for_observers_own_namespace_is_run_where_one_is() {
        let own = NetnsNames::own().expect("there is one");
        assert_eq!(entering(own, &mut NetnsNames::default()).as_deref(), Some(""));
        assert_eq!(
            entering(1, &mut NetnsNames::default()),
            None,
            "no namespace has this inode"
        );
    }

    #[test]
    fn only_a_ruleset_with_the_drops_own_table_tells_anything() {
        let table = |hash| Table {
            backend: crate::report::record::Backend::Legacy,
            family: crate::report::record::TableFamily::Ip,
            name: "filter".into(),
            chains: Vec::new(),
            hash,
            address: 0,
        };
        let snapshot = |hash| Snapshot {
            tables: vec![table(hash)],
            ..Snapshot::default()
        };
        let (old, new) = (snapshot(1), snapshot(2));
        let mut line = policy_drop();
        line.drop.ruleset = Some(format!("{:016x}", 2));
        assert_eq!(tables(&line, [Some(&old), Some(&new)])[0].hash, 2);
        assert!(tables(&line, [Some(&old), None]).is_empty());
    }
}
