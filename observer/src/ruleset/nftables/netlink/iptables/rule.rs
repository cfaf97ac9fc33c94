//! A rule's expressions, as iptables-nft writes them, put together again into what iptables-nft-save (1.8.9) prints: conditions of
//! iptables' own, matches with or without expressions of their own, a counter, and a target.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::statements::named;
use super::super::wire::{Attrs, text, user_text};
use super::conditions::{Condition, Loaded, Source};
use super::protocols::Protocols;
use crate::kernel::netlink::attributes;
use crate::ruleset::xtables::extensions::{Kept, SetNames, limit, matching, target};
use crate::ruleset::xtables::save::{Counters, Draft, Extension, Family};

/// `NFT_RULE_MAXEXPRS`: the kernel takes no more.
const MOST: usize = 128;
/// `NFT_META_NFTRACE`
const NFTRACE: u32 = 12;

/// What a table's rules are read with.
pub(super) struct Context<'a> {
    pub(super) family: Family,
    pub(super) has_counters: bool,
    pub(super) protocols: &'a Protocols,
    pub(super) sets: &'a mut dyn SetNames,
}

/// A rule while it is read.
struct Reading<'a, 'b> {
    context: &'a mut Context<'b>,
    draft: Draft,
    loaded: Option<Loaded>,
    /// Nothing is asked behind the counter.
    is_counted: bool,
    /// A register that `-j TRACE` sets the key from.
    one: Option<u32>,
}

/// Reads a rule; `None` if iptables-nft does not write such, or what it says is not known.
pub(super) fn read(attrs: &Attrs<'_>, context: &mut Context<'_>) -> Option<Draft> {
    let mut reading = Reading {
        context,
        draft: Draft::default(),
        loaded: None,
        is_counted: false,
        one: None,
    };
    for (index, (_, bytes)) in attributes(attrs.get(4).unwrap_or_default()).enumerate() {
        let (name, attrs) = named(bytes).filter(|_| index < MOST)?;
        reading.take(name, &attrs)?;
    }
    if reading.loaded.is_some() || reading.one.is_some() {
        return None;
    }
    let mut draft = reading.draft;
    // Shown behind all matches.
    if let Some(comment) = user_text(attrs.get(7), 0) {
        let mut extension = Extension::named("comment");
        extension.push_text("--comment", &comment);
        draft.ask(extension);
    }
    Some(draft)
}

impl Reading<'_, '_> {
    fn take(&mut self, name: &str, attrs: &Attrs<'_>) -> Option<()> {
        let is_asking = !self.is_counted && !self.draft.has_target();
        match name {
            "payload" | "meta" if attrs.has(if name == "meta" { 3 } else { 5 }) => {
                return self.trace(name, attrs);
            }
            "payload" | "meta" | "bitwise" | "cmp" | "range" | "match" | "limit" if !is_asking => {
                return None;
            }
            // What was loaded is asked for next.
            "bitwise" | "cmp" | "range" => {}
            _ if self.loaded.is_some() => return None,
            _ => {}
        }
        match name {
            "payload" | "meta" => {
                self.loaded = Some(Loaded::read(name, attrs)?);
                Some(())
            }
            "bitwise" => self.loaded.as_mut()?.mask(attrs),
            "cmp" | "range" => {
                let condition = self.loaded.take()?.asked(name, attrs)?;
                self.condition(&condition)
            }
            "match" => {
                let extension = matching(self.kept(attrs, &attrs.text(1)?)?, self.context.sets)?;
                // Beside conditions of its own expressions it would be shown as one.
                if matches!(&*extension.name, "tcp" | "udp" | "mark") && self.has(&extension.name) {
                    return None;
                }
                self.draft.ask(extension);
                Some(())
            }
            "limit" => self.limit(attrs),
            "counter" => self.counter(attrs),
            _ if self.draft.has_target() => None,
            "target" => {
                let extension = target(self.kept(attrs, &attrs.text(1)?)?, self.context.sets)?;
                self.draft.jump(extension, false);
                Some(())
            }
            "immediate" => self.immediate(attrs),
            "log" => self.log(attrs),
            _ => None,
        }
    }

    fn has(&mut self, name: &str) -> bool {
        self.draft.has_match(name)
    }

    fn kept<'e>(&self, attrs: &Attrs<'e>, name: &'e str) -> Option<Kept<'e>> {
        Some(Kept {
            name,
            revision: attrs.be32(2)?,
            info: attrs.get(3)?,
            family: self.context.family,
        })
    }

    fn counter(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        if std::mem::replace(&mut self.is_counted, true) {
            return None;
        }
        let counters = Counters {
            packets: attrs.be64(2)?,
            bytes: attrs.be64(1)?,
        };
        self.draft.counters = self.context.has_counters.then_some(counters);
        Some(())
    }

    fn condition(&mut self, condition: &Condition) -> Option<()> {
        let (is_v6, negated) = (self.context.family == Family::Ip6, condition.negated);
        let header = &mut self.draft.header;
        let bytes = condition.value.as_slice();
        match condition.source {
            Source::Network(12, 1..=4) if !is_v6 => condition.network(is_v6, &mut header.src),
            Source::Network(16, 1..=4) if !is_v6 => condition.network(is_v6, &mut header.dst),
            Source::Network(8, 1..=16) if is_v6 => condition.network(is_v6, &mut header.src),
            Source::Network(24, 1..=16) if is_v6 => condition.network(is_v6, &mut header.dst),
            Source::Network(6, 2) if !is_v6 => condition.fragment(&mut header.fragment),
            Source::Meta(6) => condition.device(&mut header.in_dev),
            Source::Meta(7) => condition.device(&mut header.out_dev),
            Source::Meta(16) => condition.protocol(self.context.protocols, &mut header.proto),
            Source::Network(9, 1) if !is_v6 => condition.protocol(self.context.protocols, &mut header.proto),
            Source::Meta(3) => {
                let mut mark = Extension::named("mark");
                mark.push(negated, "--mark", &[&condition.mark()?]);
                self.draft.ask(mark);
                Some(())
            }
            Source::Transport(at @ (0 | 2), 2) => {
                let name = if at == 0 { "--sport" } else { "--dport" };
                let span = condition.span()?;
                self.of_protocol(negated, name, &[&span])
            }
            // Not one of both is how `! --sport 1 ! --dport 2` is written, which asks for neither.
            Source::Transport(0, 4) => {
                let [source, destination] = condition.both_ports()?;
                self.of_protocol(false, "--sport", &[&source])?;
                self.of_protocol(false, "--dport", &[&destination])
            }
            Source::Transport(13, 1) => {
                let (mask, set) = (condition.mask.as_deref()?.first()?, bytes.first()?);
                condition.last.is_none().then_some(())?;
                let [mask, set] = super::conditions::flags(*mask, *set)?;
                self.of_protocol(negated, "--tcp-flags", &[&mask, &set])
            }
            _ => None,
        }
    }

    /// An option of the match of the rule's protocol.
    fn of_protocol(&mut self, negated: bool, option: &str, values: &[&str]) -> Option<()> {
        let proto = self.draft.header.proto.as_ref().filter(|proto| !proto.negated)?;
        let name = match proto.value.number? {
            6 => "tcp",
            17 if option != "--tcp-flags" => "udp",
            _ => return None,
        };
        let extension = self.draft.of_name(name);
        if extension.options.iter().any(|known| &*known.name == option) {
            return None;
        }
        extension.push(negated, option, values);
        Some(())
    }

    fn limit(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        // `NFT_LIMIT_PKTS`, and not inverted.
        if attrs.be32(4).unwrap_or_default() != 0 || attrs.be32(5).unwrap_or_default() != 0 {
            return None;
        }
        let burst = attrs.be32(3).map(u64::from)?;
        self.draft.ask(limit(attrs.be64(1)?, attrs.be64(2)?, burst)?);
        Some(())
    }

    fn immediate(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let (register, data) = (attrs.be32(1)?, attrs.nest(2)?);
        if register != 0 {
            // `-j TRACE`: 1, for the key.
            (data.get(1)? == 1_u32.to_ne_bytes() || data.get(1)? == [1]).then_some(())?;
            return self.one.replace(register).is_none().then_some(());
        }
        let verdict = data.nest(2)?;
        let (name, is_goto) = match verdict.be32(1)?.cast_signed() {
            0 => ("DROP".to_owned(), false),
            1 => ("ACCEPT".to_owned(), false),
            -3 => (verdict.text(2)?, false),
            -4 => (verdict.text(2)?, true),
            -5 => ("RETURN".to_owned(), false),
            _ => return None,
        };
        self.draft.jump(Extension::named(&name), is_goto);
        Some(())
    }

    /// `-j TRACE`
    fn trace(&mut self, name: &str, attrs: &Attrs<'_>) -> Option<()> {
        let from = self.one.take()?;
        let is_trace = name == "meta" && attrs.be32(2)? == NFTRACE && attrs.be32(3)? == from;
        if !is_trace || self.draft.has_target() {
            return None;
        }
        self.draft.jump(Extension::named("TRACE"), false);
        Some(())
    }

    /// `-j NFLOG`
    fn log(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        if attrs.has(5) || attrs.be32(6).unwrap_or_default() != 0 {
            return None;
        }
        let mut extension = Extension::named("NFLOG");
        if let Some(prefix) = attrs.get(2) {
            extension.push_text("--nflog-prefix", &text(prefix)?);
        }
        let group = attrs.be16(1)?;
        if group != 0 {
            extension.push(false, "--nflog-group", &[&group.to_string()]);
        }
        for (attribute, name) in [(3, "--nflog-size"), (4, "--nflog-threshold")] {
            let value = match attribute {
                3 => attrs.be32(3).unwrap_or_default(),
                _ => u32::from(attrs.be16(4).unwrap_or_default()),
            };
            if value != 0 {
                extension.push(false, name, &[&value.to_string()]);
            }
        }
        self.draft.jump(extension, false);
        Some(())
    }
}

/// An address of so many bytes; those that are not there are zeros.
pub(super) fn address(bytes: &[u8], is_v6: bool) -> Option<IpAddr> {
    let mut whole = [0_u8; 16];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(match is_v6 {
        true => Ipv6Addr::from(whole).into(),
        false => Ipv4Addr::from(*whole.first_chunk::<4>()?).into(),
    })
}
