//! A real terminal: a pseudo-terminal with a program on it, and an emulator that says what is to be seen.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::exec;

/// How often the lab looks whether something has happened.
const TICK: Duration = Duration::from_millis(10);

/// A program on a terminal. Dropping it kills it.
pub struct Terminal {
    master: File,
    /// The program's side, open here, too: what its modes are can be asked when the program is gone.
    slave: OwnedFd,
    emulator: vt100::Parser,
    child: Child,
    sent: Vec<u8>,
}

/// Rows and columns.
fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// The emulator knows no terminal without rows.
fn some(number: u16) -> Result<NonZeroU16> {
    NonZeroU16::new(number).context("a terminal without rows or columns")
}

impl Terminal {
    /// Starts a program on a terminal of its own, with TERM as it is said.
    pub fn start(program: &Path, args: &[&str], (rows, columns): (u16, u16), term: &str) -> Result<Self> {
        let pair = openpty(&size(rows, columns), None).context("no pseudo-terminal")?;
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut command = Command::new(program);
        command.args(args).env("TERM", term).env_remove("NO_COLOR");
        let side = || pair.slave.try_clone();
        command.stdin(side()?).stdout(side()?).stderr(side()?);
        // SAFETY: between fork and exec only setsid and ioctl are called; both are plain system calls. Standard input is the
        // terminal by then.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        exec::confine(&mut command, None);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}: is it built?", program.display()))?;
        Ok(Self {
            master: File::from(pair.master),
            slave: pair.slave,
            emulator: vt100::Parser::new(some(rows)?, some(columns)?, 0),
            child,
            sent: Vec::new(),
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes what the program has written by now.
    fn look(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.master.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.emulator.process(&bytes[..count]);
                    self.sent.extend_from_slice(&bytes[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the terminal cannot be read"),
            }
        }
    }

    /// What is to be seen, row by row.
    pub fn screen(&self) -> String {
        self.emulator.screen().contents()
    }

    /// Whether the other page is shown, or the cursor hidden.
    pub fn is_taken(&self) -> bool {
        self.emulator.screen().alternate_screen() || self.emulator.screen().hide_cursor()
    }

    /// Whether the row is set off from others.
    pub fn is_reversed(&self, row: u16) -> bool {
        self.emulator
            .screen()
            .cell(row, 0)
            .is_some_and(vt100::Cell::inverse)
    }

    /// All that the program has written.
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// Waits until what is to be seen satisfies this.
    pub fn wait(&mut self, what: &str, patience: Duration, holds: impl Fn(&str) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.look()?;
            if holds(&self.screen()) {
                return Ok(());
            }
            if begun.elapsed() > patience {
                bail!("{what}: not to be seen on\n{}", self.screen());
            }
            std::thread::sleep(TICK);
        }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("cannot type")
    }

    /// Gives the window another size.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        self.look()?;
        self.emulator.screen_mut().set_size(some(rows)?, some(columns)?);
        let size = size(rows, columns);
        // SAFETY: TIOCSWINSZ reads one `winsize` through the pointer, which lives until the call returns.
        if unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot resize the terminal");
        }
        Ok(())
    }

    /// Its modes: echo, lines, signals.
    pub fn modes(&self) -> Result<Termios> {
        tcgetattr(self.slave.as_fd()).context("no modes of the terminal")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).context("cannot signal the program")
    }

    /// Waits for the program's end, and takes what it has written until then.
    pub fn end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            self.look()?;
            if let Some(status) = self.child.try_wait()? {
                self.look()?;
                return Ok(status);
            }
            if begun.elapsed() > patience {
                bail!(
                    "it did not end within {} s:\n{}",
                    patience.as_secs(),
                    self.screen()
                );
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of what a program wrote, without the sequences by which a page is drawn: moving the cursor, colours and styles, clearing,
/// the other page, the cursor's sight. Anything else that steers stays.
pub fn without_drawing(sent: &[u8]) -> String {
    let text = String::from_utf8_lossy(sent).replace("\r\n", "\n");
    let mut rest = text.as_str();
    let mut left = String::new();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        left.push_str(before);
        let end = after.find(|c: char| !(c.is_ascii_digit() || ";?".contains(c)));
        let (arguments, after) = after.split_at(end.unwrap_or(after.len()));
        let is_drawing = match after.chars().next() {
            Some('H' | 'm' | 'J' | 'K') => !arguments.contains('?'),
            Some('h' | 'l') => ["?25", "?1049"].contains(&arguments),
            _ => false,
        };
        if is_drawing {
            rest = &after[1..];
        } else {
            left.push_str("\u{1b}[");
            left.push_str(arguments);
            rest = after;
        }
    }
    left.push_str(rest);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_program_on_it_has_a_terminal_and_its_screen_is_seen() {
        let script = "stty size; read -r word; echo \"got $word\"; printf '\\033[?1049h\\033[?25l\\033[3;5Hthere'; sleep 60";
        let mut terminal =
            Terminal::start(Path::new("/bin/sh"), &["-c", script], (24, 80), "xterm").expect("starts");
        terminal
            .wait("the size", PATIENCE, |screen| screen.contains("24 80"))
            .expect("seen");
        assert!(!terminal.is_taken());
        terminal.keys("x\n").expect("types");
        terminal
            .wait("the page", PATIENCE, |screen| screen == "\n\n    there")
            .expect("seen");
        assert!(terminal.is_taken());
        terminal.signal(Signal::SIGTERM).expect("signals");
        assert!(!terminal.end(PATIENCE).expect("ends").success());
        assert!(without_drawing(terminal.sent()).contains("got x\nthere"));
    }

    #[test]
    fn what_draws_is_taken_out_and_what_else_steers_is_left() {
        assert_eq!(without_drawing(b"\x1b[?25l\x1b[2;3Ha\x1b[0mb\x1b[J\r\n"), "ab\n");
        for bad in [
            "\u{1b}]0;x\u{7}",
            "\u{1b}[?1000h",
            "\u{1b}[6n",
            "\u{1b}c",
            "\u{1b}[",
            "\u{9b}2J",
        ] {
            assert!(
                without_drawing(bad.as_bytes()).contains(['\u{1b}', '\u{9b}']),
                "{}",
                bad.escape_debug()
            );
        }
    }
}
