//! Legacy tables: the kernel's own blob, decoded.

mod blob;
mod read;

pub use blob::{Blob, Decoded, Names, decode};
pub use read::{Location, read};
