//! More drops than user space can look at: which are told, and which only counted.
//!
//! User space gives an allowance of records, and adds to it as time goes by. While there is more than a reserve, every drop
//! is told. What is left then is for flows that have not been told of; all others are counted, by flow. Counters of rules are
//! not looked at for a drop that is only counted: it costs the same however many rules there are.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use observer_common::{Allowance, DropEvent, FOLDS, Fold, FoldKey};

use crate::filter::View;
use crate::maps::{ALLOWANCE, FOLDED, LOOKS};

/// `2^64` divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// The time in which so much may be spent on looks at counters for drops outside the filter, …
const WINDOW_NS: u64 = 1_000_000_000;
/// … over all CPUs.
const LOOKS_NS: u64 = 200_000_000;

/// Looks at counters for drops outside the filter. Changed by all CPUs: it is right to some looks.
#[repr(C)]
pub struct Looks {
    began_ns: u64,
    spent_ns: u64,
}

/// The allowance as it is now.
#[inline(always)]
pub fn allowance() -> Option<*mut Allowance> {
    ALLOWANCE.get_ptr_mut(0)
}

/// Whether every drop may be told.
#[inline(always)]
pub fn is_plenty(allowance: *const Allowance) -> bool {
    // SAFETY: the element lives as long as the map; user space writes it, too.
    unsafe {
        core::ptr::read_volatile(&raw const (*allowance).records)
            > core::ptr::read_volatile(&raw const (*allowance).reserve)
    }
}

/// A record is going to be written. Two CPUs at once may take the same one: there is a record more then than was allowed.
#[inline(always)]
pub fn take_record(allowance: *mut Allowance) {
    // SAFETY: as above; aligned.
    unsafe {
        let records = &raw mut (*allowance).records;
        core::ptr::write_volatile(records, core::ptr::read_volatile(records) - 1);
    }
}

/// Whether the counters may be looked at for a drop outside the filter: the time, if so. [`looked`] must follow.
#[inline(always)]
pub fn may_look() -> Option<u64> {
    let looks = LOOKS.get_ptr_mut(0)?;
    // SAFETY: the element lives as long as the map; the helper has no preconditions.
    unsafe {
        let now = bpf_ktime_get_ns();
        if now.wrapping_sub((*looks).began_ns) >= WINDOW_NS {
            (*looks).began_ns = now;
            (*looks).spent_ns = 0;
        }
        ((*looks).spent_ns < LOOKS_NS).then_some(now)
    }
}

/// The look that began then has ended.
#[inline(always)]
pub fn looked(began_ns: u64) {
    if let Some(looks) = LOOKS.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { (*looks).spent_ns += bpf_ktime_get_ns().wrapping_sub(began_ns) };
    }
}

/// Whether a drop that the filter matches is to be counted only; it has been, then, among its flow's. `view`: its headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flood_fold(allowance: *mut Allowance, view: *const View, event: *const DropEvent) -> u32 {
    if allowance.is_null() || view.is_null() || event.is_null() {
        return 0;
    }
    // SAFETY: elements of maps.
    u32::from(unsafe { fold(allowance, &*view, &*event) })
}

#[inline(always)]
fn fold(allowance: *mut Allowance, view: &View, event: &DropEvent) -> bool {
    let key = FoldKey {
        src: view.src,
        dst: view.dst,
        location: event.location,
        inode: event.netns_inode,
        reason: event.reason,
        proto: u64::from(view.proto),
    };
    // SAFETY: fields of a map's element.
    let (epoch, is_left, each) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*allowance).epoch),
            core::ptr::read_volatile(&raw const (*allowance).records) > 0,
            core::ptr::read_volatile(&raw const (*allowance).each),
        )
    };
    let half = (epoch & 1) as u32 * FOLDS;
    let place = half + (hash(&key) as u32 & (FOLDS - 1));
    let Some(fold) = mine(place, epoch, &key).or_else(|| mine(place ^ 1, epoch, &key)) else {
        // Other flows' places: counted without its flow.
        return !is_left;
    };
    // SAFETY: this CPU's element.
    let fold = unsafe { &mut *fold };
    if is_left && fold.told < each {
        fold.told += 1;
        return false;
    }
    fold.count += 1;
    true
}

/// The element, if it is this flow's, or nobody's in this epoch.
#[inline(always)]
fn mine(place: u32, epoch: u64, key: &FoldKey) -> Option<*mut Fold> {
    let fold = FOLDED.get_ptr_mut(place)?;
    // SAFETY: this CPU's element.
    let of = unsafe { &mut *fold };
    if of.epoch != epoch {
        *of = Fold {
            key: *key,
            epoch,
            count: 0,
            told: 0,
        };
        return Some(fold);
    }
    (!differ(&of.key, key)).then_some(fold)
}

#[inline(always)]
fn words(key: &FoldKey) -> &[u64; FoldKey::WORDS] {
    // SAFETY: it is so many words, without padding.
    unsafe { &*core::ptr::from_ref(key).cast() }
}

#[inline(always)]
fn hash(key: &FoldKey) -> u64 {
    let mut mixed = 0;
    for word in words(key) {
        mixed = (mixed ^ word).wrapping_mul(SPREAD);
        mixed ^= mixed >> 32;
    }
    mixed
}

#[inline(always)]
fn differ(one: &FoldKey, other: &FoldKey) -> bool {
    let mut differs = 0;
    for (one, other) in words(one).iter().zip(words(other)) {
        differs |= one ^ other;
    }
    differs != 0
}
