//! The running kernel: its types, its symbols, its memory, and the programs that are put into it.

mod batch;
mod bpf;
mod btf;
mod btf_section;
pub mod budget;
#[cfg(test)]
mod calls;
mod casts;
mod commands;
mod cpus;
mod devices;
mod function_probes;
mod gathered;
mod kprobes;
mod loading;
mod memory;
mod namespaces;
pub mod netlink;
mod nets;
mod offsets;
mod path_probes;
mod path_ring;
mod programs;
pub mod raw;
mod retired;
mod routes;
mod symbols;
pub mod trace_key;
mod verdict_probes;

pub use btf::Types;
pub use cpus::{online_cpus, possible_cpus};
pub use devices::DeviceLayout;
pub use gathered::Gathered;
#[cfg(test)]
pub(crate) use memory::tests::Dump;
pub use memory::{Memory, Reader};
pub use namespaces::{NetnsNames, enter};
pub use nets::Nets;
pub use offsets::{NoField, find as find_offsets, find_nft as find_nft_offsets};
pub use path_probes::first_line;
pub use programs::{Loader, Programs, RING_BYTES, Rest, Room};
pub use routes::{RouteAnswer, RouteQuery, addresses, device_index, route};
pub use symbols::{Symbol, Symbols};
