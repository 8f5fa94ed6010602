//! Options that every command takes, and the settings that they and the environment make.

use std::path::PathBuf;

use clap::Args;
use natsbridge::{Bridge, Config, ConnectOptions, Origin};

use crate::failure::Failure;

const NATS: &str = "NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]";
const NATS_LONG: &str = "\
NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]

Other users of this machine can read a password in an argument; the variable keeps it from them.";
const CREDS: &str = "Credentials file for NATS, as nsc writes it [env: NATS_CREDS]";
const FILESERVER: &str = "File server for large payloads [env: FILESERVER_URL] [default: http://localhost:8080]";
const FILESERVER_LONG: &str = "\
File server for large payloads [env: FILESERVER_URL] [default: http://localhost:8080]

Its token is read from the variable FILESERVER_TOKEN only.";

/// Where NATS and the file server are
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Global {
    #[arg(long, global = true, value_name = "URL", help = NATS, long_help = NATS_LONG)]
    nats: Option<String>,
    #[arg(long, global = true, value_name = "FILE", help = CREDS)]
    creds: Option<PathBuf>,
    #[arg(long, global = true, value_name = "URL", help = FILESERVER, long_help = FILESERVER_LONG)]
    fileserver: Option<String>,
    /// Log more: -v for each message, -vv for each attempt
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// The environment's settings, with those of the command line in their place
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::from_env().map_err(natsbridge::Error::from)?;
        if let Some(url) = &self.nats {
            config.nats = ConnectOptions::new(url);
            if let Some(path) = std::env::var_os("NATS_CREDS").filter(|path| !path.is_empty()) {
                config.nats = config.nats.credentials_file(path);
            }
        }
        if let Some(path) = &self.creds {
            config.nats = config.nats.credentials_file(path);
        }
        config.nats = config.nats.name("natsbridge");
        if let Some(url) = &self.fileserver {
            origin("--fileserver", url)?;
            config.fileserver_url.clone_from(url);
        }
        Ok(config)
    }

    /// Connects, and says what to do where that fails
    pub(crate) async fn connect(config: Config) -> Result<Bridge, Failure> {
        Ok(Bridge::connect(config).await?)
    }
}

/// The origin of a URL that an option gives
pub(crate) fn origin(option: &str, url: &str) -> Result<Origin, Failure> {
    url.parse().map_err(|_| {
        let shown = natsbridge::redacted(url);
        Failure::Usage(format!("{option} can't be used: `{shown}` is not an http or https URL with a host"))
    })
}
