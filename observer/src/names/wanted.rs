//! A pod or a service whose addresses are asked for by its name: looked up at the start, and again whenever a source tells of it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, timeout_at};

use super::change::{Kind, Owner, Who};
use super::feed::Naming;
use super::name::ObjectName;
use super::table::Table;
use crate::report::record::NamesFrom;

/// The sources are waited for so long, before anything is watched or asked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    kind: Kind,
    name: ObjectName,
    asked: Options,
}

/// Whose word it is, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    /// `--pod`
    name: &'static str,
    /// The one that takes an address instead.
    address: &'static str,
    /// Whether `--wait` goes with it.
    waits: bool,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub(crate) wanted: Wanted,
    /// In order. None: it is not there, or not yet.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) by: FoundBy,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// The API or the runtime.
    Sources,
    /// Nobody of these: it is a service, and kube-proxy's rules may have it.
    Rules,
}

impl Wanted {
    /// The pod of this name, `namespace/name`.
    pub fn pod(text: &str) -> Option<Self> {
        Self::of(Kind::Pod, text, "--pod")
    }

    /// The service of this name, `namespace/name`.
    pub fn service(text: &str) -> Option<Self> {
        Self::of(Kind::Service, text, "--service")
    }

    fn of(kind: Kind, text: &str, option: &'static str) -> Option<Self> {
        let name = ObjectName::parse(text)?;
        let asked = Options {
            name: option,
            address: "--host",
            waits: true,
        };
        Some(Self { kind, name, asked })
    }

    /// Asked for by an option of `explain`, which waits for nobody: `--src-pod` in place of `--src`.
    #[must_use]
    pub(crate) fn by(mut self, option: &'static str, address: &'static str) -> Self {
        self.asked = Options {
            name: option,
            address,
            waits: false,
        };
        self
    }

    pub(crate) fn is_service(&self) -> bool {
        self.kind == Kind::Service
    }

    /// As it was typed.
    pub(crate) fn words(&self) -> String {
        format!("{} {}", self.asked.name, self.name.as_str())
    }

    /// `pod web/nginx`.
    pub(crate) fn who(&self) -> String {
        let kind = if self.is_service() { "service" } else { "pod" };
        format!("{kind} {}", self.name.as_str())
    }

    /// `namespace/name`.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(super) fn is(&self, who: &Who) -> bool {
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

    /// What to say where `rules`, of kube-proxy and of nobody else, do not have a service that no API tells of.
    pub(crate) fn unknown_to(&self, rules: &str) -> String {
        format!(
            "{}: no Kubernetes API tells of it, and no rules of kube-proxy {rules} have it: give --kube, or its address with {}",
            self.words(),
            self.asked.address
        )
    }

    fn unknown(&self, sources: &[NamesFrom], table: &Table, patience: Duration) -> String {
        let words = self.words();
        let wait = if self.asked.waits {
            "; --wait waits for it"
        } else {
            ""
        };
        let asked: Vec<NamesFrom> = self
            .sources()
            .iter()
            .copied()
            .filter(|from| sources.contains(from))
            .collect();
        if asked.is_empty() {
            return format!(
                "{words}: neither a container runtime nor a Kubernetes API was found: give --cri or --kube, or its address with {}",
                self.asked.address
            );
        }
        if !asked.iter().any(|from| table.has_listed(*from, self.kind)) {
            return format!("{words}: there was no answer in {} s", patience.as_secs());
        }
        let is_there = table.owners().any(|owner| self.is(&owner.who));
        match (self.is_service(), is_there) {
            (true, true) => {
                format!(
                    "{words}: this service has no address of its own, it is headless: name one of its pods"
                )
            }
            (true, false) => format!("{words}: the Kubernetes API knows no such service{wait}"),
            (false, true) => format!(
                "{words}: this pod has no address of its own: it has none yet{wait}, or its node's (hostNetwork)"
            ),
            (false, false) => format!(
                "{words}: there is no such pod on this node (with --kube-scope cluster: on any){wait}"
            ),
        }
    }
}

impl Table {
    /// What it has now, each once, in the order in which its source tells them.
    fn addresses_of(&self, wanted: &Wanted) -> Vec<IpAddr> {
        let mut owners: Vec<&Owner> = self.owners().filter(|owner| wanted.is(&owner.who)).collect();
        owners.sort_unstable_by(|one, other| one.uid.cmp(&other.uid));
        let mut addresses = Vec::new();
        for address in owners.iter().flat_map(|owner| &owner.addresses) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }
}

impl Naming {
    /// Looks all of them up; waits for the sources for so long. With `may_wait` one that is not there has no address yet; so has a
    /// service that no source tells of.
    ///
    /// # Errors
    /// One is not known. One line that says what to do.
    pub(crate) async fn find(
        &mut self,
        wanted: &[Wanted],
        patience: Duration,
        may_wait: bool,
    ) -> Result<Vec<Found>> {
        self.wanted = wanted.to_vec();
        let end = Instant::now() + patience;
        while wanted.iter().any(|wanted| !self.is_told(wanted)) {
            if timeout_at(end, self.changed()).await.is_err() {
                break;
            }
        }
        let found = self.look_up();
        for found in &found {
            let has_source = found.by == FoundBy::Rules || self.has_source(&found.wanted);
            if found.addresses.is_empty() && found.by == FoundBy::Sources && !(may_wait && has_source) {
                bail!("{}", found.wanted.unknown(self.sources(), self.table(), patience));
            }
        }
        Ok(found)
    }

    /// Where they are now.
    pub(crate) fn look_up(&mut self) -> Vec<Found> {
        self.has_moved = false;
        let found = self.wanted.iter().map(|wanted| {
            let mut addresses = self.table().addresses_of(wanted);
            addresses.sort_unstable();
            Found {
                wanted: wanted.clone(),
                addresses,
                by: self.told_by(wanted),
            }
        });
        found.collect()
    }

    /// The addresses of one, the one that it is known by first: of a service the cluster's.
    pub(crate) fn first_ones_first(&self, wanted: &Wanted) -> Vec<IpAddr> {
        self.table().addresses_of(wanted)
    }

    /// Whether a source has told of one of them since they were looked up.
    pub(crate) fn has_moved(&self) -> bool {
        self.has_moved
    }

    fn told_by(&self, wanted: &Wanted) -> FoundBy {
        let has_told = |from: &NamesFrom| self.table().has_listed(*from, wanted.kind);
        if wanted.is_service() && !wanted.sources().iter().any(has_told) {
            FoundBy::Rules
        } else {
            FoundBy::Sources
        }
    }

    fn has_source(&self, wanted: &Wanted) -> bool {
        let mut sources = wanted.sources().iter();
        sources.any(|from| self.sources().contains(from))
    }

    /// Whether all who can know it have said what they know, or do not answer.
    fn is_told(&self, wanted: &Wanted) -> bool {
        let mut asked = wanted
            .sources()
            .iter()
            .filter(|from| self.sources().contains(from));
        asked.all(|from| self.table().has_listed(*from, wanted.kind) || self.table().is_down(*from))
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Change;
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
    fn found(
        changes: Vec<Change>,
        sources: &[NamesFrom],
        wanted: Wanted,
        may_wait: bool,
    ) -> (Naming, Feed, Result<Vec<Found>>) {
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
            naming.find(&[wanted], Duration::ZERO, may_wait).await
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
        let (_, _, found) = found(told, API, nginx(), false);
        let addresses = found.expect("found").remove(0).addresses;
        assert_eq!(
            addresses,
            ["10.0.0.5", "fd00::5"].map(|text| text.parse::<IpAddr>().expect("one"))
        );
    }

    fn service() -> Wanted {
        Wanted::service("web/nginx").expect("a name")
    }

    fn headless() -> Change {
        Change::Has(Box::new(Owner {
            from: NamesFrom::Api,
            uid: "1".into(),
            who: Who::Service(ObjectName::parse("web/nginx").expect("a name")),
            addresses: Vec::new(),
            netns: None,
        }))
    }

    #[test]
    fn what_is_not_found_is_said_in_one_line_that_says_what_to_do() {
        for (told, sources, wanted, expected) in [
            (vec![], &[][..], nginx(), "give --cri or --kube"),
            (vec![], API, nginx(), "no answer in 0 s"),
            (vec![listed(Kind::Pod)], API, nginx(), "--kube-scope cluster"),
            (
                vec![listed(Kind::Service)],
                API,
                service(),
                "no such service; --wait",
            ),
            (
                vec![pod("web/nginx", "1", &[]), listed(Kind::Pod)],
                API,
                nginx(),
                "none yet; --wait",
            ),
            (
                vec![headless(), listed(Kind::Service)],
                API,
                service(),
                "it is headless",
            ),
            (vec![Change::Down(NamesFrom::Api)], API, nginx(), "no answer"),
        ] {
            let (_, _, found) = found(told, sources, wanted, false);
            let error = found.expect_err("not found").to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn one_that_is_not_there_is_waited_for_where_somebody_can_tell_of_it() {
        let (_, _, unknown) = found(vec![listed(Kind::Pod)], API, nginx(), true);
        assert_eq!(unknown.expect("waits")[0].addresses, Vec::<IpAddr>::new());
        let (_, _, silent) = found(vec![], API, nginx(), true);
        assert!(silent.is_ok());
        let (_, _, nobody) = found(vec![], &[], nginx(), true);
        assert!(nobody.is_err(), "no source will ever tell");
    }

    #[test]
    fn a_service_that_no_source_tells_of_is_left_to_the_rules() {
        for (told, sources) in [
            (vec![], &[][..]),
            (vec![], &[NamesFrom::Cri][..]),
            (vec![Change::Down(NamesFrom::Api)], API),
        ] {
            let (_, _, found) = found(told, sources, service(), false);
            let found = found.expect("left").remove(0);
            assert_eq!((found.by, found.addresses.len()), (FoundBy::Rules, 0));
        }
    }

    #[test]
    fn one_that_is_made_anew_elsewhere_has_moved_and_others_have_not() {
        let told = vec![pod("web/nginx", "2", &["10.0.0.5"]), listed(Kind::Pod)];
        let (mut naming, feed, result) = found(told, API, nginx(), false);
        result.expect("found");
        let mut tell = |change| {
            feed.try_tell(change);
            naming.catch_up();
            let has_moved = naming.has_moved();
            (has_moved, naming.look_up().remove(0).addresses)
        };
        let at = |text: &str| vec![text.parse::<IpAddr>().expect("an address")];
        assert!(!tell(pod("web/other", "1", &["10.0.0.4"])).0);
        let gone = |uid: &str| Change::Gone(NamesFrom::Api, Kind::Pod, uid.into());
        assert!(!tell(gone("1")).0);
        assert_eq!(tell(gone("2")), (true, Vec::new()));
        assert_eq!(tell(pod("web/nginx", "3", &["10.0.0.9"])), (true, at("10.0.0.9")));
        assert!(!tell(Change::List(NamesFrom::Api, Kind::Pod)).0);
        assert_eq!(
            tell(listed(Kind::Pod)),
            (true, Vec::new()),
            "it is not in the list"
        );
    }

    #[test]
    fn the_address_that_one_is_known_by_comes_first_and_each_once() {
        let told = vec![
            pod("web/nginx", "1", &["fd00::5", "10.0.0.5"]),
            pod("web/nginx", "2", &["10.0.0.5", "10.0.0.4"]),
            listed(Kind::Pod),
        ];
        let (naming, _, found) = found(told, API, nginx(), false);
        let texts = |addresses: Vec<IpAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let ordered = texts(naming.first_ones_first(&nginx()));
        assert_eq!(ordered, ["fd00::5", "10.0.0.5", "10.0.0.4"]);
        let watched = texts(found.expect("found").remove(0).addresses);
        assert_eq!(watched, ["10.0.0.4", "10.0.0.5", "fd00::5"]);
    }

    #[test]
    fn who_asks_by_another_option_is_told_of_his_own() {
        let wanted = nginx().by("--src-pod", "--src");
        assert_eq!(
            (wanted.words(), wanted.who()),
            ("--src-pod web/nginx".into(), "pod web/nginx".into())
        );
        for (told, sources, part) in [
            (vec![], &[][..], "or its address with --src"),
            (
                vec![pod("web/nginx", "1", &[]), listed(Kind::Pod)],
                API,
                "has none yet, or its node's",
            ),
        ] {
            let (_, _, found) = found(told, sources, wanted.clone(), false);
            let error = found.expect_err("not found").to_string();
            assert!(error.contains(part) && !error.contains("--wait"), "{error}");
        }
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
