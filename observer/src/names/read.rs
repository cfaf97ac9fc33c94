//! What the bytes of a source come to, whichever it is: for the fuzz target, which has no servers.

use super::change::{Owner, Who};
use super::{cri, kube};

/// An owner, without what is the source's own.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Its name, its node's and its containers'.
    pub names: Vec<String>,
    /// How many addresses it has.
    pub addresses: usize,
}

/// Takes bytes for a list, for the lines of a watch, and for answers of a container runtime.
pub fn read(bytes: &[u8]) -> Vec<Read> {
    let mut owners = kube::read(bytes);
    owners.extend(cri::read(bytes));
    owners.into_iter().map(told).collect()
}

fn told(owner: Owner) -> Read {
    let names = match owner.who {
        Who::Pod {
            name,
            node,
            containers,
        } => std::iter::once(name.as_str().to_owned())
            .chain(node.map(String::from))
            .chain(containers.into_iter().map(String::from))
            .collect(),
        Who::Service(name) => vec![name.as_str().to_owned()],
        Who::Node(name) => vec![name.into()],
    };
    Read {
        names,
        addresses: owner.addresses.len(),
    }
}
