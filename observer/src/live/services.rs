//! Where a service is that is watched by its name, as kube-proxy's rules have it: asked where no API tells.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Result, bail};

use super::line::{Known, Teller};
use crate::cli::watch::WatchConfig;
use crate::names::{Found, FoundBy};

/// What was found, and in which rulesets: as long as these are in force nothing is asked again.
#[derive(Default)]
pub(super) struct ByRules {
    known: HashMap<String, Answer>,
}

struct Answer {
    /// Each namespace's inode, and which reading of its rulesets it was.
    rulesets: Vec<(u32, u32)>,
    addresses: Vec<IpAddr>,
}

impl ByRules {
    /// The addresses of a service in all namespaces, in order; `None` where rulesets change just now, or could not be asked for.
    pub(super) fn addresses(
        &mut self,
        teller: &mut Teller,
        known: &Known<'_>,
        service: &str,
    ) -> Option<Vec<IpAddr>> {
        let mut rulesets: Vec<(u32, u32)> = known
            .store
            .all()
            .map(|snapshot| (snapshot.inode, snapshot.generation))
            .collect();
        rulesets.sort_unstable();
        if let Some(answer) = self.known.get(service)
            && answer.rulesets == rulesets
        {
            return Some(answer.addresses.clone());
        }
        let mut addresses = Vec::new();
        for snapshot in known.store.all() {
            addresses.extend(teller.addresses_of(known, snapshot, service)?);
        }
        addresses.sort_unstable();
        addresses.dedup();
        let answer = Answer {
            rulesets,
            addresses: addresses.clone(),
        };
        self.known.insert(service.to_owned(), answer);
        Some(addresses)
    }

    /// What is to be found, with the services of which no API tells.
    ///
    /// # Errors
    /// No rules have one of them, and it is not to be waited for. One line that says what to do.
    pub(super) fn completed(
        &mut self,
        teller: &mut Teller,
        known: &Known<'_>,
        config: &WatchConfig,
    ) -> Result<Vec<Found>> {
        let mut all = config.found.clone();
        for found in all.iter_mut().filter(|found| found.by == FoundBy::Rules) {
            let addresses = self.addresses(teller, known, found.wanted.name());
            found.addresses = addresses.unwrap_or_default();
            if found.addresses.is_empty() && !config.wait {
                bail!("{}", found.wanted.unknown_to("on this node"));
            }
        }
        Ok(all)
    }
}
