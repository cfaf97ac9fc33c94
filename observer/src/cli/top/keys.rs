//! Keys as the terminal sends them, and as the page knows them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use anyhow::Context as _;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_core::Stream;

use crate::report::top::Key;

/// What comes from a terminal.
pub(super) trait Events: Stream<Item = io::Result<Event>> + Unpin {}

impl<S: Stream<Item = io::Result<Event>> + Unpin> Events for S {}

/// Waits for the next event.
///
/// # Errors
/// The terminal is gone.
pub(super) async fn next(events: &mut impl Events) -> anyhow::Result<Event> {
    let event = poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await;
    event
        .unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
        .context("no more keys from the terminal")
}

/// An event that has come already.
///
/// # Errors
/// As [`next`].
pub(super) async fn waiting(events: &mut impl Events) -> anyhow::Result<Option<Event>> {
    let mut event = std::pin::pin!(next(events));
    poll_fn(|context| {
        Poll::Ready(match event.as_mut().poll(context) {
            Poll::Ready(event) => event.map(Some),
            Poll::Pending => Ok(None),
        })
    })
    .await
}

/// The key that an event is, if it is one that the page knows.
pub(super) fn key(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press | KeyEventKind::Repeat,
        ..
    }) = event
    else {
        return None;
    };
    let is_control = modifiers.contains(KeyModifiers::CONTROL);
    match code {
        KeyCode::Char('c') if is_control => Some(Key::Interrupt),
        KeyCode::Char('l') if is_control => Some(Key::Redraw),
        KeyCode::Char(_) if is_control || modifiers.contains(KeyModifiers::ALT) => None,
        KeyCode::Char(c) => Some(Key::Char(*c)),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        KeyCode::Home => Some(Key::Home),
        KeyCode::End => Some(Key::End),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Tab | KeyCode::BackTab => Some(Key::Tab),
        KeyCode::Backspace => Some(Key::Backspace),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_control_makes_of_a_letter_is_no_letter() {
        let pressed = |code, modifiers| key(&Event::Key(KeyEvent::new(code, modifiers)));
        let (c, none) = (KeyCode::Char('c'), KeyModifiers::NONE);
        assert_eq!(pressed(c, none), Some(Key::Char('c')));
        assert_eq!(pressed(c, KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(pressed(c, KeyModifiers::ALT), None);
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(
            pressed(KeyCode::Char('G'), KeyModifiers::SHIFT),
            Some(Key::Char('G'))
        );
        assert_eq!(pressed(KeyCode::Esc, none), Some(Key::Escape));
        assert_eq!(key(&Event::Resize(1, 1)), None);
    }
}
