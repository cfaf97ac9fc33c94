//! What the kernel says: records of the ring buffers, answers of netlink, types, symbols.

use observer::capture::{decode, hook_event, skb_of};
use observer::kernel::netlink::{Batch, attributes, messages as split};
use observer::kernel::{Symbols, Types};

/// Zeros of each kind's length: what they mean is in their first words.
pub(super) fn recorded() -> Vec<Vec<u8>> {
    let record = |kind: u32, len: usize| {
        let mut bytes = vec![0_u8; len];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        bytes
    };
    (0..5)
        .flat_map(|kind| [16, 256, 1024, 4096].map(|len| record(kind, len)))
        .collect()
}

pub(super) fn records(data: &[u8]) {
    decode(data);
    if hook_event(data).is_some() {
        assert!(skb_of(data).is_some());
    }
}

pub(super) fn messages() -> Vec<Vec<u8>> {
    let mut batch = Batch::default();
    batch.message(24, 1, 7, &[0; 12], |attributes| {
        attributes.string(3, "cni0");
        attributes.be32(4, 9);
        attributes.nest(5, |inner| inner.bytes(1, &[1, 2, 3]));
    });
    batch.message(2, 0, 7, &[0; 4], |_| {});
    batch.message(3, 0, 7, &[0; 4], |_| {});
    vec![batch.bytes().to_vec()]
}

/// No part is longer than the whole, and there is an end.
pub(super) fn netlink(data: &[u8]) {
    let mut total = 0;
    for message in split(data) {
        _ = (message.error(), message.is_done());
        total += message.payload.len();
        let inner: usize = attributes(message.payload).map(|(_, value)| value.len()).sum();
        assert!(inner <= message.payload.len());
    }
    assert!(total <= data.len());
}

/// A structure within a structure, an enumeration, and what a tracepoint has.
pub(super) fn types() -> Vec<Vec<u8>> {
    let names = b"\0net\0nf\0netns_nf\0hooks\0int\0reason\0ONE\0btf_trace_kfree_skb\0";
    let at = |name: &[u8]| {
        let found = names.windows(name.len()).position(|window| window == name);
        found.unwrap_or_default() as u32
    };
    // Kinds of include/uapi/linux/btf.h.
    let info = |kind: u32, len: u32| kind << 24 | len;
    let words = [
        [at(b"int\0"), info(1, 0), 4, 32].to_vec(),
        [at(b"netns_nf"), info(4, 1), 8, at(b"hooks"), 1, 0].to_vec(),
        [at(b"net\0"), info(4, 1), 16, at(b"nf\0"), 2, 64].to_vec(),
        [at(b"reason"), info(6, 1), 4, at(b"ONE"), 1].to_vec(),
        [0, info(13, 1), 0, 0, 1].to_vec(),
        [0, info(2, 0), 5].to_vec(),
        [at(b"btf_trace"), info(8, 0), 6].to_vec(),
        [0, info(3, 0), 0, 1, 1, 4].to_vec(),
        [at(b"int\0"), info(8, 0), 9].to_vec(),
    ];
    let bytes = btf_of(&words.concat(), names);
    // Once a sum of offsets overflowed: the first bit of `hooks` is the last that there can be.
    let mut last = bytes.clone();
    last[24 + 16 + 12 + 8..][..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    // A structure that holds itself sixteen times, without a name: going into all of them once did not end.
    let own = |member: u32| [0, 1, member];
    let members: Vec<u32> = (0..16).flat_map(own).collect();
    let circle = [vec![at(b"net\0"), info(4, 16), 16], members].concat();
    vec![bytes, last, btf_of(&circle, names)]
}

/// A file of BTF from the words of its types.
fn btf_of(words: &[u32], names: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    let types_len = types.len() as u32;
    for word in [24, 0, types_len, types_len, names.len() as u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types);
    bytes.extend(names);
    bytes
}

/// However its types refer to each other, looking one up ends.
pub(super) fn btf(data: &[u8]) {
    let Some(mut types) = Types::parse(data.to_vec()) else {
        return;
    };
    for path in ["net.nf.hooks", "net.nf", "netns_nf.hooks", "sk_buff.len"] {
        types.offset(None, path);
    }
    types.size(None, "net");
    types.enumeration("reason");
    types.tracepoint("kfree_skb");
}

pub(super) fn symbols() -> Vec<Vec<u8>> {
    let text = "ffffffff81000000 T _text\nffffffff81000040 t nf_hook_slow.cold\nffffffff81a00000 T nf_hook_slow\n\
        ffffffffc0000000 t ipt_do_table\t[ip_tables]\nffffffff82000000 D nf_tables_net_id\n";
    vec![text.as_bytes().to_vec()]
}

pub(super) fn kallsyms(data: &[u8]) {
    let symbols = Symbols::parse(&String::from_utf8_lossy(data));
    for address in [0, 0xffff_ffff_8100_0041, u64::MAX] {
        if let Some(symbol) = symbols.of(address) {
            assert!(symbol.offset <= address);
        }
    }
    symbols.range("nf_hook_slow");
    symbols.data("nf_tables_net_id");
}
