//! Makes nf_tables tell of every rule a packet matches, without a change to anybody's ruleset.
//!
//! The kernel calls `__nft_trace_packet` while the static key `nft_trace_enabled` is on, and the key is on while any rule
//! that sets `meta nftrace` exists in any namespace (`nft_meta_set_init`, net/netfilter/nft_meta.c, v5.10 … v6.18). So
//! such a rule is put into a namespace of our own, in a chain that no hook calls: it never sees a packet. The namespace
//! lives as long as a descriptor of it is open, that is, no longer than this process.

mod gates;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::Symbols;
use super::netlink::{Batch, Socket, messages};
use crate::privilege::capabilities::{self, SYS_ADMIN};

pub use gates::{Checked, Refusal, gates};

/// How long making a namespace and its rule may take: the kernel makes namespaces one at a time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Name of the table and of its chain.
const NAME: &str = "observer";

// include/uapi/linux/netlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

// include/uapi/linux/netfilter/nfnetlink.h
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u8 = 10;

// include/uapi/linux/netfilter.h
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;

// include/uapi/linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE: u8 = 0;
const NFT_MSG_NEWCHAIN: u8 = 3;
const NFT_MSG_NEWRULE: u8 = 6;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_META_SREG: u16 = 3;
const NFT_META_NFTRACE: u32 = 12;
const NFT_REG32_00: u32 = 8;

/// Why the key cannot be turned on.
#[derive(Debug, thiserror::Error)]
pub enum TraceKeyError {
    /// nf_tables is not loaded; asking for a table would load it.
    #[error("nf_tables is not loaded, so there is nothing to trace")]
    Absent,
    /// No namespace of our own.
    #[error("cannot make a network namespace to trace nf_tables from ({0}): needs CAP_SYS_ADMIN")]
    Namespace(io::Error),
    /// The kernel refuses the rule.
    #[error("nf_tables refuses the rule that turns its tracing on ({0}): needs CAP_NET_ADMIN")]
    Refused(io::Error),
    /// The kernel cannot be asked, or its answer is none.
    #[error("cannot ask nf_tables to turn its tracing on: {0}")]
    Ask(io::Error),
    /// It takes too long.
    #[error("the kernel did not make a network namespace in {} s, so nf_tables is not traced", PATIENCE.as_secs())]
    Late,
}

/// Keeps `nft_trace_enabled` on; dropping it turns the key off (the kernel takes the namespace down in the background,
/// a moment later).
///
/// Nothing has to be done for that in case of a crash: the descriptor is closed with the process.
#[derive(Debug)]
pub struct TraceKey {
    namespace: File,
    inode: u32,
}

impl TraceKey {
    /// Turns the key on. `nf_tables_is_present` as [`nf_tables_is_present`] says: nothing is loaded that is not there.
    ///
    /// # Errors
    /// nf_tables is absent, privilege is missing, or the kernel did not do it in five seconds.
    pub fn turn_on(nf_tables_is_present: bool) -> Result<Self, TraceKeyError> {
        if !nf_tables_is_present {
            return Err(TraceKeyError::Absent);
        }
        let (send, made) = mpsc::sync_channel(1);
        // A thread of its own, because unshare is for the thread that calls it and cannot be undone without privilege.
        thread::Builder::new()
            .name("trace-key".to_owned())
            .spawn(move || {
                // Nobody waits any more: the namespace goes with the result.
                let _ = send.send(make());
            })
            .map_err(TraceKeyError::Namespace)?;
        made.recv_timeout(PATIENCE).unwrap_or(Err(TraceKeyError::Late))
    }

    /// Inode of the namespace that holds the rule: none that anybody's packets go through.
    pub fn inode(&self) -> u32 {
        self.inode
    }
}

impl AsFd for TraceKey {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Whether nf_tables is built in, or loaded.
pub fn nf_tables_is_present(symbols: &Symbols) -> bool {
    symbols.range("nft_do_chain").is_some() || Path::new("/sys/module/nf_tables").exists()
}

/// Moves this thread into a new namespace, puts the rule there, and opens the namespace.
fn make() -> Result<TraceKey, TraceKeyError> {
    capabilities::with(SYS_ADMIN, || unshare(CloneFlags::CLONE_NEWNET))
        .map_err(|errno| TraceKeyError::Namespace(errno.into()))?;
    let namespace = File::open("/proc/thread-self/ns/net").map_err(TraceKeyError::Namespace)?;
    let inode = namespace.metadata().map_err(TraceKeyError::Namespace)?.ino();
    let inode = u32::try_from(inode)
        .map_err(|_| TraceKeyError::Namespace(io::Error::other("/proc shows no namespaces")))?;
    let mut socket = Socket::open(libc::NETLINK_NETFILTER).map_err(TraceKeyError::Ask)?;
    socket.send(&trace_rule()).map_err(TraceKeyError::Ask)?;
    take_answers(&mut socket)?;
    Ok(TraceKey { namespace, inode })
}

/// Waits until each of the three messages is acknowledged. The kernel answers after it has committed, and an error of
/// the commit itself comes first (`nfnetlink_rcv_batch`, net/netfilter/nfnetlink.c, v6.12).
fn take_answers(socket: &mut Socket) -> Result<(), TraceKeyError> {
    let mut waiting = vec![1, 2, 3];
    while !waiting.is_empty() {
        let before = waiting.len();
        for message in messages(socket.receive().map_err(TraceKeyError::Ask)?) {
            match message.error() {
                Some(0) => waiting.retain(|sequence| *sequence != message.sequence),
                Some(errno) => return Err(TraceKeyError::Refused(io::Error::from_raw_os_error(errno))),
                None => {}
            }
        }
        if waiting.len() == before {
            return Err(TraceKeyError::Ask(io::Error::other(
                "the answer is to another question",
            )));
        }
    }
    Ok(())
}

/// What `nft add table inet observer`, `add chain …` and `add rule … meta nftrace set 1` send.
fn trace_rule() -> Batch {
    let ask = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
    let mut batch = Batch::default();
    let border = nfgenmsg(NFPROTO_UNSPEC, u16::from(NFNL_SUBSYS_NFTABLES));
    batch.message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, &border, |_| {});
    let fixed = nfgenmsg(NFPROTO_INET, 0);
    batch.message(nf_tables(NFT_MSG_NEWTABLE), ask, 1, &fixed, |table| {
        table.string(NFTA_TABLE_NAME, NAME);
    });
    batch.message(nf_tables(NFT_MSG_NEWCHAIN), ask, 2, &fixed, |chain| {
        chain.string(NFTA_CHAIN_TABLE, NAME);
        chain.string(NFTA_CHAIN_NAME, NAME);
    });
    batch.message(
        nf_tables(NFT_MSG_NEWRULE),
        ask | NLM_F_APPEND,
        3,
        &fixed,
        |rule| {
            rule.string(NFTA_RULE_TABLE, NAME);
            rule.string(NFTA_RULE_CHAIN, NAME);
            rule.nest(NFTA_RULE_EXPRESSIONS, |list| {
                list.nest(NFTA_LIST_ELEM, |expr| {
                    expr.string(NFTA_EXPR_NAME, "immediate");
                    expr.nest(NFTA_EXPR_DATA, |immediate| {
                        immediate.be32(NFTA_IMMEDIATE_DREG, NFT_REG32_00);
                        immediate.nest(NFTA_IMMEDIATE_DATA, |data| data.bytes(NFTA_DATA_VALUE, &[1]));
                    });
                });
                list.nest(NFTA_LIST_ELEM, |expr| {
                    expr.string(NFTA_EXPR_NAME, "meta");
                    expr.nest(NFTA_EXPR_DATA, |meta| {
                        meta.be32(NFTA_META_KEY, NFT_META_NFTRACE);
                        meta.be32(NFTA_META_SREG, NFT_REG32_00);
                    });
                });
            });
        },
    );
    batch.message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 4, &border, |_| {});
    batch
}

/// `nlmsg_type` of a message to nf_tables: the subsystem in the high byte.
fn nf_tables(message: u8) -> u16 {
    u16::from_be_bytes([NFNL_SUBSYS_NFTABLES, message])
}

/// `struct nfgenmsg`: family, version 0, and a resource in network order.
fn nfgenmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

#[cfg(test)]
mod tests;
