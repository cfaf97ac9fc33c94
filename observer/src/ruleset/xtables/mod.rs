//! Legacy tables: the kernel's own blob, decoded.

mod blob;
mod read;
#[cfg(test)]
mod tests;

pub use blob::{Blob, Names, decode};
pub use read::{Location, read};
