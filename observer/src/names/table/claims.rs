//! Who said to have one address or namespace, and from when until when.

use std::rc::Rc;

use super::{Id, Kind, Owner, Who};
use crate::report::record::{Named, Time};

/// So many claims of one address are kept: of two at a time none is believed anyway.
const MAX_CLAIMS: usize = 16;

/// One owner's.
pub(super) struct Claim {
    id: Id,
    owner: Rc<Owner>,
    since: Time,
    until: Option<Time>,
}

/// All of one place, the newest last.
#[derive(Default)]
pub(super) struct Claims {
    all: Vec<Claim>,
    /// One had no room: nothing is sure until all have ended.
    are_too_many: bool,
}

impl Claims {
    /// The owner has it from `since` on, or has it still.
    pub(super) fn begin(&mut self, id: Id, owner: Rc<Owner>, since: Time) {
        let mut held = self.all.iter_mut().filter(|claim| claim.until.is_none());
        if let Some(claim) = held.find(|claim| claim.id == id) {
            claim.owner = owner;
        } else if self.all.len() < MAX_CLAIMS {
            self.all.push(Claim {
                id,
                owner,
                since,
                until: None,
            });
        } else {
            self.are_too_many = true;
        }
    }

    /// The owner has it no more; false if it had not.
    pub(super) fn end(&mut self, id: &Id, now: Time) -> bool {
        let mut held = self.all.iter_mut().filter(|claim| claim.until.is_none());
        let ended = held.find(|claim| claim.id == *id);
        ended.map(|claim| claim.until = Some(now)).is_some()
    }

    /// Lets go what ended then or before; true if nothing is left.
    pub(super) fn forget(&mut self, then: Time) -> bool {
        self.all
            .retain(|claim| claim.until.is_none_or(|until| until > then));
        self.are_too_many &= !self.all.is_empty();
        self.all.is_empty()
    }

    /// Those who had it then.
    pub(super) fn in_force(&self, then: Time) -> Vec<&Owner> {
        if self.are_too_many {
            return Vec::new();
        }
        let is_in_force =
            |claim: &&Claim| claim.since <= then && claim.until.is_none_or(|until| then < until);
        self.all
            .iter()
            .filter(is_in_force)
            .map(|claim| &*claim.owner)
            .collect()
    }
}

/// What all who had it at one time are called; nothing where two of them are different pods, services or nodes.
pub(super) fn named(owners: &[&Owner]) -> Option<Named> {
    let has = |kind| owners.iter().any(|owner| owner.who.kind() == kind);
    // A pod that says it has its node's address, or a service's, is not told from who else uses it.
    let is_pods = has(Kind::Pod) && !has(Kind::Node) && !has(Kind::Service);
    let mut named = Named::default();
    let mut is_told_by = |owner: &Owner| {
        if !named.from.contains(&owner.from) {
            named.from.push(owner.from);
        }
    };
    let (mut pod, mut service, mut node) = (One::None, One::None, One::None);
    let mut containers: Vec<String> = Vec::new();
    for owner in owners {
        match &owner.who {
            Who::Pod {
                name,
                node: on,
                containers: its,
            } if is_pods => {
                pod.add(name.as_str());
                on.iter().for_each(|on| node.add(on));
                for container in its {
                    if !containers.iter().any(|known| **known == **container) {
                        containers.push(container.to_string());
                    }
                }
            }
            Who::Pod { .. } => continue,
            Who::Service(name) => service.add(name.as_str()),
            Who::Node(name) => node.add(name),
        }
        is_told_by(owner);
    }
    if pod == One::Several {
        return None;
    }
    named.from.sort_unstable();
    named.pod = pod.name();
    named.containers = containers;
    named.service = service.name();
    named.node = node.name();
    let is_anybody = named.pod.is_some() || named.service.is_some() || named.node.is_some();
    is_anybody.then_some(named)
}

/// A name that is one only as long as nobody has another.
#[derive(PartialEq, Eq)]
enum One<'a> {
    None,
    Just(&'a str),
    Several,
}

impl<'a> One<'a> {
    fn add(&mut self, name: &'a str) {
        *self = match self {
            Self::None => Self::Just(name),
            Self::Just(known) if *known == name => Self::Just(name),
            Self::Just(_) | Self::Several => Self::Several,
        };
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Just(name) => Some((*name).to_owned()),
            Self::None | Self::Several => None,
        }
    }
}
