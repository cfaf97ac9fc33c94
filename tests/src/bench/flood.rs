//! A minute in which a policy drops more than can be told one by one: what observer takes, and whether each drop is counted.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::process;
use super::table::{Table, mib};
use super::watching::Watching;
use super::{cost, program};
use crate::cluster::{Backend, Cluster, Data, Family, Setup, rules};
use crate::run_dir::RunDir;

const RULES: &str = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";
/// How long each flood lasts.
const SPAN: Duration = Duration::from_secs(60);
/// How long one lasts with which nobody is watching.
const ALONE: Duration = Duration::from_secs(5);
/// Packets that are handed to the kernel at once.
const BATCH: usize = 64;
/// Sent afterwards, a second after the flood.
const FEW: u64 = 10;

/// Measures and prints a table.
pub fn run(data: &Data, observer: &Path, run: &RunDir) -> Result<()> {
    let _alone = run.alone()?;
    let setup = Setup {
        backend: Backend::Legacy,
        family: Family::Ip,
        prefix: format!("flood-{}-", std::process::id()),
    };
    let cluster = Cluster::up(data, "router", &setup, run)?;
    let flood = Flood {
        to: cluster.names().fill("{{server}}:9")?.parse()?,
        filter: cluster.names().fill("{{server-net}}")?,
        cluster,
    };
    let mut table = Table::default();
    let sent = flood.send_for(ALONE, None)?;
    table.add(
        "nobody watches",
        format!("{} packets a second", each_second(sent, ALONE)),
        "",
    );
    flood.measure(observer, Some(100_000), &mut table)?;
    flood.measure(observer, None, &mut table)?;
    println!("{table}");
    Ok(())
}

struct Flood {
    cluster: Cluster,
    to: SocketAddr,
    filter: String,
}

/// What was read from observer.
#[derive(Default)]
struct Told {
    exact: u64,
    others: u64,
    folded: u64,
    lost: u64,
}

impl Flood {
    /// `rate`: packets a second; as many as can be sent if there is none.
    fn measure(&self, observer: &Path, rate: Option<u32>, table: &mut Table) -> Result<()> {
        let what = rate.map_or("as many as can be sent".to_owned(), |rate| {
            format!("{rate} packets a second")
        });
        self.cluster.restore("router", RULES, true)?;
        let watching = Watching::start(observer, &self.filter)?;
        let statistics = cost::Statistics::enable()?;
        let names = program::names()?;
        let programs = cost::programs(watching.pid(), &names)?;
        let (used, before) = (process::used(watching.pid())?, process::memory(watching.pid())?);
        let mut told = Told::default();
        let mut most = before.resident;
        let over = AtomicBool::new(false);
        let (sent, took) = scope(|scope| -> Result<(u64, Duration)> {
            let sender = scope.spawn(|| {
                let begun = Instant::now();
                let sent = self.send_for(SPAN, rate);
                over.store(true, Ordering::Relaxed);
                sent.map(|sent| (sent, begun.elapsed()))
            });
            let mut looked = Instant::now();
            while !over.load(Ordering::Relaxed) {
                if let Some((_, line)) = watching.line_within(Duration::from_millis(50)) {
                    told.take(&line)?;
                }
                if looked.elapsed() > Duration::from_millis(500) {
                    looked = Instant::now();
                    most = most.max(process::memory(watching.pid())?.resident);
                }
            }
            sender.join().map_err(|_| anyhow!("the sender panicked"))?
        })?;
        let ticks = process::used(watching.pid())?.ticks - used.ticks;
        let programs_then = cost::programs(watching.pid(), &names)?;
        drop(statistics);
        let kernel = cost::all_since(&programs_then, &programs);
        sleep(Duration::from_secs(1));
        while let Some((_, line)) = watching.line_within(Duration::from_secs(1)) {
            told.take(&line)?;
        }
        self.send(FEW)?;
        let mut after = Told::default();
        while let Some((_, line)) = watching.line_within(Duration::from_secs(1)) {
            after.take(&line)?;
        }
        let counted = self.counted()?;
        let summary = watching.end()?;
        let share = |time: Duration| 100.0 * time.as_secs_f64() / took.as_secs_f64();
        let own = process::ticks(ticks);
        table.add(
            &format!("{what}: dropped"),
            format!(
                "{counted} in {:.1} s, {} a second",
                took.as_secs_f64(),
                each_second(sent, took)
            ),
            "",
        );
        table.add(
            &format!("{what}: observer's share of a processor"),
            format!(
                "{:.1} % ({:.1} % itself, {:.1} % its programs, {} ns a drop)",
                share(own + kernel),
                share(own),
                share(kernel),
                kernel.as_nanos() / u128::from(sent.max(1)),
            ),
            "< 30 %",
        );
        table.add(
            &format!("{what}: resident"),
            format!("{} before, {} at most", mib(before.resident), mib(most)),
            "flat",
        );
        let shown = told.exact + told.others;
        let all = shown + told.folded + told.lost + after.exact + after.others + after.folded + after.lost;
        table.add(
            &format!("{what}: shown, folded, lost"),
            format!(
                "{shown} ({} exact), {}, {}; {} not accounted for ({} by the summary)",
                told.exact,
                told.folded,
                told.lost,
                counted.saturating_sub(all),
                counted.saturating_sub(number(&summary, "kernel_drops")),
            ),
            "every one",
        );
        table.add(
            &format!("{what}: of {FEW} afterwards"),
            format!("{} exact", after.exact),
            "all",
        );
        Ok(())
    }

    /// Sends for so long; how many were sent.
    fn send_for(&self, span: Duration, rate: Option<u32>) -> Result<u64> {
        self.cluster.node("client")?.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
            socket.connect(self.to).context("cannot connect a UDP socket")?;
            let begun = Instant::now();
            let mut sent = 0;
            while begun.elapsed() < span {
                sent += send_batch(&socket)?;
                if let Some(rate) = rate {
                    let due = Duration::from_secs_f64(sent as f64 / f64::from(rate));
                    sleep(due.saturating_sub(begun.elapsed()));
                }
            }
            Ok(sent)
        })
    }

    fn send(&self, packets: u64) -> Result<()> {
        self.cluster.node("client")?.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a UDP socket")?;
            (0..packets).try_for_each(|_| socket.send_to(b"drop", self.to).map(drop))?;
            Ok(())
        })
    }

    /// What the kernel has counted for the policy.
    fn counted(&self) -> Result<u64> {
        let counters = rules::counters(self.cluster.node("router")?, Backend::Legacy, Family::Ip)?;
        let policy = rules::Place {
            table: "filter".into(),
            chain: "FORWARD".into(),
            rule: None,
        };
        counters
            .get(&policy)
            .map(|counted| counted.packets)
            .context("there is no policy")
    }
}

impl Told {
    fn take(&mut self, line: &str) -> Result<()> {
        if line.contains("\"kind\":\"drop\"") {
            let is_exact = line.contains("\"confidence\":\"exact\"") && line.contains("\"cause\":\"policy\"");
            *(if is_exact {
                &mut self.exact
            } else {
                &mut self.others
            }) += 1;
        } else if line.contains("\"kind\":\"lost\"") {
            let line: Value = serde_json::from_str(line)?;
            let is_flood = line["where"] == "flood";
            *(if is_flood {
                &mut self.folded
            } else {
                &mut self.lost
            }) += number(&line, "count");
        }
        Ok(())
    }
}

/// Sends the same packet many times in one call; how many were taken.
fn send_batch(socket: &UdpSocket) -> Result<u64> {
    let mut data = libc::iovec {
        iov_base: b"eighteen bytes, so".as_ptr().cast_mut().cast(),
        iov_len: 18,
    };
    // SAFETY: all zero is a message without address, data and control data.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for message in &mut messages {
        message.msg_hdr.msg_iov = &raw mut data;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the messages point to data that outlive the call; the kernel only reads those.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            BATCH as libc::c_uint,
            0,
        )
    };
    if sent < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot send");
    }
    Ok(sent as u64)
}

fn each_second(packets: u64, time: Duration) -> u64 {
    (packets as f64 / time.as_secs_f64()) as u64
}

fn number(line: &Value, name: &str) -> u64 {
    line[name].as_u64().unwrap_or(0)
}
