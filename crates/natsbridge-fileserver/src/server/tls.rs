//! TLS for the server's connections: the certificate, read again when its file changes, and a stream with or without TLS.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{error::Fault, meter};

/// Where the certificate and its key are, both PEM
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The certificate in use and its files
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    /// When the files in use were changed
    changed: RwLock<Option<(SystemTime, SystemTime)>>,
    config: Arc<ServerConfig>,
}

/// What handshakes take; a renewed certificate replaces it
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    pub(super) fn load(files: TlsFiles) -> Result<Self, Fault> {
        let (changed, key) = (files.changed(), files.read()?);
        let current = Arc::new(Current(RwLock::new(Arc::new(key))));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::Config { name: "tls", problem: error.to_string() })?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { files, current, changed: RwLock::new(changed), config: Arc::new(config) })
    }

    /// Reads the files again if they were changed; the old certificate stays if the new one is not usable
    pub(super) fn refresh(&self) {
        let changed = self.files.changed();
        // Written one after the other: what can't be used now can be the next time.
        if changed.is_some() && changed != *self.changed.read().unwrap_or_else(PoisonError::into_inner) {
            match self.files.read() {
                Ok(key) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    *self.changed.write().unwrap_or_else(PoisonError::into_inner) = changed;
                    tracing::info!("file server uses a new certificate");
                }
                Err(error) => tracing::warn!(%error, "file server keeps its old certificate"),
            }
        }
        if let Some(expiry) = self.expiry().and_then(|expiry| expiry.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            meter::certificate(expiry.as_secs());
        }
    }

    /// When the certificate in use expires
    fn expiry(&self) -> Option<SystemTime> {
        certificate_expiry(self.current.0.read().unwrap_or_else(PoisonError::into_inner).cert.first()?)
    }

    /// Speaks TLS on a connection
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let accepted = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        Ok(Stream::Tls(Box::new(accepted)))
    }
}

impl TlsFiles {
    fn changed(&self) -> Option<(SystemTime, SystemTime)> {
        let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        changed(&self.certificate).zip(changed(&self.key))
    }

    fn read(&self) -> Result<CertifiedKey, Fault> {
        let wrong = |path: &Path, why: &dyn std::fmt::Display| Fault::Config {
            name: "tls",
            problem: format!("{} can't be used: {why}", path.display()),
        };
        let text = |path: &Path| fs::read(path).map_err(|error| wrong(path, &error));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text(&self.certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong(&self.certificate, &"its PEM text is damaged"))?;
        if chain.is_empty() {
            return Err(wrong(&self.certificate, &"there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&text(&self.key)?)
            .map_err(|_| wrong(&self.key, &"there is no private key in it"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| wrong(&self.certificate, &format!("it does not go with its key: {error}")))
    }
}

/// Returns when a certificate (DER) expires; nothing if it is no X.509 certificate
#[must_use]
pub fn certificate_expiry(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    // The version may be left out.
    if tag == 0xa0 {
        fields = rest;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (tag, text, _) = element(element(validity)?.2)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let (year, at) = match tag {
        // Two digits, of 1950 to 2049 (RFC 5280).
        0x17 => {
            let year = i32::from(number(0, 2)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        0x18 => (text.get(..4)?.parse().ok()?, 4),
        _ => return None,
    };
    let part = |n: usize| number(at + 2 * n, at + 2 * n + 2);
    let date = time::Date::from_calendar_date(year, time::Month::try_from(part(0)?).ok()?, part(1)?).ok()?;
    let moment = date.with_hms(part(2)?, part(3)?, part(4)?).ok()?.assume_utc();
    let seconds = u64::try_from(moment.unix_timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Tag and content of the first element (DER), and what follows it
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let digits = usize::from(first & 0x7f);
        if digits == 0 || digits > 4 {
            return None;
        }
        length = 0;
        for _ in 0..digits {
            let (&digit, after) = rest.split_first()?;
            length = length.checked_mul(256)?.checked_add(usize::from(digit))?;
            rest = after;
        }
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A connection, with TLS or without
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Ends the sending half of TCP, without TLS's own farewell
    pub(super) fn poll_fin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut *stream.get_mut().0).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => match std::task::ready!(Pin::new(stream).poll_read(cx, buffer)) {
                // Most clients close without TLS's farewell. HTTP knows by itself whether a request is whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => Poll::Ready(other),
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_read_from_a_certificate_and_from_nothing_else() {
        let authority = natsbridge_testkit::certificates::Authority::new("a").unwrap();
        let expiry = |expired: bool| {
            let pem = authority.server("localhost", expired).unwrap().pem;
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            for end in 0..der.len() {
                let _ = certificate_expiry(&der[..end]);
            }
            certificate_expiry(&der).unwrap()
        };
        // 1 January 2020.
        assert_eq!(expiry(true), SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
        assert!(expiry(false) > SystemTime::now());
        for bytes in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0xff; 40], b"a certificate"] {
            assert_eq!(certificate_expiry(bytes), None);
        }
    }
}
