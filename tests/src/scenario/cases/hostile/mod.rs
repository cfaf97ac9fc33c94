//! What an enemy can send, and what he can call things: observer neither ends nor lies, and nothing of it steers a terminal.

mod forge;
mod link;
mod names;
mod netlink;
mod packets;
mod page;
mod screen;
mod twins;

pub(super) use names::run as names;
pub(super) use packets::run as packets;
pub(super) use page::run as page;
pub(super) use twins::run as twins;
