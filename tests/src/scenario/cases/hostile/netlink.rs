//! Tables of nf_tables as no tool makes them, by messages of netlink put together here: names and comments with bytes that are no UTF-8,
//! with zeros in them, with what steers a terminal; and three tables whose names look the same, and whose rules have the same handles.

use anyhow::{Context, Result, bail};
use observer::kernel::netlink::{Attributes, Batch, Socket, messages};

use crate::netns::Netns;

/// A table, in which a base chain jumps to another chain, whose second rule drops what goes to a port.
pub(super) struct Table {
    pub(super) name: &'static [u8],
    base: &'static [u8],
    pub(super) chain: &'static [u8],
    /// That the rule asks for the port; the others ask for port and device.
    set: Option<&'static [u8]>,
    pub(super) port: u16,
    /// What is in its text and in no other's.
    pub(super) part: &'static str,
    /// Whether its names say which it is: then it has text and comment.
    pub(super) is_read: bool,
}

/// In their order at the hook. The first three are not the same, but so where what is no UTF-8 is replaced; the third has for its name
/// what the others are replaced by.
pub(super) const TABLES: [Table; 4] = [
    Table {
        name: b"t\xff\x1b[2J\xe2\x80\xae",
        base: b"out\xfe\x08",
        chain: b"c\xc2\x9bm\xff\x1b]0;x\x07",
        set: Some(b"s\xff\x1bc\xe2\x81\xa6"),
        port: 7921,
        part: "dport @",
        is_read: false,
    },
    Table {
        name: b"t\xfe\x1b[2J\xe2\x80\xae",
        base: b"out\x08",
        chain: b"c\xc2\x9bm\x1b]0;x\x07",
        set: None,
        port: 7922,
        part: "dport 7922",
        is_read: false,
    },
    Table {
        name: b"t\xef\xbf\xbd\x1b[2J\xe2\x80\xae",
        base: b"out\x08",
        chain: b"c\xc2\x9bm\x1b]0;x\x07",
        set: None,
        port: 7923,
        part: "dport 7923",
        is_read: false,
    },
    Table {
        name: b"\xe2\x80\xaet\x1b[2J",
        base: b"out\x08",
        chain: b"c\xc2\x9bm\x1b]0;x\x07",
        set: Some(b"s\x1bc\xe2\x81\xa6"),
        port: 7924,
        part: "dport @",
        is_read: true,
    },
];
/// As the kernel gives it back; behind the zero is what nobody shows.
pub(super) const COMMENT: &[u8] = b"\xff\xfe\x1b[31m\xe2\x80\xae\r\x7f";
/// 15 bytes at the most, without space, colon or slash.
pub(super) const DEVICE: &[u8] = b"\xff\x1b[7m\xe2\x80\xae\x01\x7f\x9fz";

const HIDDEN: &[u8] = b"\0hidden\x1b[2J";

// include/uapi/linux/netlink.h, nfnetlink.h, netfilter.h, netfilter/nf_tables.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NF_TABLES: u16 = 10 << 8;
const NEWTABLE: u16 = NF_TABLES;
const NEWCHAIN: u16 = NF_TABLES | 3;
const NEWRULE: u16 = NF_TABLES | 6;
const NEWSET: u16 = NF_TABLES | 9;
const NEWSETELEM: u16 = NF_TABLES | 12;
const INET: u8 = 1;
const LOCAL_OUT: u32 = 3;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
const JUMP: u32 = -3_i32 as u32;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const REG_VERDICT: u32 = 0;
const REG: u32 = 1;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const TRANSPORT_HEADER: u32 = 2;
/// `inet_service`, as nft numbers types for itself.
const PORT_TYPE: u32 = 13;

/// Loads them. What the kernel refuses is an error: nothing would be tested.
pub(super) fn load(netns: &Netns) -> Result<()> {
    let mut ruleset = Messages::default();
    for (priority, table) in (20..).zip(&TABLES) {
        ruleset.table(table, priority);
    }
    let last = ruleset.sequence;
    let batch = ruleset.batch();
    netns.run(|| {
        let mut socket = Socket::open(libc::NETLINK_NETFILTER).context("no netlink")?;
        socket.send(&batch).context("cannot send to nf_tables")?;
        loop {
            for message in messages(socket.receive().context("nf_tables does not answer")?) {
                match message.error() {
                    Some(0) if message.sequence == last => return Ok(()),
                    Some(0) | None => {}
                    Some(errno) => bail!(
                        "nf_tables refuses message {}: {}",
                        message.sequence,
                        std::io::Error::from_raw_os_error(errno)
                    ),
                }
            }
        }
    })
}

/// Messages of one batch.
#[derive(Default)]
struct Messages {
    batch: Batch,
    sequence: u32,
}

impl Messages {
    fn add(&mut self, kind: u16, attributes: impl FnOnce(&mut Attributes<'_>)) {
        if self.sequence == 0 {
            self.batch
                .message(BATCH_BEGIN, NLM_F_REQUEST, 0, &[0, 0, 0, 10], |_| {});
        }
        self.sequence += 1;
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        self.batch
            .message(kind, flags, self.sequence, &[INET, 0, 0, 0], attributes);
    }

    fn batch(mut self) -> Batch {
        let sequence = self.sequence + 1;
        self.batch
            .message(BATCH_END, NLM_F_REQUEST, sequence, &[0, 0, 0, 10], |_| {});
        self.batch
    }

    fn table(&mut self, table: &Table, priority: u32) {
        self.add(NEWTABLE, |it| it.bytes(1, &[table.name, HIDDEN].concat()));
        if let Some(set) = table.set {
            self.set(table, set);
        }
        self.add(NEWCHAIN, |it| {
            it.bytes(1, table.name);
            it.bytes(3, table.base);
            it.nest(4, |hook| {
                hook.be32(1, LOCAL_OUT);
                hook.be32(2, priority);
            });
            it.be32(5, ACCEPT);
            it.bytes(7, b"filter\0");
        });
        self.add(NEWCHAIN, |it| {
            it.bytes(1, table.name);
            it.bytes(3, &[table.chain, HIDDEN].concat());
        });
        self.add(NEWRULE, |it| {
            named(it, table.name, table.base);
            it.nest(4, |list| verdict(list, JUMP, Some(table.chain)));
        });
        self.add(NEWRULE, |it| {
            named(it, table.name, table.chain);
            it.nest(4, |list| {
                udp_port(list);
                cmp(list, &1_u16.to_be_bytes());
                verdict(list, ACCEPT, None);
            });
            // A comment that is said to be longer than it is.
            it.bytes(7, &[0, 200, 0x1b, b'[']);
        });
        self.add(NEWRULE, |it| {
            named(it, table.name, table.chain);
            it.nest(4, |list| {
                udp_port(list);
                match table.set {
                    Some(set) => expression(list, "lookup", |data| {
                        data.bytes(1, set);
                        data.be32(2, REG);
                    }),
                    None => {
                        cmp(list, &table.port.to_be_bytes());
                        meta(list, META_OIFNAME);
                        let mut name = [0; 16];
                        name[..DEVICE.len()].copy_from_slice(DEVICE);
                        cmp(list, &name);
                    }
                }
                expression(list, "counter", |_| {});
                verdict(list, DROP, None);
            });
            let comment = [COMMENT, HIDDEN].concat();
            it.bytes(7, &[&[0, comment.len() as u8][..], &comment].concat());
        });
    }

    /// A set with the table's port in it.
    fn set(&mut self, table: &Table, set: &[u8]) {
        self.add(NEWSET, |it| {
            named(it, table.name, &[set, HIDDEN].concat());
            it.be32(3, 0);
            it.be32(4, PORT_TYPE);
            it.be32(5, 2);
            it.be32(10, 1);
            // What nft keeps for itself: it says that it is longer than it is.
            it.bytes(13, &[0, 4, 0xff]);
        });
        self.add(NEWSETELEM, |it| {
            named(it, table.name, set);
            it.nest(3, |list| {
                list.nest(LIST_ELEM, |element| {
                    element.nest(1, |key| key.bytes(DATA_VALUE, &table.port.to_be_bytes()));
                });
            });
        });
    }
}

fn named(it: &mut Attributes<'_>, table: &[u8], name: &[u8]) {
    it.bytes(1, table);
    it.bytes(2, name);
}

fn expression(list: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(LIST_ELEM, |it| {
        it.string(1, name);
        it.nest(2, data);
    });
}

/// That it is UDP; then its port is in the register.
fn udp_port(list: &mut Attributes<'_>) {
    meta(list, META_L4PROTO);
    cmp(list, &[libc::IPPROTO_UDP as u8]);
    expression(list, "payload", |data| {
        data.be32(1, REG);
        data.be32(2, TRANSPORT_HEADER);
        data.be32(3, 2);
        data.be32(4, 2);
    });
}

fn meta(list: &mut Attributes<'_>, key: u32) {
    expression(list, "meta", |data| {
        data.be32(1, REG);
        data.be32(2, key);
    });
}

fn cmp(list: &mut Attributes<'_>, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.be32(1, REG);
        data.be32(2, 0);
        data.nest(3, |it| it.bytes(DATA_VALUE, value));
    });
}

fn verdict(list: &mut Attributes<'_>, code: u32, chain: Option<&[u8]>) {
    expression(list, "immediate", |data| {
        data.be32(1, REG_VERDICT);
        data.nest(2, |it| {
            it.nest(DATA_VERDICT, |verdict| {
                verdict.be32(1, code);
                if let Some(chain) = chain {
                    verdict.bytes(2, chain);
                }
            });
        });
    });
}
