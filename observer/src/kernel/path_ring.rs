//! The ring buffer of hooks that were passed.

use anyhow::{Context as _, Result};
use aya::maps::ring_buf::RingBufItem;
use aya::maps::{Map, MapData, RingBuf};

/// Mapped when it is first needed: all of it counts as memory of this process from then on, and twice, since it is mapped
/// twice, one behind the other.
pub struct PathRing {
    unmapped: Option<Map>,
    ring: Option<RingBuf<MapData>>,
}

impl PathRing {
    pub(super) fn new(map: Map) -> Self {
        Self {
            unmapped: Some(map),
            ring: None,
        }
    }

    /// Maps it.
    pub(super) fn open(&mut self) -> Result<()> {
        if let Some(map) = self.unmapped.take() {
            self.ring = Some(RingBuf::try_from(map).context("cannot map the ring buffer of paths")?);
        }
        Ok(())
    }

    /// The next record; none before it is mapped.
    pub fn take(&mut self) -> Option<RingBufItem<'_>> {
        self.ring.as_mut()?.next()
    }
}
