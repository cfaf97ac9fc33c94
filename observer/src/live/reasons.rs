//! Names of the running kernel's drop reasons: their numbers move with every version.

use crate::diagnose;
use crate::kernel::Types;

/// Numbers of a subsystem's own reasons begin above this (`SKB_DROP_REASON_SUBSYS_MASK`).
const SUBSYSTEM: u32 = 0xffff_0000;

/// The kernel's `enum skb_drop_reason`.
pub struct Reasons {
    names: Vec<(u32, String)>,
}

impl Reasons {
    /// Reads it from the kernel's types; empty on a kernel without reasons.
    pub fn load(types: &mut Types) -> Self {
        let members = types.enumeration("skb_drop_reason");
        let name = |name: String| diagnose::plain_reason(&name).to_owned();
        Self {
            names: members
                .into_iter()
                .map(|(member, number)| (number, name(member)))
                .collect(),
        }
    }

    /// Name of a reason; a subsystem's own as `subsystem:number`.
    pub fn name(&self, number: u32) -> String {
        let known = self
            .names
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, name)| name.clone());
        known.unwrap_or_else(|| match number {
            0 => "NOT_SPECIFIED".to_owned(),
            _ if number & SUBSYSTEM != 0 => format!("subsystem {}:{}", number >> 16, number & !SUBSYSTEM),
            _ => number.to_string(),
        })
    }

    /// Number of a reason.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.names
            .iter()
            .find(|(_, known)| known == name)
            .map(|(number, _)| *number)
    }

    /// Numbers of those that are never a loss.
    pub fn without_loss(&self) -> Vec<u32> {
        diagnose::reasons_without_loss()
            .filter_map(|name| self.number(name))
            .collect()
    }
}
