//! Which device a packet came in by, and which it was to leave by.

use observer_common::DropEvent;

use crate::attribute::Site;
use crate::report::record::{Hook, TableFamily};
use crate::trace::device;

/// Names of the devices in and out. `came_in`: name of the device that the packet first came in by, if it came in.
pub fn devices(
    event: &DropEvent,
    site: Option<Site<'_>>,
    came_in: Option<String>,
) -> (Option<String>, Option<String>) {
    let dev = device(&event.dev_name);
    let route = device(&event.route_name);
    match site {
        // A frame on a bridge: its device is the port it leaves by, its route br_netfilter's own.
        Some(site) if site.hook == Hook::Forward && (site.bridged || site.family == TableFamily::Bridge) => {
            (came_in, dev)
        }
        // A frame for the bridge itself: its device is the bridge already.
        Some(site) if site.hook == Hook::Input && site.family == TableFamily::Bridge => {
            (came_in.or(dev), None)
        }
        Some(Site {
            hook: Hook::Prerouting | Hook::Input | Hook::Ingress,
            ..
        }) => (dev, None),
        Some(Site {
            hook: Hook::Forward, ..
        }) => (dev, route),
        Some(Site {
            hook: Hook::Output,
            family: TableFamily::Bridge,
            ..
        }) => (None, dev),
        Some(Site {
            hook: Hook::Output, ..
        }) => (None, route.or(dev)),
        Some(Site {
            hook: Hook::Postrouting | Hook::Egress,
            ..
        }) => (came_in, dev.or(route)),
        _ if event.iif == 0 => (None, dev.or(route)),
        _ if event.iif == event.dev_ifindex => {
            // The route of a packet for this host leads to the loopback device.
            let out = route.filter(|name| name != "lo" && Some(name) != dev.as_ref());
            (dev, out)
        }
        _ => (came_in, dev.or(route)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::blank;

    fn named(iif: u32, dev: (u32, &str), route: &str) -> DropEvent {
        let mut event = blank();
        event.iif = iif;
        event.dev_ifindex = dev.0;
        event.dev_name[..dev.1.len()].copy_from_slice(dev.1.as_bytes());
        event.route_name[..route.len()].copy_from_slice(route.as_bytes());
        event
    }

    fn shown(event: &DropEvent, site: Option<(Hook, bool)>) -> (String, String) {
        shown_of(event, TableFamily::Inet, site)
    }

    fn shown_of(event: &DropEvent, family: TableFamily, site: Option<(Hook, bool)>) -> (String, String) {
        let site = site.map(|(hook, bridged)| Site {
            hook,
            family,
            bridged,
            function: None,
        });
        let came_in = (event.iif != 0).then(|| format!("if{}", event.iif));
        let (dev_in, dev_out) = devices(event, site, came_in);
        (dev_in.unwrap_or_default(), dev_out.unwrap_or_default())
    }

    fn pair(dev_in: &str, dev_out: &str) -> (String, String) {
        (dev_in.to_owned(), dev_out.to_owned())
    }

    #[test]
    fn each_hook_knows_its_devices() {
        let routed = named(2, (2, "eth0"), "cni0");
        assert_eq!(shown(&routed, Some((Hook::Forward, false))), pair("eth0", "cni0"));
        assert_eq!(
            shown(&named(2, (2, "eth0"), "lo"), Some((Hook::Input, false))),
            pair("eth0", "")
        );
        assert_eq!(
            shown(&named(0, (0, ""), "eth0"), Some((Hook::Output, false))),
            pair("", "eth0")
        );
        assert_eq!(
            shown(&named(2, (3, "cni0"), "cni0"), Some((Hook::Postrouting, false))),
            pair("if2", "cni0")
        );
    }

    #[test]
    fn a_bridged_frame_goes_from_port_to_port() {
        assert_eq!(
            shown(&named(2, (3, "vethb"), "br0"), Some((Hook::Forward, true))),
            pair("if2", "vethb")
        );
    }

    #[test]
    fn the_bridge_and_devices_have_hooks_of_their_own() {
        let bridge = |event: &DropEvent, hook| shown_of(event, TableFamily::Bridge, Some((hook, false)));
        let forwarded = named(2, (3, "vethb"), "");
        assert_eq!(bridge(&forwarded, Hook::Forward), pair("if2", "vethb"));
        assert_eq!(bridge(&forwarded, Hook::Postrouting), pair("if2", "vethb"));
        assert_eq!(
            bridge(&named(2, (2, "vetha"), ""), Hook::Prerouting),
            pair("vetha", "")
        );
        assert_eq!(bridge(&named(2, (4, "br0"), ""), Hook::Input), pair("if2", ""));
        assert_eq!(
            bridge(&named(0, (3, "vethb"), "br0"), Hook::Output),
            pair("", "vethb")
        );
        let netdev = |event: &DropEvent, hook| shown_of(event, TableFamily::Netdev, Some((hook, false)));
        assert_eq!(
            netdev(&named(2, (2, "eth0"), ""), Hook::Ingress),
            pair("eth0", "")
        );
        assert_eq!(
            netdev(&named(2, (3, "cni0"), "cni0"), Hook::Egress),
            pair("if2", "cni0")
        );
    }

    #[test]
    fn outside_netfilter_the_first_device_tells_the_direction() {
        assert_eq!(shown(&named(2, (2, "eth0"), "lo"), None), pair("eth0", ""));
        assert_eq!(shown(&named(2, (3, "cni0"), "cni0"), None), pair("if2", "cni0"));
        assert_eq!(shown(&named(0, (3, "cni0"), "cni0"), None), pair("", "cni0"));
    }
}
