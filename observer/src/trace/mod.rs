//! From a record to a packet, and from a packet to its connection and its Service.

mod bytes;
mod flow;
mod packet;
mod service;
mod ways;

pub use bytes::bytes;
pub use flow::{Flows, Seen, tuple, tuple_of};
pub use packet::{device, headers, packet};
pub use service::{MAPS as KUBE_PROXY_MAPS, Services, TABLE as KUBE_PROXY_TABLE};
pub use ways::{Way, Ways, before, len_bytes};
