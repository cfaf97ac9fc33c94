//! From the sources' thread to the loop: changes through a channel of bounded length. The sources wait when it is full; the loop takes
//! what is there and waits for nothing.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::change::{Change, Who};
use super::table::Table;
use super::wanted::Wanted;
use crate::report::record::{Event, Flow, Line, Named, Names, NamesFrom, Netns, Packet, Time};

/// So many changes wait for the loop.
const MAX_WAITING: usize = 1024;
/// So many are taken before a line is looked at again.
const MAX_AT_ONCE: usize = 256;
/// So many addresses without a name are remembered, for that the source is asked once for each.
const MAX_UNKNOWN: usize = 4096;
/// And for so long, in nanoseconds.
const UNKNOWN_NS: u64 = 30_000_000_000;

/// The sources' end.
#[derive(Clone)]
pub(crate) struct Feed {
    changes: mpsc::Sender<Change>,
    /// An address without a name was met.
    pub(crate) unknown: Arc<Notify>,
}

/// The loop is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Feed {
    /// Tells a change, and waits as long as the loop has too many to take.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(crate) async fn tell(&self, change: Change) -> Result<(), Closed> {
        self.changes.send(change).await.map_err(|_| Closed)
    }

    /// Waits until nobody listens any more.
    pub(super) async fn closed(&self) {
        self.changes.closed().await;
    }

    #[cfg(test)]
    pub(super) fn try_tell(&self, change: Change) {
        self.changes.try_send(change).expect("there is room");
    }
}

/// The loop's end: gives lines their names.
#[derive(Default)]
pub struct Naming {
    table: Table,
    /// `None` where there is no source.
    changes: Option<mpsc::Receiver<Change>>,
    unknown: Arc<Notify>,
    /// Addresses that were asked for, and since when.
    asked: HashSet<IpAddr>,
    asked_since: Time,
    /// What is to be said on standard error.
    to_say: Vec<String>,
    /// Who is asked.
    sources: Vec<NamesFrom>,
    /// What is looked up by its name.
    pub(super) wanted: Vec<Wanted>,
    /// A source has told of one of these since.
    pub(super) has_moved: bool,
}

impl Naming {
    /// Both ends.
    pub(crate) fn new() -> (Feed, Self) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let naming = Self {
            changes: Some(receiver),
            ..Self::default()
        };
        let feed = Feed {
            changes: sender,
            unknown: naming.unknown.clone(),
        };
        (feed, naming)
    }

    /// Who will tell changes.
    pub(super) fn set_sources(&mut self, sources: Vec<NamesFrom>) {
        self.sources = sources;
    }

    pub(super) fn sources(&self) -> &[NamesFrom] {
        &self.sources
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Waits for changes and takes them; for ever where there is no source. May be dropped while it waits.
    pub(crate) async fn changed(&mut self) {
        let Some(changes) = &mut self.changes else {
            return std::future::pending().await;
        };
        let mut batch = Vec::new();
        if changes.recv_many(&mut batch, MAX_AT_ONCE).await == 0 {
            self.changes = None;
        }
        self.take(batch);
    }

    /// What is to be said on standard error, a line each.
    pub(crate) fn unsaid(&mut self) -> Vec<String> {
        std::mem::take(&mut self.to_say)
    }

    /// Gives the line of a packet the names that were in force at its time.
    pub(crate) fn name(&mut self, line: &mut Line) {
        self.catch_up();
        let then = line.time;
        match &mut line.event {
            Event::Drop(drop) => {
                drop.names = self.names(&drop.packet, drop.flow.as_ref(), drop.netns.as_ref(), then);
            }
            Event::Path(path) => {
                path.names = self.names(&path.packet, path.flow.as_ref(), path.netns.as_ref(), then);
            }
            _ => {}
        }
    }

    pub(super) fn catch_up(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let batch: Vec<Change> = std::iter::from_fn(|| changes.try_recv().ok())
            .take(MAX_AT_ONCE)
            .collect();
        self.take(batch);
    }

    fn take(&mut self, batch: Vec<Change>) {
        let now = Time::now();
        for change in batch {
            self.has_moved |= self.moves(&change);
            match change {
                Change::Say(text) => self.to_say.push(text),
                change => self.table.take(change, now),
            }
        }
        if self.table.has_become_full() {
            let text =
                "there are more pods, services and nodes than names are kept of: some addresses stay without";
            self.to_say.push(text.to_owned());
        }
    }

    /// Whether a change is about one of those that are looked up by their names.
    fn moves(&self, change: &Change) -> bool {
        let is_wanted = |who: &Who| self.wanted.iter().any(|wanted| wanted.is(who));
        match change {
            Change::Has(owner) => is_wanted(&owner.who),
            Change::Gone(from, kind, uid) => self.table.who(*from, *kind, uid).is_some_and(is_wanted),
            // Whoever was not in it is gone.
            Change::Listed(..) => !self.wanted.is_empty(),
            Change::List(..) | Change::Up(_) | Change::Down(_) | Change::Say(_) => false,
        }
    }

    fn names(
        &mut self,
        packet: &Packet,
        flow: Option<&Flow>,
        netns: Option<&Netns>,
        then: Time,
    ) -> Option<Box<Names>> {
        let original = flow.map(|flow| &flow.original);
        let other = |address: Option<IpAddr>, own: Option<IpAddr>| address.filter(|_| address != own);
        let original_src = other(original.map(|tuple| tuple.src), packet.src);
        let original_dst = other(original.map(|tuple| tuple.dst), packet.dst);
        let names = Names {
            src: self.of_address(packet.src, then),
            dst: self.of_address(packet.dst, then),
            original_src: self.of_address(original_src, then),
            original_dst: self.of_address(original_dst, then),
            netns: netns.and_then(|netns| self.table.of_netns(netns.inode, then)),
        };
        (!names.is_empty()).then(|| Box::new(names))
    }

    fn of_address(&mut self, address: Option<IpAddr>, then: Time) -> Option<Named> {
        let address = address?;
        let named = self.table.of_address(address, then);
        if named.is_none() && self.changes.is_some() && self.is_new(address, then) {
            self.unknown.notify_one();
        }
        named
    }

    /// Whether the address was not asked for lately.
    fn is_new(&mut self, address: IpAddr, then: Time) -> bool {
        if then.nanos_since(self.asked_since) > UNKNOWN_NS {
            self.asked.clear();
            self.asked_since = then;
        }
        self.asked.len() < MAX_UNKNOWN && self.asked.insert(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::change::{Kind, Owner};
    use crate::names::name::ObjectName;
    use crate::report::record::NamesFrom;
    use crate::report::record::samples::{drop_line, pass_line, policy_drop};

    fn pod(name: &str, address: &str) -> Change {
        Change::Has(Box::new(Owner {
            from: NamesFrom::Api,
            uid: name.into(),
            who: Who::Pod {
                name: ObjectName::parse(name).expect("a name"),
                node: None,
                containers: Vec::new(),
            },
            addresses: vec![address.parse().expect("an address")],
            netns: None,
        }))
    }

    fn tell(feed: &Feed, change: Change) {
        feed.try_tell(change);
    }

    fn named(naming: &mut Naming) -> Option<Box<Names>> {
        let mut line = drop_line(policy_drop());
        naming.name(&mut line);
        line.as_drop().expect("a drop").names.clone()
    }

    #[test]
    fn a_drop_and_a_packet_that_lives_get_what_was_told_before() {
        let (feed, mut naming) = Naming::new();
        tell(&feed, Change::List(NamesFrom::Api, Kind::Pod));
        tell(&feed, pod("nginx-test/nginx-0", "10.224.2.16"));
        tell(&feed, pod("default/client", "10.0.0.10"));
        let names = named(&mut naming).expect("names");
        let pod_of = |named: &Option<Named>| named.as_ref().and_then(|named| named.pod.clone());
        assert_eq!(pod_of(&names.dst).as_deref(), Some("nginx-test/nginx-0"));
        assert_eq!(pod_of(&names.original_src).as_deref(), Some("default/client"));
        assert_eq!((names.src, names.original_dst, names.netns), (None, None, None));
        let mut line = pass_line();
        naming.name(&mut line);
        let Event::Path(pass) = &line.event else {
            panic!("a path")
        };
        let names = pass.names.as_ref().expect("names");
        assert_eq!(pod_of(&names.src).as_deref(), Some("default/client"));
        assert_eq!(names.original_src, None, "it is the packet's own");
    }

    #[test]
    fn without_a_source_or_a_name_a_line_has_none() {
        assert_eq!(named(&mut Naming::default()), None);
        let (feed, mut naming) = Naming::new();
        tell(&feed, pod("default/other", "10.0.0.11"));
        assert_eq!(named(&mut naming), None);
        drop(feed);
        assert_eq!(named(&mut naming), None);
    }

    #[test]
    fn more_changes_than_there_is_room_for_make_the_source_wait_and_not_the_line() {
        let (feed, mut naming) = Naming::new();
        for _ in 0..MAX_WAITING {
            tell(&feed, pod("nginx-test/nginx-0", "10.224.2.16"));
        }
        assert!(feed.changes.try_send(Change::Up(NamesFrom::Api)).is_err());
        assert!(named(&mut naming).is_some());
        assert!(feed.changes.try_send(Change::Up(NamesFrom::Api)).is_ok());
    }

    #[test]
    fn an_address_without_a_name_is_asked_for_once() {
        let (_feed, mut naming) = Naming::new();
        let address = "10.0.0.99".parse().expect("an address");
        assert!(naming.is_new(address, Time(UNKNOWN_NS * 10)));
        assert!(!naming.is_new(address, Time(UNKNOWN_NS * 10 + 1)));
        assert!(naming.is_new(address, Time(UNKNOWN_NS * 11 + 1)));
    }

    #[test]
    fn what_a_source_says_is_kept_to_be_said() {
        let (feed, mut naming) = Naming::new();
        tell(&feed, Change::Say("names: gone".into()));
        named(&mut naming);
        assert_eq!(naming.unsaid(), ["names: gone"]);
        assert!(naming.unsaid().is_empty());
    }
}
