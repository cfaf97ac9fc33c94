//! The host that this runs on: its rules as the kernel lists them or a tool prints them, its routes by asking the kernel. All of it in the
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
use crate::ruleset::nftables::listing::{InForce, ListedBy};
use crate::ruleset::nftables::netlink::OfIptables;
use crate::ruleset::text::run_save;
use crate::ruleset::xtables::save::{self, Document, Family, Item};

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
    // The tool that shows legacy tables is waited for while the kernel lists the others.
    let (legacy, (listed, of_iptables)) = thread::scope(|scope| {
        let saving = scope.spawn(|| run_save(inode, Backend::Legacy, table_family(family), None));
        let listed = InForce::with_iptables(inode, family);
        (saving.join().unwrap_or_default(), listed)
    });
    let mut has_all = add_saved(&mut rules, Backend::Legacy, legacy, family)?;
    has_all |= match of_iptables {
        Some(of_iptables) => add_of_iptables(&mut rules, inode, of_iptables, family)?,
        None => {
            let text = run_save(inode, Backend::Nft, table_family(family), None);
            add_saved(&mut rules, Backend::Nft, text, family)?
        }
    };
    if !has_all {
        rules
            .notes
            .push("whether iptables has rules is not known: neither iptables-legacy-save nor iptables-nft-save can be run".to_owned());
    }
    if !add_listed(&mut rules, listed, family) && !has_all {
        bail!("neither iptables-save nor nft can be run: install them, or give rules with --ruleset FILE");
    }
    add_sets(&mut rules);
    rules.settle(family);
    Ok(rules)
}

/// Adds the tables of iptables-nft that the kernel lists, and has the tool print those in which something is not known. Whether all
/// are there.
fn add_of_iptables(
    rules: &mut Rules,
    inode: u32,
    of_iptables: OfIptables,
    family: Family,
) -> anyhow::Result<bool> {
    let told = Document {
        items: of_iptables.tables.into_iter().map(Item::Table).collect(),
    };
    rules.add(ListedBy::Kernel.name(), told, family);
    let mut has_all = true;
    for (table, what) in of_iptables.not_told {
        log::debug!("table {table} of iptables-nft: not understood: {what}");
        let text = run_save(inode, Backend::Nft, table_family(family), Some(&table));
        has_all &= add_saved(rules, Backend::Nft, text, family)?;
    }
    Ok(has_all)
}

/// Adds what iptables-save printed. Whether it did.
fn add_saved(
    rules: &mut Rules,
    backend: Backend,
    text: Option<String>,
    family: Family,
) -> anyhow::Result<bool> {
    let Some(text) = text else { return Ok(false) };
    let tool = match backend {
        Backend::Legacy => "legacy",
        Backend::Nft => "nft",
    };
    let name = match family {
        Family::Ip => format!("iptables-{tool}-save"),
        Family::Ip6 => format!("ip6tables-{tool}-save"),
    };
    match save::parse(&text) {
        // Where there is one tool only, it is asked in place of both.
        Ok(document) if is_of(&document, backend) => rules.add(&name, document, family),
        Ok(_) => {}
        Err(error) => {
            bail!("{name}: {error}; save the rules, put that line right and give them with --ruleset FILE")
        }
    }
    Ok(true)
}

fn is_of(document: &Document, backend: Backend) -> bool {
    let is_nft = backend == Backend::Nft;
    document
        .tables()
        .all(|table| table.is_nft.is_none_or(|of_nft| of_nft == is_nft))
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
