//! The package for Red Hat's family and SUSE, built by rpmbuild from `deploy/rpm/observer.spec`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::moment::Moment;
use super::payload::{Payload, items, packed, place};
use super::{VERSION, write};
use crate::processor::Processor;
use crate::{process, workspace};

/// As rpm names them.
pub fn file_name(processor: Processor) -> String {
    format!("observer-{VERSION}-1.{processor}.rpm")
}

/// Builds it in `work` and leaves it in `dir`.
pub fn build(payload: &Payload, work: &Path, dir: &Path, moment: &Moment) -> Result<()> {
    let processor = payload.processor;
    let root = work.join("root");
    let binary = fs::read(&payload.binary).context("cannot read the binary")?;
    let man = packed(&payload.man)?;
    let preset = source("95-observer.preset")?;
    let files: [(&str, u32, &[u8]); 11] = [
        ("usr/sbin/observer", 0o755, &binary),
        (
            "usr/lib/systemd/system/observer.service",
            0o644,
            payload.unit.as_bytes(),
        ),
        (
            "usr/lib/systemd/system-preset/95-observer.preset",
            0o644,
            preset.as_bytes(),
        ),
        ("usr/share/man/man8/observer.8.gz", 0o644, &man),
        (
            "usr/share/bash-completion/completions/observer",
            0o644,
            &payload.bash,
        ),
        ("usr/share/zsh/site-functions/_observer", 0o644, &payload.zsh),
        (
            "usr/share/fish/vendor_completions.d/observer.fish",
            0o644,
            &payload.fish,
        ),
        ("usr/share/doc/observer/CHANGELOG.md", 0o644, &payload.changelog),
        ("usr/share/licenses/observer/LICENSE-MIT", 0o644, &payload.mit),
        (
            "usr/share/licenses/observer/LICENSE-APACHE",
            0o644,
            &payload.apache,
        ),
        (
            "usr/share/licenses/observer/third-party.txt",
            0o644,
            payload.notices.as_bytes(),
        ),
    ];
    for (path, mode, content) in files {
        place(&root, path, mode, content)?;
    }
    let spec = work.join("observer.spec");
    let text = source("observer.spec")? + &changelog(payload, moment)?;
    write(&spec, text.as_bytes())?;

    let mut rpmbuild = process::neutral("rpmbuild");
    let defines = [
        format!("_topdir {}", work.display()),
        format!("_rpmdir {}", work.display()),
        "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm".to_owned(),
        format!("observer_version {VERSION}"),
        format!("observer_files {}", root.display()),
        // The same bytes wherever and whenever it is built.
        "_buildhost localhost".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        "source_date_epoch_from_changelog 0".to_owned(),
        "_dbpath /nonexistent".to_owned(),
        // The files are ready: nothing is to be stripped, split or linked.
        "__os_install_post %{nil}".to_owned(),
        "debug_package %{nil}".to_owned(),
        "_build_id_links none".to_owned(),
        // What CentOS 7 unpacks, too.
        "_binary_payload w6.xzdio".to_owned(),
        "_source_filedigest_algorithm 8".to_owned(),
        "_binary_filedigest_algorithm 8".to_owned(),
    ];
    for define in defines {
        rpmbuild.args(["--define", &define]);
    }
    rpmbuild
        .args(["-bb", "--quiet", "--target", &format!("{processor}-linux")])
        .arg(&spec);
    process::run_quietly(moment.set(&mut rpmbuild)).context("rpmbuild could not build the package")?;
    fs::copy(work.join(file_name(processor)), dir.join(file_name(processor)))
        .context("rpmbuild left no package")?;
    Ok(())
}

/// A file of `deploy/rpm`.
fn source(name: &str) -> Result<String> {
    let path = workspace::root().join("deploy/rpm").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// rpm keeps the changes in the package itself.
fn changelog(payload: &Payload, moment: &Moment) -> Result<String> {
    let text = String::from_utf8_lossy(&payload.changelog);
    let mut section = format!(
        "%changelog\n* {} The observer contributors - {VERSION}-1\n",
        moment.as_day()?
    );
    for item in items(&text)? {
        // A percent sign would begin a macro.
        section.push_str(&format!("- {}\n", item.replace('%', "%%")));
    }
    Ok(section)
}
