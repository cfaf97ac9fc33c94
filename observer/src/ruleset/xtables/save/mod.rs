//! What `iptables-save` and `ip6tables-save` print, of either backend, as a typed model; and back to text, byte for byte.
//!
//! An extension that is not known here is carried word for word. A rule that a person wrote in other words than the tool
//! prints keeps its own.

mod address;
mod conntrack;
mod draft;
mod each;
mod extension;
mod header;
mod line;
mod matches;
mod packet;
mod parse;
mod pieces;
mod render;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod words;

pub use address::{Net, Range};
pub use conntrack::{Conntrack, CtStates, CtTuple};
pub use draft::{Draft, DraftTable};
pub use each::each_rule;
pub use extension::{Extension, Opt, Value};
pub use header::{Device, Header, Protocol, Signed};
pub use matches::{AddrType, Match};
pub use packet::{Icmp, Multiport, Ports, PortsOf, Span, Tcp, flag_names};
pub use parse::{ParseError, parse};
pub use render::heading;
pub use table::{Chain, Counters, Document, Family, Item, Policy, Rule, Table};
pub use target::{Action, MarkChange, Nat, NatKind, To};
