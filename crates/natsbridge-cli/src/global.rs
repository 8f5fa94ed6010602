//! Options that every command takes, and the settings that they and the environment make.

use std::env::VarError;

use clap::Args;
use natsbridge::{Bridge, Config};

use crate::failure::Failure;
use crate::stores;

const NATS: &str = "NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]";
const NATS_LONG: &str = "\
NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]

Other users of this machine can read a password in an argument, but not in
the variable.";
const CREDS: &str = "Credentials file for NATS, as nsc writes it [env: NATS_CREDS]";
const NKEY: &str = "File with the nkey seed to log in to NATS with [env: NATS_NKEY]";
const CA: &str = "PEM file of the authorities to trust instead of the system's [env: NATS_CA]";
const CA_LONG: &str = "\
PEM file of the authorities to trust instead of the system's [env: NATS_CA]

With it, or with --tls-cert, a NATS server without TLS is refused.";
const CERT: &str = "PEM file of the certificate to show to the NATS server [env: NATS_CERT]";
const KEY: &str = "PEM file of that certificate's key [env: NATS_KEY]";
const FIRST: &str = "Start with TLS, before the server's greeting [env: NATS_TLS_FIRST]";
const FIRST_LONG: &str = "\
Start with TLS, before the server's greeting [env: NATS_TLS_FIRST=true]

For servers with `handshake_first` in their configuration.";
const FILESERVER: &str = "File server for large payloads [env: FILESERVER_URL] [default: http://localhost:8080]";
const FILESERVER_LONG: &str = "\
File server for large payloads [env: FILESERVER_URL] [default: http://localhost:8080]

Its token is only read from the variable FILESERVER_TOKEN.";
const FILESERVER_CA: &str = "PEM file of additional authorities to trust for file servers [env: FILESERVER_CA]";
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
    creds: Option<String>,
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "creds", help = NKEY)]
    nkey: Option<String>,
    #[arg(long, global = true, value_name = "FILE", help = CA, long_help = CA_LONG)]
    tls_ca: Option<String>,
    #[arg(long, global = true, value_name = "FILE", help = CERT)]
    tls_cert: Option<String>,
    #[arg(long, global = true, value_name = "FILE", help = KEY)]
    tls_key: Option<String>,
    #[arg(long, global = true, help = FIRST, long_help = FIRST_LONG)]
    tls_first: bool,
    #[arg(long, global = true, value_name = "URL", help = FILESERVER, long_help = FILESERVER_LONG)]
    fileserver: Option<String>,
    #[arg(long, global = true, value_name = "FILE", help = FILESERVER_CA)]
    fileserver_ca: Option<String>,
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
            stores::origin("--fileserver", url)?;
        }
        let mut config = Config::from_variables(|name| self.variable(name))?;
        config.nats = config.nats.name("natsbridge");
        let bucket = match &self.s3 {
            Some(url) => Some(("--s3", url.clone())),
            // The file server that is named on the command line counts for more than a variable.
            None if self.fileserver.is_some() => None,
            None => std::env::var("S3_URL").ok().filter(|url| !url.is_empty()).map(|url| ("S3_URL", url)),
        };
        if let Some((option, url)) = bucket {
            config.uploader = Some(stores::bucket(option, &url, &config.fileserver_ca).await?);
        } else {
            stores::origin("FILESERVER_URL", &config.fileserver_url)?;
        }
        Ok(config)
    }

    /// A setting: an option stands in front of its variable, which may then hold anything
    fn variable(&self, name: &'static str) -> Result<String, VarError> {
        let given = match name {
            "NATS_URL" => self.nats.as_ref(),
            "NATS_CREDS" => self.creds.as_ref(),
            "NATS_NKEY" => self.nkey.as_ref(),
            "NATS_CA" => self.tls_ca.as_ref(),
            "NATS_CERT" => self.tls_cert.as_ref(),
            "NATS_KEY" => self.tls_key.as_ref(),
            "FILESERVER_URL" => self.fileserver.as_ref(),
            "FILESERVER_CA" => self.fileserver_ca.as_ref(),
            _ => None,
        };
        let credentials = ["NATS_CREDS", "NATS_NKEY", "NATS_TOKEN", "NATS_USER", "NATS_PASSWORD"];
        match given {
            Some(value) => Ok(value.clone()),
            None if name == "NATS_TLS_FIRST" && self.tls_first => Ok("true".to_owned()),
            // The option alone says which credentials to use.
            None if credentials.contains(&name) && (self.creds.is_some() || self.nkey.is_some()) => {
                Err(VarError::NotPresent)
            }
            None => std::env::var(name),
        }
    }

    /// Connects, and says what to do where that fails
    pub(crate) async fn connect(config: Config) -> Result<Bridge, Failure> {
        Ok(Bridge::connect(config).await?)
    }
}
