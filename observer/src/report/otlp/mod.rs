//! `--otlp URL`: every line as a log record and the run's totals as metrics, to an OpenTelemetry Collector, by OTLP over HTTP with
//! JSON (<https://opentelemetry.io/docs/specs/otlp/>). A thread of its own talks to it; what a line costs here is its JSON and a place
//! in a queue of bounded length. What does not fit is counted, and said.

mod collector;
mod delivery;
mod encode;
mod outbox;
mod post;
mod spool;
mod totals;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use super::record::{Line, Time};
use super::{Report, Running};
use crate::privilege::{Task, thread};
pub use collector::{Credentials, Endpoint};
use delivery::Delivered;
use outbox::Outbox;
pub use post::read;
use spool::Spool;
use totals::Totals;

/// So many records wait for the thread.
const MAX_WAITING: usize = 4096;
/// How long the end waits for the collector.
const GRACE: Duration = Duration::from_secs(5);

/// Where to, and what keeps it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The collector.
    pub endpoint: Endpoint,
    /// Files for the way to it.
    pub credentials: Credentials,
    /// The file that keeps what cannot be delivered.
    pub buffer: Option<PathBuf>,
    /// How long it gets at most, in bytes.
    pub buffer_bytes: u64,
}

/// Hands lines to the thread that delivers them.
pub struct Otlp {
    /// `None` at the end.
    sender: Option<mpsc::Sender<Message>>,
    /// Records for which there was no place in the queue.
    lost: Arc<AtomicU64>,
    /// What the thread says when it has ended.
    ended: blocking::Receiver<Delivered>,
    totals: Totals,
}

/// What the thread is given.
#[derive(Debug)]
enum Message {
    /// A log record, as JSON.
    Record(String),
    /// All metrics as they are now, as the body of a request: they replace those before.
    Totals(Vec<u8>),
}

impl Otlp {
    /// Begins; to be called while this process still has one thread, and all its rights: the file is opened with them. The thread
    /// gives up every capability before anything is sent, and may connect but run nothing.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn start(config: &OtlpConfig, node: &str) -> Result<Self> {
        let spool = config
            .buffer
            .as_deref()
            .map(|path| Spool::open(path, config.buffer_bytes))
            .transpose()?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let (end, ended) = blocking::channel();
        let lost = Arc::new(AtomicU64::new(0));
        let resource = encode::resource(node);
        let worker = worker::Worker::new(
            config.endpoint.found(&config.credentials).context("--otlp")?,
            Outbox::new(spool),
            resource.clone(),
            lost.clone(),
        );
        let work = async move || {
            // At the end nobody may be waiting any more.
            let _ = end.send(worker.run(receiver).await);
        };
        thread::begin("otlp", Task::Export, work).context("--otlp")?;
        Ok(Self {
            sender: Some(sender),
            lost,
            ended,
            totals: Totals::new(resource),
        })
    }

    fn send(&self, message: Message) {
        let Some(sender) = &self.sender else { return };
        let is_record = matches!(message, Message::Record(_));
        if sender.try_send(message).is_err() && is_record {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Report for Otlp {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.totals.line(line);
        self.send(Message::Record(encode::record(line, Time::now())));
        Ok(())
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        if let Some(body) = self.totals.due(now) {
            self.send(Message::Totals(body));
        }
        Ok(())
    }

    fn running(&mut self, running: &Running) {
        self.totals.running(running);
    }

    fn finish(&mut self) -> io::Result<()> {
        self.send(Message::Totals(self.totals.body(Time::now())));
        // The thread delivers what it has, and ends.
        self.sender = None;
        let delivered = self.ended.recv_timeout(GRACE * 2);
        let text = match delivered {
            Ok(delivered) => delivered.words(),
            Err(_) => {
                Some("the collector did not answer, and how much of it arrived is not known".to_owned())
            }
        };
        match text {
            Some(text) => Err(io::Error::other(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
