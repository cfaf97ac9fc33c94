//! The thread that talks to the collector: it makes requests of records, and delivers them one after the other, the oldest first. While
//! it waits for an answer, or for the time to try again, it goes on to take what comes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::collector::Found;
use super::delivery::Delivered;
use super::outbox::{Outbox, Parcel};
use super::post::Answer;
use super::{GRACE, Message, encode};

/// So many records go in one request.
const MAX_RECORDS: usize = 512;
/// A request is no longer than about this.
const MAX_BYTES: usize = 1 << 20;
/// A record waits for others no longer than this.
const GATHER: Duration = Duration::from_secs(1);
/// After the first failure it is tried again after this long; then after twice as long, and so on up to the other.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);
const LOGS: &str = "/v1/logs";
const METRICS: &str = "/v1/metrics";

type Posting = Pin<Box<dyn Future<Output = (What, Answer)>>>;

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The oldest of the outbox.
    Logs,
    Metrics,
}

pub(super) struct Worker {
    endpoint: Found,
    resource: Value,
    outbox: Outbox,
    /// Records that are gathered.
    records: Vec<String>,
    bytes: usize,
    /// When they go, whether others come or not.
    due: Option<Instant>,
    /// The newest metrics.
    totals: Option<Vec<u8>>,
    /// Not before this.
    next_try: Instant,
    wait: Duration,
    /// Whether it was said that nothing arrives.
    is_down: bool,
    delivered: Delivered,
    /// Records for which the queue had no place.
    lost: Arc<AtomicU64>,
}

impl Worker {
    pub(super) fn new(endpoint: Found, outbox: Outbox, resource: Value, lost: Arc<AtomicU64>) -> Self {
        Self {
            endpoint,
            resource,
            outbox,
            records: Vec::new(),
            bytes: 0,
            due: None,
            totals: None,
            // Moved forward when something fails.
            next_try: Instant::now(),
            wait: FIRST_WAIT,
            is_down: false,
            delivered: Delivered::default(),
            lost,
        }
    }

    /// Delivers what comes until nobody sends any more, and then what is left, for a while.
    pub(super) async fn run(mut self, mut messages: Receiver<Message>) -> Delivered {
        let mut posting: Option<Posting> = None;
        loop {
            if posting.is_none() {
                posting = self.next();
            }
            let (due, next_try) = (self.due, self.next_try);
            let is_waiting = posting.is_none() && self.has_some();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                (what, answer) = answered(&mut posting) => {
                    posting = None;
                    self.answered(what, answer);
                }
                () = at(due) => self.seal(),
                () = at(is_waiting.then_some(next_try)) => {}
            }
        }
        self.end(posting).await
    }

    async fn end(mut self, mut posting: Option<Posting>) -> Delivered {
        self.seal();
        let deadline = Instant::now() + GRACE;
        // Once more at once, whatever it was waiting for.
        self.next_try = Instant::now();
        loop {
            if posting.is_none() {
                posting = self.next();
            }
            if posting.is_none() {
                break;
            }
            let Ok((what, answer)) = timeout_at(deadline, answered(&mut posting)).await else {
                break;
            };
            posting = None;
            let is_later = matches!(answer, Answer::Later(..));
            self.answered(what, answer);
            if is_later {
                break;
            }
        }
        let (kept, lost) = self.outbox.close();
        self.delivered.kept = kept;
        self.delivered.lost += lost + self.lost.load(Ordering::Relaxed);
        self.delivered
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Record(record) => {
                if self.records.is_empty() {
                    self.due = Some(Instant::now() + GATHER);
                }
                self.bytes += record.len();
                self.records.push(record);
                if self.records.len() >= MAX_RECORDS || self.bytes >= MAX_BYTES {
                    self.seal();
                }
            }
            Message::Totals(body) => self.totals = Some(body),
        }
    }

    /// Makes a request of what is gathered.
    fn seal(&mut self) {
        self.due = None;
        self.bytes = 0;
        if self.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let parcel = Parcel {
            body: encode::logs(&self.resource, &records),
            records: records.len() as u32,
        };
        if let Err(parcel) = self.outbox.push(parcel) {
            self.delivered.lost += u64::from(parcel.records);
        }
    }

    fn has_some(&mut self) -> bool {
        self.totals.is_some() || self.outbox.first().is_some()
    }

    /// The next request, if there is one and it is time.
    fn next(&mut self) -> Option<Posting> {
        if Instant::now() < self.next_try {
            return None;
        }
        let (what, path, body) = match self.totals.take() {
            Some(body) => (What::Metrics, METRICS, body),
            None => (What::Logs, LOGS, self.outbox.first()?.body.clone()),
        };
        let endpoint = self.endpoint.clone();
        Some(Box::pin(async move { (what, endpoint.post(path, body).await) }))
    }

    fn answered(&mut self, what: What, answer: Answer) {
        let records = match what {
            What::Logs => self.outbox.first().map_or(0, |parcel| u64::from(parcel.records)),
            What::Metrics => 0,
        };
        match answer {
            Answer::Taken { refused } => {
                let refused = refused.min(records);
                self.delivered.records += records - refused;
                self.delivered.refused += refused;
                self.up();
            }
            Answer::Refused(status) => {
                log::warn!("--otlp: the collector answers {status}");
                self.delivered.refused += records;
            }
            Answer::Later(why, wait) => {
                self.down(&why);
                self.next_try = Instant::now() + wait.unwrap_or(self.wait);
                self.wait = (self.wait * 2).min(LAST_WAIT);
                // Metrics that did not arrive are superseded by the next.
                return;
            }
        }
        self.wait = FIRST_WAIT;
        if what == What::Logs {
            self.outbox.pop();
        }
    }

    fn up(&mut self) {
        if std::mem::take(&mut self.is_down) {
            crate::report::say("--otlp: the collector takes records again");
        }
    }

    fn down(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_down, true) {
            crate::report::say(&format!("--otlp: {why}; records are kept and sent later"));
        }
    }
}

async fn answered(posting: &mut Option<Posting>) -> (What, Answer) {
    match posting {
        Some(posting) => posting.await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
