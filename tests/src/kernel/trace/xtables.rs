//! What the TRACE target makes x_tables log, read through nfnetlink_log: unlike the kernel's ring buffer, its
//! messages stay in their namespace and name the hook. net/ipv4/netfilter/ip_tables.c, trace_packet().

use anyhow::Result;

use super::ident::Ident;
use super::netlink::{Message, Socket, attributes, find, text};
use super::{Event, What};

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`
const PACKET: u16 = 4 << 8;
/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG`
const CONFIG: u16 = 4 << 8 | 1;

// enum nfulnl_attr_type
const PACKET_HEADER: u16 = 1;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;

/// Asks for what is logged in this namespace: TRACE logs to group 0.
pub fn listen(socket: &Socket) -> Result<()> {
    // NFULA_CFG_CMD: NFULNL_CFG_CMD_BIND
    socket.request(CONFIG, 0, 0, &[5, 0, 1, 0, 1, 0, 0, 0])?;
    // NFULA_CFG_MODE: so many bytes of each packet, NFULNL_COPY_PACKET
    socket.request(CONFIG, 0, 0, &[10, 0, 2, 0, 0, 0, 1, 0, 2, 0, 0, 0])?;
    // NFULA_CFG_QTHRESH: one message a packet
    socket.request(CONFIG, 0, 0, &[8, 0, 5, 0, 0, 0, 0, 1])
}

/// Reads one message; none if it is no trace.
pub fn read(message: &Message) -> Option<Event> {
    if message.kind != PACKET {
        return None;
    }
    let found = attributes(&message.body);
    let prefix = find(&found, PREFIX).map(text)?;
    let mut words = prefix.strip_prefix("TRACE: ")?.trim_end().rsplitn(3, ':');
    let (number, comment, place) = (words.next()?, words.next()?, words.next()?);
    let (table, chain) = place.split_once(':')?;
    let number = number.parse().ok()?;
    let what = match comment {
        "rule" => What::Number(number),
        // An unconditional rule with a verdict looks to the kernel like the end of its chain.
        "policy" | "return" => What::Last(number),
        _ => return None,
    };
    let packet = Ident::parse(find(&found, PAYLOAD)?, None)?;
    Some(Event {
        family: if message.family == 2 { "ip" } else { "ip6" },
        table: table.to_owned(),
        chain: chain.to_owned(),
        id: 0,
        begins: false,
        hook: find(&found, PACKET_HEADER).and_then(|header| hook(*header.get(2)?)),
        what,
        verdict: None,
        packet: Some(packet),
    })
}

fn hook(number: u8) -> Option<&'static str> {
    ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
        .get(usize::from(number))
        .copied()
}
