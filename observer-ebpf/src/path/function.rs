//! Functions of a hook that ask no rules: which of them did not let a packet pass.

use observer_common::{MAX_DEPTH, Step, step};

use super::frame::{self, Function};

/// `NF_VERDICT_MASK` and `NF_ACCEPT`, include/uapi/linux/netfilter.h
const VERDICT_MASK: u32 = 0xff;
const ACCEPT: u32 = 1;

/// The hook calls a function. `at`: an address at its beginning; `sp`: the stack pointer at its entry.
#[inline(always)]
pub fn function_entered(skb: u64, at: u64, sp: u64) -> Option<()> {
    let frame = frame::innermost(skb)?;
    // SAFETY: this CPU's element.
    unsafe { (*frame).function = Function { sp, at } };
    Some(())
}

/// It ends. `sp`: what the stack pointer was at its entry. A packet that it freed by itself has its record already.
#[inline(always)]
pub fn function_left(returned: u32, sp: u64) -> Option<()> {
    let depth = frame::depth();
    if depth == 0 || depth > MAX_DEPTH {
        return None;
    }
    let frame = frame::at(depth - 1)?;
    // SAFETY: this CPU's element.
    let (function, closed) = unsafe { ((*frame).function, (*frame).closed) };
    if function.sp != sp || closed != 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { (*frame).function = Function::default() };
    if returned & VERDICT_MASK == ACCEPT {
        return None;
    }
    // SAFETY: as above.
    let event = unsafe { &raw mut (*frame).event };
    frame::push(
        event,
        Step {
            kind: step::FUNCTION,
            value: returned,
            words: [function.at, 0, 0],
        },
    );
    Some(())
}
