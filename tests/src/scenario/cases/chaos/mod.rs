//! Disturbances: whatever happens to it or around it, each drop is told with the right name, or counted as lost.

mod arena;
mod clock;
mod cpus;
mod devices;
mod disk;
mod flood;
mod hog;
mod maps;
mod namespaces;
mod reader;
mod soak;
mod stopped;

pub(super) use clock::run as clock;
pub(super) use cpus::run as cpus;
pub(super) use devices::run as devices;
pub(super) use disk::run as disk;
pub(super) use flood::run as flood;
pub(super) use hog::run as hog;
pub(super) use maps::run as maps;
pub(super) use namespaces::run as namespaces;
pub(super) use reader::run as reader;
pub(super) use soak::run as soak;
pub(super) use stopped::run as stopped;
