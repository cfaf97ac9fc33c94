//! What the filter asks for, as far as rules can be held against it: networks, protocols, ports. Of no packet is more known.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::cli::filter::FilterSpec;
use crate::cli::watch::Narrowed;
use crate::evaluate::End;
use crate::report::record::{Proto, TableFamily};
use crate::ruleset::xtables::save::{Net, PortsOf, Rule};

/// So many combinations of a filter's values are put to the rules.
const MOST: usize = 8;

/// The filter's part that rules ask for, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    dst: Vec<IpNet>,
    src: Vec<IpNet>,
    /// Of one of the ends, whichever.
    hosts: Vec<IpNet>,
    protos: Vec<u8>,
    ports: Vec<u16>,
    /// Of no packet at all: who is named has no address.
    is_nobody: bool,
}

/// Packets of one combination of the filter's values, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Whether they are the answers to what the filter asks for.
    pub(super) is_answer: bool,
    /// Their source is in this network.
    pub(super) src: Option<IpNet>,
    /// And their destination in this.
    pub(super) dst: Option<IpNet>,
    /// They are of this protocol.
    pub(super) proto: Option<u8>,
    /// And have this port on the filter's side.
    pub(super) port: Option<u16>,
}

impl Asked {
    /// Of what is watched.
    pub(super) fn of_narrowed(narrowed: &Narrowed) -> Self {
        Self {
            is_nobody: narrowed.is_nobody,
            ..Self::of(&narrowed.filter)
        }
    }

    /// Of a filter.
    pub(super) fn of(filter: &FilterSpec) -> Self {
        Self {
            dst: filter.dst.clone(),
            src: filter.src.clone(),
            hosts: filter.hosts.clone(),
            protos: filter.protos.clone(),
            ports: filter.ports.clone(),
            is_nobody: false,
        }
    }

    /// Whether it asks for every packet.
    pub(super) fn is_all(&self) -> bool {
        !self.is_nobody
            && self.dst.is_empty()
            && self.src.is_empty()
            && self.hosts.is_empty()
            && self.protos.is_empty()
            && self.ports.is_empty()
    }

    /// Whether packets that it asks for are of another family than a table. Nothing translates from one to the other.
    pub(super) fn excludes_family(&self, family: TableFamily) -> bool {
        if self.is_nobody {
            return true;
        }
        let is_v6 = match family {
            TableFamily::Ip => false,
            TableFamily::Ip6 => true,
            _ => return false,
        };
        let is_other = |list: &[IpNet]| {
            let mut of_family = list.iter().filter(|net| net.addr().is_ipv6() == is_v6);
            !list.is_empty() && of_family.next().is_none()
        };
        is_other(&self.dst) || is_other(&self.src) || is_other(&self.hosts)
    }

    /// Whether a rule's own conditions let none of its packets pass, in neither direction, by the addresses that they have
    /// there, or by their protocol. (An ICMP error belongs to the connection that it speaks of.)
    pub(super) fn excludes(&self, rule: &Rule) -> bool {
        let net = |signed: &Option<_>| {
            signed
                .as_ref()
                .filter(|signed: &&crate::ruleset::xtables::save::Signed<Net>| !signed.negated)
                .map(|signed| signed.value)
        };
        let (src, dst) = (net(&rule.header.src), net(&rule.header.dst));
        let none_in = |list: &[IpNet], net: Option<Net>| {
            net.is_some_and(|net| !list.is_empty() && list.iter().all(|one| are_apart(&net, *one)))
        };
        let neither = none_in(&self.hosts, src) && none_in(&self.hosts, dst);
        let there = none_in(&self.src, src) || none_in(&self.dst, dst);
        let back = none_in(&self.dst, src) || none_in(&self.src, dst);
        let proto = rule.header.proto.as_ref().filter(|proto| !proto.negated);
        let proto = proto.and_then(|proto| proto.value.number);
        let is_other_proto = proto.is_some_and(|number| {
            let may_be_error = [Proto::ICMP.0, Proto::ICMPV6.0].contains(&number) || number == 0;
            !self.protos.is_empty() && !may_be_error && !self.protos.contains(&number)
        });
        neither || (there && back) || is_other_proto
    }

    /// The packets that it asks for and the answers to them, of one family.
    pub(super) fn questions(&self, is_v6: bool) -> Vec<Question> {
        if self.is_nobody {
            return Vec::new();
        }
        let nets = |list: &[IpNet]| -> Vec<Option<IpNet>> {
            let of_family = list.iter().filter(|net| net.addr().is_ipv6() == is_v6);
            let found: Vec<_> = of_family.copied().map(Some).collect();
            if list.is_empty() { vec![None] } else { found }
        };
        let protos = one_or_more(&self.protos);
        let ports = one_or_more(&self.ports);
        let (sources, destinations) = (nets(&self.src), nets(&self.dst));
        let mut questions = Vec::new();
        for dst in &destinations {
            for src in &sources {
                for proto in &protos {
                    for port in &ports {
                        if questions.len() >= 2 * MOST {
                            return questions;
                        }
                        for is_answer in [false, true] {
                            let (src, dst) = if is_answer { (*dst, *src) } else { (*src, *dst) };
                            questions.push(Question {
                                is_answer,
                                src,
                                dst,
                                proto: *proto,
                                port: *port,
                            });
                        }
                    }
                }
            }
        }
        questions
    }
}

fn one_or_more<T: Copy>(list: &[T]) -> Vec<Option<T>> {
    if list.is_empty() {
        vec![None]
    } else {
        list.iter().copied().map(Some).collect()
    }
}

impl Question {
    /// Which port of a packet is the one that is asked for.
    pub(super) fn port_of(&self) -> PortsOf {
        if self.is_answer {
            PortsOf::Source
        } else {
            PortsOf::Destination
        }
    }

    /// The network at one end.
    pub(super) fn net(&self, end: End) -> Option<IpNet> {
        match end {
            End::Source => self.src,
            End::Destination => self.dst,
        }
    }

    /// An address that stands for the network at one end. What is said with it must hold for all of them.
    pub(super) fn addr(&self, end: End) -> Option<IpAddr> {
        self.net(end).map(|net| net.network())
    }

    /// What a condition on an address needs that none of these packets has: `the filter asks for 10.224.0.0/16`. `None` if
    /// one of them may have it.
    pub(super) fn lacks(&self, end: End, net: &Net, negated: bool) -> Option<String> {
        let asked = self.net(end)?;
        let never = if negated {
            holds_all(net, asked)
        } else {
            // A shorter one would say of a part of its own what a network is that it does not name.
            are_apart(net, asked) && net.prefix()? <= asked.prefix_len()
        };
        never.then(|| self.asks(&short(asked)))
    }

    /// `the filter asks for …`
    pub(super) fn asks(&self, what: &str) -> String {
        if self.is_answer {
            format!("answers to what the filter asks for have {what}")
        } else {
            format!("the filter asks for {what}")
        }
    }
}

/// `10.224.0.0/16`, `10.224.2.16`
fn short(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// Whether they have no address in common; false if that is not certain.
pub(super) fn are_apart(one: &Net, other: IpNet) -> bool {
    if one.is_v6() != other.addr().is_ipv6() {
        return true;
    }
    // A mask with holes is not compared.
    one.prefix()
        .and_then(|prefix| IpNet::new(one.addr(), prefix).ok())
        .is_some_and(|one| !one.contains(&other.network()) && !other.contains(&one.network()))
}

/// Whether every address of one is in the other.
fn holds_all(net: &Net, of: IpNet) -> bool {
    net.is_v6() == of.addr().is_ipv6()
        && net.prefix().is_some_and(|prefix| prefix <= of.prefix_len())
        && net.holds(of.network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::xtables::save;

    fn asked(dst: &[&str], src: &[&str], protos: &[u8]) -> Asked {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().expect("a network")).collect();
        Asked {
            dst: nets(dst),
            src: nets(src),
            hosts: Vec::new(),
            protos: protos.to_vec(),
            ports: Vec::new(),
            is_nobody: false,
        }
    }

    fn rule(words: &str) -> Rule {
        let text = format!("*filter\n:FORWARD DROP [0:0]\n-A FORWARD {words}\nCOMMIT\n");
        let document = save::parse(&text).expect("a table");
        document.into_tables().next().expect("one").chains[0].rules[0].clone()
    }

    #[test]
    fn a_rule_excludes_what_it_can_meet_in_neither_direction() {
        let pods = asked(&["10.224.0.0/16"], &[], &[]);
        for (words, excludes) in [
            ("-j DROP", false),
            ("-d 10.224.1.0/24 -j DROP", false),
            ("-d 10.0.0.0/8 -j DROP", false),
            ("-s 10.224.2.16/32 -j DROP", false),
            // An answer to the pods may come from anywhere, and go there.
            ("-d 192.0.2.0/24 -j DROP", false),
            ("-s 192.0.2.0/24 -d 198.51.100.0/24 -j DROP", true),
            ("-s 192.0.2.0/24 ! -d 198.51.100.0/24 -j DROP", false),
            ("-s 192.0.2.0/255.0.255.0 -d 198.51.100.0/24 -j DROP", false),
        ] {
            assert_eq!(pods.excludes(&rule(words)), excludes, "{words}");
        }
        let host = Asked {
            hosts: asked(&["10.224.2.16/32"], &[], &[]).dst,
            ..Asked::default()
        };
        assert!(host.excludes(&rule("-s 192.0.2.0/24 -d 198.51.100.0/24 -j DROP")));
        for words in ["-s 192.0.2.0/24 -j DROP", "-d 10.224.0.0/16 -j DROP", "-j DROP"] {
            assert!(!host.excludes(&rule(words)), "{words}");
        }
        assert!(host.excludes_family(TableFamily::Ip6) && !host.is_all());
        let tcp = asked(&[], &[], &[6]);
        assert!(tcp.excludes(&rule("-p udp -j DROP")));
        for words in ["-p tcp -j DROP", "-p icmp -j DROP", "! -p udp -j DROP", "-j DROP"] {
            assert!(!tcp.excludes(&rule(words)), "{words}");
        }
    }

    #[test]
    fn families_are_told_apart() {
        let v4 = asked(&["10.224.0.0/16"], &[], &[]);
        assert!(v4.excludes_family(TableFamily::Ip6) && !v4.excludes_family(TableFamily::Ip));
        assert!(!v4.excludes_family(TableFamily::Inet));
        assert!(!Asked::default().excludes_family(TableFamily::Ip6));
        let both = asked(&["10.224.0.0/16", "fd00::/64"], &[], &[]);
        assert!(!both.excludes_family(TableFamily::Ip6));
        assert!(v4.questions(true).is_empty());
        assert_eq!(both.questions(true).len(), 2);
    }

    #[test]
    fn what_is_lacked_is_lacked_by_every_address() {
        let question = |net: &str| Question {
            is_answer: false,
            src: None,
            dst: Some(net.parse().expect("a network")),
            proto: None,
            port: None,
        };
        let lacks = |asked: &str, net: &str, negated| {
            question(asked).lacks(End::Destination, &Net::parse(net).expect("a network"), negated)
        };
        assert_eq!(
            lacks("10.224.0.0/16", "10.244.0.0/16", false).as_deref(),
            Some("the filter asks for 10.224.0.0/16")
        );
        assert_eq!(lacks("10.224.0.0/16", "10.224.1.0/24", false), None);
        assert_eq!(lacks("10.224.0.0/16", "10.0.0.0/8", false), None);
        assert_eq!(
            lacks("10.224.0.0/16", "10.244.1.0/24", false),
            None,
            "it is narrower"
        );
        assert!(lacks("10.224.0.0/16", "10.0.0.0/8", true).is_some());
        assert_eq!(lacks("10.224.0.0/16", "10.224.1.0/24", true), None);
    }

    #[test]
    fn nobody_asks_for_nothing() {
        let narrowed = Narrowed {
            is_nobody: true,
            ..Narrowed::default()
        };
        let nobody = Asked::of_narrowed(&narrowed);
        assert!(!nobody.is_all() && nobody.excludes_family(TableFamily::Inet));
        assert!(nobody.questions(false).is_empty());
        assert!(Asked::of_narrowed(&Narrowed::default()).is_all());
    }

    #[test]
    fn many_values_are_not_all_put_to_the_rules() {
        let many = Asked {
            ports: (1..=16).collect(),
            protos: vec![6, 17],
            ..asked(&["10.0.0.0/8"], &[], &[])
        };
        assert_eq!(many.questions(false).len(), 2 * MOST);
    }
}
