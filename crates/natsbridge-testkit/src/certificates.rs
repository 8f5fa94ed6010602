//! Makes certificates for tests: an authority, servers that are right, expired or called otherwise, and clients.

use rcgen::{BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// An authority that signs certificates
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate as PEM
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM
#[derive(Debug)]
pub struct Certificate {
    /// The certificate
    pub pem: String,
    /// Its key
    pub key: String,
}

impl Authority {
    /// An authority of this name, known to nobody yet
    ///
    /// # Errors
    /// No key could be made.
    pub fn new(name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// A certificate of a server called `name`; `expired` ones ended in 2020
    ///
    /// # Errors
    /// The name is none of a server.
    pub fn server(&self, name: &str, expired: bool) -> Result<Certificate, Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if expired {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        self.sign(&params)
    }

    /// A certificate of a client
    ///
    /// # Errors
    /// No key could be made.
    pub fn client(&self) -> Result<Certificate, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Certificate, Error> {
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { pem, key: key.serialize_pem() })
    }
}
