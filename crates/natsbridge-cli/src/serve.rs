//! `natsbridge serve`: the embedded file server on a local folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use natsbridge::server::{FileServer, ServerConfig};
use serde_json::json;

use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::{notify, output, signals, units};

/// Run a file server for large payloads, on a local folder
///
/// It speaks Plik's HTTP API, so every NATSBridge can use it. The first line on
/// standard output is its URL. Ctrl-C and SIGTERM shut it down gracefully.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// Address to listen on, or a port on localhost; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = units::address)]
    listen: SocketAddr,
    /// Folder for the uploads, created if absent
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Largest file to accept, such as 500MB or 10GiB
    #[arg(long, value_name = "SIZE", default_value = "10GB", value_parser = units::size)]
    max_size: u64,
    /// Largest total of all uploads, such as 50GB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_total: Option<u64>,
    /// Longest time an upload is kept; also used when the sender asks for none
    ///
    /// Senders ask for 24 hours by default; with less here, send with a
    /// --link-ttl that fits.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = units::duration)]
    ttl: Duration,
    #[arg(long, value_name = "TOKEN", help = TOKEN, long_help = TOKEN_LONG)]
    token: Option<String>,
    /// Origin whose web pages may use the server; may be repeated, `*` is any
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// URL that links begin with, for a server behind a proxy
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Name that clients use for this server; may be repeated
    ///
    /// Without a token, it only accepts requests for its own address, localhost
    /// and these names, so that no web page can use it under another name.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// PEM file of the certificate to speak TLS with, the server's first
    ///
    /// It is read again when it changes: a renewed one needs no restart.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// PEM file of that certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print where it listens as a JSON line
    #[arg(long)]
    json: bool,
}

const TOKEN: &str = "Token that uploaders have to send [env: FILESERVER_TOKEN]";
const TOKEN_LONG: &str = "\
Token that uploaders have to send [env: FILESERVER_TOKEN]

Prefer the variable: other users of this machine can read arguments.";

const CLEAR_TEXT: &str = "\
the token goes to this address in clear text, and whoever sees it can upload.
  Give a certificate (--tls-cert, --tls-key), or listen on 127.0.0.1 behind a
  proxy that speaks TLS (--public-url https://...).";

const EXAMPLES: &str = "\
Examples:
  natsbridge serve --dir files
  natsbridge serve --dir files --listen 0.0.0.0:8443 --tls-cert files.pem \\
      --tls-key files.key --metrics 127.0.0.1:9464
  FILESERVER_TOKEN=\"$(cat token)\" natsbridge serve --dir /srv/files \\
      --listen 0.0.0.0:8080 --max-size 2GB --ttl 7d
  natsbridge serve --dir files --cors https://app.example.com
  natsbridge serve --dir files --listen 127.0.0.1:0 --json
";

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Self { listen, dir, max_size, max_total, ttl, token, cors, public_url, host, metrics, json, .. } = self;
        metrics.install()?;
        let mut config = ServerConfig::new(dir).listen(listen).max_size(max_size).default_ttl(ttl).max_ttl(ttl);
        if let Some(bytes) = max_total {
            config = config.max_total(bytes);
        }
        let tls = self.tls_cert.zip(self.tls_key);
        // Behind a proxy with TLS, the address of links says so.
        let protected = tls.is_some() || public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
        if let Some((certificate, key)) = tls {
            config = config.tls(certificate, key);
        }
        if let Some(url) = public_url {
            config = config.public_url(url);
        }
        config = host.into_iter().fold(config, ServerConfig::host);
        let variable = || std::env::var("FILESERVER_TOKEN").ok().filter(|token| !token.is_empty());
        match token.or_else(variable) {
            Some(token) => {
                config = config.token(token);
                if !protected && !listen.ip().is_loopback() {
                    let warning = output::stderr_style().red("WARNING:");
                    output::note(&format!("{warning} {CLEAR_TEXT}"));
                }
            }
            None if !listen.ip().is_loopback() => {
                output::note("warning: no token is required, so anybody who reaches this address can upload");
            }
            None => {}
        }
        for origin in cors {
            config = config.cors_origin(origin);
        }
        let server = FileServer::bind(config).await?;
        let url = server.url();
        output::line(&if json { output::json(&json!({ "url": url })) } else { format!("listening on {url}") })
            .map_err(Failure::output)?;
        notify::ready();
        server.serve_until(signals::stopped()).await;
        Ok(())
    }
}
