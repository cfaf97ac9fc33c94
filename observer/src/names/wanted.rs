//! A pod or a service whose addresses are to be watched: looked up once, at the start, and compared later.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, timeout_at};

use super::change::{Kind, Who};
use super::feed::Naming;
use super::name::ObjectName;
use super::table::Table;
use crate::report::record::NamesFrom;

/// The sources are waited for so long, before anything is watched.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    kind: Kind,
    name: ObjectName,
}

/// Each with its addresses.
type Lookup = Vec<(Wanted, Vec<IpAddr>)>;

/// And where it was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) wanted: Wanted,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Wanted {
    /// The pod of this name, `namespace/name`.
    pub fn pod(text: &str) -> Option<Self> {
        Self::of(Kind::Pod, text)
    }

    /// The service of this name, `namespace/name`.
    pub fn service(text: &str) -> Option<Self> {
        Self::of(Kind::Service, text)
    }

    fn of(kind: Kind, text: &str) -> Option<Self> {
        let name = ObjectName::parse(text)?;
        Some(Self { kind, name })
    }

    pub(crate) fn is_service(&self) -> bool {
        self.kind == Kind::Service
    }

    /// As it was typed.
    pub(crate) fn words(&self) -> String {
        let option = if self.is_service() { "--service" } else { "--pod" };
        format!("{option} {}", self.name.as_str())
    }

    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Pod { name, .. } => self.kind == Kind::Pod && *name == self.name,
            Who::Service(name) => self.kind == Kind::Service && *name == self.name,
            Who::Node(_) => false,
        }
    }

    /// Who can know it.
    fn sources(&self) -> &'static [NamesFrom] {
        if self.is_service() {
            &[NamesFrom::Api]
        } else {
            &[NamesFrom::Api, NamesFrom::Cri]
        }
    }

    fn unknown(&self, sources: &[NamesFrom], table: &Table, patience: Duration) -> String {
        let words = self.words();
        let asked: Vec<NamesFrom> = self
            .sources()
            .iter()
            .copied()
            .filter(|from| sources.contains(from))
            .collect();
        if asked.is_empty() && self.is_service() {
            return format!(
                "{words}: only the Kubernetes API knows it, and none was found: give --kube, or its address with --host"
            );
        }
        if asked.is_empty() {
            return format!(
                "{words}: neither a container runtime nor a Kubernetes API was found: give --cri or --kube, or its address with --host"
            );
        }
        if !asked.iter().any(|from| table.has_listed(*from, self.kind)) {
            return format!("{words}: there was no answer in {} s", patience.as_secs());
        }
        if self.is_service() {
            return format!("{words}: the Kubernetes API knows no such service with an address");
        }
        format!(
            "{words}: there is no such pod with an address of its own on this node: --kube-scope cluster asks for those of other nodes, \
             too; a pod with hostNetwork has its node's"
        )
    }
}

impl Table {
    /// What it has now, in order.
    fn addresses_of(&self, wanted: &Wanted) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self
            .owners()
            .filter(|owner| wanted.is(&owner.who))
            .flat_map(|owner| owner.addresses.iter().copied())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

impl Naming {
    /// Looks all of them up; waits for the sources for so long.
    ///
    /// # Errors
    /// One is not known. One line that says what to do.
    pub(crate) async fn find(&mut self, wanted: &[Wanted], patience: Duration) -> Result<Lookup> {
        let end = Instant::now() + patience;
        while wanted.iter().any(|wanted| !self.is_told(wanted)) {
            if timeout_at(end, self.changed()).await.is_err() {
                break;
            }
        }
        for wanted in wanted {
            let addresses = self.table().addresses_of(wanted);
            if addresses.is_empty() {
                bail!("{}", wanted.unknown(self.sources(), self.table(), patience));
            }
            let wanted = wanted.clone();
            self.found.push(Found { wanted, addresses });
        }
        let found = self.found.iter();
        Ok(found
            .map(|found| (found.wanted.clone(), found.addresses.clone()))
            .collect())
    }

    /// Whether all who can know it have said what they know, or do not answer.
    fn is_told(&self, wanted: &Wanted) -> bool {
        let mut asked = wanted
            .sources()
            .iter()
            .filter(|from| self.sources().contains(from));
        asked.all(|from| self.table().has_listed(*from, wanted.kind) || self.table().is_down(*from))
    }

    /// Those of what was found that have other addresses now, a line each: said once for each change.
    pub(crate) fn moved(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        let mut found = std::mem::take(&mut self.found);
        for found in &mut found {
            let now = self.table().addresses_of(&found.wanted);
            // While it is made anew it has none: that is said when it has one again.
            if now.is_empty() || now == found.addresses {
                continue;
            }
            let list: Vec<String> = now.iter().map(ToString::to_string).collect();
            said.push(format!(
                "{} is {} now, and is watched as it was at the start: begin again to watch it there",
                found.wanted.words(),
                list.join(" and ")
            ));
            found.addresses = now;
        }
        self.found = found;
        said
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Owner};
    use super::super::feed::Feed;
    use super::*;

    fn pod(name: &str, uid: &str, addresses: &[&str]) -> Change {
        Change::Has(Box::new(Owner {
            from: NamesFrom::Api,
            uid: uid.into(),
            who: Who::Pod {
                name: ObjectName::parse(name).expect("a name"),
                node: None,
                containers: Vec::new(),
            },
            addresses: addresses
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect(),
            netns: None,
        }))
    }

    /// The sources have told all these; then they are silent, or gone.
    fn found(changes: Vec<Change>, sources: &[NamesFrom], wanted: Wanted) -> (Naming, Feed, Result<Lookup>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let (feed, mut naming) = Naming::new();
        naming.set_sources(sources.to_vec());
        let found = runtime.block_on(async {
            for change in changes {
                feed.tell(change).await.expect("somebody listens");
            }
            naming.find(&[wanted], Duration::ZERO).await
        });
        (naming, feed, found)
    }

    fn listed(kind: Kind) -> Change {
        Change::Listed(NamesFrom::Api, kind)
    }

    const API: &[NamesFrom] = &[NamesFrom::Api];

    fn nginx() -> Wanted {
        Wanted::pod("web/nginx").expect("a name")
    }

    #[test]
    fn a_pod_is_found_by_its_name_in_both_families() {
        let told = vec![
            pod("web/other", "1", &["10.0.0.4"]),
            pod("web/nginx", "2", &["10.0.0.5", "fd00::5"]),
            listed(Kind::Pod),
        ];
        let (_, _, found) = found(told, API, nginx());
        let addresses = found.expect("found").remove(0).1;
        assert_eq!(
            addresses,
            ["10.0.0.5", "fd00::5"].map(|text| text.parse::<IpAddr>().expect("one"))
        );
    }

    #[test]
    fn what_is_not_found_is_said_in_one_line_that_says_what_to_do() {
        let service = || Wanted::service("web/nginx").expect("a name");
        for (told, sources, wanted, expected) in [
            (vec![], &[][..], nginx(), "give --cri or --kube"),
            (vec![], &[NamesFrom::Cri][..], service(), "give --kube"),
            (vec![], API, nginx(), "no answer in 0 s"),
            (vec![listed(Kind::Pod)], API, nginx(), "--kube-scope cluster"),
            (vec![listed(Kind::Service)], API, service(), "no such service"),
            (vec![Change::Down(NamesFrom::Api)], API, nginx(), "no answer"),
        ] {
            let (_, _, found) = found(told, sources, wanted);
            let error = found.expect_err("not found").to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn one_that_is_made_anew_elsewhere_is_said_once() {
        let told = vec![pod("web/nginx", "2", &["10.0.0.5"]), listed(Kind::Pod)];
        let (mut naming, _feed, result) = found(told, API, nginx());
        result.expect("found");
        let now = crate::report::record::Time::now();
        assert!(naming.moved().is_empty());
        let gone = Change::Gone(NamesFrom::Api, Kind::Pod, "2".into());
        naming.table_mut().take(gone, now);
        assert!(naming.moved().is_empty(), "it has no address yet");
        naming.table_mut().take(pod("web/nginx", "3", &["10.0.0.9"]), now);
        let said = naming.moved();
        assert!(
            said[0].starts_with("--pod web/nginx is 10.0.0.9 now, "),
            "{said:?}"
        );
        assert!(naming.moved().is_empty());
    }

    #[test]
    fn names_are_checked() {
        for bad in [
            "nginx",
            "web/",
            "/nginx",
            "web/nginx/0",
            "Web/nginx",
            "web/\u{1b}[2J",
        ] {
            assert_eq!(Wanted::pod(bad), None, "{bad}");
        }
    }
}
