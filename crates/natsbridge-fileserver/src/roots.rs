//! CA certificates to trust in addition to those of the system.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::ConfigError;

const WHAT: &str = "root certificates";

/// Additional CA certificates to trust for file servers
///
/// Clones share the certificates.
///
/// # Examples
/// ```
/// use natsbridge_fileserver::{PlikStore, RootCertificates};
///
/// # let pem = include_bytes!("../testdata/authority.pem");
/// let roots = RootCertificates::from_pem(pem)?; // such as std::fs::read("authority.pem")?
/// let store = PlikStore::builder("https://files.example.com").root_certificates(roots).build()?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RootCertificates(Arc<[CertificateDer<'static>]>);

impl RootCertificates {
    /// Reads one or more certificates in PEM; other sections, such as keys, are ignored
    ///
    /// # Errors
    /// [`ConfigError`] if the text contains no certificate, or one that is invalid.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let refused = |problem: &str| ConfigError::new(WHAT, problem);
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_ref())
            .collect::<Result<_, _>>()
            .map_err(|error| refused("the PEM text is damaged").with_source(error))?;
        if certificates.is_empty() {
            return Err(refused("there is none; PEM has them between `BEGIN CERTIFICATE` and `END CERTIFICATE`"));
        }
        let mut store = rustls::RootCertStore::empty();
        for certificate in &certificates {
            store
                .add(certificate.clone())
                .map_err(|error| refused("one is not a CA certificate").with_source(error))?;
        }
        Ok(Self(certificates.into()))
    }

    /// The certificates for a client of reqwest
    pub(crate) fn for_reqwest(&self) -> Result<Vec<reqwest::Certificate>, reqwest::Error> {
        self.0.iter().map(|certificate| reqwest::Certificate::from_der(certificate)).collect()
    }
}

impl fmt::Debug for RootCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootCertificates({})", self.0.len())
    }
}

/// Whether a connection failed because the server's certificate is not trusted
pub(crate) fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

/// An error and all its causes
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an I/O error is the source of its inner error, so that one is visited first.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_authority_certificate_is_refused() {
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", damaged] {
            let error = RootCertificates::from_pem(pem).map(|_| ()).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.starts_with("cannot configure root certificates: ")), "{pem}");
        }
    }
}
