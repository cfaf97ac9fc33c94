//! What nf_tables tells of traced packets (`nft monitor trace` reads the same messages), net/netfilter/nf_tables_trace.c.

use super::ident::Ident;
use super::netlink::{Message, attributes, be32, be64, find, text};
use super::{Event, What};

/// The multicast group of traces, `NFNLGRP_NFTRACE`.
pub const GROUP: libc::c_int = 9;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE`.
const TRACE: u16 = 10 << 8 | 17;

// enum nft_trace_attributes
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const TYPE: u16 = 4;
const VERDICT: u16 = 5;
const ID: u16 = 6;
const NETWORK_HEADER: u16 = 8;
const TRANSPORT_HEADER: u16 = 9;
const POLICY: u16 = 16;

/// `NFTA_VERDICT_CODE`
const CODE: u16 = 1;

// enum nft_trace_types
const BY_POLICY: u32 = 1;
const BY_RETURN: u32 = 2;
const BY_RULE: u32 = 3;

/// Reads one message; none if it is another kind of message.
pub fn read(message: &Message) -> Option<Event> {
    if message.kind != TRACE {
        return None;
    }
    let found = attributes(&message.body);
    let number = |kind| find(&found, kind).and_then(be32);
    let handle = find(&found, RULE_HANDLE).and_then(be64);
    let verdict = find(&found, VERDICT)
        .map(attributes)
        .and_then(|inner| find(&inner, CODE).and_then(be32))
        .and_then(word);
    let what = match (number(TYPE)?, handle) {
        (BY_POLICY, _) => What::Policy,
        (BY_RETURN | BY_RULE, Some(handle)) => What::Handle(handle),
        // What has no rule is the end of a chain.
        (BY_RETURN | BY_RULE, None) => What::End,
        _ => return None,
    };
    let verdict = match what {
        What::Policy => number(POLICY).and_then(word),
        _ => verdict,
    };
    let packet = find(&found, NETWORK_HEADER)
        .and_then(|network| Ident::parse(network, find(&found, TRANSPORT_HEADER).or(Some(&[]))));
    Some(Event {
        family: family(message.family)?,
        table: find(&found, TABLE).map(text)?,
        chain: find(&found, CHAIN).map(text)?,
        id: number(ID)?,
        // Only the first message of a base chain's run has the packet's headers.
        begins: find(&found, NETWORK_HEADER).is_some(),
        hook: None,
        what,
        verdict,
        packet,
    })
}

fn family(number: u8) -> Option<&'static str> {
    match number {
        1 => Some("inet"),
        2 => Some("ip"),
        3 => Some("arp"),
        5 => Some("netdev"),
        7 => Some("bridge"),
        10 => Some("ip6"),
        _ => None,
    }
}

/// A verdict that ends the base chain's run; none for one that goes on.
fn word(code: u32) -> Option<&'static str> {
    match code & 0xff {
        _ if code > 0xffff_ff00 => None,
        0 => Some("DROP"),
        1 => Some("ACCEPT"),
        2 => Some("STOLEN"),
        3 => Some("QUEUE"),
        _ => None,
    }
}
