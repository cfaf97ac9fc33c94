//! Probes that are no longer wanted, taken off beside everything else: the kernel waits there until no task runs in what it removes
//! (`synchronize_rcu_tasks()`), and where a real-time task keeps a processor to itself that can be minutes.

use std::any::Any;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// A link that takes its program off when it is dropped.
type Link = Box<dyn Any + Send>;

/// Who takes them off. One at a time: the kernel does no two at once either.
#[derive(Default)]
pub(super) struct Retired(Option<Sender<Link>>);

impl Retired {
    /// Takes it off, soon. Its program must do nothing from now on by itself: it may still run for a while.
    pub(super) fn take(&mut self, link: impl Any + Send) {
        let mut link: Link = Box::new(link);
        if let Some(sender) = &self.0 {
            match sender.send(link) {
                Ok(()) => return,
                Err(back) => link = back.0,
            }
        }
        let (sender, links) = channel();
        let thread = thread::Builder::new().name("retired".to_owned());
        if thread
            .spawn(move || links.into_iter().for_each(drop::<Link>))
            .is_ok()
        {
            // Only fails if the thread has ended, and then the link is dropped here.
            drop(sender.send(link));
            self.0 = Some(sender);
        }
        // Without a thread it is dropped here and now.
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Slow(mpsc::Receiver<()>, mpsc::Sender<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            // Until the test lets it go on, or has ended.
            let _ = self.0.recv();
            let _ = self.1.send(());
        }
    }

    #[test]
    fn what_takes_long_is_not_waited_for() {
        let mut retired = Retired::default();
        let (done, is_done) = mpsc::channel();
        let mut gates = Vec::new();
        for _ in 0..3 {
            let (gate, wait) = mpsc::channel();
            retired.take(Slow(wait, done.clone()));
            gates.push(gate);
        }
        assert!(
            is_done.try_recv().is_err(),
            "all of them wait, and this thread does not"
        );
        for gate in gates {
            gate.send(()).expect("it waits");
            is_done.recv().expect("it is dropped");
        }
    }
}
