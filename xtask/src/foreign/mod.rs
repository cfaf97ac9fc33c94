//! Virtual machines of another processor. Nothing of this machine's runs there but what was built for it: they have a root directory of
//! their own, of Debian's packages, and see this tree.

mod guest;
mod initramfs;
mod root;

pub use guest::command;
pub use root::Root;
