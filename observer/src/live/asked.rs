//! What the person asks for beyond what the kernel side can test.

use std::borrow::Cow;

use anyhow::Result;
use observer_common::{DropEvent, flag, hook_flag};

use super::filter;
use crate::cli::expression::{Expression, Seen};
use crate::cli::watch::WatchConfig;
use crate::report::record::{Event, Line, Matched};
use crate::trace::{Way, device, packet, tuple};

/// The expression, if there is one.
pub(super) struct Asked(Option<Expression>);

impl Asked {
    /// # Errors
    /// A namespace that is not there.
    pub(super) fn of(config: &WatchConfig) -> Result<Self> {
        let expression = config.expression.clone();
        expression
            .map(|it| it.resolved(filter::inode))
            .transpose()
            .map(Self)
    }

    /// The record as it is, where there is no expression; else it says which view matched, or that it only keeps the counters' books
    /// straight, as the kernel side says of what does not match the filter.
    pub(super) fn of_drop<'a>(&self, event: &'a DropEvent) -> Cow<'a, DropEvent> {
        let Some(expression) = self.0.as_ref().filter(|_| event.flags & flag::BOOKKEEPING == 0) else {
            return Cow::Borrowed(event);
        };
        let names = [device(&event.dev_name), device(&event.route_name)];
        let mut seen = Seen::headers(&packet(event)).within(event.netns_inode);
        if event.flags & flag::CONN != 0 {
            let conn = &event.conn;
            seen = seen.in_connection(&tuple(&conn.original), &tuple(&conn.reply), conn.original.proto);
        }
        let seen = names.iter().fold(seen, |seen, name| seen.at(name.as_deref()));
        let mut told = *event;
        match expression.matched(&seen) {
            Some(view) => told.matched = number(view),
            None => told.flags |= flag::BOOKKEEPING,
        }
        Cow::Owned(told)
    }

    /// The line of a packet that lives, if it is asked for.
    pub(super) fn line(&self, mut line: Line, way: &Way) -> Option<Line> {
        let (Some(expression), Event::Path(told)) = (&self.0, &mut line.event) else {
            return Some(line);
        };
        let mut seen = Seen::headers(&told.packet);
        if let Some(last) = way.last().filter(|last| last.flags & hook_flag::CONN != 0) {
            let conn = &last.conn;
            seen = seen.in_connection(&tuple(&conn.original), &tuple(&conn.reply), conn.original.proto);
        }
        let namespaces = told.path.iter().filter_map(|passage| passage.netns.as_ref());
        let seen = namespaces
            .chain(&told.netns)
            .fold(seen, |seen, netns| seen.within(netns.inode));
        let devices = told
            .path
            .iter()
            .flat_map(|passage| [&passage.in_dev, &passage.out_dev]);
        let seen = devices.fold(seen, |seen, name| seen.at(name.as_deref()));
        let matched = expression.matched(&seen)?;
        told.matched = Some(matched);
        Some(line)
    }
}

/// As the kernel side has it.
fn number(view: Matched) -> u8 {
    let kernels = match view {
        Matched::Headers => observer_common::Matched::Headers,
        Matched::Original => observer_common::Matched::Original,
        Matched::Reply => observer_common::Matched::Reply,
    };
    kernels as u8
}
