//! Stacks that were met before: their return addresses are looked up where they lay, instead of being unwound anew.
//!
//! What is remembered of a stack is each return address between the program's context and the hook's callers, and how far from the
//! context it lay. The context is `args[]` of `bpf_trace_run*()`, a variable on the stack of the drop at hand
//! (kernel/trace/bpf_trace.c, `__bpf_trace_run()`). How large a function's frame is, is settled by the place that it is at: the kernel's own
//! unwinder knows no more (arch/x86/kernel/unwind_orc.c). So the word behind the context's frame is a return address whatever it holds;
//! if it holds the one that was remembered, the next lies as far behind it as before; and so on. If all of them lie there, they are the
//! stack.
//!
//! That stands on having found the right word for each address. The kernel's unwinder tells addresses, not where they lay, and a frame
//! may hold words of calls that are over. A stack is remembered only if there is one way to find its addresses among the words, one behind the
//! other. And one of [`CHECKED`] is unwound all the same: if it is not what was remembered, this CPU never again relies on it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{CALLER_FRAMES, Count, SHORT_STACK};

use crate::cast;
use crate::maps::{STACKS, Scratch, count};
use crate::memory::{bounded, read_bytes};

/// How many stacks a CPU remembers, a power of two.
const KNOWN: usize = 8;
/// One of so many that were recognised is unwound all the same, a power of two.
const CHECKED: u32 = 256;
/// So many words behind the context are searched for return addresses.
const WORDS: usize = 256;
/// So many are read at once: the last may lie behind the end of the stack.
const PIECE: usize = 32;
/// So many stacks that were not recognised are searched at first, and then one of so many: it costs as much as unwinding.
const EAGER: u32 = 32;

/// What a CPU remembers.
#[repr(C)]
pub struct Stacks {
    /// The one that was recognised last.
    last: u32,
    /// How many were not recognised.
    missed: u32,
    /// One was not what was remembered.
    is_wrong: u32,
    /// The one that is unwound to be checked.
    checking: u32,
    /// How many of `words` could be read.
    count: u32,
    /// While addresses are searched: the index of the next.
    at: u32,
    /// The index behind the last one.
    end: u32,
    /// Zero.
    pad: u32,
    known: [Known; KNOWN],
    found: Known,
    words: [u64; WORDS],
}

/// A stack.
#[repr(C)]
#[derive(Clone, Copy)]
struct Known {
    /// [`observer_common::Filter::functions`] of then; 0: nothing is remembered here.
    functions: u32,
    /// Used length of `frames`.
    count: u32,
    /// Index of the first that lies behind the context.
    start: u32,
    /// How often it was recognised.
    met: u32,
    /// The same, halved whenever another is learned: the least is forgotten.
    worth: u32,
    /// Zero.
    pad: u32,
    /// Words from the context to where each address lay.
    slots: [u32; SHORT_STACK],
    /// Return addresses, innermost first.
    frames: [u64; SHORT_STACK],
}

/// The stack has to be unwound.
pub const UNKNOWN: u32 = 0;
/// It is in the record.
pub const RECALLED: u32 = 1;
/// It has to be unwound, and then checked.
pub const TO_CHECK: u32 = 2;

/// Fills `stack`, `stack_count` and `nesting` of the record if the stack is known. `here`: address of the program's context.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stack_recall(scratch: *mut Scratch, here: u64, functions: u32) -> u32 {
    let Some(stacks) = STACKS.get_ptr_mut(0) else {
        return UNKNOWN;
    };
    // SAFETY: this CPU's element.
    if scratch.is_null() || unsafe { (*stacks).is_wrong } != 0 {
        return UNKNOWN;
    }
    let mut recall = Recall {
        stacks,
        here,
        functions,
        turn: 0,
        found: 0,
    };
    let recall: *mut Recall = &raw mut recall;
    // SAFETY: the callback has the signature that the helper wants, and `recall` outlives the call.
    unsafe { bpf_loop(KNOWN as u32, is_it as *mut c_void, recall.cast(), 0) };
    // SAFETY: as above; volatile, since the callback wrote it.
    let found = unsafe { (&raw const (*recall).found).read_volatile() };
    if found == 0 {
        return UNKNOWN;
    }
    let at = found as usize & (KNOWN - 1);
    // SAFETY: this CPU's elements.
    let (stacks, event) = unsafe { (&mut *stacks, &mut (*scratch).event) };
    let known = &mut stacks.known[at];
    known.met += 1;
    known.worth += 1;
    if known.met & (CHECKED - 1) == 0 {
        stacks.checking = at as u32;
        return TO_CHECK;
    }
    stacks.last = at as u32;
    event.stack[..SHORT_STACK].copy_from_slice(&known.frames);
    event.stack_count = known.count;
    event.nesting = 1;
    count(Count::Recalled);
    RECALLED
}

/// What the callback of `bpf_loop` shares with its caller.
#[repr(C)]
struct Recall {
    stacks: *mut Stacks,
    here: u64,
    functions: u32,
    /// How many were looked at.
    turn: u32,
    /// Index of the one that it is, plus [`KNOWN`]; 0: none.
    found: u32,
}

/// Looks at one that is known, the last recognised first.
unsafe extern "C" fn is_it(_: u64, recall: *mut c_void) -> i64 {
    // SAFETY: what `stack_recall` passed.
    let recall = unsafe { &mut *recall.cast::<Recall>() };
    // SAFETY: this CPU's element.
    let stacks = unsafe { &*recall.stacks };
    let at = (stacks.last as usize + recall.turn as usize) & (KNOWN - 1);
    recall.turn += 1;
    let known = &stacks.known[at];
    if known.functions != recall.functions || !lies(known, recall.here) {
        return 0;
    }
    recall.found = (at + KNOWN) as u32;
    1
}

/// Whether each address lies where it lay. From the inside: behind a frame that is the remembered one the stack goes on for as far as it did,
/// so nothing is read behind its end, which would fault.
#[inline(always)]
fn lies(known: &Known, here: u64) -> bool {
    for at in 0..SHORT_STACK {
        if (at as u32) < known.start {
            continue;
        }
        if at as u32 >= known.count {
            break;
        }
        let address = here + 8 * u64::from(known.slots[at]);
        if cast::load::<u64>(address) != known.frames[at] {
            return false;
        }
    }
    true
}

/// The stack was unwound, to be checked.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stack_check(scratch: *mut Scratch) -> u32 {
    let Some(stacks) = STACKS.get_ptr_mut(0) else {
        return 0;
    };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: this CPU's elements.
    let (stacks, scratch) = unsafe { (&mut *stacks, &*scratch) };
    let at = stacks.checking as usize & (KNOWN - 1);
    if !is_same(&stacks.known[at], scratch) {
        stacks.is_wrong = 1;
        count(Count::Misremembered);
    }
    0
}

#[inline(always)]
fn is_same(known: &Known, scratch: &Scratch) -> bool {
    for index in 0..SHORT_STACK {
        if index as u32 >= known.count {
            break;
        }
        // Those before the context are the program's own.
        let is_own = (index as u32) < known.start;
        if !is_own && scratch.event.stack[index] != known.frames[index] {
            return false;
        }
    }
    true
}

/// What the callbacks of `bpf_loop` share.
#[repr(C)]
struct Search {
    stacks: *mut Stacks,
    scratch: *const Scratch,
}

/// The stack was unwound: remembers it. `start`: how many of its frames lie before the context.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stack_learn(scratch: *mut Scratch, here: u64, start: u32, functions: u32) -> u32 {
    let Some(stacks) = STACKS.get_ptr_mut(0) else {
        return 0;
    };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: this CPU's element.
    let stacks = unsafe { &mut *stacks };
    stacks.missed += 1;
    if stacks.missed > EAGER && !stacks.missed.is_multiple_of(EAGER) {
        return 0;
    }
    learn(stacks, scratch, here, start, functions);
    0
}

#[inline(always)]
fn learn(stacks: &mut Stacks, scratch: *mut Scratch, here: u64, start: u32, functions: u32) {
    // SAFETY: this CPU's element.
    let first = unsafe { (&raw const (*scratch).frames.first).read_volatile() };
    // Those further out do not say which hook it was, and some functions there have frames of no settled size (`do_syscall_64()`).
    let needed = first + CALLER_FRAMES + 1;
    if needed > SHORT_STACK as u32 {
        return;
    }
    stacks.count = 0;
    for piece in 0..WORDS / PIECE {
        // SAFETY: the piece lies within the array.
        let could = unsafe {
            let to = stacks.words.as_mut_ptr().add(piece * PIECE);
            read_bytes(to.cast(), (PIECE * 8) as u32, here + (piece * PIECE * 8) as u64)
        };
        if !could {
            break;
        }
        stacks.count += PIECE as u32;
    }
    stacks.found.functions = functions;
    stacks.found.start = start;
    stacks.found.met = 0;
    stacks.found.worth = 0;
    stacks.at = start;
    stacks.end = needed;
    stacks.found.count = needed;
    for index in 0..SHORT_STACK {
        // SAFETY: this CPU's element.
        stacks.found.frames[index] = unsafe { (*scratch).event.stack[index] };
    }
    let words = stacks.count;
    let mut search = Search { stacks, scratch };
    let search: *mut Search = &raw mut search;
    // SAFETY: the callback has the signature that the helper wants, and `search` outlives the call.
    unsafe { bpf_loop(words, upwards as *mut c_void, search.cast(), 0) };
    // SAFETY: this CPU's element.
    let stacks = unsafe { &mut *(*search).stacks };
    if stacks.at < needed {
        return;
    }
    stacks.end = start;
    // SAFETY: as above.
    unsafe { bpf_loop(words, downwards as *mut c_void, search.cast(), 0) };
    // SAFETY: as above.
    let stacks = unsafe { &mut *(*search).stacks };
    if stacks.at != start {
        return;
    }
    let mut least = 0;
    for at in 0..KNOWN {
        stacks.known[at].worth /= 2;
        if stacks.known[at].worth < stacks.known[least & (KNOWN - 1)].worth {
            least = at;
        }
    }
    stacks.known[least & (KNOWN - 1)] = stacks.found;
}

/// Finds the first word for each address, one behind the other.
unsafe extern "C" fn upwards(index: u64, search: *mut c_void) -> i64 {
    // SAFETY: what `learn` passed.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: this CPU's elements.
    let (stacks, event) = unsafe { (&mut *search.stacks, &(*search.scratch).event) };
    let at = bounded(&stacks.at, SHORT_STACK as u32) as usize;
    if index >= WORDS as u64 || at >= SHORT_STACK || at as u32 >= stacks.end {
        return 1;
    }
    if stacks.words[index as usize] == event.stack[at] {
        stacks.found.slots[at] = index as u32;
        stacks.at = at as u32 + 1;
    }
    0
}

/// Finds the last word for each, from the outermost on: it must be the first as well.
unsafe extern "C" fn downwards(index: u64, search: *mut c_void) -> i64 {
    // SAFETY: what `learn` passed.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: this CPU's elements.
    let (stacks, event) = unsafe { (&mut *search.stacks, &(*search.scratch).event) };
    let at = (bounded(&stacks.at, SHORT_STACK as u32) as usize).wrapping_sub(1);
    let word = u64::from(stacks.count).wrapping_sub(index + 1);
    if word >= WORDS as u64 || at >= SHORT_STACK || (at as u32) < stacks.end {
        return 1;
    }
    if stacks.words[word as usize] == event.stack[at] {
        if stacks.found.slots[at] != word as u32 {
            return 1;
        }
        stacks.at = at as u32;
    }
    0
}
