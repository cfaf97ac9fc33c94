//! `--pod` and `--service`: the addresses that they have join what is to be watched, at the start and whenever they have others.

use anyhow::bail;
use ipnet::IpNet;

use super::WatchConfig;
use crate::cli::expression::Expression;
use crate::cli::filter::{FilterSpec, MAX_VALUES};
use crate::names::Found;
use crate::report::record::FilterInfo;

/// What is watched: what was typed, and of that only what is to or from those who are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// What the kernel side tests.
    pub filter: FilterSpec,
    /// What each packet that it lets pass is held against.
    pub expression: Option<Expression>,
    /// Somebody who is named has no address: no packet matches.
    pub is_nobody: bool,
    /// For the trace.
    pub info: FilterInfo,
}

impl WatchConfig {
    /// What is watched while they are to be found there: pods are alternatives, services are, and both must match with everything else.
    ///
    /// # Errors
    /// They have too many addresses.
    pub(crate) fn narrowed(&self, found: &[Found]) -> anyhow::Result<Narrowed> {
        let mut narrowed = Narrowed {
            filter: self.filter.clone(),
            expression: self.expression.clone(),
            is_nobody: false,
            info: FilterInfo::default(),
        };
        let mut hosts = [hosts(found, false)?, hosts(found, true)?];
        narrowed.is_nobody = hosts
            .iter()
            .any(|hosts| hosts.as_ref().is_some_and(Vec::is_empty));
        if narrowed.is_nobody {
            narrowed.info = info(&narrowed);
            narrowed.info.text = words(found, &narrowed.info.text, narrowed.expression.is_some());
        } else {
            for hosts in hosts.iter_mut().filter_map(Option::take) {
                narrowed = with_hosts(narrowed, hosts)?;
            }
            narrowed.info = info(&narrowed);
            // Held against it here, too: they may have others when a drop is told than when it happened.
            if !found.is_empty() && narrowed.expression.is_none() {
                narrowed.expression = Expression::of(&narrowed.filter);
            }
        }
        narrowed.info.pods = names(found, false);
        narrowed.info.services = names(found, true);
        Ok(narrowed)
    }
}

/// The addresses of all pods, or of all services; `None` if none is named.
fn hosts(found: &[Found], of_services: bool) -> anyhow::Result<Option<Vec<IpNet>>> {
    let mut hosts: Vec<IpNet> = of_kind(found, of_services)
        .flat_map(|found| found.addresses.iter().copied())
        .map(IpNet::from)
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.len() > MAX_VALUES {
        let option = if of_services { "--service" } else { "--pod" };
        bail!(
            "{option}: these have {} addresses, and {MAX_VALUES} can be watched: name fewer",
            hosts.len()
        );
    }
    let is_named = of_kind(found, of_services).next().is_some();
    Ok(is_named.then_some(hosts))
}

fn of_kind(found: &[Found], of_services: bool) -> impl Iterator<Item = &Found> {
    found
        .iter()
        .filter(move |found| found.wanted.is_service() == of_services)
}

fn names(found: &[Found], of_services: bool) -> Vec<String> {
    of_kind(found, of_services)
        .map(|found| found.wanted.name().to_owned())
        .collect()
}

fn info(narrowed: &Narrowed) -> FilterInfo {
    narrowed
        .expression
        .as_ref()
        .map_or_else(|| narrowed.filter.info(), Expression::info)
}

/// `pod web/a or web/b and port 80`: without addresses there is nothing else to call it.
fn words(found: &[Found], rest: &str, is_expression: bool) -> String {
    let named = |word: &str, of_services| {
        let names = names(found, of_services).join(" or ");
        (!names.is_empty()).then(|| format!("{word} {names}"))
    };
    let rest = match rest {
        "" => None,
        rest if is_expression => Some(format!("({rest})")),
        rest => Some(rest.to_owned()),
    };
    let parts = [named("pod", false), named("service", true), rest];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn with_hosts(mut narrowed: Narrowed, hosts: Vec<IpNet>) -> anyhow::Result<Narrowed> {
    if narrowed.expression.is_none() && narrowed.filter.hosts.is_empty() {
        narrowed.filter.hosts = hosts;
        return Ok(narrowed);
    }
    let words: Vec<String> = hosts.iter().map(|host| format!("host {}", host.addr())).collect();
    let expression = match narrowed.expression.take() {
        Some(expression) => expression.and(&FilterSpec {
            hosts,
            ..FilterSpec::default()
        }),
        // Beside --host, of which each value is an alternative.
        None => match Expression::parse(&[words.join(" or ")], &mut Vec::new())? {
            Some(expression) => expression.and(&narrowed.filter),
            None => return Ok(narrowed),
        },
    };
    narrowed.filter = expression.widened();
    narrowed.expression = Some(expression);
    Ok(narrowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{FoundBy, Wanted};

    fn found(wanted: Option<Wanted>, addresses: &[&str]) -> Found {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
        Found {
            wanted: wanted.expect("a name"),
            addresses: addresses.collect(),
            by: FoundBy::Sources,
        }
    }

    fn text(config: &WatchConfig, found: &[Found]) -> String {
        config.narrowed(found).expect("narrowed").info.text
    }

    fn to_port_80() -> WatchConfig {
        WatchConfig {
            filter: FilterSpec {
                ports: vec![80],
                ..FilterSpec::default()
            },
            ..WatchConfig::default()
        }
    }

    #[test]
    fn a_pod_alone_is_what_its_addresses_are_as_hosts() {
        let pods = [
            found(Wanted::pod("web/a"), &["10.0.0.5"]),
            found(Wanted::pod("web/b"), &["10.0.0.6", "10.0.0.5"]),
        ];
        let narrowed = to_port_80().narrowed(&pods).expect("narrowed");
        let expected = "host 10.0.0.5 or 10.0.0.6 and port 80";
        assert_eq!(narrowed.filter.to_string(), expected);
        assert_eq!(
            (narrowed.info.text.as_str(), narrowed.info.expression),
            (expected, None)
        );
        assert_eq!(narrowed.info.hosts, ["10.0.0.5/32", "10.0.0.6/32"]);
        assert_eq!(narrowed.info.pods, ["web/a", "web/b"]);
        assert_eq!(narrowed.expression, Expression::of(&narrowed.filter));
        assert!(narrowed.expression.is_some() && !narrowed.is_nobody);
    }

    #[test]
    fn without_names_it_is_what_was_typed() {
        let narrowed = to_port_80().narrowed(&[]).expect("narrowed");
        assert_eq!(narrowed.filter, to_port_80().filter);
        assert_eq!((narrowed.expression, narrowed.is_nobody), (None, false));
    }

    #[test]
    fn a_pod_and_a_service_a_host_or_an_expression_must_all_match() {
        let both = [
            found(Wanted::service("web/s"), &["10.96.0.9"]),
            found(Wanted::pod("web/a"), &["10.0.0.5"]),
        ];
        let told = text(&WatchConfig::default(), &both);
        assert_eq!(told, "host 10.0.0.5 and (host 10.96.0.9)");
        assert_eq!(
            text(&tcp_or_dns(), &both[1..]),
            "host 10.0.0.5 and (tcp or port 53)"
        );
    }

    fn tcp_or_dns() -> WatchConfig {
        WatchConfig {
            expression: Expression::parse(&["tcp or port 53".into()], &mut Vec::new()).expect("parses"),
            ..WatchConfig::default()
        }
    }

    #[test]
    fn who_has_no_address_is_nobody_whoever_else_is_named() {
        let pods = [
            found(Wanted::pod("web/a"), &[]),
            found(Wanted::pod("web/b"), &["10.0.0.6"]),
        ];
        assert!(!to_port_80().narrowed(&pods).expect("narrowed").is_nobody);
        let named = [pods[0].clone(), found(Wanted::service("web/s"), &["10.96.0.9"])];
        let narrowed = to_port_80().narrowed(&named).expect("narrowed");
        assert!(narrowed.is_nobody);
        assert_eq!(narrowed.info.text, "pod web/a and service web/s and port 80");
        assert_eq!(text(&tcp_or_dns(), &named[..1]), "pod web/a and (tcp or port 53)");
        assert_eq!(text(&WatchConfig::default(), &named[..1]), "pod web/a");
    }

    #[test]
    fn more_addresses_than_can_be_watched_are_an_error() {
        let many: Vec<String> = (0..=MAX_VALUES)
            .map(|number| format!("10.0.0.{number}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = WatchConfig::default().narrowed(&[found(Wanted::pod("web/a"), &many)]);
        assert!(
            error
                .expect_err("too many")
                .to_string()
                .starts_with("--pod: these have 17 addresses")
        );
    }
}
