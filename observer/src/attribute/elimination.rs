//! Who is left where no counter moved: a rule that does not count, or a function of the hook that asks no rules. Never
//! `exact`, for what was not seen is only concluded.

use observer_common::flag;

use super::culprit::{Culprit, Told, Verdict, unknown};
use super::droppers::suspects;
use super::scene::{LISTENER_FREES, NFT_FREES, QUEUE_FREES, Scene};
use super::whole::is_whole;
use crate::report::record::Confidence;
use crate::ruleset::Place;

impl Scene<'_> {
    /// No counter moved, or there was nothing to compare with.
    pub(super) fn no_counter(&self, was_compared: bool) -> Verdict {
        let fits = |place: &&Place| self.fits(place);
        let uncounted = self.snapshot.uncounted.iter().filter(fits);
        if was_compared && self.event.flags & flag::STALE == 0 {
            let uncounted: Vec<Place> = uncounted.copied().collect();
            let by_elimination = match uncounted[..] {
                [] => self.by_function(),
                [one] => self.the_only_one(one),
                _ => None,
            };
            let may_be_malformed = self.symbol == NFT_FREES && !is_whole(self.event);
            return by_elimination.unwrap_or_else(|| Verdict {
                note: Some(if may_be_malformed {
                    "no rule with a counter dropped it; a condition of a rule drops by itself what it finds malformed"
                } else {
                    "no rule with a counter dropped it"
                }),
                ..unknown(uncounted)
            });
        }
        if self.event.flags & flag::BEHIND != 0 {
            return Verdict {
                note: Some("drops just before it were too many to look at, and only counted"),
                ..unknown(
                    self.snapshot
                        .places
                        .iter()
                        .filter(fits)
                        .chain(uncounted)
                        .copied()
                        .collect(),
                )
            };
        }
        // Of another ruleset than the one that was read nobody is known.
        if self.event.flags & flag::STALE != 0 || self.event.generation != self.snapshot.generation {
            return Verdict {
                note: Some("the ruleset had just changed"),
                ..unknown(Vec::new())
            };
        }
        let all = self
            .snapshot
            .places
            .iter()
            .filter(fits)
            .chain(uncounted)
            .copied()
            .collect();
        Verdict {
            note: Some("the ruleset had just changed"),
            ..unknown(all)
        }
    }

    /// A rule or policy without counter, where the place in the kernel says that nf_tables dropped the packet, and nothing
    /// else of it in this hook drops and did not count.
    fn the_only_one(&self, place: Place) -> Option<Verdict> {
        let is_nft = self.symbol == NFT_FREES && self.site.is_some();
        // What is malformed, a match of x_tables in an nf_tables rule may drop.
        (is_nft && is_whole(self.event)).then_some(Verdict {
            culprit: Culprit::Place(place),
            confidence: Confidence::Inferred,
            by_counter: false,
            told_by: Told::Nobody,
            path: None,
            jumps_fit: false,
            note: Some("it has no counter; nothing else that nf_tables has in this hook can have dropped it"),
        })
    }

    /// No rule and no policy that drops was met: it was a function that asks no rules, or a match that takes a packet
    /// for malformed and drops it without being counted.
    fn by_function(&self) -> Option<Verdict> {
        let site = self.site?;
        if self.symbol == NFT_FREES || self.symbol == QUEUE_FREES || LISTENER_FREES.contains(&self.symbol) {
            return None;
        }
        let suspects = suspects(self.event, self.snapshot, site);
        let rules_too = site.function.is_none() && self.meets_rules(site);
        let is_malformed = rules_too && !is_whole(self.event);
        let (culprit, confidence, note) = match suspects[..] {
            [] => return None,
            [one] if !is_malformed => (
                Culprit::Function(one),
                Confidence::Inferred,
                rules_too.then_some("a match of a rule drops without being counted, too, if memory is short"),
            ),
            _ => (
                Culprit::Functions(suspects),
                Confidence::Unknown,
                is_malformed.then_some("or a match of a rule, for which the packet is malformed"),
            ),
        };
        Some(Verdict {
            culprit,
            confidence,
            by_counter: false,
            told_by: Told::Nobody,
            path: None,
            jumps_fit: false,
            note,
        })
    }
}
