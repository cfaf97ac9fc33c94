//! A collector: where it is, whom it has to be, and what it is told of us.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::names::kube::{Own, Tls, addresses, authorities, read_file};

/// The port of OTLP over HTTP where none is given.
const PORT: u16 = 4318;
/// Where systems keep the certificates of the authorities that they believe: Debian, Fedora, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// A file of headers has no more of them.
const MAX_HEADERS: usize = 32;
/// What a request says by itself.
const OURS: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

/// A collector's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// A path before every path, mostly empty.
    pub(super) prefix: String,
    /// `https`
    is_tls: bool,
}

impl FromStr for Endpoint {
    type Err = String;

    /// `http://collector:4318`
    fn from_str(text: &str) -> Result<Self, String> {
        let advice = "give a collector as http://HOST:4318 or https://HOST:4318";
        let uri: Uri = text.parse().map_err(|_| advice.to_owned())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(advice.to_owned()),
        };
        if uri.query().is_some() || uri.authority().is_none_or(|it| it.as_str().contains('@')) {
            return Err(advice.to_owned());
        }
        let host = uri.host().unwrap_or_default();
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(PORT),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            is_tls,
        })
    }
}

/// Files that say whom to believe, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the authorities that may have signed the collector's, in PEM; `None`: the system's.
    pub authority: Option<PathBuf>,
    /// Headers of each request, a line each: `Authorization: Bearer …`.
    pub headers: Option<PathBuf>,
    /// A certificate that says who we are, and its key, in PEM; `None`: it is shown none.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A collector, and all that is needed to ask it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) endpoint: Endpoint,
    pub(super) addresses: Vec<SocketAddr>,
    /// `None` for plain HTTP.
    pub(super) tls: Option<Tls>,
    /// Marked as secrets.
    pub(super) headers: HeaderMap,
}

impl Endpoint {
    /// Looks it up, once, and reads the files: later neither a tool may be run nor a file opened that could.
    ///
    /// # Errors
    /// Nobody knows the host, or a file cannot be used.
    pub(super) fn found(&self, credentials: &Credentials) -> Result<Found> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        if let (false, Some(option)) = (self.is_tls, credentials.of_tls()) {
            bail!("{option} is for a collector at https://: give such a URL, or leave it out");
        }
        let tls = self.is_tls.then(|| credentials.tls(host)).transpose()?;
        let headers = credentials
            .headers
            .as_deref()
            .map(|path| headers(path).with_context(|| format!("--otlp-headers {}", path.display())))
            .transpose()?
            .unwrap_or_default();
        if !self.is_tls && !headers.is_empty() {
            log::warn!("--otlp-headers: the collector's URL is http://, so anyone on the way can read them");
        }
        Ok(Found {
            endpoint: self.clone(),
            addresses: addresses(host, self.port)?,
            tls,
            headers,
        })
    }
}

impl Credentials {
    /// An option that is for TLS alone.
    fn of_tls(&self) -> Option<&'static str> {
        match self {
            Self {
                authority: Some(_), ..
            } => Some("--otlp-ca"),
            Self { own: Some(_), .. } => Some("--otlp-cert"),
            _ => None,
        }
    }

    fn tls(&self, host: &str) -> Result<Tls> {
        let roots = match &self.authority {
            Some(path) => {
                let pem = read_file(path).context("--otlp-ca")?;
                authorities(&pem).context("--otlp-ca")?
            }
            None => of_the_system(&SYSTEM)?,
        };
        let Some((certificate, key)) = &self.own else {
            return Tls::new(roots, None, host);
        };
        let own = Own {
            certificate: read_file(certificate).context("--otlp-cert")?,
            key: read_file(key).context("--otlp-key")?,
        };
        Tls::new(roots, Some(&own), host).context("--otlp-cert and --otlp-key")
    }
}

/// The authorities that this system believes. Among so many there may be some that are of a kind that is not known here.
fn of_the_system(files: &[&str]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for file in files {
        let Ok(pem) = read_file(Path::new(file)) else {
            continue;
        };
        let (_, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if !roots.is_empty() {
            return Ok(roots);
        }
    }
    bail!("this system has no certificates of authorities: name the collector's with --otlp-ca FILE")
}

/// Headers out of a file. What is wrong with a line is said without it, since it may be a secret.
fn headers(path: &Path) -> Result<HeaderMap> {
    let text = String::from_utf8(read_file(path)?).map_err(|_| anyhow!("it is no text"))?;
    let mut headers = HeaderMap::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || anyhow!("line {number} is no header: write NAME: VALUE");
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        if OURS.contains(&name) {
            bail!("line {number}: observer sets {name} by itself");
        }
        if headers.len() == MAX_HEADERS {
            bail!("it has more than {MAX_HEADERS} headers");
        }
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_secrets() {
        let endpoint: Endpoint = "http://collector.logs:4318/tenant/".parse().expect("a URL");
        assert_eq!(
            (endpoint.host.as_str(), endpoint.port, endpoint.prefix.as_str()),
            ("collector.logs", 4318, "/tenant")
        );
        let plain: Endpoint = "http://[fd00::1]".parse().expect("a URL");
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.is_tls),
            ("[fd00::1]", PORT, false)
        );
        let tls: Endpoint = "https://collector:443".parse().expect("a URL");
        assert_eq!((tls.port, tls.is_tls), (443, true));
        for bad in [
            "",
            "collector:4318",
            "https://",
            "http://",
            "http://u:p@host",
            "http://host/?x",
            "ftp://host",
            "\u{1b}[2J",
        ] {
            let error = bad.parse::<Endpoint>().expect_err(bad);
            assert!(!error.contains(['\n', '\u{1b}']), "{error}");
        }
    }

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("written");
        file
    }

    #[test]
    fn headers_are_lines_and_secrets() {
        let file = file(b"# of the tenant\nAuthorization: Bearer c2VjcmV0\n\nX-Scope-OrgID:a:b\n");
        let headers = headers(file.path()).expect("headers");
        assert_eq!(headers["authorization"], "Bearer c2VjcmV0");
        assert_eq!(headers["x-scope-orgid"], "a:b");
        assert!(!format!("{headers:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn a_line_that_is_no_header_is_not_shown() {
        for (text, why) in [
            (&b"Bearer c2VjcmV0"[..], "line 1 is no header"),
            (b"a: b\nAuthorization: c2VjcmV0\x07", "line 2 is no header"),
            (b"Content-Length: 7", "line 1: observer sets content-length"),
            (b"\xff", "no text"),
            (&b"a: b\n".repeat(MAX_HEADERS + 1), "more than 32"),
        ] {
            let error = format!("{:#}", headers(file(text).path()).expect_err("refuses"));
            assert!(error.contains(why) && !error.contains("c2VjcmV0"), "{error}");
        }
    }

    const AUTHORITY: &[u8] = include_bytes!("../../names/kube/samples/authority.pem");
    const CERTIFICATE: &[u8] = include_bytes!("../../names/kube/samples/client.pem");
    const KEY: &[u8] = include_bytes!("../../names/kube/samples/client.key");

    #[test]
    fn a_certificate_that_says_who_we_are_goes_with_its_own_key() {
        let (authority, certificate, key) = (file(AUTHORITY), file(CERTIFICATE), file(KEY));
        let found = |url: &str, certificate: &Path, key: &Path| {
            let endpoint: Endpoint = url.parse().expect("a URL");
            endpoint.found(&Credentials {
                authority: url.starts_with("https").then(|| authority.path().to_owned()),
                headers: None,
                own: Some((certificate.to_owned(), key.to_owned())),
            })
        };
        let https = "https://127.0.0.1";
        let tls = found(https, certificate.path(), key.path()).expect("found").tls;
        assert!(!format!("{tls:?}").contains("KEY"), "{tls:?}");
        let text = String::from_utf8_lossy(KEY);
        let secret = text.lines().nth(2).expect("a line of the key");
        let another = file(include_bytes!("../../names/kube/samples/server.key"));
        let garbled = file(text.replace(secret, &format!("{secret}*")).as_bytes());
        let bare = file(secret.as_bytes());
        let none = Path::new("/nonexistent");
        for (url, certificate, key, option) in [
            (
                "http://127.0.0.1",
                certificate.path(),
                key.path(),
                "--otlp-cert is for",
            ),
            (https, none, key.path(), "--otlp-cert: "),
            (https, certificate.path(), none, "--otlp-key: "),
            (
                https,
                certificate.path(),
                another.path(),
                "--otlp-cert and --otlp-key: ",
            ),
            (
                https,
                certificate.path(),
                garbled.path(),
                "--otlp-cert and --otlp-key: ",
            ),
            (
                https,
                certificate.path(),
                bare.path(),
                "--otlp-cert and --otlp-key: ",
            ),
            (https, bare.path(), key.path(), "--otlp-cert and --otlp-key: "),
            (
                https,
                certificate.path(),
                certificate.path(),
                "--otlp-cert and --otlp-key: ",
            ),
        ] {
            let error = format!("{:#}", found(url, certificate, key).expect_err("refuses"));
            assert!(error.starts_with(option) && !error.contains('\n'), "{error}");
            assert!(!error.contains(&secret[..16]), "{error}");
        }
    }

    #[test]
    fn whom_to_believe_is_named_or_the_system_knows() {
        let authority = file(include_bytes!("../../names/kube/samples/authority.pem"));
        let path = authority.path().to_str().expect("a path");
        assert_eq!(
            of_the_system(&["/nonexistent", path]).expect("authorities").len(),
            1
        );
        let error = of_the_system(&["/nonexistent"]).expect_err("refuses").to_string();
        assert!(error.contains("--otlp-ca"), "{error}");

        let found = |url: &str, authority: Option<&Path>| {
            let endpoint: Endpoint = url.parse().expect("a URL");
            endpoint.found(&Credentials {
                authority: authority.map(Path::to_owned),
                ..Credentials::default()
            })
        };
        assert!(
            found("https://127.0.0.1", Some(authority.path()))
                .expect("found")
                .tls
                .is_some()
        );
        assert!(found("http://127.0.0.1", None).expect("found").tls.is_none());
        for (url, path) in [
            ("http://127.0.0.1", authority.path()),
            ("https://127.0.0.1", Path::new("/nonexistent")),
            ("https://127.0.0.1", file(b"").path()),
        ] {
            let error = format!("{:#}", found(url, Some(path)).expect_err("refuses"));
            assert!(error.contains("--otlp-ca") && !error.contains('\n'), "{error}");
        }
    }
}
