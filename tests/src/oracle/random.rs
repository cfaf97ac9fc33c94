//! Chance that can be repeated, for both makers of rulesets.

pub(super) use crate::replay::Random;
