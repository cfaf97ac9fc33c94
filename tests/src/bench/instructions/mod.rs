//! Pieces of observer's work in user space, each done once so that its instructions can be counted: `cargo xtask bench
//! instructions` runs this under callgrind, which counts what happens in `counted`.

mod answers;
mod kernel;
mod rules;

/// A piece of work.
struct Job {
    name: String,
    /// Done twice: what is made once for all is made the first time.
    work: Box<dyn FnMut()>,
}

impl Job {
    fn new(name: impl Into<String>, work: impl FnMut() + 'static) -> Self {
        Self {
            name: name.into(),
            work: Box::new(work),
        }
    }
}

/// Does everything, and prints what was done, in the order in which callgrind wrote its counts.
pub fn run() {
    let jobs = [kernel::jobs, rules::jobs, answers::jobs];
    for mut job in jobs.into_iter().flat_map(|jobs| jobs()) {
        (job.work)();
        counted(&mut job.work);
        println!("{}", job.name);
    }
}

/// What callgrind counts; it knows the function by this name.
// SAFETY: no other function has this name.
#[unsafe(export_name = "observer_counted")]
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}
