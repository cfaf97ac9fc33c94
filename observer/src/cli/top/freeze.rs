//! What is kept, written into a new file.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::AccessFlags;

use crate::report::record::{Line, Time};
use crate::report::{Report as _, TraceFile, escape};

/// So many files may be of one second.
const MOST_A_SECOND: u32 = 9;

/// Whether this process can put files there, with the rights that it has kept.
///
/// # Errors
/// It cannot.
pub(super) fn check(directory: &Path) -> anyhow::Result<()> {
    let can = nix::unistd::eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK);
    can.with_context(|| {
        format!(
            "--freeze-dir {}: observer gives up root's right to write where it likes; name a directory of its own user",
            escape(&directory.to_string_lossy())
        )
    })
}

/// Writes the lines into a new file there; without a directory into one in the working directory or, if that may not be written
/// to, in the one for temporary files. Returns its path.
///
/// # Errors
/// One line that says what to do.
pub(super) fn freeze(lines: &[Line], directory: Option<&Path>, now: Time) -> anyhow::Result<PathBuf> {
    if lines.is_empty() {
        bail!("nothing to freeze yet");
    }
    let name = name(now);
    let (path, mut file) = match directory {
        Some(directory) => create(directory, &name),
        None => create(&working_directory(), &name).or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                create(&env::temp_dir(), &name)
            }
            _ => Err(error),
        }),
    }
    .context("cannot freeze (--freeze-dir names another place)")?;
    let mut write = || {
        lines.iter().try_for_each(|line| file.line(line))?;
        file.finish()
    };
    write().with_context(|| format!("{}: the file ends there", path.display()))?;
    Ok(path)
}

fn working_directory() -> PathBuf {
    env::current_dir().unwrap_or_else(|_| ".".into())
}

/// `observer-top-20240501T140307Z`
fn name(now: Time) -> String {
    let time = now.to_string();
    let seconds = time.split('.').next().unwrap_or_default();
    format!("observer-top-{}Z", seconds.replace(['-', ':'], ""))
}

/// Nothing that is there is touched.
fn create(directory: &Path, name: &str) -> io::Result<(PathBuf, TraceFile)> {
    for number in 1..=MOST_A_SECOND {
        let ending = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let path = directory.join(format!("{name}{ending}.json"));
        match TraceFile::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::report::record::samples;

    #[test]
    fn a_frozen_trace_is_a_new_file_of_its_own_user() {
        let directory = tempfile::tempdir().expect("a directory");
        let other = directory.path().join("other");
        std::fs::write(&other, "kept").expect("writes");
        symlink(
            &other,
            directory.path().join("observer-top-20240501T140307Z.json"),
        )
        .expect("links");
        let lines = samples::all();
        let path = freeze(&lines, Some(directory.path()), samples::NOON).expect("writes");
        assert_eq!(
            path,
            directory.path().join("observer-top-20240501T140307Z-2.json")
        );
        assert_eq!(std::fs::read(&other).expect("reads"), b"kept");
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(text.lines().count(), lines.len());
        let third = freeze(&lines, Some(directory.path()), samples::NOON).expect("writes");
        assert!(third.ends_with("observer-top-20240501T140307Z-3.json"));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_of_one_line() {
        for (lines, words) in [
            (Vec::new(), "nothing to freeze"),
            (samples::all(), "cannot freeze"),
        ] {
            let error = freeze(&lines, Some(Path::new("/nowhere")), samples::NOON).expect_err("fails");
            let text = format!("{error:#}");
            assert!(text.contains(words) && !text.contains('\n'), "{text}");
        }
        let error = check(Path::new("/nowhere/\u{1b}[2J"))
            .expect_err("fails")
            .to_string();
        assert!(
            error.contains("--freeze-dir") && !error.contains('\u{1b}'),
            "{error}"
        );
    }
}
