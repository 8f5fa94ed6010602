//! Asks a server that does not greet whether it waits for TLS: a mistake that otherwise shows as silence.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::address::Address;

/// The longest time that the question may take
const LONGEST: Duration = Duration::from_secs(1);

/// Whether one of the servers replies to the beginning of a TLS handshake with TLS
pub(crate) async fn one_begins_with_tls(addresses: &[Address], within: Duration) -> bool {
    let asked = async {
        for address in addresses.iter().filter(|address| address.is_plain()) {
            if begins_with_tls(address).await.unwrap_or(false) {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(within.min(LONGEST), asked).await.unwrap_or(false)
}

async fn begins_with_tls(address: &Address) -> Option<bool> {
    /// Types of TLS records: a refusal, or the next message of the handshake
    const ALERT_OR_HANDSHAKE: [u8; 2] = [21, 22];
    let (host, port) = address.host_and_port()?;
    let hello = client_hello(&host)?;
    let mut stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
    stream.write_all(&hello).await.ok()?;
    let first = stream.read_u8().await.ok()?;
    Some(ALERT_OR_HANDSHAKE.contains(&first))
}

/// The first message of a handshake; it trusts nobody, because the handshake is never finished
fn client_hello(host: &str) -> Option<Vec<u8>> {
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).ok()?.write_tls(&mut hello).ok()?;
    Some(hello)
}
