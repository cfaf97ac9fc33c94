//! Pods and services that are watched by their names: where they are at the start, and what is watched when they are elsewhere.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::super::tell;
use super::{Source, WatchConfig};
use crate::names::{Found, FoundBy, Naming, PATIENCE, Wanted};

/// What is watched does not change more often, but for the tick of a second: each time is a line, and the kernel is told.
const SOONEST: Duration = Duration::from_millis(200);

/// The config with the addresses of the pods and services that it names, as the sources tell them.
pub(super) async fn named(config: &WatchConfig, naming: &mut Naming) -> anyhow::Result<WatchConfig> {
    let mut config = config.clone();
    if config.wanted.is_empty() {
        return Ok(config);
    }
    config.found = naming.find(&config.wanted, PATIENCE, config.wait).await?;
    for found in config.found.iter().filter(|found| found.by == FoundBy::Sources) {
        tell(&begun(&found.wanted, &found.addresses));
    }
    // Too many are an error before anything is attached.
    config.narrowed(&config.found)?;
    Ok(config)
}

/// Where they were last.
pub(super) struct Following {
    found: Vec<Found>,
    looked: Option<Instant>,
    /// Services of which is still to be said where kube-proxy's rules have them.
    unsaid: Vec<Wanted>,
}

impl Following {
    pub(super) fn new(config: &WatchConfig) -> Self {
        Self {
            found: config.found.clone(),
            looked: None,
            unsaid: of_rules(&config.found),
        }
    }

    /// If a source has told of one of them: as [`Self::look`], but not too often.
    pub(super) fn look_at_news<S: Source>(
        &mut self,
        config: &WatchConfig,
        naming: &mut Naming,
        source: &mut S,
    ) -> anyhow::Result<()> {
        let is_too_soon = self.looked.is_some_and(|looked| looked.elapsed() < SOONEST);
        if !naming.has_moved() || is_too_soon {
            return Ok(());
        }
        self.look(config, naming, source)
    }

    /// Has the source watch those who have moved where they are now.
    ///
    /// # Errors
    /// The source cannot.
    pub(super) fn look<S: Source>(
        &mut self,
        config: &WatchConfig,
        naming: &mut Naming,
        source: &mut S,
    ) -> anyhow::Result<()> {
        let are_of_rules = self.found.iter().any(|found| found.by == FoundBy::Rules);
        if self.found.is_empty() || !(naming.has_moved() || are_of_rules) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let now = self.now(naming, source);
        self.take(config, now, source)
    }

    fn take<S: Source>(
        &mut self,
        config: &WatchConfig,
        now: Vec<Found>,
        source: &mut S,
    ) -> anyhow::Result<()> {
        let moved: Vec<String> = self
            .found
            .iter()
            .zip(&now)
            .filter(|(before, now)| before.addresses != now.addresses)
            .map(|(before, now)| sentence(&now.wanted, &before.addresses, &now.addresses))
            .collect();
        self.found = now;
        if moved.is_empty() {
            return Ok(());
        }
        match config.narrowed(&self.found) {
            Ok(narrowed) => source.refilter(narrowed, moved.join("; ")),
            Err(error) => {
                tell(&format!(
                    "{}, and is watched as before: {error:#}",
                    moved.join("; ")
                ));
                Ok(())
            }
        }
    }

    /// Where they are now. What cannot be said is as it was.
    fn now<S: Source>(&mut self, naming: &mut Naming, source: &mut S) -> Vec<Found> {
        let mut now = naming.look_up();
        for (found, before) in now.iter_mut().zip(&mut self.found) {
            if found.by != FoundBy::Rules {
                continue;
            }
            let Some(addresses) = source.by_rules(&found.wanted) else {
                found.addresses.clone_from(&before.addresses);
                continue;
            };
            if let Some(unsaid) = self.unsaid.iter().position(|wanted| *wanted == found.wanted) {
                self.unsaid.swap_remove(unsaid);
                let begun = begun(&found.wanted, &addresses);
                tell(&format!("{begun}, as kube-proxy's rules say"));
                // The source has looked for itself, and watches it there.
                before.addresses.clone_from(&addresses);
            }
            found.addresses = addresses;
        }
        now
    }
}

/// Those that no source tells of.
fn of_rules(found: &[Found]) -> Vec<Wanted> {
    let of_rules = found.iter().filter(|found| found.by == FoundBy::Rules);
    of_rules.map(|found| found.wanted.clone()).collect()
}

/// `--pod web/nginx is 10.0.0.5`
fn begun(wanted: &Wanted, addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return format!(
            "{} has no address yet: it is watched from when it has one",
            wanted.words()
        );
    }
    format!("{} is {}", wanted.words(), list(addresses))
}

/// `pod web/nginx is 10.0.0.9 now, and was 10.0.0.5`
fn sentence(wanted: &Wanted, before: &[IpAddr], now: &[IpAddr]) -> String {
    let name = wanted.who();
    match (before, now) {
        (before, []) => format!("{name} is {} no more, and has no address now", list(before)),
        ([], now) => format!("{name} is {} now", list(now)),
        (before, now) => format!("{name} is {} now, and was {}", list(now), list(before)),
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(" and ")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::Narrowed;
    use super::*;
    use crate::report::record::Line;

    /// Keeps what it is asked to watch.
    #[derive(Default)]
    struct Kept {
        asked: RefCell<Vec<(String, bool, String)>>,
    }

    impl Source for Kept {
        async fn next(&mut self) -> anyhow::Result<Option<Line>> {
            Ok(None)
        }

        async fn stop(&mut self) -> anyhow::Result<Vec<Line>> {
            Ok(Vec::new())
        }

        fn refilter(&mut self, narrowed: Narrowed, text: String) -> anyhow::Result<()> {
            let kept = (narrowed.info.text, narrowed.is_nobody, text);
            self.asked.borrow_mut().push(kept);
            Ok(())
        }
    }

    fn found(addresses: &[&str]) -> Found {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
        Found {
            wanted: Wanted::pod("web/nginx-0").expect("a name"),
            addresses: addresses.collect(),
            by: FoundBy::Sources,
        }
    }

    /// It was at the first place, and is at each of the others in turn.
    fn followed(places: &[&[&str]]) -> Vec<(String, bool, String)> {
        let config = WatchConfig {
            found: vec![found(places[0])],
            ..WatchConfig::default()
        };
        let mut source = Kept::default();
        let mut following = Following::new(&config);
        for place in places {
            following
                .take(&config, vec![found(place)], &mut source)
                .expect("watched");
        }
        source.asked.into_inner()
    }

    #[test]
    fn a_pod_is_watched_where_it_is_and_each_change_is_told_once() {
        let told = followed(&[
            &["10.0.0.5"],
            &["10.0.0.5", "10.0.0.9"],
            &["10.0.0.9"],
            &["10.0.0.9"],
            &[],
            &["10.0.0.7"],
        ]);
        let watched = |text: &str, is_nobody, why: &str| (text.to_owned(), is_nobody, why.to_owned());
        assert_eq!(
            told,
            [
                watched(
                    "host 10.0.0.5 or 10.0.0.9",
                    false,
                    "pod web/nginx-0 is 10.0.0.5 and 10.0.0.9 now, and was 10.0.0.5"
                ),
                watched(
                    "host 10.0.0.9",
                    false,
                    "pod web/nginx-0 is 10.0.0.9 now, and was 10.0.0.5 and 10.0.0.9"
                ),
                watched(
                    "pod web/nginx-0",
                    true,
                    "pod web/nginx-0 is 10.0.0.9 no more, and has no address now"
                ),
                watched("host 10.0.0.7", false, "pod web/nginx-0 is 10.0.0.7 now"),
            ]
        );
    }

    #[test]
    fn more_addresses_than_can_be_watched_are_watched_as_before() {
        let many: Vec<String> = (0..17).map(|number| format!("10.0.0.{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(followed(&[&["10.0.0.5"], &many]).is_empty());
    }
}
