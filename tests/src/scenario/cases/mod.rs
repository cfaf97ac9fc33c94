//! Scenarios that do not fit data: each a function of this folder.

mod alone;
mod capture;
mod chaos;
mod closed_pipe;
mod container;
mod ended;
mod explain_names;
mod follow;
mod hostile;
mod killed;
mod merge;
mod metrics;
mod names;
mod netlink;
mod oracle;
mod otlp;
mod otlp_tls;
mod replaced;
mod replayed;
mod service;
mod systemd_unit;
mod top;
mod two_observers;
mod two_signals;
mod waiting;

use anyhow::Result;

use super::run::{Lab, Place};
use crate::cluster::Backend;
use crate::results::Outcome;

/// A scenario in code.
pub(super) type Code = fn(&Lab, &Place) -> Result<Outcome>;

/// Its name, and where it runs.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// One run for each.
    pub(super) backends: &'static [Backend],
    /// Whether also the kernels run it that run only a part of the scenarios.
    pub(super) every_kernel: bool,
    /// Whether it shows more where packets can be followed.
    pub(super) of_paths: bool,
    /// Whether it shows the same on a kernel that is too old for observer's programs.
    pub(super) without_bpf: bool,
    pub(super) run: Code,
}

/// All of them.
pub(super) const ALL: &[Case] = &[
    Case {
        name: "a-root-directory-with-nothing-but-observer",
        backends: &[Backend::Legacy],
        every_kernel: true,
        of_paths: false,
        without_bpf: true,
        run: alone::run,
    },
    Case {
        name: "the-systemd-unit-is-one-that-systemd-takes",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: systemd_unit::run,
    },
    Case {
        name: "the-systemd-unit-as-systemd-runs-it",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: service::run,
    },
    Case {
        name: "the-systemd-unit-as-systemd-runs-it-from-a-package",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: service::from_a_package,
    },
    Case {
        name: "the-systemd-unit-as-systemd-runs-it-from-a-package-of-rpm",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: service::from_a_package_of_rpm,
    },
    Case {
        name: "the-daemon-set-in-a-container-as-it-says",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: true,
        without_bpf: false,
        run: container::run,
    },
    Case {
        name: "a-closed-pipe-ends-quietly",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: closed_pipe::run,
    },
    Case {
        name: "top-on-a-real-terminal",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: top::run,
    },
    Case {
        name: "top-needs-a-terminal",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: top::without_a_terminal,
    },
    Case {
        name: "top-with-names-that-an-enemy-chose",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: hostile::page,
    },
    Case {
        name: "a-wait-is-told-on-the-terminal",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: waiting::run,
    },
    Case {
        name: "a-capture-opens-elsewhere",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: capture::run,
    },
    Case {
        name: "metrics-are-what-the-kernel-counted",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: metrics::run,
    },
    Case {
        name: "a-collector-that-is-not-always-there",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: otlp::run,
    },
    Case {
        name: "a-collector-behind-tls",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: otlp_tls::run,
    },
    Case {
        name: "names-of-pods-services-and-nodes",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: names::run,
    },
    Case {
        name: "a-pod-that-is-made-anew-is-followed",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: follow::run,
    },
    Case {
        name: "explain-asks-about-pods-and-services-by-name",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: explain_names::run,
    },
    Case {
        name: "two-nodes-watched-apart-are-merged",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: true,
        without_bpf: false,
        run: merge::run,
    },
    Case {
        name: "a-second-signal-ends-at-once",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: two_signals::run,
    },
    Case {
        name: "kill-9-leaves-nothing-behind",
        backends: &[Backend::Legacy],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: killed::run,
    },
    Case {
        name: "kill-9-with-paths-leaves-nothing-behind",
        backends: &[Backend::Nft],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: killed::with_paths,
    },
    Case {
        name: "kill-9-with-drops-alone-leaves-nothing-behind",
        backends: &[Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: killed::with_drops,
    },
    Case {
        name: "kill-9-at-every-stage-leaves-nothing-behind",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: killed::at_every_stage,
    },
    Case {
        name: "kill-9-at-every-stage-with-paths-leaves-nothing-behind",
        backends: &[Backend::Nft],
        every_kernel: false,
        of_paths: true,
        without_bpf: false,
        run: killed::at_every_stage_of_paths,
    },
    Case {
        name: "a-flood-that-the-policy-kills",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: true,
        without_bpf: false,
        run: chaos::flood,
    },
    Case {
        name: "stopped-for-a-minute",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::stopped,
    },
    Case {
        name: "a-soak",
        backends: &[Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::soak,
    },
    Case {
        name: "two-hundred-namespaces-come-and-go",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::namespaces,
    },
    Case {
        name: "devices-deleted-mid-packet",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::devices,
    },
    Case {
        name: "a-processor-goes-and-comes-back",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: chaos::cpus,
    },
    Case {
        name: "a-processor-that-is-taken",
        backends: &[Backend::Legacy],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: chaos::hog,
    },
    Case {
        name: "the-clock-is-set",
        backends: &[Backend::Legacy],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: chaos::clock,
    },
    Case {
        name: "a-reader-that-stops-reading",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::reader,
    },
    Case {
        name: "packets-that-lie",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: true,
        without_bpf: false,
        run: hostile::packets,
    },
    Case {
        name: "names-that-an-enemy-chose",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: hostile::names,
    },
    Case {
        name: "two-chains-that-look-the-same",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: hostile::twins,
    },
    Case {
        name: "disks-that-are-full",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::disk,
    },
    Case {
        name: "no-memory-for-maps",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: chaos::maps,
    },
    Case {
        name: "rules-read-over-netlink-are-what-nft-lists",
        backends: &[Backend::Native],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: netlink::run,
    },
    Case {
        name: "two-observers-at-once",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: true,
        of_paths: false,
        without_bpf: false,
        run: two_observers::run,
    },
    Case {
        name: "rules-replaced-fifty-times",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: replaced::run,
    },
    Case {
        name: "oracle-one-by-one",
        backends: &[Backend::Legacy, Backend::Nft, Backend::Native],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: oracle::one_by_one,
    },
    Case {
        name: "oracle-in-bursts",
        backends: &[Backend::Legacy, Backend::Nft, Backend::Native],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: oracle::in_bursts,
    },
    Case {
        name: "rules-replayed-come-to-what-the-kernel-counts",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: replayed::run,
    },
    Case {
        name: "rules-of-both-kinds-replayed-come-to-what-the-kernel-counts",
        backends: &[Backend::Legacy, Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: replayed::run_mixed,
    },
    Case {
        name: "frames-evaluated-come-to-what-the-kernel-traces",
        backends: &[Backend::Nft],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: replayed::run_frames,
    },
    Case {
        name: "rules-with-sets-replayed-come-to-what-the-kernel-counts",
        backends: &[Backend::Legacy],
        every_kernel: false,
        of_paths: false,
        without_bpf: false,
        run: replayed::run_ipset,
    },
];
