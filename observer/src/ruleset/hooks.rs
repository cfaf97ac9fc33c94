//! The functions that a namespace's hooks call, from `net->nf.hooks_ipv4` and `hooks_ipv6`.
//!
//! `struct nf_hook_entries` is a count, the functions with their private pointers, and then the `nf_hook_ops` they
//! were registered with (include/linux/netfilter.h, v6.1 … v6.18). NAT keeps lists of its own behind its functions
//! (`struct nf_nat_lookup_hook_priv`, net/netfilter/nf_nat_core.c).

use observer_common::MAX_HOOKS;

use super::layout::NetLayout;
use crate::kernel::{Reader, Symbols};
use crate::report::record::Hook;

/// More functions than any real hook has: what claims more is not a hook list.
const MOST_FUNCTIONS: u64 = 1024;

/// What a namespace's hooks call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// The lists' addresses: five for IPv4, five for IPv6. They change with every registration.
    pub lists: [u64; MAX_HOOKS],
    /// The functions, in the order in which they are called.
    pub functions: Vec<HookFunction>,
}

/// A function that a hook calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFunction {
    /// The hook.
    pub hook: Hook,
    /// Whether it is called for IPv6.
    pub ipv6: bool,
    /// Its name; empty if it has no symbol.
    pub name: String,
    /// Its private pointer: a table, a base chain.
    pub private: u64,
    /// Its priority; `None` where the kernel does not show it.
    pub priority: Option<i32>,
    /// Whether NAT calls it, not the hook itself.
    pub in_nat: bool,
}

impl Hooks {
    /// Reads the hooks of the namespace at `net`.
    pub fn read(memory: &impl Reader, symbols: &Symbols, layout: &NetLayout, net: u64) -> Option<Self> {
        let mut hooks = Self::default();
        for (index, list) in hooks.lists.iter_mut().enumerate() {
            *list = memory.u64(net + layout.hooks + 8 * index as u64)?;
        }
        for (index, list) in hooks.lists.into_iter().enumerate() {
            let walk = Walk {
                memory,
                symbols,
                layout,
                hook: INET_HOOKS[index % 5],
                ipv6: index >= 5,
            };
            walk.list(list, false, &mut hooks.functions);
        }
        Some(hooks)
    }
}

/// `enum nf_inet_hooks`
pub const INET_HOOKS: [Hook; 5] = [
    Hook::Prerouting,
    Hook::Input,
    Hook::Forward,
    Hook::Output,
    Hook::Postrouting,
];

struct Walk<'a, R> {
    memory: &'a R,
    symbols: &'a Symbols,
    layout: &'a NetLayout,
    hook: Hook,
    ipv6: bool,
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
        let (Some(function), Some(private)) = (self.memory.u64(at), self.memory.u64(at + 8)) else {
            return;
        };
        let name = self
            .symbols
            .of(function)
            .map(|symbol| symbol.name.to_owned())
            .unwrap_or_default();
        let nat = !in_nat && name.starts_with("nf_nat_");
        let priority = self.priority(entries + 16 * count + 8 * index);
        let (hook, ipv6) = (self.hook, self.ipv6);
        found.push(HookFunction {
            hook,
            ipv6,
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
