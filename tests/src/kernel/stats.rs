//! Counters of the kernel that are not rule counters.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::exec;
use crate::netns::Netns;

/// A counter by its name.
///
/// - `Ip.OutNoRoutes`, `TcpExt.ListenOverflows`: from `/proc/net/snmp` and `/proc/net/netstat`;
/// - `Ip6InHdrErrors`: from `/proc/net/snmp6`;
/// - `dev:eth0:rx_drop`, `dev:eth0:tx_drop`, `dev:eth0:rx_packets`, `dev:eth0:tx_packets`: from `/proc/net/dev`;
/// - `qdisc:eth0`: dropped packets of all queueing disciplines and filters of a device, from `tc -s`;
/// - `nft:inet:lab:3`: the `counter` of the rule with handle 3 in table `inet lab`;
/// - `rule:iptables-nft:filter:FORWARD:1`: the counter of a rule, from `iptables-nft -L`;
/// - `queue:7:dropped`: packets that found queue 7 of NFQUEUE full, from `/proc/net/netfilter/nfnetlink_queue`;
/// - `stat:rt_cache:in_martian_src`: a column of a file in `/proc/net/stat`, all CPUs.
pub fn read(netns: &Netns, name: &str) -> Result<u64> {
    let found = match name.split(':').collect::<Vec<_>>().as_slice() {
        ["qdisc", device] => {
            return exec::run(Some(netns), "tc", &["-s", "qdisc", "show", "dev", device], "")
                .map(|text| dropped(&text));
        }
        ["nft", family, table, handle] => {
            let text = exec::run(Some(netns), "nft", &["-j", "list", "table", family, table], "")?;
            of_nft(&serde_json::from_str(&text)?, handle)
        }
        ["rule", tool, table, chain, number] => {
            let args = ["-w", "30", "-t", table, "-nvxL", chain, number];
            let text = exec::run(Some(netns), tool, &args, "")?;
            text.split_whitespace()
                .next()
                .and_then(|packets| packets.parse().ok())
        }
        ["dev", device, column] => {
            netns.run(|| Ok(of_device(&file("/proc/thread-self/net/dev")?, device, column)))?
        }
        ["queue", number, "dropped"] => netns.run(|| {
            Ok(of_queue(
                &file("/proc/thread-self/net/netfilter/nfnetlink_queue")?,
                number,
            ))
        })?,
        ["stat", name, column] => netns.run(|| {
            Ok(of_cpus(
                &file(&format!("/proc/thread-self/net/stat/{name}"))?,
                column,
            ))
        })?,
        [name] => match name.split_once('.') {
            Some((protocol, field)) => netns.run(|| {
                let both = file("/proc/thread-self/net/snmp")? + &file("/proc/thread-self/net/netstat")?;
                Ok(of_protocol(&both, protocol, field))
            })?,
            None => netns.run(|| Ok(of_snmp6(&file("/proc/thread-self/net/snmp6")?, name)))?,
        },
        _ => None,
    };
    match found {
        Some(value) => Ok(value),
        None => bail!("this kernel has no counter {name}"),
    }
}

fn file(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// `Ip: Forwarding DefaultTTL …` above `Ip: 1 64 …`.
fn of_protocol(text: &str, protocol: &str, field: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if let Some(column) = names.split(' ').position(|name| name == field) {
            return values.split(' ').nth(column)?.parse().ok();
        }
    }
    None
}

/// `Ip6InHdrErrors   0`, a line each.
fn of_snmp6(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The packets of the `counter` in the rule with this handle.
fn of_nft(listed: &Value, handle: &str) -> Option<u64> {
    let rules = listed["nftables"].as_array()?.iter().map(|one| &one["rule"]);
    let rule = rules
        .into_iter()
        .find(|rule| rule["handle"].as_u64().is_some_and(|it| it.to_string() == handle))?;
    let counters = rule["expr"].as_array()?.iter().map(|part| &part["counter"]);
    counters
        .into_iter()
        .find_map(|counter| counter["packets"].as_u64())
}

fn of_device(text: &str, device: &str, column: &str) -> Option<u64> {
    let column = match column {
        "rx_packets" => 1,
        "rx_drop" => 3,
        "tx_packets" => 9,
        "tx_drop" => 11,
        _ => return None,
    };
    let values = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    values.split_whitespace().nth(column)?.parse().ok()
}

/// `    7  1234 2 1 0 3 0 5 1`, a line for each queue: number, listener, waiting, mode, range, found full, not sent, …
fn of_queue(text: &str, number: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.next()? == number)
            .then(|| columns.nth(4)?.parse().ok())
            .flatten()
    })
}

/// A line of names, then a line of hexadecimal numbers per CPU.
fn of_cpus(text: &str, column: &str) -> Option<u64> {
    let mut lines = text.lines();
    let column = lines.next()?.split_whitespace().position(|name| name == column)?;
    lines
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok())
        .sum()
}

/// ` Sent 0 bytes 0 pkt (dropped 3, overlimits 0 requeues 0)`, once per queueing discipline.
fn dropped(text: &str) -> u64 {
    text.split("(dropped ")
        .skip(1)
        .filter_map(|after| after.split(',').next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_counters_are_found_by_name() {
        let text = "Ip: Forwarding OutNoRoutes\nIp: 1 42\nTcp: A B\nTcp: 1 2\nTcp: C\nTcp: 9\n";
        assert_eq!(of_protocol(text, "Ip", "OutNoRoutes"), Some(42));
        assert_eq!(of_protocol(text, "Tcp", "C"), Some(9));
        assert_eq!(of_protocol(text, "Ip", "OutNoRoute"), None);
    }

    #[test]
    fn device_counters_are_found_by_name() {
        let text = "  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\neth0: 9 8 7 6 5 4 3 2 1 0 1 77 3 4 5 6\n";
        assert_eq!(of_device(text, "eth0", "tx_drop"), Some(77));
        assert_eq!(of_device(text, "eth0", "rx_drop"), Some(6));
        assert_eq!(of_device(text, "eth", "rx_drop"), None);
    }

    #[test]
    fn a_full_queue_is_found_by_its_number() {
        let text = "   17  12345     0 1     0     4     0        4  1\n    7  12345     2 1     0     3     0        5  1\n";
        assert_eq!(of_queue(text, "7"), Some(3));
        assert_eq!(of_queue(text, "1"), None);
    }

    #[test]
    fn columns_of_all_cpus_are_summed() {
        assert_eq!(
            of_cpus(
                "entries in_martian_src\n00000001 0000000a\n1 1\n",
                "in_martian_src"
            ),
            Some(11)
        );
        assert_eq!(of_snmp6("Ip6InHdrErrors   \t7\n", "Ip6InHdrErrors"), Some(7));
    }

    #[test]
    fn an_nft_counter_is_found_by_its_rules_handle() {
        let rule = |handle, packets| serde_json::json!({"rule": {"handle": handle, "expr": [{"drop": null}, {"counter": {"packets": packets}}]}});
        let listed = serde_json::json!({"nftables": [{"metainfo": {}}, rule(3, 7), rule(13, 9)]});
        assert_eq!(of_nft(&listed, "13"), Some(9));
        assert_eq!(of_nft(&listed, "1"), None);
    }

    #[test]
    fn drops_of_all_queueing_disciplines_are_summed() {
        let text = " Sent 0 bytes 0 pkt (dropped 3, overlimits 0 requeues 0)\n Sent 0 (dropped 4, over)";
        assert_eq!(dropped(text), 7);
    }
}
