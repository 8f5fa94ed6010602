//! Options that every command takes, and the settings that they and the environment make.

use std::path::PathBuf;

use clap::Args;
use natsbridge::{Bridge, Config, Origin};

use crate::failure::Failure;
use crate::stores;

const NATS: &str = "NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]";
const NATS_LONG: &str = "\
NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]

Other users of this machine can read a password in an argument; the variable keeps it from them.";
const CREDS: &str = "Credentials file for NATS, as nsc writes it [env: NATS_CREDS]";
const FILESERVER: &str = "File server for large payloads [env: FILESERVER_URL] [default: http://localhost:8080]";
const FILESERVER_LONG: &str = "\
File server for large payloads [env: FILESERVER_URL] [default: http://localhost:8080]

Its token is read from the variable FILESERVER_TOKEN only.";
const S3: &str = "Bucket for large payloads, s3://BUCKET, in place of a file server [env: S3_URL]";
const S3_LONG: &str = "\
Bucket for large payloads, in place of a file server [env: S3_URL]

s3://BUCKET[/PREFIX][?endpoint=URL][&region=REGION]; the keys are
read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the other usual
places. Links are presigned and work for at most 7 days. A receiver
without keys needs no --s3 but --allow-origin.";

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
    #[arg(long, global = true, value_name = "URL", conflicts_with = "fileserver", help = S3, long_help = S3_LONG)]
    s3: Option<String>,
    /// Log more: -v for each message, -vv for each attempt
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// The environment's settings, with those of the command line in their place
    pub(crate) async fn config(&self) -> Result<Config, Failure> {
        if let Some(url) = &self.fileserver {
            origin("--fileserver", url)?;
        }
        // An option stands in front of its variable, which may then hold anything.
        let variables = |name| {
            let given = match name {
                "NATS_URL" => self.nats.as_ref(),
                "FILESERVER_URL" => self.fileserver.as_ref(),
                _ => None,
            };
            given.map_or_else(|| std::env::var(name), |value| Ok(value.clone()))
        };
        let mut config = Config::from_variables(variables).map_err(natsbridge::Error::from)?;
        if let Some(path) = &self.creds {
            config.nats = config.nats.credentials_file(path);
        }
        config.nats = config.nats.name("natsbridge");
        let bucket = match &self.s3 {
            Some(url) => Some(("--s3", url.clone())),
            // The file server that is named on the command line counts for more than a variable.
            None if self.fileserver.is_some() => None,
            None => std::env::var("S3_URL").ok().filter(|url| !url.is_empty()).map(|url| ("S3_URL", url)),
        };
        if let Some((option, url)) = bucket {
            config.uploader = Some(stores::bucket(option, &url, &config.fileserver_ca).await?);
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
