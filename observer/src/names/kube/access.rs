//! How the API server is reached: its address, whom it is believed to be, and what it is told of us.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use http::Uri;

use super::tls::{Own, Tls, authorities};
use crate::names::name::is_subdomain;
use crate::ruleset::text::{find, run_here};

/// A file of certificates, a token or a configuration is no longer.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Of a server's addresses so many are tried.
const MAX_ADDRESSES: usize = 8;

/// All of it.
pub(crate) struct Access {
    /// `10.96.0.1:443`, for the request.
    pub(super) host: Box<str>,
    pub(super) addresses: Vec<SocketAddr>,
    /// A path before every path, mostly empty.
    pub(super) prefix: Box<str>,
    /// `None` for plain HTTP.
    pub(super) tls: Option<Tls>,
    pub(super) token: Token,
}

/// What the server is told.
#[derive(Default)]
pub(super) enum Token {
    /// Nothing, or a certificate says it.
    #[default]
    None,
    /// This.
    Fixed(Box<str>),
    /// What stands in this file, which is written anew every hour; as it was when it was last read.
    File(PathBuf, Box<str>),
}

impl std::fmt::Debug for Access {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)
    }
}

impl Token {
    /// # Errors
    /// The file cannot be read.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let text = read(path)?;
        Ok(Self::File(path.to_owned(), trimmed(&text)?))
    }

    pub(super) fn now(&self) -> Option<Box<str>> {
        match self {
            Self::None => None,
            Self::Fixed(token) => Some(token.clone()),
            Self::File(path, before) => {
                let now = read(path).ok().and_then(|text| trimmed(&text).ok());
                Some(now.unwrap_or_else(|| before.clone()))
            }
        }
    }
}

fn trimmed(text: &[u8]) -> Result<Box<str>> {
    let text = std::str::from_utf8(text).context("it is no text")?;
    Ok(text.trim().into())
}

impl Access {
    /// To the server at this URL. `authority` and `own` are in PEM; `name` is that of the certificate, where it is not the URL's.
    ///
    /// # Errors
    /// It is no address that can be used, or no certificate.
    pub(super) fn new(
        url: &str,
        authority: Option<&[u8]>,
        own: Option<&Own>,
        name: Option<&str>,
        token: Token,
    ) -> Result<Self> {
        let url: Uri = url.parse().context("the server is no URL")?;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the server's URL begins with neither https:// nor http://"),
        };
        let host = url.host().context("the server's URL names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = match (is_tls, authority) {
            (false, _) => None,
            (true, None) => {
                bail!("no certificate authority is named: observer does not believe those of the system")
            }
            (true, Some(authority)) => Some(Tls::new(authorities(authority)?, own, name.unwrap_or(host))?),
        };
        Ok(Self {
            host: url
                .authority()
                .map(|authority| authority.as_str())
                .unwrap_or(host)
                .into(),
            addresses: addresses(host, port)?,
            prefix: url.path().trim_end_matches('/').into(),
            tls,
            token,
        })
    }
}

/// A name is looked up once, by a tool: a program that is linked statically cannot.
///
/// # Errors
/// Nobody knows it.
pub(crate) fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    if !is_subdomain(&host.to_lowercase()) {
        bail!("{host:?} is no name of a host");
    }
    let told = find("getent").and_then(|tool| run_here(&tool, &["ahosts", host]));
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for line in told.iter().flat_map(|text| text.lines()) {
        let address = line
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<IpAddr>().ok());
        if let Some(address) = address.map(|address| SocketAddr::from((address, port)))
            && addresses.len() < MAX_ADDRESSES
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        bail!("`getent ahosts {host}` knows no address of the server: name one");
    }
    Ok(addresses)
}

/// # Errors
/// The file cannot be read, or is too long.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| path.display().to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("{}: it is longer than {MAX_FILE_BYTES} bytes", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str, authority: Option<&[u8]>) -> String {
        let access = Access::new(url, authority, None, None, Token::None);
        format!("{:#}", access.expect_err("refuses"))
    }

    #[test]
    fn an_address_is_taken_with_its_port_and_path() {
        let access = Access::new("http://[fd00::1]:8001/k/", None, None, None, Token::None).expect("taken");
        assert_eq!(access.addresses, ["[fd00::1]:8001".parse().expect("an address")]);
        assert_eq!((&*access.host, &*access.prefix), ("[fd00::1]:8001", "/k"));
        let access = Access::new("http://192.0.2.1", None, None, None, Token::None).expect("taken");
        assert_eq!(access.addresses, ["192.0.2.1:80".parse().expect("an address")]);
        assert_eq!(&*access.prefix, "");
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (url, authority, why) in [
            ("10.0.0.1:6443", None, "neither https"),
            ("ftp://10.0.0.1", None, "neither https"),
            ("http://a_b/", None, "no name of a host"),
            ("https://10.0.0.1", None, "no certificate authority"),
            ("https://10.0.0.1", Some(&b""[..]), "no certificate in what"),
            (
                "https://10.0.0.1",
                Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "authority is none",
            ),
        ] {
            let error = error(url, authority);
            assert!(error.contains(why) && !error.contains('\n'), "{url}: {error}");
        }
    }

    #[test]
    fn a_token_in_a_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "first\n").expect("written");
        let token = Token::of_file(file.path()).expect("reads");
        std::fs::write(file.path(), "second\n").expect("written");
        assert_eq!(token.now().as_deref(), Some("second"));
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
        assert_eq!(token.now().as_deref(), Some("first"));
    }
}
