//! Whether a program needs nothing of the machine that it starts on: neither an interpreter (the dynamic linker) nor shared
//! libraries. Read from the file itself, as the kernel and the dynamic linker read it (elf(5)).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
/// Bytes of `Elf64_Phdr`, and of `Elf64_Dyn`.
const PHDR: usize = 56;
const DYN: usize = 16;

/// Reads a program and says what it would need.
///
/// # Errors
/// It needs something, or is no ELF program of 64 bits, little-endian.
pub fn check(path: &Path) -> Result<()> {
    examine(&read(path)?)
}

/// The same of a program from which all is gone that nothing calls (a debug build keeps it).
///
/// # Errors
/// As [`check`]; or it calls what loads shared libraries while it runs.
pub fn check_calls(path: &Path) -> Result<()> {
    let file = read(path)?;
    examine(&file)?;
    match late_libraries(&file)
        .iter()
        .find(|name| !LATE.contains(&name.as_str()))
    {
        Some(name) => bail!("it calls {name}, which loads shared libraries when it runs"),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn examine(file: &[u8]) -> Result<()> {
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("it is no ELF file of 64 bits, little-endian");
    }
    let segments = segments(file).context("its program headers lie outside of it")?;
    if !segments.iter().any(|segment| segment.kind == PT_LOAD) {
        bail!("it has nothing to load");
    }
    for segment in &segments {
        let body = || file.get(segment.at..)?.get(..segment.bytes);
        match segment.kind {
            PT_INTERP => {
                let name = String::from_utf8_lossy(body().unwrap_or_default()).into_owned();
                bail!("it needs the interpreter {}", name.trim_end_matches('\0'));
            }
            PT_DYNAMIC => {
                let body = body().context("its dynamic section lies outside of it")?;
                let needed = body.chunks_exact(DYN);
                let needed = needed
                    .filter(|entry| number(entry, 0, 8) == Some(DT_NEEDED))
                    .count();
                if needed > 0 {
                    bail!("it needs {needed} shared libraries");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Functions of glibc that load shared libraries bring a section of this name, and theirs behind it, into a static program.
const WARNING: &[u8] = b".gnu.warning.";
/// They come with `dlsym`, by which Rust's library looks for functions that a C library may lack; nothing calls them.
const LATE: [&str; 2] = ["dlopen", "dlmopen"];

/// Functions that are there and would load shared libraries when called: `getaddrinfo`, `getpwnam`, …
fn late_libraries(file: &[u8]) -> Vec<String> {
    let windows = file.windows(WARNING.len()).enumerate();
    let ends = windows
        .filter(|(_, window)| *window == WARNING)
        .map(|(at, _)| at + WARNING.len());
    ends.map(|at| {
        let name = file[at..].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    })
    .collect()
}

/// A line of the program header.
struct Segment {
    kind: u32,
    /// Where it lies in the file, and how long it is.
    at: usize,
    bytes: usize,
}

fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    let at = usize::try_from(number(file, 32, 8)?).ok()?;
    let count = usize::try_from(number(file, 56, 2)?).ok()?;
    if number(file, 54, 2)? != PHDR as u64 {
        return None;
    }
    let headers = file.get(at..)?.get(..count.checked_mul(PHDR)?)?;
    headers
        .chunks_exact(PHDR)
        .map(|header| {
            Some(Segment {
                kind: u32::try_from(number(header, 0, 4)?).ok()?,
                at: usize::try_from(number(header, 8, 8)?).ok()?,
                bytes: usize::try_from(number(header, 32, 8)?).ok()?,
            })
        })
        .collect()
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.get(..width)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with these segments: their kind and contents.
    fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 64 + PHDR * segments.len()];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = PHDR as u8;
        file[56] = segments.len() as u8;
        for (index, (kind, body)) in segments.iter().enumerate() {
            let header = 64 + index * PHDR;
            let at = (file.len() as u64).to_le_bytes();
            file[header..header + 4].copy_from_slice(&kind.to_le_bytes());
            file[header + 8..header + 16].copy_from_slice(&at);
            file[header + 32..header + 40].copy_from_slice(&(body.len() as u64).to_le_bytes());
            file.extend_from_slice(body);
        }
        file
    }

    fn dynamic(tags: &[u64]) -> Vec<u8> {
        tags.iter()
            .flat_map(|tag| [tag.to_le_bytes(), [0; 8]])
            .flatten()
            .collect()
    }

    #[test]
    fn what_loads_and_asks_for_nothing_starts_anywhere() {
        let asks = dynamic(&[30, 0]);
        examine(&elf(&[(PT_LOAD, b"code"), (PT_DYNAMIC, &asks)])).expect("static-pie");
        examine(&elf(&[(PT_LOAD, b"code")])).expect("static");
    }

    #[test]
    fn an_interpreter_and_a_library_are_each_found() {
        let error =
            examine(&elf(&[(PT_LOAD, b"code"), (PT_INTERP, b"/lib64/ld.so\0")])).expect_err("interpreter");
        assert_eq!(error.to_string(), "it needs the interpreter /lib64/ld.so");
        let asks = dynamic(&[30, DT_NEEDED, DT_NEEDED, 0]);
        let error = examine(&elf(&[(PT_LOAD, b"code"), (PT_DYNAMIC, &asks)])).expect_err("library");
        assert_eq!(error.to_string(), "it needs 2 shared libraries");
    }

    #[test]
    fn a_function_that_loads_libraries_is_found_by_what_glibc_says_of_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let names = |name: &str| elf(&[(PT_LOAD, format!(".text\0.gnu.warning.{name}\0.data\0").as_bytes())]);
        fs::write(file.path(), names("dlopen")).expect("written");
        check_calls(file.path()).expect("not called");
        fs::write(file.path(), names("getaddrinfo")).expect("written");
        let error = check_calls(file.path()).expect_err("looks names up");
        assert_eq!(
            error.to_string(),
            "it calls getaddrinfo, which loads shared libraries when it runs"
        );
    }

    #[test]
    fn this_test_itself_is_found_to_need_something() {
        let own = std::env::current_exe().expect("this test");
        check(&own).expect_err("a test is linked dynamically");
        check(Path::new("/proc/self/status")).expect_err("no program");
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error_and_no_panic() {
        let asks = dynamic(&[30, 0]);
        let whole = elf(&[(PT_LOAD, b"code"), (PT_DYNAMIC, &asks)]);
        for end in 0..whole.len() {
            assert!(examine(&whole[..end]).is_err(), "{end}");
        }
    }
}
