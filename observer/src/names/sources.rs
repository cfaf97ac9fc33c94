//! The thread that asks the sources. It gives up every capability, and may connect but run nothing, before it says its first word; the
//! rest of observer cannot connect.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::cri::Cri;
use super::feed::{Feed, Naming};
use super::kube::{self, Access, Scope};
use crate::privilege::{Task, thread};
use crate::report::record::NamesFrom;

/// What is asked.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The socket of the container runtime.
    pub(crate) cri: Option<PathBuf>,
    /// How the API is reached.
    pub(crate) api: Option<Access>,
    /// Which pods the API is asked for.
    pub(crate) scope: Scope,
    /// This node, as the cluster calls it.
    pub(crate) node: Option<Box<str>>,
}

impl Sources {
    /// Begins to ask; to be called while this process still has one thread. Without a source nothing has a name.
    ///
    /// # Errors
    /// There is no thread to be had, or it cannot give up its rights.
    pub(crate) fn start(self) -> Result<Naming> {
        if self.cri.is_none() && self.api.is_none() {
            return Ok(Naming::default());
        }
        let (feed, mut naming) = Naming::new();
        let cri = self.cri.as_ref().map(|_| NamesFrom::Cri);
        naming.set_sources(
            cri.into_iter()
                .chain(self.api.as_ref().map(|_| NamesFrom::Api))
                .collect(),
        );
        thread::begin("names", Task::Names, move || self.ask(feed)).context("names")?;
        Ok(naming)
    }

    /// Until nobody listens any more.
    async fn ask(self, feed: Feed) {
        tokio::select! {
            () = feed.closed() => {}
            () = self.ask_all(&feed) => {}
        }
    }

    async fn ask_all(self, feed: &Feed) {
        let node = self.node;
        let cri = async {
            if let Some(socket) = self.cri {
                Cri::new(socket, node.clone(), feed.clone()).run().await;
            }
        };
        let api = async {
            if let Some(access) = self.api {
                kube::run(access, self.scope, node.clone(), feed.clone()).await;
            }
        };
        tokio::join!(cri, api);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The numbers of this process's threads that ask.
    fn threads() -> Vec<std::ffi::OsString> {
        let all = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
        let asks =
            |path: PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "names\n");
        all.filter(|thread| asks(thread.path()))
            .map(|thread| thread.file_name())
            .collect()
    }

    #[test]
    fn the_thread_ends_with_whoever_listens() {
        let sources = Sources {
            cri: Some("/proc/nonexistent".into()),
            ..Sources::default()
        };
        let naming = sources.start().expect("begun");
        assert_eq!(threads().len(), 1);
        drop(naming);
        let begun = Instant::now();
        while !threads().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
