//! `natsbridge serve`: the embedded file server on a local folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use natsbridge::server::{FileServer, ServerConfig};
use serde_json::json;

use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::{output, signals, units};

/// Run a file server for large payloads, on a local folder
///
/// It speaks Plik's HTTP API, so every NATSBridge can use it. The first line on
/// standard output says where it listens. Ctrl-C and SIGTERM end it in order.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// Address to listen on, or a port of this machine alone; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,
    /// Folder that keeps the uploads, made if it is absent
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Largest file that is taken, such as 500MB or 10GiB
    #[arg(long, value_name = "SIZE", default_value = "10GB", value_parser = units::size)]
    max_size: u64,
    /// The most that all uploads together may take, such as 50GB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_total: Option<u64>,
    /// How long uploads live at most, and where the sender does not say
    ///
    /// Senders ask for 24 hours unless told otherwise; with less here, send with
    /// a --link-ttl that fits.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = units::duration)]
    ttl: Duration,
    #[arg(long, value_name = "TOKEN", help = TOKEN, long_help = TOKEN_LONG)]
    token: Option<String>,
    /// Origin whose web pages may use the server; may be repeated, `*` is any
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Address that links begin with, for a server behind a proxy
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Name that clients use for this server; may be repeated
    ///
    /// Without a token it only answers to its own address, to localhost and to
    /// these names, so that no web page can use it under a name of its own.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print where it listens as a JSON line
    #[arg(long)]
    json: bool,
}

const TOKEN: &str = "Token that uploaders have to know [env: FILESERVER_TOKEN]";
const TOKEN_LONG: &str = "\
Token that uploaders have to know [env: FILESERVER_TOKEN]

Prefer the variable: other users of this machine can read arguments.";

const EXAMPLES: &str = "\
Examples:
  natsbridge serve --dir files
  FILESERVER_TOKEN=\"$(cat token)\" natsbridge serve --dir /srv/files \\
      --listen 0.0.0.0:8080 --max-size 2GB --ttl 7d
  natsbridge serve --dir files --cors https://app.example.com
  natsbridge serve --dir files --listen 127.0.0.1:0 --json
";

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Self { listen, dir, max_size, max_total, ttl, token, cors, public_url, host, metrics, json } = self;
        metrics.serve()?;
        let mut config = ServerConfig::new(dir).listen(listen).max_size(max_size).default_ttl(ttl).max_ttl(ttl);
        if let Some(bytes) = max_total {
            config = config.max_total(bytes);
        }
        if let Some(url) = public_url {
            config = config.public_url(url);
        }
        config = host.into_iter().fold(config, ServerConfig::host);
        let variable = || std::env::var("FILESERVER_TOKEN").ok().filter(|token| !token.is_empty());
        match token.or_else(variable) {
            Some(token) => config = config.token(token),
            None if !listen.ip().is_loopback() => {
                output::note("warning: no token is asked for, so whoever reaches this address can upload");
            }
            None => {}
        }
        for origin in cors {
            config = config.cors_origin(origin);
        }
        let server = FileServer::bind(config).await?;
        let url = server.url();
        output::line(&if json { output::json(&json!({ "url": url })) } else { format!("listening on {url}") })?;
        server.serve_until(signals::stopped()).await;
        Ok(())
    }
}

/// Reads an address to listen on: `ADDRESS:PORT`, `localhost:PORT`, or a port of this machine alone
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let local = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    if let Ok(port) = local.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| format!("`{text}` is no address with a port; write 8080, localhost:8080 or 0.0.0.0:8080"))
}
