//! What a source tells: who has which addresses from now on, and who has none any more.

use std::net::IpAddr;
use std::rc::Rc;

use super::name::ObjectName;
use crate::report::record::NamesFrom;

/// More addresses of one owner are not taken.
pub(crate) const MAX_ADDRESSES: usize = 16;
/// More containers of one pod are not named.
pub(crate) const MAX_CONTAINERS: usize = 16;

/// One thing that a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// All owners of this kind come now, each with [`Change::Has`]; whoever is not among them is gone.
    List(NamesFrom, Kind),
    /// The owner has these addresses, and no others.
    Has(Box<Owner>),
    /// It is gone.
    Gone(NamesFrom, Kind, Box<str>),
    /// All of them have come.
    Listed(NamesFrom, Kind),
    /// The source answers.
    Up(NamesFrom),
    /// It does not answer any more.
    Down(NamesFrom),
    /// Something to be said on standard error.
    Say(String),
}

/// What can have an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A pod with a network of its own.
    Pod,
    /// A service.
    Service,
    /// A node.
    Node,
}

/// A pod, service or node, as one source knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) from: NamesFrom,
    /// The source's own identifier: a pod of the same name that comes later has another.
    pub(crate) uid: Box<str>,
    pub(crate) who: Who,
    pub(crate) addresses: Vec<IpAddr>,
    /// The inode of a pod's network namespace.
    pub(crate) netns: Option<u32>,
}

/// Its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Pod {
        name: ObjectName,
        node: Option<Box<str>>,
        containers: Vec<Box<str>>,
    },
    Service(ObjectName),
    Node(Box<str>),
}

impl Who {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Pod { .. } => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::Node(_) => Kind::Node,
        }
    }
}

/// Where an owner is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) from: NamesFrom,
    pub(super) kind: Kind,
    pub(super) uid: Rc<str>,
}
