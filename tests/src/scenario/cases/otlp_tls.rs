//! A collector behind TLS: it gets what died, and the headers that it wants, if an authority that is believed has signed its certificate; any
//! other gets nothing, not even the headers. One that wants a certificate of whoever sends takes nothing without.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

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

/// A collector, and what it is sent with.
struct Side {
    who: &'static str,
    /// Whom observer believes.
    authority: &'static [u8],
    /// Whether the collector wants a certificate of whoever sends.
    wants_certificate: bool,
    /// Whether observer has one.
    has_certificate: bool,
    /// Whether anything comes.
    is_right: bool,
}

const SIDES: [Side; 4] = [
    Side {
        who: "stranger",
        authority: sample!("stranger.pem"),
        wants_certificate: false,
        has_certificate: true,
        is_right: false,
    },
    Side {
        who: "authority",
        authority: sample!("authority.pem"),
        wants_certificate: false,
        has_certificate: false,
        is_right: true,
    },
    Side {
        who: "unknown",
        authority: sample!("authority.pem"),
        wants_certificate: true,
        has_certificate: false,
        is_right: false,
    },
    Side {
        who: "known",
        authority: sample!("authority.pem"),
        wants_certificate: true,
        has_certificate: true,
        is_right: true,
    },
];

pub(super) fn run(lab: &Lab, place: &Place) -> Result<Outcome> {
    let Some(program) = &lab.observer else {
        return Ok(Outcome::Skipped("it is about observer alone".into()));
    };
    let setup = place.setup();
    let cluster = Cluster::up(&lab.data, "router", &setup, &lab.run)?;
    cluster.restore("router", RULES, true)?;
    let headers = place.work.join("headers");
    fs::write(&headers, format!("# for the lab\nAuthorization: {SECRET}\n"))?;
    let (certificate, key) = (place.work.join("client.pem"), place.work.join("client.key"));
    fs::write(&certificate, sample!("client.pem"))?;
    fs::write(&key, sample!("client.key"))?;
    let patience = lab.patience * 2;
    let mut failures = Vec::new();
    for side in &SIDES {
        let Side { who, is_right, .. } = *side;
        let file = place.work.join(who);
        fs::write(&file, side.authority)?;
        let address = free()?;
        let collector = Collector::behind_tls(address, tls(side.wants_certificate)?)?;
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
        let mut words = words.map(str::to_owned).to_vec();
        if side.has_certificate {
            let own = |option: &str, path: &Path| [option.to_owned(), path.to_string_lossy().into_owned()];
            words.extend(own("--otlp-cert", &certificate));
            words.extend(own("--otlp-key", &key));
        }
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
            && (is_right || side.is_said(&said));
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

impl Side {
    /// Whether it is said what keeps anything from coming.
    fn is_said(&self, said: &str) -> bool {
        if self.wants_certificate {
            said.contains("CertificateRequired")
        } else {
            said.contains("TLS")
        }
    }
}

fn tls(wants_certificate: bool) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(sample!("server.pem"))
        .collect::<Result<Vec<_>, _>>()
        .context("the sample of a certificate")?;
    let key = PrivateKeyDer::from_pem_slice(sample!("server.key")).context("the sample of a key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if wants_certificate {
        let mut clients = RootCertStore::empty();
        clients.add(CertificateDer::from_pem_slice(sample!("clients.pem"))?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider);
        builder.with_client_cert_verifier(verifier.build()?)
    } else {
        builder.with_no_client_auth()
    };
    Ok(Arc::new(builder.with_single_cert(chain, key)?))
}
