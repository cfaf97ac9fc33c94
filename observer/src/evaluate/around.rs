//! What a packet's fate depends on beside the rules: addresses and routes of the host.

use std::net::IpAddr;
use std::rc::Rc;

use super::packet::{Kinds, Packet};

/// The host around the rules. What it does not know it says.
pub trait Surroundings {
    /// What an address can be to this host.
    fn kinds(&self, addr: IpAddr) -> Kinds;

    /// Where a packet goes; `None` if that is not known.
    fn route(&self, packet: &Packet) -> Option<Route>;

    /// The address that a packet gets that is masqueraded on its way out by a device, or redirected where it came in by
    /// it; `None` if that is not known.
    fn address_of(&self, device: &str, is_v6: bool) -> Option<IpAddr>;
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this host itself.
    Local,
    /// Out by a device.
    Out(Rc<str>),
    /// Nowhere: what the kernel says of it.
    Nowhere(&'static str),
}

/// A host of which nothing is known but its rules: a saved ruleset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

impl Surroundings for Unknown {
    fn kinds(&self, addr: IpAddr) -> Kinds {
        Kinds::of_address(addr)
    }

    fn route(&self, _: &Packet) -> Option<Route> {
        None
    }

    fn address_of(&self, _: &str, _: bool) -> Option<IpAddr> {
        None
    }
}
