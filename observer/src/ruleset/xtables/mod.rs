//! Tables of iptables: the kernel's own blob, decoded (`blob`, `read`), what its extensions ask and do (`extensions`), and what the
//! tools print, as a model (`save`).

mod blob;
pub mod extensions;
mod read;
pub mod save;
#[cfg(test)]
pub(super) mod tests;

pub use blob::{Blob, Names, decode};
pub use read::{Location, is_same, pointer, read};
