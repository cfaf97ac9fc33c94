//! From sending a packet that is dropped to its line on observer's standard output.

use std::time::Duration;

use anyhow::Result;

use super::table::{Table, ms, quantile};
use super::watching::Watching;
use super::{Bench, traffic};
use crate::cluster::Backend;

const DROPS: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    traffic::rules(&bench.cluster, "router", Backend::Legacy, 100, "FORWARD")?;
    let watching = Watching::start(bench.observer, &bench.filter)?;
    let sent = traffic::drops(bench, DROPS, PAUSE)?;
    let mut took = Vec::with_capacity(DROPS);
    for sent in sent {
        took.push(watching.drop_for(traffic::PORT)?.duration_since(sent));
    }
    watching.end()?;
    let mut of = |part| ms(quantile(&mut took, part));
    table.add(
        "packet sent → its line on stdout, 10 drops a second",
        format!(
            "median {}, 99 % {}, most {}, {DROPS} drops",
            of(0.5),
            of(0.99),
            of(1.0)
        ),
        "< 50 ms",
    );
    Ok(())
}
