//! The hooks of devices: `net_device.nf_hooks_ingress` and `nf_hooks_egress`.
//!
//! A namespace's devices are a ring through `net_device.dev_list` with its head in `net.dev_base_head`
//! (include/linux/netdevice.h, include/net/net_namespace.h, v5.10 … v6.18).

use std::collections::HashSet;

use super::hooks::HookDevice;
use super::layout::NetLayout;
use crate::kernel::Reader;

/// `IFNAMSIZ`
const NAME_BYTES: usize = 16;
/// More devices than any namespace has: a ring that goes on longer is broken.
const MOST_DEVICES: usize = 65_536;

/// The devices that have hooks, each with the addresses of its ingress and egress lists (0: none).
pub fn of_devices(memory: &impl Reader, layout: &NetLayout, net: u64) -> Vec<(HookDevice, [u64; 2])> {
    let Some(devices) = layout.devices else {
        return Vec::new();
    };
    let head = net + devices.head;
    let list = |device: u64, at: Option<u64>| at.and_then(|at| memory.u64(device + at)).unwrap_or(0);
    let mut found = Vec::new();
    // The ring can change under our eyes: it must end even if it has lost its head.
    let mut seen = HashSet::from([head]);
    let mut next = memory.u64(head);
    while let Some(node) = next.filter(|node| seen.len() < MOST_DEVICES && seen.insert(*node)) {
        let device = node.wrapping_sub(devices.node);
        let lists = [list(device, devices.ingress), list(device, devices.egress)];
        if lists != [0; 2] {
            let known = HookDevice {
                ifindex: memory.u32(device + devices.ifindex).unwrap_or(0),
                name: memory
                    .string(device + devices.name, NAME_BYTES)
                    .unwrap_or_default(),
            };
            found.push((known, lists));
        }
        next = memory.u64(node);
    }
    found
}
