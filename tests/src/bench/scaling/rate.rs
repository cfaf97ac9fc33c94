//! With the rate of drops.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Chart, Page, number, processor_ns};
use crate::bench::table::{ms, quantile};
use crate::bench::watching::Watching;
use crate::bench::{Bench, traffic};
use crate::cluster::Backend;

/// Rules that could have dropped them.
const RULES: usize = 100;
/// Packets, and the pause before each; the last as fast as one thread sends.
const RATES: [(usize, Duration); 6] = [
    (5, Duration::from_secs(1)),
    (30, Duration::from_millis(100)),
    (300, Duration::from_millis(10)),
    (2_000, Duration::from_millis(1)),
    (10_000, Duration::from_micros(50)),
    (200_000, Duration::ZERO),
];

pub(super) fn measure(bench: &Bench, page: &mut Page) -> Result<()> {
    page.section(
        "Drops in a second",
        "Sent from one thread, with a pause after each or as fast as it can; 100 legacy rules could have dropped them. Sender, observer and \
         whoever reads its lines share the processors. Latency: from before `send` until the line was read from a pipe, where none was lost.",
        &["drops a second", "told one by one", "lost, and counted so", "latency, middle", "latency, 99 %", "observer's share of a processor"],
    );
    traffic::rules(&bench.cluster, "router", Backend::Legacy, RULES, "FORWARD")?;
    let mut share = Chart::new("observer's share of a processor, in %, by drops a second");
    let mut latency = Chart::new("Latency, in ms, by drops a second");
    for (count, pause) in RATES {
        let watching = Watching::start(bench.observer, &bench.filter)?;
        let (began, before) = (Instant::now(), processor_ns(watching.pid())?);
        let (sent, came) = std::thread::scope(|scope| -> Result<_> {
            let sending = scope.spawn(|| traffic::drops(bench, count, pause));
            let came = watching.told(traffic::PORT, count as u64)?;
            let sent = sending
                .join()
                .map_err(|_| anyhow::anyhow!("nothing was sent"))??;
            Ok((sent, came))
        })?;
        let (took, after) = (began.elapsed(), processor_ns(watching.pid())?);
        watching.end()?;
        let sending = match sent[..] {
            [first, .., last] => last - first,
            _ => took,
        };
        let rate = (count - 1) as f64 / sending.as_secs_f64();
        let lost = count - came.len().min(count);
        let used = 100.0 * (after - before) as f64 / took.as_nanos() as f64;
        let mut waits: Vec<Duration> = sent
            .iter()
            .zip(&came)
            .map(|(sent, came)| came.saturating_duration_since(*sent))
            .collect();
        let mut wait = |part| (lost == 0).then(|| quantile(&mut waits, part));
        let (middle, late) = (wait(0.5), wait(0.99));
        let text = |wait: Option<Duration>| wait.map_or("".to_owned(), ms);
        page.row(&[
            number(rate.round() as u64),
            number(came.len() as u64),
            number(lost as u64),
            text(middle),
            text(late),
            format!("{used:.1} %"),
        ]);
        share.point("observer", rate, used);
        for (name, wait) in [("middle", middle), ("99 %", late)] {
            if let Some(wait) = wait {
                latency.point(name, rate, super::rules::in_ms(wait));
            }
        }
    }
    page.plot("rate-share", &share);
    page.plot("rate-latency", &latency);
    Ok(())
}
