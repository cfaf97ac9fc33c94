//! Whether the API server answers, over all kinds of objects: that it does not is said once, and so is that it does again.

use std::cell::{Cell, RefCell};

use crate::names::change::{Change, Kind};
use crate::names::feed::{Closed, Feed};
use crate::report::record::NamesFrom;

/// Of one server.
pub(super) struct Health {
    /// Its address, for what is said.
    server: String,
    /// Kinds that it does not answer about.
    down: RefCell<Vec<Kind>>,
    /// Kinds that may not be asked about; said.
    forbidden: RefCell<Vec<Kind>>,
    is_said: Cell<bool>,
}

impl Health {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            down: RefCell::default(),
            forbidden: RefCell::default(),
            is_said: Cell::new(false),
        }
    }

    pub(super) async fn is_up(&self, kind: Kind, feed: &Feed) -> Result<(), Closed> {
        self.down.borrow_mut().retain(|down| *down != kind);
        if !self.down.borrow().is_empty() {
            return Ok(());
        }
        if self.is_said.replace(false) {
            let text = format!("the API server {} answers now", self.server);
            feed.tell(Change::Say(text)).await?;
        }
        feed.tell(Change::Up(NamesFrom::Api)).await
    }

    pub(super) async fn is_down(&self, kind: Kind, error: &anyhow::Error, feed: &Feed) -> Result<(), Closed> {
        if !self.down.borrow().contains(&kind) {
            self.down.borrow_mut().push(kind);
        }
        if !self.is_said.replace(true) {
            let text = format!(
                "the API server {} does not answer as it should ({error:#}): names are shown as they were known before",
                self.server
            );
            feed.tell(Change::Say(text)).await?;
        }
        feed.tell(Change::Down(NamesFrom::Api)).await
    }

    /// One kind is refused: the others go on.
    pub(super) async fn is_forbidden(&self, kind: Kind, plural: &str, feed: &Feed) -> Result<(), Closed> {
        if self.forbidden.borrow().contains(&kind) {
            return Ok(());
        }
        self.forbidden.borrow_mut().push(kind);
        let text = format!(
            "the API server {} does not let us see {plural}: they have no names; a ClusterRole with get, list and watch on \
             {plural} lets us",
            self.server
        );
        feed.tell(Change::Say(text)).await
    }
}
