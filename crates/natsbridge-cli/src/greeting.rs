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
pub(super) struct Greeting {
    pub(super) version: Option<String>,
    pub(super) tls_required: bool,
    pub(super) auth_required: bool,
}

impl Greeting {
    /// Reads it; `None` where there is none, as over WebSocket and where TLS comes first
    pub(super) async fn read(server: &str) -> Option<Self> {
        tokio::time::timeout(PATIENCE, read(server)).await.ok()?
    }
}

async fn read(server: &str) -> Option<Greeting> {
    let url = Url::parse(server).ok().filter(|url| matches!(url.scheme(), "nats" | "tls"))?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port().unwrap_or(4222))).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await.ok()?;
    let info: Json = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
    let flag = |name: &str| info.get(name).and_then(Json::as_bool).unwrap_or(false);
    Some(Greeting {
        version: info.get("version").and_then(Json::as_str).map(str::to_owned),
        tls_required: flag("tls_required"),
        auth_required: flag("auth_required"),
    })
}
