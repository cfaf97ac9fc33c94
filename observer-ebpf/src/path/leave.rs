//! A packet leaves a hook.

use observer_common::{Count, MAX_DEPTH, hook_flag};

use super::close;
use super::frame::{self, Frame, tracking};
use super::snapshot::snapshot_take;
use crate::look::Look;
use crate::maps::count;

/// What is known of the traversal that ends: a fexit has the function's arguments, a kretprobe its stack pointer.
#[derive(Clone, Copy)]
pub struct Left {
    /// Address of the `struct nf_hook_state`, or 0.
    pub state: u64,
    /// Stack pointer at the function's entry, or 0.
    pub sp: u64,
    /// What the function returned.
    pub returned: i32,
}

impl Left {
    #[inline(always)]
    fn is_of(&self, frame: *mut Frame) -> bool {
        // SAFETY: this CPU's element.
        unsafe {
            (self.sp != 0 && (*frame).sp == self.sp) || (self.state != 0 && (*frame).state == self.state)
        }
    }
}

/// Closes the frame. `skb` is only looked at if the packet was accepted.
#[inline(always)]
pub fn leave<S: Look>(left: Left, skb: impl FnOnce(u64) -> S) -> Option<()> {
    let mut depth = frame::depth();
    if depth == 0 || depth > MAX_DEPTH {
        return None;
    }
    let mut innermost = frame::at(depth - 1)?;
    if !left.is_of(innermost) {
        depth = find(left, depth)?;
        innermost = frame::at(depth - 1)?;
    }
    // SAFETY: this CPU's element.
    let (address, open) = unsafe {
        (
            (*innermost).skb,
            (*innermost).tracking != tracking::NONE && (*innermost).closed == 0,
        )
    };
    if open {
        close::left(innermost, depth - 1, left.returned, skb(address));
    }
    frame::set_depth(depth - 1);
    if depth > 1 {
        resume(depth - 2);
    }
    Some(())
}

/// The frame that ends is not the innermost: two tasks took turns on this CPU, or an end was not seen. What was counted
/// meanwhile cannot be told apart.
#[inline(always)]
fn find(left: Left, depth: u32) -> Option<u32> {
    let mut found = 0;
    for at in 0..MAX_DEPTH {
        if at >= depth {
            break;
        }
        let frame = frame::at(at)?;
        // SAFETY: this CPU's element.
        unsafe { (*frame).event.flags |= hook_flag::MIXED };
        if left.is_of(frame) {
            found = at + 1;
        }
    }
    count(Count::Unmatched);
    (found != 0).then_some(found)
}

/// The inner traversal is over: the outer one's counters are copied anew.
#[inline(always)]
fn resume(depth: u32) {
    let Some(frame) = frame::at(depth) else { return };
    // SAFETY: this CPU's element.
    let wanted = unsafe {
        (*frame).tracking != tracking::NONE
            && (*frame).closed == 0
            && (*frame).event.flags & hook_flag::COUNTERS != 0
    };
    if wanted {
        snapshot_take(frame, depth);
    }
}
