//! Where in a table a packet can have died, by what is known of it as it was when it died. What the table itself may have
//! changed before is not known then: the packet may have come with anything else.

use super::around::Surroundings;
use super::packet::Packet;
use super::table::{Action, Table};
use super::walk::{Bounds, Place, Verdict, walk};
use crate::report::record::Hook;

/// What can have become of a packet in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// The rules and policies that it can have died by, each once.
    pub places: Vec<Place>,
    /// Whether it can have come to an end that is not known.
    pub is_open: bool,
}

/// Asks a table, from the chain that a hook calls, where a packet can have died in it that was so when it died.
pub fn deaths(
    table: &Table,
    hook: Hook,
    packet: &Packet,
    around: &dyn Surroundings,
    bounds: &mut Bounds,
) -> Deaths {
    let mut deaths = Deaths::default();
    for outcome in walk(table, hook, &before(table, packet), around, bounds) {
        match outcome.verdict {
            Verdict::Drop(place) if !deaths.places.contains(&place) => deaths.places.push(place),
            Verdict::Open(..) => deaths.is_open = true,
            Verdict::Drop(_) | Verdict::Accept(_) => {}
        }
    }
    deaths
}

/// What is known of the packet as it came to the table.
fn before(table: &Table, packet: &Packet) -> Packet {
    let mut before = packet.clone();
    let actions = table.chains.iter().flat_map(|chain| &chain.rules);
    for rule in actions {
        match rule.action {
            Action::Mark(_) | Action::ForgetMark | Action::RestoreMark(..) => before.mark = None,
            Action::ForgetTtl => before.ttl = None,
            Action::Connmark(_) | Action::SaveMark(..) => before.conn.mark = None,
            Action::Untrack => before.conn.state = None,
            Action::Continue
            | Action::Accept
            | Action::Drop
            | Action::Return
            | Action::Jump(_)
            | Action::Goto(_)
            // Leaves the table alive.
            | Action::Translate(_)
            // Ends the walk.
            | Action::Open(_) => {}
        }
    }
    before
}
