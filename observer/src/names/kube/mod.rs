//! The Kubernetes API, asked for pods, services and nodes: listed once, then watched. It is never waited for.

mod access;
mod config;
mod health;
mod http;
mod lines;
mod objects;
mod tls;
mod watch;

use super::change::Owner;
use super::feed::Feed;
use health::Health;
use objects::{Node, Pod, Service};
use watch::Watch;

pub(crate) use access::{Access, addresses, read as read_file};
pub(crate) use config::{of_file, of_pod, usual_file};
pub(crate) use http::exchanged;
pub(crate) use tls::{Own, Tls, authorities};

/// Bytes as a page of a list, and as the lines of a watch, of each kind.
pub(super) fn read(bytes: &[u8]) -> Vec<Owner> {
    [watch::read::<Pod>, watch::read::<Service>, watch::read::<Node>]
        .iter()
        .flat_map(|read| read(bytes))
        .collect()
}

/// Which pods are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// Those of this node.
    #[default]
    Node,
    /// All.
    Cluster,
}

/// Asks and tells until nobody listens.
pub(super) async fn run(access: Access, scope: Scope, node: Option<Box<str>>, feed: Feed) {
    let health = Health::new(access.host.to_string());
    let of = |selector: String| Watch {
        access: &access,
        feed: &feed,
        health: &health,
        selector,
    };
    let pods = match (scope, node) {
        (Scope::Node, Some(node)) => format!("fieldSelector=spec.nodeName%3D{node}"),
        _ => String::new(),
    };
    tokio::join!(
        of(pods).run::<Pod>(),
        of(String::new()).run::<Service>(),
        of(String::new()).run::<Node>(),
    );
}
