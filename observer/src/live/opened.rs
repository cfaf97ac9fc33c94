//! What takes long at the start, side by side: the kernel's types and symbols are read, its verifier looks at the programs, and
//! meanwhile the rulesets are read.

use std::thread;

use anyhow::{Result, anyhow};
use observer_common::Offsets;

use super::memory::release_memory;
use super::modules::Modules;
use super::open::{load_symbols, refused, young_enough};
use super::reasons::Reasons;
use crate::kernel::{DeviceLayout, Loader, Programs, Room, Symbols, Types, find_offsets};
use crate::privilege;
use crate::ruleset::Store;

/// What was read and loaded; the tracepoint at which drops are seen is attached, and reports nothing yet.
pub struct Opened {
    pub programs: Programs,
    /// With what every namespace had in force, and still has.
    pub store: Store,
    pub symbols: Symbols,
    /// Let go: what was asked for is known.
    pub types: Types,
    pub reasons: Reasons,
    pub devices: Option<DeviceLayout>,
    /// Those that were there before symbols were read: what is loaded meanwhile is new.
    pub modules: Modules,
}

impl Opened {
    /// Opens everything.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn open(room: Room) -> Result<Self> {
        let modules = Modules::read();
        let (programs, store, symbols, types, reasons, devices) = thread::scope(|scope| -> Result<_> {
            let mut symbols_of = Some(scope.spawn(load_symbols));
            let loader = scope.spawn(loader);
            let mut types = Types::load()?;
            young_enough(&types)?;
            let offsets = find_offsets(&mut types)?;
            let reasons = Reasons::load(&mut types);
            let devices = DeviceLayout::find(&mut types);
            let loader = loader
                .join()
                .map_err(|_| anyhow!("cannot prepare to load the eBPF object"))?;
            let mut symbols = None;
            let (programs, store) = load_beside(loader, &mut types, offsets, room, |programs, types| {
                if let Some(reading) = symbols_of.take() {
                    let read = reading
                        .join()
                        .map_err(|_| anyhow!("cannot read /proc/kallsyms"))??;
                    symbols = Some(read);
                }
                let symbols = symbols
                    .as_ref()
                    .ok_or_else(|| anyhow!("cannot read /proc/kallsyms"))?;
                let mut store = Store::new(programs.room());
                store.refresh_layout(types, symbols, programs);
                types.release();
                release_memory();
                // First attached, then read: a ruleset that changes meanwhile is noticed.
                programs.attach_hints();
                let namespaces = store.read_all(programs, symbols);
                log::info!("{namespaces} network namespaces");
                Ok(store)
            })?;
            let symbols = symbols.ok_or_else(|| anyhow!("cannot read /proc/kallsyms"))?;
            Ok((programs, store, symbols, types, reasons, devices))
        })?;
        // What packets counted before drops were seen is nobody's.
        store.take_baselines(&programs);
        Ok(Self {
            programs,
            store,
            symbols,
            types,
            reasons,
            devices,
            modules,
        })
    }
}

/// Loads the programs and attaches to drops. Does `meanwhile` while the verifier looks at the larger ones; once more where it refuses
/// those that read memory by loads, and others are loaded.
///
/// # Errors
/// The kernel refuses a program that nothing works without, or `meanwhile` fails.
pub fn load_beside<T>(
    loader: Loader,
    types: &mut Types,
    offsets: Offsets,
    room: Room,
    mut meanwhile: impl FnMut(&mut Programs, &mut Types) -> Result<T>,
) -> Result<(Programs, T)> {
    let mut load = |loader: Loader, offsets: Offsets| -> Result<_> {
        let (mut programs, rest) = Programs::load(loader, types, offsets, room)?;
        let (loaded, done) = thread::scope(|scope| {
            let loading = scope.spawn(|| rest.load());
            let done = meanwhile(&mut programs, types);
            (loading.join(), done)
        });
        let loaded = loaded.map_err(|_| anyhow!("the programs were not loaded"))??;
        Ok((programs, loaded, done))
    };
    let (mut programs, loaded, done) = match load(loader, offsets) {
        Err(error) if offsets.cast_function != 0 => {
            log::debug!("not with casts: {error:?}");
            let without = Offsets {
                cast_function: 0,
                cast_words: 0,
                ..offsets
            };
            load(Loader::new(), without)
        }
        loaded => loaded,
    }
    .map_err(refused)?;
    let done = done?;
    programs.attach(loaded).map_err(refused)?;
    Ok((programs, done))
}

/// What will load the object, made in a thread that opens no files: aya would read the kernel's types and take all of them apart, though
/// the object asks for none. A thread that cannot be kept from it does so.
fn loader() -> Loader {
    if let Err(error) = privilege::calls::open_nothing() {
        log::debug!("the kernel's types are read twice: {error}");
    }
    Loader::new()
}
