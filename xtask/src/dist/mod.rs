//! `cargo xtask dist`: what a release consists of, below `target/dist`: the binary, packages for Debian and Red Hat's family, an image
//! for containers, what is linked in and under which licences, and the checksums of it all.
//!
//! The same program packed again gives the same bytes: every time that is written anywhere is that of the commit.

mod check;
mod deb;
mod image;
mod linked;
mod moment;
mod notices;
mod payload;
mod rpm;
mod sbom;
mod sums;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{self, run_quietly};
use crate::processor::Processor;
use crate::static_elf;
use crate::workspace::{self, Profile};
use crate::{build, lint, setup};
use linked::Linked;
use moment::Moment;
use payload::Payload;

/// The version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The options of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only for this processor; may be given more than once
    #[arg(long = "arch", value_enum, value_name = "PROCESSOR")]
    processors: Vec<Processor>,
    /// Check what was made as well: lintian, rpm, the image read back, licences; made twice it must be the same bytes
    #[arg(long)]
    check: bool,
}

/// Builds and packs everything.
pub fn main(arguments: &Arguments) -> Result<()> {
    let processors: Vec<Processor> = Processor::ALL
        .into_iter()
        .filter(|one| arguments.processors.is_empty() || arguments.processors.contains(one))
        .collect();
    // Its own program says what is in its manual.
    build::observer(Profile::Release, Processor::here())?;
    for processor in processors.iter().filter(|one| !one.is_here()) {
        build::observer(Profile::Release, *processor)?;
    }
    let made = pack(&processors)?;
    if arguments.check {
        made.check()?;
        lint::licences()?;
    }
    println!("{}", made.dir.display());
    print!("{}", made.sums);
    Ok(())
}

/// What was made.
pub struct Made {
    dir: PathBuf,
    sums: String,
    processors: Vec<Processor>,
}

impl Made {
    /// The package for Debian, of this machine's processor.
    pub fn deb(&self) -> PathBuf {
        self.dir.join(deb::file_name(Processor::here()))
    }

    /// The package for Red Hat's family and SUSE, likewise.
    pub fn rpm(&self) -> PathBuf {
        self.dir.join(rpm::file_name(Processor::here()))
    }

    /// Looks at everything with tools that others wrote, and makes it once more: it must be the same.
    pub fn check(&self) -> Result<()> {
        check::all(&self.dir, &self.processors)?;
        check::same(&self.sums, &pack(&self.processors)?.sums)
    }
}

/// Packs the release binaries of these processors that are there, which takes seconds.
pub fn pack(processors: &[Processor]) -> Result<Made> {
    setup::dist()?;
    let dir = workspace::target().join("dist");
    fresh(&dir)?;
    let work = workspace::target().join("dist-work");
    fresh(&work)?;
    let moment = Moment::of_the_tree()?;
    let own = workspace::binary("observer", Profile::Release, Processor::here());
    let mut payloads = Vec::new();
    for processor in processors {
        let work = work.join(processor.name());
        fresh(&work)?;
        let binary = stripped(*processor, &work)?;
        let linked = Linked::find(*processor)?;
        let notices = notices::text(&linked)?;
        let payload = Payload::gather(*processor, &binary, &own, &notices, &moment)?;

        let name = |rest: &str| dir.join(format!("observer-{VERSION}-{processor}{rest}"));
        fs::copy(&binary, name("")).context("cannot copy the binary")?;
        write(&name("-third-party.txt"), notices.as_bytes())?;
        write(&name(".cdx.json"), sbom::text(&linked, &moment)?.as_bytes())?;
        deb::build(&payload, &work.join("deb"), &dir, &moment)?;
        rpm::build(&payload, &work.join("rpm"), &dir, &moment)?;
        payloads.push(payload);
    }
    image::build(&payloads, &work.join("image"), &dir, &moment)?;
    let sums = sums::write(&dir)?;
    Ok(Made {
        dir,
        sums,
        processors: processors.to_vec(),
    })
}

/// The binary without its symbols, which are half a megabyte and serve nobody who has no debugger.
fn stripped(processor: Processor, work: &Path) -> Result<PathBuf> {
    let built = workspace::binary("observer", Profile::Release, processor);
    let path = work.join("observer");
    let mut strip = process::neutral(&processor.tool("strip"));
    strip.args([
        "--strip-all",
        "--remove-section=.comment",
        "--remove-section=.note",
        "-o",
    ]);
    run_quietly(strip.arg(&path).arg(&built)).context("the binary cannot be stripped")?;
    static_elf::check(&path).with_context(|| format!("{} would not start everywhere", path.display()))?;
    Ok(path)
}

fn fresh(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
