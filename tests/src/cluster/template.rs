//! Placeholders: `{{client}}` in a cluster, scenario or rules file stands for an address of the family that the
//! run is about, `{{netns:router}}` for the name that the router's namespace really has, `{{inode:router}}` for its
//! inode number, `{{pid:router}}` for a process that lives in it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::rules::tool;
use super::{Family, Setup};

/// What placeholders stand for.
#[derive(Debug, Clone)]
pub struct Names {
    words: BTreeMap<String, String>,
    prefix: String,
}

const IP: &[(&str, &str)] = &[
    ("any", "0.0.0.0/0"),
    ("unspecified", "0.0.0.0"),
    ("af", "AF_INET"),
    ("icmp", "icmp"),
    ("bits", "32"),
    ("net-bits", "24"),
    ("family-long", "ip"),
    ("nft-family", "ip"),
    ("nft-family-addr", "ipv4_addr"),
    ("iptables", "iptables"),
    ("icmp-name", "icmp"),
    ("no-icmp-error", "-p icmp -m icmp ! --icmp-type 3"),
    ("udp", "Udp."),
    ("no-routes", "IpExt.InNoRoutes"),
    ("header-errors", "Ip.InHdrErrors"),
    ("too-big", "Ip.FragFails"),
    ("forwarded", "Ip.ForwDatagrams"),
    ("unreachables", "Icmp.OutDestUnreachs"),
    ("loopback", "127.0.0.1"),
    ("port-unreachable", "icmp-port-unreachable"),
    ("admin-prohibited", "icmp-admin-prohibited"),
];
const IP6: &[(&str, &str)] = &[
    ("any", "::/0"),
    ("unspecified", "::"),
    ("af", "AF_INET6"),
    ("icmp", "ipv6-icmp"),
    ("bits", "128"),
    ("net-bits", "64"),
    ("family-long", "ipv6"),
    ("nft-family", "ip6"),
    ("nft-family-addr", "ipv6_addr"),
    ("iptables", "ip6tables"),
    ("icmp-name", "icmpv6"),
    ("no-icmp-error", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1"),
    ("udp", "Udp6"),
    ("no-routes", "Ip6InNoRoutes"),
    ("header-errors", "Ip6InHdrErrors"),
    ("too-big", "Ip6InTooBigErrors"),
    ("forwarded", "Ip6OutForwDatagrams"),
    ("unreachables", "Icmp6OutDestUnreachs"),
    ("loopback", "::1"),
    ("port-unreachable", "icmp6-port-unreachable"),
    ("admin-prohibited", "icmp6-adm-prohibited"),
];

impl Names {
    /// The words every cluster has: the family, the backend and iptables' words for both families.
    pub fn new(setup: &Setup) -> Self {
        let built_in = if setup.family == Family::Ip { IP } else { IP6 };
        let mut names = Self {
            words: BTreeMap::new(),
            prefix: setup.prefix.clone(),
        };
        for (word, meaning) in built_in {
            names.set(word, meaning);
        }
        names.set("family", setup.family.word());
        names.set("backend", setup.backend.word());
        names.set("tool", &tool(setup.backend, setup.family));
        names
    }

    /// Defines a word.
    pub fn set(&mut self, word: &str, meaning: &str) {
        self.words.insert(word.to_owned(), meaning.to_owned());
    }

    /// The name a node's namespace has under `/run/netns`.
    pub fn netns(&self, node: &str) -> String {
        format!("{}{node}", self.prefix)
    }

    /// Replaces every placeholder. One that stands for nothing is an error.
    pub fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((word, after)) = after.split_once("}}") else {
                bail!("`{{{{` without `}}}}`")
            };
            filled.push_str(before);
            match (word.strip_prefix("netns:"), self.words.get(word)) {
                (Some(node), _) => filled.push_str(&self.netns(node)),
                (None, Some(meaning)) => filled.push_str(meaning),
                (None, None) => bail!("{{{{{word}}}}} stands for nothing in this cluster and family"),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Backend;

    fn names(family: Family) -> Names {
        let mut names = Names::new(&Setup {
            backend: Backend::Legacy,
            family,
            prefix: "x-".into(),
        });
        names.set("server", "10.0.0.1");
        names
    }

    #[test]
    fn placeholders_are_filled_by_family() {
        assert_eq!(
            names(Family::Ip).fill("-d {{server}}/{{bits}}!").expect("fill"),
            "-d 10.0.0.1/32!"
        );
        assert_eq!(names(Family::Ip6).fill("{{any}}").expect("fill"), "::/0");
        assert_eq!(
            names(Family::Ip).fill("{{netns:router}}").expect("fill"),
            "x-router"
        );
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        assert!(names(Family::Ip).fill("{{serve}}").is_err());
        assert!(names(Family::Ip).fill("{{server").is_err());
    }
}
