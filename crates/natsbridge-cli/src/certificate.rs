//! When the certificates of NATS and of the file server expire: read from a handshake of our own, in which nothing is sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use natsbridge::Config;
use natsbridge::server::certificate_expiry;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::greeting::Greeting;

/// How long a look may take
const PATIENCE: Duration = Duration::from_secs(3);

/// The certificate of one server
#[derive(Debug)]
pub(crate) struct Named {
    /// `nats` or `fileserver`
    pub(crate) server: &'static str,
    /// Host and port
    pub(crate) address: String,
    pub(crate) expiry: SystemTime,
}

impl Named {
    pub(crate) fn is_expired(&self) -> bool {
        self.expiry <= SystemTime::now()
    }
}

/// The certificates of all servers that speak TLS and can be reached
pub(crate) async fn all(config: &Config, servers: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    for server in servers {
        found.extend(nats(server).await);
    }
    found.extend(fileserver(config).await);
    found
}

/// The certificate of a NATS server: after its greeting, unless TLS comes first
pub(crate) async fn nats(server: &str) -> Option<Named> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("nats://{server}") };
    let url = Url::parse(&with_scheme).ok()?;
    let first = match url.scheme() {
        "nats" | "tls" => None,
        "wss" => Some(443),
        _ => return None,
    };
    let (host, port) = (url.host_str()?.trim_matches(['[', ']']), url.port().or(first).unwrap_or(4222));
    let look = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        if first.is_none() && !takes_tls(&mut stream).await {
            return None;
        }
        expiry(stream, host).await
    };
    named("nats", host, port, look).await
}

/// The certificate of the file server
pub(crate) async fn fileserver(config: &Config) -> Option<Named> {
    let url = crate::stores::store_url(config).filter(|url| url.scheme() == "https")?;
    let (host, port) = (url.host_str()?.trim_matches(['[', ']']), url.port_or_known_default()?);
    let look = async { expiry(TcpStream::connect((host, port)).await.ok()?, host).await };
    named("fileserver", host, port, look).await
}

async fn named(
    server: &'static str,
    host: &str,
    port: u16,
    look: impl Future<Output = Option<SystemTime>>,
) -> Option<Named> {
    let expiry = tokio::time::timeout(PATIENCE, look).await.ok()??;
    Some(Named { server, address: format!("{host}:{port}"), expiry })
}

/// Whether a NATS server takes a TLS handshake now: one without TLS would log it as an error
async fn takes_tls(stream: &mut TcpStream) -> bool {
    // A server where TLS comes first waits for us.
    let mut first = [0];
    if tokio::time::timeout(Duration::from_millis(500), stream.peek(&mut first)).await.is_err() {
        return true;
    }
    Greeting::read(stream).await.is_some_and(|greeting| greeting.tls_required || greeting.tls_available)
}

/// The certificate that a server shows, whoever signed it
async fn expiry(stream: TcpStream, host: &str) -> Option<SystemTime> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.enable_sni = true;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    certificate_expiry(stream.get_ref().1.peer_certificates()?.first()?)
}

/// Takes any certificate: it is only looked at, and nothing is sent on the connection
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
