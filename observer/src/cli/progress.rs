//! What a person sees who waits longer than a second: one line on the terminal, which is gone when the wait is over.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::report::{escape, takes_back};

/// Shorter waits are nothing to speak of.
const FIRST: Duration = Duration::from_secs(1);
/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(500);
/// As many characters are shown of what is being done: a line that wraps could not be taken back.
const MOST_SHOWN: usize = 60;
/// Begin of the line, and nothing on it.
const CLEARED: &[u8] = b"\r\x1b[K";

/// Says what is being done for as long as it lives. Where standard error is no terminal that can take a line back nothing is said.
pub struct Progress {
    doing: Arc<Doing>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Doing {
    what: Mutex<What>,
    changed: Condvar,
}

#[derive(Default)]
struct What {
    text: String,
    is_over: bool,
}

impl Progress {
    /// Begins with something that is being done: `reading the rules in force`.
    pub fn new(what: &str) -> Self {
        if takes_back(&io::stderr()) {
            Self::on(what, FIRST, io::stderr())
        } else {
            Self {
                doing: Arc::default(),
                thread: None,
            }
        }
    }

    fn on(what: &str, first: Duration, mut out: impl Write + Send + 'static) -> Self {
        let doing = Arc::new(Doing::default());
        doing.lock().text = shown(what);
        let theirs = Arc::clone(&doing);
        Self {
            doing,
            // Without another thread it is done as well, and nothing is said.
            thread: thread::Builder::new()
                .name("progress".to_owned())
                .spawn(move || theirs.say(first, &mut out))
                .ok(),
        }
    }

    /// Something else is being done.
    pub fn now(&self, what: &str) {
        self.doing.lock().text = shown(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.doing.lock().is_over = true;
        self.doing.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only writes.
            let _ = thread.join();
        }
    }
}

impl Doing {
    fn lock(&self) -> MutexGuard<'_, What> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, first: Duration, out: &mut impl Write) {
        let begun = Instant::now();
        let mut pause = first;
        let mut was_said = false;
        let mut what = self.lock();
        while !what.is_over {
            let waited = self.changed.wait_timeout_while(what, pause, |what| !what.is_over);
            what = waited.unwrap_or_else(PoisonError::into_inner).0;
            if what.is_over {
                break;
            }
            was_said = true;
            let line = format!("{} … {} s", what.text, begun.elapsed().as_secs());
            let written = out
                .write_all(CLEARED)
                .and_then(|()| out.write_all(line.as_bytes()))
                .and_then(|()| out.flush());
            if written.is_err() {
                return;
            }
            pause = EVERY;
        }
        if was_said {
            // The terminal may be gone.
            let _ = out.write_all(CLEARED).and_then(|()| out.flush());
        }
    }
}

fn shown(what: &str) -> String {
    let what = escape(what);
    match what.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}…", &what[..at]),
        None => what.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Sent(Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_done_is_said_and_taken_back() {
        let (sender, receiver) = channel();
        let progress = Progress::on("reading \x1b[2J a\nfile", Duration::ZERO, Sent(sender));
        let cleared = receiver.recv().expect("begins");
        let line = String::from_utf8(receiver.recv().expect("says")).expect("text");
        assert_eq!(cleared, CLEARED);
        assert!(line.starts_with("reading ") && line.ends_with("… 0 s"), "{line}");
        assert!(!line.contains(['\x1b', '\n']), "{line:?}");
        progress.now(&"x".repeat(500));
        drop(progress);
        let rest: Vec<Vec<u8>> = receiver.iter().collect();
        assert_eq!(rest.last().map(Vec::as_slice), Some(CLEARED));
        assert!(rest.iter().all(|bytes| bytes.len() < 100), "no line wraps");
    }

    #[test]
    fn of_a_short_wait_nothing_is_said() {
        let (sender, receiver) = channel();
        drop(Progress::on("reading", Duration::from_secs(3600), Sent(sender)));
        assert_eq!(receiver.iter().count(), 0);
    }
}
