//! A thread that does one task beside the others, with the rights of that task alone.

use std::sync::mpsc;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};

use super::{Service, Task, confine};

/// Begins a thread that gives up what the task does not need, and then runs what `work` makes, to its end. When this returns it has given it
/// up.
///
/// # Errors
/// There is no thread to be had, or it cannot give up its rights.
pub fn begin<F: Future<Output = ()>>(
    name: &str,
    task: Task,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<()> {
    let (ready, is_ready) = mpsc::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let (runtime, answer) = match confined(task) {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Who waits for it is there.
            let _ = ready.send(answer);
            if let Some(runtime) = runtime {
                runtime.block_on(work());
            }
        })
        .context("no thread")?;
    is_ready.recv().context("the thread has ended")?
}

/// The event loop of a thread that has no rights any more but those of its task.
fn confined(task: Task) -> Result<Runtime> {
    confine(task, Service::None).context("cannot give up capabilities")?;
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("no event loop")
}
