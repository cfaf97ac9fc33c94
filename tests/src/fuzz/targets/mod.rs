//! The targets: what is read from files, from tools, from the kernel and from the command line.

mod filter;
mod http;
mod kernel;
mod merge;
mod names;
mod nftables;
mod review;
mod shown;
mod trace;
mod xtables;

use super::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "save",
        run: xtables::save,
        seeds: xtables::saved,
    },
    Target {
        name: "ipset-save",
        run: xtables::sets,
        seeds: xtables::saved_sets,
    },
    Target {
        name: "nft-json",
        run: nftables::json,
        seeds: nftables::listed,
    },
    Target {
        name: "nft-memory",
        run: nftables::memory,
        seeds: nftables::memories,
    },
    Target {
        name: "nft-netlink",
        run: nftables::netlink,
        seeds: nftables::sent,
    },
    Target {
        name: "xt-blob",
        run: xtables::blob,
        seeds: xtables::blobs,
    },
    Target {
        name: "trace",
        run: trace::line,
        seeds: trace::lines,
    },
    Target {
        name: "report",
        run: review::file,
        seeds: review::kept,
    },
    Target {
        name: "names",
        run: names::sources,
        seeds: names::told,
    },
    Target {
        name: "metrics-request",
        run: http::request,
        seeds: http::requests,
    },
    Target {
        name: "otlp-answer",
        run: http::answer,
        seeds: http::answers,
    },
    Target {
        name: "merge",
        run: merge::traces,
        seeds: merge::kept,
    },
    Target {
        name: "records",
        run: kernel::records,
        seeds: kernel::recorded,
    },
    Target {
        name: "netlink",
        run: kernel::netlink,
        seeds: kernel::messages,
    },
    Target {
        name: "btf",
        run: kernel::btf,
        seeds: kernel::types,
    },
    Target {
        name: "kallsyms",
        run: kernel::kallsyms,
        seeds: kernel::symbols,
    },
    Target {
        name: "filter",
        run: filter::words,
        seeds: filter::filters,
    },
];

/// Files that go with the sources.
macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        vec![$(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $path)).to_vec()),+]
    };
}
use files;
