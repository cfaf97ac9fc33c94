//! `--pod` and `--service`: their addresses, once they are known, join what is to be watched.

use std::net::IpAddr;

use anyhow::bail;
use ipnet::IpNet;

use super::WatchConfig;
use crate::cli::expression::Expression;
use crate::cli::filter::{FilterSpec, MAX_VALUES};
use crate::names::Wanted;

/// The config, narrowed to packets of these: pods are alternatives, services are, and both must match with everything else.
///
/// # Errors
/// They have too many addresses.
pub(super) fn narrowed(
    mut config: WatchConfig,
    found: &[(Wanted, Vec<IpAddr>)],
) -> anyhow::Result<WatchConfig> {
    for of_services in [false, true] {
        let of_kind = found
            .iter()
            .filter(|(wanted, _)| wanted.is_service() == of_services);
        let mut hosts: Vec<IpNet> = of_kind
            .flat_map(|(_, addresses)| addresses.iter().copied())
            .map(IpNet::from)
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.is_empty() {
            continue;
        }
        if hosts.len() > MAX_VALUES {
            let option = if of_services { "--service" } else { "--pod" };
            bail!(
                "{option}: these have {} addresses, and {MAX_VALUES} can be watched: name fewer",
                hosts.len()
            );
        }
        config = with_hosts(config, hosts)?;
    }
    Ok(config)
}

fn with_hosts(mut config: WatchConfig, hosts: Vec<IpNet>) -> anyhow::Result<WatchConfig> {
    if config.expression.is_none() && config.filter.hosts.is_empty() {
        config.filter.hosts = hosts;
        return Ok(config);
    }
    let words: Vec<String> = hosts.iter().map(|host| format!("host {}", host.addr())).collect();
    let expression = match config.expression.take() {
        Some(expression) => expression.and(&FilterSpec {
            hosts,
            ..FilterSpec::default()
        }),
        // Beside --host, of which each value is an alternative.
        None => match Expression::parse(&[words.join(" or ")], &mut config.warnings)? {
            Some(expression) => expression.and(&config.filter),
            None => return Ok(config),
        },
    };
    config.filter = expression.widened();
    config.expression = Some(expression);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: Option<Wanted>, addresses: &[&str]) -> (Wanted, Vec<IpAddr>) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
        (wanted.expect("a name"), addresses.collect())
    }

    fn text(config: WatchConfig, found: &[(Wanted, Vec<IpAddr>)]) -> String {
        narrowed(config, found).expect("narrowed").filter_info().text
    }

    #[test]
    fn a_pod_alone_is_what_its_addresses_are_as_hosts() {
        let config = WatchConfig {
            filter: FilterSpec {
                ports: vec![80],
                ..FilterSpec::default()
            },
            ..WatchConfig::default()
        };
        let pods = [
            found(Wanted::pod("web/a"), &["10.0.0.5"]),
            found(Wanted::pod("web/b"), &["10.0.0.6", "10.0.0.5"]),
        ];
        let narrowed = narrowed(config, &pods).expect("narrowed");
        assert_eq!(
            narrowed.filter.to_string(),
            "host 10.0.0.5 or 10.0.0.6 and port 80"
        );
        assert_eq!(narrowed.expression, None);
    }

    #[test]
    fn a_pod_and_a_service_a_host_or_an_expression_must_all_match() {
        let both = [
            found(Wanted::service("web/s"), &["10.96.0.9"]),
            found(Wanted::pod("web/a"), &["10.0.0.5"]),
        ];
        let told = text(WatchConfig::default(), &both);
        assert_eq!(told, "host 10.0.0.5 and (host 10.96.0.9)");
        let config = WatchConfig {
            expression: Expression::parse(&["tcp or port 53".into()], &mut Vec::new()).expect("parses"),
            ..WatchConfig::default()
        };
        assert_eq!(text(config, &both[1..]), "host 10.0.0.5 and (tcp or port 53)");
    }

    #[test]
    fn more_addresses_than_can_be_watched_are_an_error() {
        let many: Vec<String> = (0..=MAX_VALUES)
            .map(|number| format!("10.0.0.{number}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = narrowed(WatchConfig::default(), &[found(Wanted::pod("web/a"), &many)]);
        assert!(
            error
                .expect_err("too many")
                .to_string()
                .starts_with("--pod: these have 17 addresses")
        );
    }
}
