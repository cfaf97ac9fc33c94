//! One kind of object, listed and then watched: page by page, then event by event from the list's version on, again from the last version
//! that is known when a watch ends, and from a new list when the server no longer knows that version (410).

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::access::Access;
use super::health::Health;
use super::http::{Refused, get};
use super::lines::Lines;
use super::objects::{Metadata, Object};
use crate::names::change::{Change, Owner};
use crate::names::feed::{Closed, Feed};
use crate::report::record::NamesFrom;

/// So many objects are asked for at a time.
const PAGE: usize = 500;
/// A page with them is no longer: none of them is kept as it comes.
const MAX_PAGE_BYTES: usize = 64 << 20;
/// So many pages at most; more than there are names kept of.
const MAX_PAGES: usize = 250;
/// The server ends a watch after so many seconds.
const WATCH_SECONDS: u64 = 290;
/// A watch in which nothing comes for so long is dead.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 40);
/// Between two tries, first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A version or a place in a list is no longer.
const MAX_WORD_BYTES: usize = 8192;

/// Which objects, and who is told of them.
pub(super) struct Watch<'a> {
    pub(super) access: &'a Access,
    pub(super) feed: &'a Feed,
    pub(super) health: &'a Health,
    /// `fieldSelector=…`, ready for a query, or empty.
    pub(super) selector: String,
}

/// Why it went no further.
enum End {
    /// Nobody listens.
    Closed,
    /// The server does not know the version any more.
    Expired,
    /// The server or the connection.
    Failed(anyhow::Error),
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        let refused = error.downcast_ref::<Refused>();
        if refused.is_some_and(|refused| refused.0 == http::StatusCode::GONE) {
            return Self::Expired;
        }
        Self::Failed(error)
    }
}

#[derive(Deserialize)]
struct Page<O> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<O>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// An event without its object.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct With<O> {
    object: O,
}

/// What a bookmark has.
#[derive(Deserialize)]
struct Versioned {
    metadata: Metadata,
}

/// What an error has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Watch<'_> {
    /// Lists and watches until nobody listens.
    pub(super) async fn run<O: Object>(self) {
        let mut version = None;
        let mut wait = FIRST_WAIT;
        loop {
            let begun = Instant::now();
            match self.go_on::<O>(&mut version).await {
                Ok(()) => {}
                Err(End::Closed) => return,
                Err(End::Expired) => version = None,
                Err(End::Failed(error)) => {
                    // Whatever it was: a new list is right.
                    version = None;
                    if self.failed::<O>(&error).await.is_err() {
                        return;
                    }
                }
            }
            // A watch that goes its whole time ends as it should; what ends at once is not asked again at once.
            if begun.elapsed() > FIRST_WAIT * 10 {
                wait = FIRST_WAIT;
            }
            sleep(wait + jitter(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// A list, if there is no version to go on from, and a watch to its end.
    async fn go_on<O: Object>(&self, version: &mut Option<String>) -> Result<(), End> {
        if version.is_none() {
            *version = Some(self.list::<O>().await?);
            self.health.is_up(O::KIND, self.feed).await?;
        }
        self.watch::<O>(version).await
    }

    async fn list<O: Object>(&self) -> Result<String, End> {
        let mut place = String::new();
        self.feed.tell(Change::List(NamesFrom::Api, O::KIND)).await?;
        for _ in 0..MAX_PAGES {
            let path = self.path::<O>(&format!("limit={PAGE}&continue={}", escaped(&place)?));
            let body = get(self.access, &path).await?.whole(MAX_PAGE_BYTES).await?;
            let page: Page<O> = serde_json::from_slice(&body).context("the list is not understood")?;
            for object in page.items {
                if let Some(owner) = object.owner() {
                    self.feed.tell(Change::Has(Box::new(owner))).await?;
                }
            }
            place = page.metadata.next;
            if place.is_empty() {
                self.feed.tell(Change::Listed(NamesFrom::Api, O::KIND)).await?;
                return Ok(page.metadata.resource_version);
            }
        }
        Err(anyhow::anyhow!("the list has no end").into())
    }

    async fn watch<O: Object>(&self, version: &mut Option<String>) -> Result<(), End> {
        let from = escaped(version.as_deref().unwrap_or_default())?;
        let path = self.path::<O>(&format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={from}"
        ));
        let mut answer = get(self.access, &path).await?;
        self.health.is_up(O::KIND, self.feed).await?;
        let mut lines = Lines::default();
        while let Some(piece) = answer.piece(SILENCE).await? {
            lines.add(&piece)?;
            while let Some(line) = lines.next() {
                if let Some(newer) = self.event::<O>(&line).await? {
                    *version = Some(newer);
                }
            }
        }
        Ok(())
    }

    /// Tells what an event says, and returns its version.
    async fn event<O: Object>(&self, line: &[u8]) -> Result<Option<String>, End> {
        if line.is_empty() {
            return Ok(None);
        }
        let head: Head = parsed(line)?;
        match &*head.kind {
            "ADDED" | "MODIFIED" => {
                let object = parsed::<With<O>>(line)?.object;
                // What has ended has gone as far as names are concerned.
                let gone = || Some(Change::Gone(NamesFrom::Api, O::KIND, object.uid()?));
                let change = object.owner().map(|owner| Change::Has(Box::new(owner)));
                if let Some(change) = change.or_else(gone) {
                    self.feed.tell(change).await?;
                }
                Ok(Some(object.metadata().resource_version.clone()))
            }
            "DELETED" => {
                let object = parsed::<With<O>>(line)?.object;
                if let Some(uid) = object.uid() {
                    let gone = Change::Gone(NamesFrom::Api, O::KIND, uid);
                    self.feed.tell(gone).await?;
                }
                Ok(Some(object.metadata().resource_version.clone()))
            }
            "BOOKMARK" => {
                let bookmark = parsed::<With<Versioned>>(line)?.object;
                Ok(Some(bookmark.metadata.resource_version))
            }
            "ERROR" => {
                let code = parsed::<With<Status>>(line)?.object.code;
                if code == http::StatusCode::GONE.as_u16() {
                    return Err(End::Expired);
                }
                Err(anyhow::anyhow!("the watch ends with {code}").into())
            }
            _ => Ok(None),
        }
    }

    async fn failed<O: Object>(&self, error: &anyhow::Error) -> Result<(), Closed> {
        log::debug!("API: {}: {error:#}", O::PLURAL);
        let refused = error.downcast_ref::<Refused>().map(|refused| refused.0);
        if refused == Some(http::StatusCode::FORBIDDEN) {
            return self.health.is_forbidden(O::KIND, O::PLURAL, self.feed).await;
        }
        self.health.is_down(O::KIND, error, self.feed).await
    }

    fn path<O: Object>(&self, query: &str) -> String {
        format!("/api/v1/{}?{}&{query}", O::PLURAL, self.selector)
    }
}

/// The owners in a page, and in the lines of a watch.
pub(super) fn read<O: Object>(bytes: &[u8]) -> Vec<Owner> {
    let page = serde_json::from_slice::<Page<O>>(bytes);
    let mut objects = page.map(|page| page.items).unwrap_or_default();
    let mut lines = Lines::default();
    if lines.add(&Bytes::copy_from_slice(bytes)).is_ok() {
        let whole = std::iter::from_fn(|| lines.next());
        objects.extend(whole.filter_map(|line| Some(parsed::<With<O>>(&line).ok()?.object)));
    }
    objects.iter().filter_map(Object::owner).collect()
}

fn parsed<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).context("an event is not understood")
}

/// For a query: what the server said may have any characters.
pub(super) fn escaped(word: &str) -> Result<String> {
    if word.len() > MAX_WORD_BYTES {
        bail!("a version or a place in the list is too long");
    }
    let mut text = String::new();
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(text)
}

/// Up to half as much again: nodes that lost the same server do not come back to it at one moment.
fn jitter(wait: Duration) -> Duration {
    let parts = u64::from(crate::report::record::Time::now().subsec_nanos()) % 512;
    wait * (parts as u32) / 1024
}
