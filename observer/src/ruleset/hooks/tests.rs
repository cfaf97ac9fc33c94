//! Hook lists of every family as they lie in memory, put together by hand.

use super::*;
use crate::kernel::Dump;
use crate::ruleset::layout::DevicesLayout;

const NET: u64 = 0xffff_8880_0000_0000;
const LISTS: u64 = 0xffff_8880_0001_0000;
const OPS: u64 = 0xffff_8880_0002_0000;
const DEVICES: u64 = 0xffff_8880_0003_0000;
const TEXT: u64 = 0xffff_ffff_8100_0000;

const NAMES: [&str; 6] = [
    "ipt_do_table",
    "nft_do_chain_bridge",
    "ebt_broute",
    "nft_do_chain_arp",
    "nft_do_chain_netdev",
    "nf_nat_ipv4_out",
];

const LAYOUT: NetLayout = NetLayout {
    list: 0,
    inum: 0,
    ops: None,
    hooks: 0x100,
    hooks_bridge: Some(0x200),
    hooks_arp: Some(0x300),
    devices: Some(DevicesLayout {
        head: 0x400,
        node: 0x20,
        ifindex: 0x10,
        name: 0,
        ingress: Some(0x40),
        egress: Some(0x48),
    }),
    generic: None,
    entries: 8,
    priority: Some(0x1c),
    nat_entries: 0,
};

fn symbols() -> Symbols {
    let line = |(index, name): (u64, &&str)| format!("{:x} t {name}\n", TEXT + 0x100 * index);
    Symbols::parse(&(0..).zip(&NAMES).map(line).collect::<String>())
}

/// Puts a list of one function at `LISTS + at` and returns its address.
fn put_list(dump: &mut Dump, at: u64, name: &str, private: u64, priority: i32) -> u64 {
    let list = LISTS + at;
    let index = NAMES
        .iter()
        .position(|known| *known == name)
        .expect("known function");
    dump.put(list, &1_u16.to_ne_bytes());
    dump.put_u64(list + 8, TEXT + 0x100 * index as u64);
    dump.put_u64(list + 16, private);
    dump.put_u64(list + 24, OPS + at);
    dump.put_u32(OPS + at + 0x1c, priority.cast_unsigned());
    list
}

/// Three devices in a ring; the first has an ingress hook, the second an egress hook, the third none.
fn put_devices(dump: &mut Dump) {
    let device = |index: u64| DEVICES + 0x1000 * index;
    let nodes = [
        NET + 0x400,
        device(0) + 0x20,
        device(1) + 0x20,
        device(2) + 0x20,
        NET + 0x400,
    ];
    nodes.windows(2).for_each(|pair| dump.put_u64(pair[0], pair[1]));
    for index in 0..3 {
        dump.put(
            device(index),
            format!("eth{index}\0\0\0\0\0\0\0\0\0\0\0\0").as_bytes(),
        );
        dump.put_u32(device(index) + 0x10, 7 + index as u32);
        dump.put_u64(device(index) + 0x40, 0);
        dump.put_u64(device(index) + 0x48, 0);
    }
    let ingress = put_list(dump, 0x400, "nft_do_chain_netdev", 0xc1, -500);
    dump.put_u64(device(0) + 0x40, ingress);
    let egress = put_list(dump, 0x500, "nft_do_chain_netdev", 0xc2, 0);
    dump.put_u64(device(1) + 0x48, egress);
}

fn memory() -> Dump {
    let mut dump = Dump::default();
    dump.put(NET + 0x100, &[0; 80]);
    dump.put(NET + 0x200, &[0; 40]);
    dump.put(NET + 0x300, &[0; 24]);
    let legacy = put_list(&mut dump, 0x100, "ipt_do_table", 0xa1, 0);
    dump.put_u64(NET + 0x100 + 8 * 2, legacy);
    let bridge = put_list(&mut dump, 0x200, "nft_do_chain_bridge", 0xb1, -200);
    dump.put_u64(NET + 0x200 + 8 * 3, bridge);
    let broute = put_list(&mut dump, 0x280, "ebt_broute", 0xb2, i32::MIN);
    dump.put_u64(NET + 0x200, broute);
    let arp = put_list(&mut dump, 0x300, "nft_do_chain_arp", 0xd1, 0);
    dump.put_u64(NET + 0x300 + 8, arp);
    put_devices(&mut dump);
    dump
}

fn read(layout: &NetLayout) -> Vec<HookFunction> {
    let hooks = Hooks::read(&memory(), &symbols(), layout, NET);
    hooks.expect("reads").functions
}

#[test]
fn every_family_s_hooks_are_read() {
    let functions = read(&LAYOUT);
    let shown: Vec<_> = functions
        .iter()
        .map(|function| {
            (
                function.family,
                function.hook,
                function.private,
                function.priority,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (TableFamily::Ip, Hook::Forward, 0xa1, Some(0)),
            (TableFamily::Bridge, Hook::Broute, 0xb2, Some(i32::MIN)),
            (TableFamily::Bridge, Hook::Output, 0xb1, Some(-200)),
            (TableFamily::Arp, Hook::Output, 0xd1, Some(0)),
            (TableFamily::Netdev, Hook::Ingress, 0xc1, Some(-500)),
            (TableFamily::Netdev, Hook::Egress, 0xc2, Some(0)),
        ]
    );
    assert_eq!(functions[0].address, TEXT);
    let devices: Vec<_> = functions
        .iter()
        .filter_map(|function| function.device.as_ref())
        .map(|device| (device.ifindex, device.name.as_str()))
        .collect();
    assert_eq!(devices, [(7, "eth0"), (8, "eth1")]);
}

#[test]
fn families_that_the_kernel_does_not_have_are_left_out() {
    let layout = NetLayout {
        hooks_bridge: None,
        hooks_arp: None,
        devices: None,
        ..LAYOUT
    };
    let families: Vec<TableFamily> = read(&layout).iter().map(|function| function.family).collect();
    assert_eq!(families, [TableFamily::Ip]);
}

#[test]
fn a_ring_of_devices_that_has_lost_its_head_ends() {
    let mut dump = memory();
    dump.put_u64(DEVICES + 0x2020, DEVICES + 0x1020);
    let hooks = Hooks::read(&dump, &symbols(), &LAYOUT, NET).expect("reads");
    let of_devices = hooks
        .functions
        .iter()
        .filter(|function| function.device.is_some());
    assert_eq!(of_devices.count(), 2);
}

#[test]
fn each_family_numbers_its_hooks_by_itself() {
    assert_eq!(hook_of(TableFamily::Inet, 5), Some(Hook::Ingress));
    assert_eq!(hook_of(TableFamily::Ip, 5), None);
    assert_eq!(hook_of(TableFamily::Bridge, 4), Some(Hook::Postrouting));
    assert_eq!(hook_of(TableFamily::Arp, 2), Some(Hook::Forward));
    assert_eq!(hook_of(TableFamily::Arp, 3), None);
    assert_eq!(hook_of(TableFamily::Netdev, 1), Some(Hook::Egress));
    assert_eq!(hook_of(TableFamily::Netdev, 2), None);
}
