//! A collector behind TLS: it gets what died, and the headers that it wants, if an authority that is believed has signed its certificate; any
//! other gets nothing, not even the headers.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::run::{Lab, Place};
use super::metrics::free;
use super::otlp::{Collector, PACKETS, RULES, send, wait};
use crate::cluster::Cluster;
use crate::observer::{self, Observer};
use crate::results::Outcome;
use crate::rights::{self, Watched};

/// What only the right collector may see.
const SECRET: &str = "Bearer c2VjcmV0";

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../observer/src/names/kube/samples/",
            $name
        ))
    };
}

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let setup = place.setup();
    let cluster = Cluster::up(&lab.data, "router", &setup, &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let headers = place.work.join("headers");
    fs::write(&headers, format!("# for the lab\nAuthorization: {SECRET}\n"))?;
    let patience = lab.patience * 2;
    let mut failures = Vec::new();
    for (who, authority) in [
        ("stranger", &sample!("stranger.pem")[..]),
        ("authority", sample!("authority.pem")),
    ] {
        let is_right = who == "authority";
        let file = place.work.join(who);
        fs::write(&file, authority)?;
        let address = free()?;
        let collector = Collector::behind_tls(address, tls()?)?;
        let trace = place.work.join(format!("{who}.json"));
        let url = format!("https://{address}");
        let [file, headers, write] = [&file, &headers, &trace].map(|path| path.to_string_lossy());
        let words = [
            "watch",
            "--port",
            "9",
            "--otlp",
            &url,
            "--otlp-ca",
            &file,
            "--otlp-headers",
            &headers,
            "--write",
            &write,
        ];
        let words = words.map(str::to_owned);
        let mut observer = Observer::watch(program, &words, place.work, &trace, lab.patience * 3)?;
        failures.extend(rights::failures(observer.pid(), Watched::Packets, lab.patience)?);
        let sent = send(&cluster)?;
        if is_right {
            wait(patience, || collector.drops(), sent)?;
        } else {
            wait(patience, || Ok(collector.complaints().len()), 1)?;
        }
        observer.signal(Signal::SIGINT)?;
        let code = observer::code(observer.wait(patience)?);
        let said = observer.stderr();
        // The start, the drops and what else was a line.
        let is_told = !said.contains(SECRET)
            && (is_right == said.trim().is_empty())
            && (is_right || said.contains("TLS"));
        if code != 0 || !is_told {
            failures.push(format!("{who}: observer ended with {code}: {}", said.trim()));
        }
        let (drops, shown) = (collector.drops()?, collector.shown());
        let wanted = if is_right { PACKETS as usize } else { 0 };
        if drops != wanted
            || shown.contains(SECRET) != is_right
            || (is_right && !collector.complaints().is_empty())
        {
            failures.push(format!(
                "{who}: {drops} drops came, with {shown:?}, and {:?}",
                collector.complaints()
            ));
        }
    }
    Ok(Outcome::of(failures))
}

fn tls() -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(sample!("server.pem"))
        .collect::<Result<Vec<_>, _>>()
        .context("the sample of a certificate")?;
    let key = PrivateKeyDer::from_pem_slice(sample!("server.key")).context("the sample of a key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}
