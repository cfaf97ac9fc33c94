//! The host that this runs on: its rules by the tools that print them, its routes by asking the kernel. All of it in the
//! network namespace that this program was started in.

use std::io;
use std::net::IpAddr;
use std::thread;

use anyhow::bail;

use super::rules::{Rules, table_family};
use crate::evaluate::{Kinds, Packet, Route, Surroundings};
use crate::kernel::{NetnsNames, RouteAnswer, RouteQuery, addresses, device_index, route};
use crate::report::record::Backend;
use crate::ruleset::ipset::{asked_by, in_force};
use crate::ruleset::nftables::listing::{self, InForce};
use crate::ruleset::nftables::netlink::tables;
use crate::ruleset::text::run_save;
use crate::ruleset::xtables::save::{self, Document, Family};

/// Reads the rules of a family.
///
/// # Errors
/// One line that says what to do: neither tool is there, or it is not allowed.
pub fn rules_in_force(family: Family) -> anyhow::Result<Rules> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the rules in force are only shown to root: sudo observer explain …, or give saved ones with --ruleset FILE"
        );
    }
    let inode = NetnsNames::inode_of_process(std::process::id())?;
    let mut rules = Rules::default();
    // Each takes about as long as the other where there are many rules.
    let (has_tool, listed) = thread::scope(|scope| {
        let listing = scope.spawn(|| InForce::of(inode));
        let has_tool = add_saved(&mut rules, inode, family);
        (has_tool, listing.join().unwrap_or_default())
    });
    let has_tool = has_tool?;
    if !add_listed(&mut rules, listed, family) && !has_tool {
        bail!("neither iptables-save nor nft can be run: install them, or give rules with --ruleset FILE");
    }
    add_sets(&mut rules);
    rules.settle(family);
    Ok(rules)
}

/// Adds what iptables-save prints of both backends. Whether that shows all of them.
fn add_saved(rules: &mut Rules, inode: u32, family: Family) -> anyhow::Result<bool> {
    // Where the kernel has no table of iptables-nft, its tool has nothing to show.
    let may_have_nft = tables(inode).map_or(true, |tables| {
        tables
            .iter()
            .any(|(of, name)| may_be_of_iptables(*of, name, family))
    });
    let mut has_tool = !may_have_nft;
    for (backend, tool) in [(Backend::Legacy, "legacy"), (Backend::Nft, "nft")] {
        if backend == Backend::Nft && !may_have_nft {
            continue;
        }
        let Some(text) = run_save(inode, backend, table_family(family)) else {
            continue;
        };
        has_tool = true;
        let name = match family {
            Family::Ip => format!("iptables-{tool}-save"),
            Family::Ip6 => format!("ip6tables-{tool}-save"),
        };
        match save::parse(&text) {
            // Where there is one tool only, it is asked in place of both.
            Ok(document) if is_of(&document, backend) => rules.add(&name, document, family),
            Ok(_) => {}
            Err(error) => bail!(
                "{name}: {error}; save the rules, put that line right and give them with --ruleset FILE"
            ),
        }
    }
    if !has_tool {
        rules
            .notes
            .push("whether iptables has rules is not known: neither iptables-legacy-save nor iptables-nft-save can be run".to_owned());
    }
    Ok(has_tool)
}

fn is_of(document: &Document, backend: Backend) -> bool {
    let is_nft = backend == Backend::Nft;
    document
        .tables()
        .all(|table| table.is_nft.is_none_or(|of_nft| of_nft == is_nft))
}

/// Whether iptables-nft-save would show a table.
fn may_be_of_iptables(of: listing::Family, name: &str, family: Family) -> bool {
    const NAMES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
    of.name() == table_family(family).name() && NAMES.contains(&name)
}

/// Adds what the kernel or nft lists, and says what is not known.
fn add_listed(rules: &mut Rules, listed: Option<InForce>, family: Family) -> bool {
    let Some(listed) = listed else {
        rules.notes.push(
            "whether nft has tables of its own is not known: the kernel does not list them, nor can nft be run; they are not asked"
                .to_owned(),
        );
        return false;
    };
    if let Some(unread) = listed.unread {
        rules.notes.push(format!(
            "not all of nf_tables is understood as the kernel lists it, and nft, which may know more, cannot be run: {unread}"
        ));
    }
    // None of them may be for this packet.
    _ = rules.add_listed(listed.by.name(), listed.ruleset, family);
    true
}

/// Reads the sets of ipset, if a rule asks one: asking for them could load ipset otherwise.
fn add_sets(rules: &mut Rules) {
    if asked_by(&rules.saved).next().is_none() {
        return;
    }
    match in_force() {
        Ok(sets) => rules.sets = sets,
        Err(error) => rules.notes.push(format!(
            "what is in the sets of ipset is not known: the kernel does not list them: {error}"
        )),
    }
}

/// This host.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveHost {
    /// Index of the device that the packet comes in by; `None` for a packet of this host.
    pub in_ifindex: Option<u32>,
}

impl LiveHost {
    /// The device by which answers to an address would leave: where its packets most likely come in.
    pub fn device_towards(addr: IpAddr) -> Option<String> {
        let query = RouteQuery {
            dst: Some(addr),
            ..RouteQuery::default()
        };
        route(&query).ok()?.out_dev
    }

    /// Whether an address is this host's.
    pub fn is_own(addr: IpAddr) -> bool {
        kind(addr).is_ok_and(|answer| answer.kind == libc::RTN_LOCAL)
    }

    /// Whether a device is there.
    pub fn has_device(name: &str) -> bool {
        device_index(name).is_some()
    }

    /// A host to which a packet comes in by a device.
    pub fn entered_by(device: Option<&str>) -> Self {
        Self {
            in_ifindex: device.and_then(device_index),
        }
    }
}

fn kind(addr: IpAddr) -> io::Result<RouteAnswer> {
    route(&RouteQuery {
        dst: Some(addr),
        ..RouteQuery::default()
    })
}

impl Surroundings for LiveHost {
    fn kinds(&self, addr: IpAddr) -> Kinds {
        let alone = Kinds::of_address(addr);
        let ours = Kinds::LOCAL.with(Kinds::BROADCAST);
        match kind(addr) {
            Ok(answer) => match Kinds::of_number(answer.kind) {
                Some(kind) if !kind.within(ours).is_empty() => kind,
                _ => alone.without(ours),
            },
            // Whoever has no route is none of ours.
            Err(error) if no_route(&error).is_some() => alone.without(ours),
            Err(_) => alone,
        }
    }

    fn route(&self, packet: &Packet) -> Option<Route> {
        let query = RouteQuery {
            dst: Some(packet.dst?),
            src: packet.src,
            in_ifindex: self.in_ifindex,
            mark: packet.mark?,
            transport: packet.proto.map(|proto| (proto, packet.sport, packet.dport)),
        };
        match route(&query) {
            Ok(answer) if answer.kind == libc::RTN_LOCAL => Some(Route::Local),
            Ok(answer) if answer.kind == libc::RTN_BROADCAST && self.in_ifindex.is_some() => {
                Some(Route::Local)
            }
            // Who has joined the group is not asked.
            Ok(answer) if answer.kind == libc::RTN_MULTICAST => None,
            Ok(answer) => answer.out_dev.map(|device| Route::Out(device.as_str().into())),
            Err(error) => no_route(&error).map(Route::Nowhere),
        }
    }

    /// With one address there is no choice.
    fn address_of(&self, device: &str, is_v6: bool) -> Option<IpAddr> {
        match addresses(device, is_v6).ok()?.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }
}

/// What the kernel says where it does not route a packet.
fn no_route(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::ENETUNREACH | libc::EHOSTUNREACH => "no route to its destination",
        libc::EACCES => "a route prohibits it",
        libc::EXDEV => "reverse-path filter: answers to its source would leave by another device",
        libc::EINVAL => "its source or destination cannot be from where it comes in (martian)",
        _ => return None,
    })
}
