//! Which source watches: packets, or where the kernel refuses that, counters.

use std::net::IpAddr;

use anyhow::Result;

use super::source::Counting;
use crate::cli::watch::{Narrowed, Probes, Source, WatchConfig};
use crate::live::{Live, check_cases, check_namespaces};
use crate::names::Wanted;
use crate::privilege::{self, Task};
use crate::report::Running;
use crate::report::record::Line;

/// One of the two.
pub enum Watched {
    /// Packets that die.
    Live(Box<Live>),
    /// Counters that rise.
    Counting(Box<Counting>),
}

impl Watched {
    /// Opens the one that is asked for, or the best that there is.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open(config: &WatchConfig) -> Result<Self> {
        if config.probes == Probes::None {
            return Ok(Self::Counting(Box::new(Counting::open(config, None).await?)));
        }
        // What is wrong with the question is wrong either way.
        check_namespaces(&config.filter)?;
        config
            .keep_disagreements
            .as_deref()
            .map(check_cases)
            .transpose()?;
        match Live::open(config).await {
            Ok(live) => Ok(Self::Live(Box::new(live))),
            Err(error) if config.probes == Probes::Auto && !config.all => {
                let why = format!("{error:#}");
                // It goes on with less.
                privilege::narrow(Task::Counters);
                // Where this does not work either, the first error says what to do.
                let counting = Counting::open(config, Some(&why)).await.map_err(|second| {
                    log::info!("{second:#}");
                    error
                })?;
                Ok(Self::Counting(Box::new(counting)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Source for Watched {
    async fn next(&mut self) -> Result<Option<Line>> {
        match self {
            Self::Live(live) => live.next().await,
            Self::Counting(counting) => counting.next().await,
        }
    }

    async fn stop(&mut self) -> Result<Vec<Line>> {
        match self {
            Self::Live(live) => live.stop().await,
            Self::Counting(counting) => counting.stop().await,
        }
    }

    fn refilter(&mut self, narrowed: Narrowed, text: String) -> Result<()> {
        match self {
            Self::Live(live) => live.refilter(narrowed, text),
            Self::Counting(counting) => counting.refilter(narrowed, text),
        }
    }

    fn by_rules(&mut self, service: &Wanted) -> Option<Vec<IpAddr>> {
        match self {
            Self::Live(live) => live.by_rules(service),
            Self::Counting(counting) => counting.by_rules(service),
        }
    }

    fn running(&self) -> Option<Running> {
        match self {
            Self::Live(live) => live.running(),
            Self::Counting(counting) => counting.running(),
        }
    }
}
