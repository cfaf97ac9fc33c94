//! The functions that a namespace's hooks call: `net->nf.hooks_ipv4`, `hooks_ipv6`, `hooks_bridge`, `hooks_arp`, and
//! each device's own (`devices.rs`).
//!
//! `struct nf_hook_entries` is a count, the functions with their private pointers, and then the `nf_hook_ops` they
//! were registered with (include/linux/netfilter.h, v6.1 … v6.18). NAT keeps lists of its own behind its functions
//! (`struct nf_nat_lookup_hook_priv`, net/netfilter/nf_nat_core.c).

use observer_common::MAX_HOOKS;

use super::devices::of_devices;
use super::layout::NetLayout;
use crate::kernel::{Reader, Symbols};
use crate::report::record::{Hook, TableFamily};

/// More functions than any real hook has: what claims more is not a hook list.
const MOST_FUNCTIONS: u64 = 1024;
/// The function of the table `broute`: what it turns down is routed, not dropped (`ebt_broute`,
/// net/bridge/netfilter/ebtable_broute.c).
const BROUTE: &str = "ebt_broute";

/// What a namespace's hooks call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// The lists' addresses: five for IPv4, five for IPv6. They change with every registration.
    pub lists: [u64; MAX_HOOKS],
    /// The bridge's and ARP's: where each list's address lies, and the address. The kernel side does not compare these.
    pub others: Vec<(u64, u64)>,
    /// The functions, in the order in which they are called.
    pub functions: Vec<HookFunction>,
}

/// A function that a hook calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFunction {
    /// The hook.
    pub hook: Hook,
    /// The protocol family that it is registered for; never `Inet`, which is registered for IPv4 and IPv6.
    pub family: TableFamily,
    /// Family netdev: the device.
    pub device: Option<HookDevice>,
    /// Its address.
    pub address: u64,
    /// Its name; empty if it has no symbol.
    pub name: String,
    /// Its private pointer: a table, a base chain.
    pub private: u64,
    /// Its priority; `None` where the kernel does not show it.
    pub priority: Option<i32>,
    /// Whether NAT calls it, not the hook itself.
    pub in_nat: bool,
}

/// A device with hooks of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookDevice {
    /// Its index.
    pub ifindex: u32,
    /// Its name, when it was read.
    pub name: String,
}

/// `enum nf_inet_hooks`; the bridge numbers its own the same way (`enum nf_br_hooks`).
pub const INET_HOOKS: [Hook; 5] = [
    Hook::Prerouting,
    Hook::Input,
    Hook::Forward,
    Hook::Output,
    Hook::Postrouting,
];
/// include/uapi/linux/netfilter_arp.h
const ARP_HOOKS: [Hook; 3] = [Hook::Input, Hook::Output, Hook::Forward];
/// `enum nf_dev_hooks`
const DEVICE_HOOKS: [Hook; 2] = [Hook::Ingress, Hook::Egress];
/// `NF_INET_INGRESS`: behind the hooks of the inet family.
const INET_INGRESS: u32 = 5;

/// The hook with this number in a family, as `nf_hook_ops.hooknum` has it.
pub fn hook_of(family: TableFamily, number: u32) -> Option<Hook> {
    let index = number as usize;
    match family {
        TableFamily::Inet if number == INET_INGRESS => Some(Hook::Ingress),
        TableFamily::Ip | TableFamily::Ip6 | TableFamily::Inet | TableFamily::Bridge => {
            INET_HOOKS.get(index).copied()
        }
        TableFamily::Arp => ARP_HOOKS.get(index).copied(),
        TableFamily::Netdev => DEVICE_HOOKS.get(index).copied(),
    }
}

impl Hooks {
    /// Reads the hooks of the namespace at `net`. Families that this kernel does not have are left out.
    pub fn read(memory: &impl Reader, symbols: &Symbols, layout: &NetLayout, net: u64) -> Option<Self> {
        let mut hooks = Self::default();
        for (index, list) in hooks.lists.iter_mut().enumerate() {
            *list = memory.u64(net + layout.hooks + 8 * index as u64)?;
        }
        let (v4, v6) = hooks.lists.split_at(INET_HOOKS.len());
        let mut lists = Lists {
            memory,
            symbols,
            layout,
            found: Vec::new(),
        };
        lists.family(TableFamily::Ip, v4);
        lists.family(TableFamily::Ip6, v6);
        let others = [
            (TableFamily::Bridge, layout.hooks_bridge, INET_HOOKS.len()),
            (TableFamily::Arp, layout.hooks_arp, ARP_HOOKS.len()),
        ];
        for (family, at, count) in others {
            let Some(at) = at else { continue };
            let places = (0..count as u64).map(|index| net + at + 8 * index);
            let found: Vec<(u64, u64)> = places.map(|at| (at, memory.u64(at).unwrap_or(0))).collect();
            lists.family(family, &found.iter().map(|(_, list)| *list).collect::<Vec<_>>());
            hooks.others.extend(found);
        }
        for (device, heads) in of_devices(memory, layout, net) {
            for (list, hook) in heads.into_iter().zip(DEVICE_HOOKS) {
                lists.one(list, TableFamily::Netdev, hook, Some(&device));
            }
        }
        hooks.functions = lists.found;
        Some(hooks)
    }
}

/// Lists of hooks, and what was found in them.
struct Lists<'a, R> {
    memory: &'a R,
    symbols: &'a Symbols,
    layout: &'a NetLayout,
    found: Vec<HookFunction>,
}

impl<R: Reader> Lists<'_, R> {
    /// Reads a family's lists, in the order of its hooks' numbers.
    fn family(&mut self, family: TableFamily, lists: &[u64]) {
        for (number, list) in (0..).zip(lists) {
            if let Some(hook) = hook_of(family, number) {
                self.one(*list, family, hook, None);
            }
        }
    }

    fn one(&mut self, list: u64, family: TableFamily, hook: Hook, device: Option<&HookDevice>) {
        let walk = Walk {
            memory: self.memory,
            symbols: self.symbols,
            layout: self.layout,
            hook,
            family,
            device,
        };
        walk.list(list, false, &mut self.found);
    }
}

struct Walk<'a, R> {
    memory: &'a R,
    symbols: &'a Symbols,
    layout: &'a NetLayout,
    hook: Hook,
    family: TableFamily,
    device: Option<&'a HookDevice>,
}

impl<R: Reader> Walk<'_, R> {
    fn list(&self, list: u64, in_nat: bool, found: &mut Vec<HookFunction>) {
        if list == 0 {
            return;
        }
        let mut count = [0; 2];
        if !self.memory.read_into(list, &mut count) {
            return;
        }
        let count = u64::from(u16::from_ne_bytes(count));
        if count > MOST_FUNCTIONS {
            return;
        }
        for index in 0..count {
            self.function(list + self.layout.entries, index, count, in_nat, found);
        }
    }

    fn function(&self, entries: u64, index: u64, count: u64, in_nat: bool, found: &mut Vec<HookFunction>) {
        let at = entries + 16 * index;
        let (Some(address), Some(private)) = (self.memory.u64(at), self.memory.u64(at + 8)) else {
            return;
        };
        let name = self
            .symbols
            .of(address)
            .map(|symbol| symbol.name.to_owned())
            .unwrap_or_default();
        let nat = !in_nat && name.starts_with("nf_nat_");
        let priority = self.priority(entries + 16 * count + 8 * index);
        found.push(HookFunction {
            hook: if name == BROUTE { Hook::Broute } else { self.hook },
            family: self.family,
            device: self.device.cloned(),
            address,
            name,
            private,
            priority,
            in_nat,
        });
        if nat && let Some(list) = self.memory.u64(private + self.layout.nat_entries) {
            self.list(list, true, found);
        }
    }

    fn priority(&self, ops_at: u64) -> Option<i32> {
        let ops = self.memory.u64(ops_at)?;
        self.memory.u32(ops + self.layout.priority?).map(u32::cast_signed)
    }
}

#[cfg(test)]
mod tests;
