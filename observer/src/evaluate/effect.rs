//! What rules do to the packet itself: marks; and what is learnt of it where something is taken to hold.

use super::condition::{Ask, Condition, Side};
use super::packet::{Dev, Packet};
use super::table::Action;
use crate::report::record::CtState;
use crate::ruleset::xtables::save::{CtStates, MarkChange};

/// What a condition that is taken to hold says of the packet.
pub(super) fn learn(condition: &Condition, packet: &mut Packet) {
    if condition.negated {
        return;
    }
    match &condition.ask {
        Ask::Dev(side, device) if !device.is_prefix => {
            let dev = Dev::named(&device.name);
            match side {
                Side::In => packet.in_dev = dev,
                Side::Out => packet.out_dev = dev,
            }
        }
        Ask::State(states) if packet.conn.state.is_none() => {
            const STATES: [(CtStates, CtState); 5] = [
                (CtStates::NEW, CtState::New),
                (CtStates::ESTABLISHED, CtState::Established),
                (CtStates::RELATED, CtState::Related),
                (CtStates::INVALID, CtState::Invalid),
                (CtStates::UNTRACKED, CtState::Untracked),
            ];
            let only = STATES.iter().find(|(bit, _)| bit == states);
            packet.conn.state = only.map(|(_, state)| *state);
        }
        _ => {}
    }
}

/// Changes marks.
pub(super) fn change(action: &Action, packet: &mut Packet) {
    let conn = &mut packet.conn;
    let with = |mark: u32, change: &MarkChange| (mark & !change.mask) ^ change.value;
    match action {
        Action::Mark(change) => {
            packet.mark = known_mark(packet.mark, change.mask).map(|mark| with(mark, change))
        }
        Action::ForgetMark => packet.mark = None,
        Action::ForgetTtl => packet.ttl = None,
        // Without a connection these targets do nothing.
        Action::Connmark(change) if conn.exists() != Some(false) => {
            conn.mark = known_mark(conn.mark, change.mask).map(|mark| with(mark, change));
        }
        Action::SaveMark(of_packet, of_conn) if conn.exists() != Some(false) => {
            conn.mark = packet
                .mark
                .zip(known_mark(conn.mark, *of_conn))
                .map(|(mark, old)| (old & !of_conn) ^ (mark & of_packet));
        }
        Action::RestoreMark(of_packet, of_conn) => match conn.exists() {
            Some(false) => {}
            Some(true) => {
                packet.mark = conn
                    .mark
                    .zip(known_mark(packet.mark, *of_packet))
                    .map(|(mark, old)| (old & !of_packet) ^ (mark & of_conn));
            }
            None => packet.mark = None,
        },
        Action::Untrack => {
            // Only a packet that conntrack has not seen yet (`notrack_tg`, net/netfilter/xt_CT.c).
            if conn.exists() == Some(false) {
                conn.state = Some(CtState::Untracked);
            } else if conn.exists().is_none() {
                conn.may_be_untracked = true;
            }
        }
        _ => {}
    }
}

/// A mark that is not known does not matter if all of it is cleared.
fn known_mark(mark: Option<u32>, cleared: u32) -> Option<u32> {
    mark.or((cleared == u32::MAX).then_some(0))
}
