//! What a NATS server says of itself before anyone logs in: its INFO line, read from a connection of our own.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use url::Url;

/// How long it may take
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest line that is read; a cluster of hundreds of servers fits
const MAX_LINE: u64 = 64 * 1024;

/// What the server says of itself
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) version: Option<String>,
    pub(crate) tls_required: bool,
    pub(crate) tls_available: bool,
    pub(crate) auth_required: bool,
}

impl Greeting {
    /// Asks a server; `None` where there is no greeting, as over WebSocket and where TLS comes first
    pub(crate) async fn of(server: &str) -> Option<Self> {
        let ask = async {
            let url = Url::parse(server).ok().filter(|url| matches!(url.scheme(), "nats" | "tls"))?;
            let host = url.host_str()?.trim_matches(['[', ']']);
            let mut stream = TcpStream::connect((host, url.port().unwrap_or(4222))).await.ok()?;
            Self::read(&mut stream).await
        };
        tokio::time::timeout(PATIENCE, ask).await.ok()?
    }

    /// Reads it from a connection on which nothing was sent yet: the server waits after its line
    pub(crate) async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut line = String::new();
        BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await.ok()?;
        let info: Json = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
        let flag = |name: &str| info.get(name).and_then(Json::as_bool).unwrap_or(false);
        Some(Self {
            version: info.get("version").and_then(Json::as_str).map(str::to_owned),
            tls_required: flag("tls_required"),
            tls_available: flag("tls_available"),
            auth_required: flag("auth_required"),
        })
    }
}
