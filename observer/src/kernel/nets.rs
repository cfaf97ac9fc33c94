//! What the kernel programs know of network namespaces.

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use observer_common::NetState;

/// The maps `SLOTS` and `NETS`.
pub struct Nets {
    slots: HashMap<MapData, u64, u32>,
    states: Array<MapData, NetState>,
}

impl Nets {
    /// Of the maps.
    ///
    /// # Errors
    /// They are of another kind.
    pub(super) fn new(slots: Map, states: Map) -> Result<Self> {
        Ok(Self {
            slots: HashMap::try_from(slots)?,
            states: Array::try_from(states)?,
        })
    }

    /// Tells the programs of a namespace.
    ///
    /// A program may run meanwhile. The first writing makes void what it took from the last reading; the second changes
    /// nothing but the generation, so that whoever sees that one sees the rest, too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&mut self, state: &NetState) -> Result<()> {
        let unfinished = NetState {
            generation: 0,
            ..*state
        };
        for state in [&unfinished, state] {
            self.states
                .set(state.slot, state, 0)
                .context("no room for another network namespace")?;
        }
        self.slots
            .insert(state.net, state.slot, 0)
            .context("too many network namespaces for observer's map")
    }

    /// Whether the kernel side still compares with this reading of a namespace: it stops by itself when the ruleset's
    /// counters are freed.
    pub fn is_known(&self, net: u64, generation: u32) -> bool {
        self.get(net).is_some_and(|state| state.generation == generation)
    }

    /// Makes the kernel side compare nothing in a namespace until it is told of it anew.
    pub fn stop_comparing(&mut self, net: u64) {
        if let Some(state) = self.get(net) {
            self.write(NetState {
                generation: 0,
                ..state
            });
        }
    }

    /// Forgets a namespace.
    pub fn forget(&mut self, net: u64) {
        if let Some(state) = self.get(net) {
            self.write(NetState {
                slot: state.slot,
                ..NetState::default()
            });
        }
        // Gone already is as good.
        let _ = self.slots.remove(&net);
    }

    fn get(&self, net: u64) -> Option<NetState> {
        let slot = self.slots.get(&net, 0).ok()?;
        self.states.get(&slot, 0).ok().filter(|state| state.net == net)
    }

    fn write(&mut self, state: NetState) {
        if let Err(error) = self.states.set(state.slot, state, 0) {
            log::warn!("cannot tell the programs that a namespace's rules are not known: {error}");
        }
    }
}
