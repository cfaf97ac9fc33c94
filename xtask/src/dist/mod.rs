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
/// What the files are named after.
const MACHINE: &str = "x86_64";

/// The options of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Check what was made as well: lintian, rpm, the image read back, licences; made twice it must be the same bytes
    #[arg(long)]
    check: bool,
}

/// Builds and packs everything.
pub fn main(arguments: &Arguments) -> Result<()> {
    build::observer(Profile::Release, Processor::here())?;
    let made = pack()?;
    if arguments.check {
        made.check()?;
        lint::licences()?;
    }
    println!("{}", made.dir.display());
    print!("{}", made.sums);
    println!("aarch64 is left out: see docs/install.md");
    Ok(())
}

/// What was made.
pub struct Made {
    dir: PathBuf,
    sums: String,
}

impl Made {
    /// The package for Debian.
    pub fn deb(&self) -> PathBuf {
        self.dir.join(deb::file_name())
    }

    /// The package for Red Hat's family and SUSE.
    pub fn rpm(&self) -> PathBuf {
        self.dir.join(rpm::file_name())
    }

    /// Looks at everything with tools that others wrote, and makes it once more: it must be the same.
    pub fn check(&self) -> Result<()> {
        check::all(&self.dir)?;
        check::same(&self.sums, &pack()?.sums)
    }
}

/// Packs the release binary that is there, which takes seconds.
pub fn pack() -> Result<Made> {
    setup::dist()?;
    let dir = workspace::target().join("dist");
    fresh(&dir)?;
    let work = workspace::target().join("dist-work");
    fresh(&work)?;
    let moment = Moment::of_the_tree()?;
    let binary = stripped(&work)?;
    let linked = Linked::find()?;
    let notices = notices::text(&linked)?;
    let payload = Payload::gather(&binary, &notices, &moment)?;

    let name = |rest: &str| dir.join(format!("observer-{VERSION}{rest}"));
    fs::copy(&binary, name(&format!("-{MACHINE}"))).context("cannot copy the binary")?;
    write(&name("-third-party.txt"), notices.as_bytes())?;
    write(&name(".cdx.json"), sbom::text(&linked, &moment)?.as_bytes())?;
    deb::build(&payload, &work.join("deb"), &dir, &moment)?;
    rpm::build(&payload, &work.join("rpm"), &dir, &moment)?;
    image::build(&binary, &notices, &work.join("image"), &dir, &moment)?;
    let sums = sums::write(&dir)?;
    Ok(Made { dir, sums })
}

/// The binary without its symbols, which are half a megabyte and serve nobody who has no debugger.
fn stripped(work: &Path) -> Result<PathBuf> {
    let built = workspace::binary("observer", Profile::Release, Processor::here());
    let path = work.join("observer");
    let mut strip = process::neutral("strip");
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
