//! Whom a server has to be, and what is told of us.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How connections to one server begin.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Own {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.name, f)
    }
}

/// The authorities that a text in PEM holds.
///
/// # Errors
/// It holds none, or something else.
pub(crate) fn authorities(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.context("the certificate authority is no PEM")?;
        roots
            .add(certificate)
            .context("the certificate authority is none")?;
    }
    if roots.is_empty() {
        bail!("there is no certificate in what is named as the authority");
    }
    Ok(roots)
}

impl Tls {
    /// To the server of this name, if one of the authorities has signed it; `own` says who we are.
    ///
    /// # Errors
    /// It is no name, or the certificate cannot be used; nothing of the key is in it.
    pub(crate) fn new(roots: RootCertStore, own: Option<&Own>, name: &str) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(&own.certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .context("the client's certificate is no PEM")?;
                // What is wrong with it may have a part of it.
                let key = PrivateKeyDer::from_pem_slice(&own.key)
                    .map_err(|_| anyhow!("the client's key is none in PEM, or it is encrypted"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .context("the client's certificate cannot be used")?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(name.to_owned()).context("no name of a server")?,
        })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// It is not that server.
    pub(crate) async fn over(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.clone())
            .connect(self.name.clone(), stream)
            .await
            .context("TLS")
    }
}
