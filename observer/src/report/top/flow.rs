//! Who asks whom for what and dies of which cause, as a row. The client's port is shown as long as there is only one.

use std::net::IpAddr;
use std::rc::Rc;

use crate::report::record::{DropLine, LostFlow, Packet, Proto};
use crate::report::words;

/// What makes two packets those of one flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    /// The row of its cause.
    cause: u64,
    proto: Option<Proto>,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    dport: Option<u16>,
    /// What the client addressed, before NAT.
    asked: Option<(IpAddr, Option<u16>)>,
}

/// What is shown of it.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// With the client's port: as long as all packets have it.
    one_port: Option<(u16, Rc<str>)>,
    /// Without.
    any_port: Rc<str>,
    /// What killed it.
    pub(super) cause: Rc<str>,
}

impl FlowKey {
    pub(super) fn of_drop(line: &DropLine, cause: u64) -> Self {
        let packet = &line.packet;
        let original = line.flow.as_ref().map(|flow| &flow.original);
        Self {
            cause,
            proto: packet.proto,
            src: packet.src,
            dst: packet.dst,
            dport: packet.dport,
            asked: original.map(|tuple| (tuple.dst, tuple.dport)),
        }
    }

    /// Drops that the kernel side only counted, whatever their ports.
    pub(super) fn of_fold(flow: &LostFlow, cause: u64) -> Self {
        Self {
            cause,
            proto: Some(flow.proto),
            src: Some(flow.src),
            dst: Some(flow.dst),
            dport: None,
            asked: None,
        }
    }
}

impl Flow {
    pub(super) fn of_drop(line: &DropLine, cause: &Rc<str>) -> Self {
        let any_port = words::talk(line);
        let service = line.flow.as_ref().and_then(|flow| flow.service.as_ref());
        let service = service
            .map(|service| format!(", service {service}"))
            .unwrap_or_default();
        let one_port = line.packet.sport.map(|sport| {
            (
                sport,
                format!(
                    "{}{service}",
                    words::endpoints(&line.packet, line.names.as_deref())
                )
                .into(),
            )
        });
        Self {
            one_port,
            any_port: any_port.into(),
            cause: Rc::clone(cause),
        }
    }

    pub(super) fn of_fold(flow: &LostFlow, cause: &Rc<str>) -> Self {
        let packet = Packet {
            proto: Some(flow.proto),
            src: Some(flow.src),
            dst: Some(flow.dst),
            ..Packet::default()
        };
        Self {
            one_port: None,
            any_port: format!("{}, any port", words::endpoints(&packet, None)).into(),
            cause: Rc::clone(cause),
        }
    }

    /// A packet came from this port.
    pub(super) fn from(&mut self, sport: Option<u16>) {
        if self.one_port.as_ref().map(|(port, _)| *port) != sport {
            self.one_port = None;
        }
    }

    /// `tcp 10.0.0.10:41234 → 10.224.2.16:80, service web/nginx`
    pub(super) fn words(&self) -> &Rc<str> {
        self.one_port.as_ref().map_or(&self.any_port, |(_, words)| words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::samples::policy_drop;

    #[test]
    fn the_clients_port_is_shown_as_long_as_there_is_one() {
        let drop = policy_drop();
        let mut flow = Flow::of_drop(&drop, &"policy".into());
        flow.from(Some(41234));
        assert_eq!(
            &**flow.words(),
            "tcp 10.224.0.0:41234 → 10.224.2.16:80, service nginx-test/nginx-service"
        );
        flow.from(Some(41235));
        assert_eq!(
            &**flow.words(),
            "tcp 10.224.0.0 → 10.224.2.16:80, service nginx-test/nginx-service"
        );
        flow.from(Some(41234));
        assert!(!flow.words().contains("41234"), "it has had another");
    }

    #[test]
    fn a_flow_is_another_by_its_cause_and_by_what_was_asked_for() {
        let drop = policy_drop();
        let key = FlowKey::of_drop(&drop, 1);
        let mut other = drop.clone();
        other.packet.sport = Some(1);
        assert_eq!(FlowKey::of_drop(&other, 1), key);
        assert_ne!(FlowKey::of_drop(&other, 2), key);
        other.flow = None;
        assert_ne!(FlowKey::of_drop(&other, 1), key);
    }
}
