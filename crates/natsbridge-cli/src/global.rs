//! Where NATS and the file server are: options, profiles, contexts and the environment, and the settings they make.

use std::env::VarError;

use clap::Args;
use natsbridge::{Bridge, Config};

use crate::failure::Failure;
use crate::profile::{self, Given};
use crate::{output, stores};

const NATS: &str = "NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]";
const NATS_LONG: &str = "\
NATS server, or several with commas [env: NATS_URL] [default: nats://localhost:4222]

Other users of this machine can read a password in an argument, but
not in the variable.";
const PROFILE: &str = "Take the settings of this profile, and none from variables";
const PROFILE_LONG: &str = "\
Take the settings of this profile, and none from variables

`natsbridge profile save` makes one. Options count for more than it.";
const CONTEXT: &str = "Take the settings for NATS of this context of the `nats` program";
const CONTEXT_LONG: &str = "\
Take the settings for NATS of this context of the `nats` program

They are read from ~/.config/nats/context/NAME.json, and none for NATS
from variables: url, user, password, token, creds, nkey, cert, key,
ca, tls_first and inbox_prefix.";
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
const INBOX: &str = "Subject below which replies arrive [env: NATS_INBOX_PREFIX] [default: _INBOX]";
const INBOX_LONG: &str = "\
Subject below which replies arrive [env: NATS_INBOX_PREFIX] [default: _INBOX]

For users who may not read each other's replies: _INBOX.ann where the
server lets this user subscribe to _INBOX.ann.> only.";
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
const STORE: &str = "WebDAV or other server that takes HTTP PUT, in place of a file server [env: STORE_URL]";
const STORE_LONG: &str = "\
WebDAV or other server that takes HTTP PUT, in place of a file server [env: STORE_URL]

Each payload is a new file in the folder URL; where its name has to
be elsewhere, write {id} there: https://dav.example.com/in/{id}?k=v.
Links work until somebody deletes the file. FILESERVER_TOKEN is sent
as a bearer token; a user and a password can be in the URL.";

// Where NATS is, and who we are there. No comment for rustdoc: clap would take it for the command's own help.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Nats {
    #[arg(long, value_name = "URL", help = NATS, long_help = NATS_LONG)]
    nats: Option<String>,
    #[arg(long, value_name = "NAME", help = PROFILE, long_help = PROFILE_LONG)]
    profile: Option<String>,
    #[arg(long, value_name = "NAME", conflicts_with = "profile", help = CONTEXT, long_help = CONTEXT_LONG)]
    context: Option<String>,
    #[arg(long, value_name = "FILE", help = CREDS)]
    creds: Option<String>,
    #[arg(long, value_name = "FILE", conflicts_with = "creds", help = NKEY)]
    nkey: Option<String>,
    #[arg(long, value_name = "FILE", help = CA, long_help = CA_LONG)]
    tls_ca: Option<String>,
    #[arg(long, value_name = "FILE", help = CERT)]
    tls_cert: Option<String>,
    #[arg(long, value_name = "FILE", help = KEY)]
    tls_key: Option<String>,
    #[arg(long, help = FIRST, long_help = FIRST_LONG)]
    tls_first: bool,
    #[arg(long, value_name = "SUBJECT", help = INBOX, long_help = INBOX_LONG)]
    inbox_prefix: Option<String>,
}

// Where large payloads are
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "File server")]
struct Files {
    #[arg(long, value_name = "URL", help = FILESERVER, long_help = FILESERVER_LONG)]
    fileserver: Option<String>,
    #[arg(long, value_name = "FILE", help = FILESERVER_CA)]
    fileserver_ca: Option<String>,
    #[arg(long, value_name = "URL", conflicts_with = "fileserver", help = S3, long_help = S3_LONG)]
    s3: Option<String>,
    #[arg(long, value_name = "URL", conflicts_with_all = ["fileserver", "s3"], help = STORE, long_help = STORE_LONG)]
    store: Option<String>,
}

// Where NATS and the file server are
#[derive(Debug, Args)]
pub(crate) struct Global {
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    files: Files,
    /// Whether the command has to do with the file server at all
    #[arg(skip = true)]
    stores: bool,
}

/// Variables that say where NATS is
const NATS_VARIABLES: [&str; 9] = [
    "NATS_URL",
    "NATS_CREDS",
    "NATS_NKEY",
    "NATS_TOKEN",
    "NATS_USER",
    "NATS_PASSWORD",
    "NATS_CA",
    "NATS_CERT",
    "NATS_KEY",
];

/// Variables that say how to talk to it
const MANNERS: [&str; 2] = ["NATS_TLS_FIRST", "NATS_INBOX_PREFIX"];

/// Variables of which one says who we are
const CREDENTIALS: [&str; 5] = ["NATS_CREDS", "NATS_NKEY", "NATS_TOKEN", "NATS_USER", "NATS_PASSWORD"];

/// Variables of which one says where large payloads are
const STORES: [&str; 3] = ["FILESERVER_URL", "S3_URL", "STORE_URL"];

/// A variable of the environment that is set and not empty
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// What is set besides options: by a profile or context that was asked for, by variables, by the profile in use
struct Settings {
    given: Given,
    /// Whether the user asked for it on this command line
    asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Profile,
    Context,
    Nothing,
}

impl Global {
    /// For a command that has nothing to do with file servers
    pub(crate) fn of_broker(nats: Nats) -> Self {
        Self { nats, files: Files::default(), stores: false }
    }

    /// The environment's settings, with those of the command line in their place
    pub(crate) async fn config(&self) -> Result<Config, Failure> {
        if let Some(url) = &self.files.fileserver {
            stores::origin("--fileserver", url)?;
        }
        let settings = self.settings()?;
        let read = |name: &'static str| self.variable(&settings, name);
        let mut config = Config::from_variables(read).map_err(|error| self.named(&settings, error))?;
        for name in ["NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT", "NATS_KEY"] {
            let path = read(name).unwrap_or_default();
            if !path.trim().is_empty()
                && let Err(error) = std::fs::File::open(path.trim())
            {
                let why = format!("{name} can't be used: {}: {error}", output::harmless(path.trim()));
                return Err(self.renamed(&settings, name, why));
            }
        }
        let nats = config.connect_options().clone().name("natsbridge");
        config = config.nats(nats);
        if !self.stores {
            return Ok(config);
        }
        let value = |name| read(name).ok().map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
        let given = match &self.files {
            Files { s3: Some(url), .. } => Some(("--s3", url.clone())),
            Files { store: Some(url), .. } => Some(("--store", url.clone())),
            // The file server that is named on the command line counts for more than a variable.
            Files { fileserver: Some(_), .. } => None,
            _ => match (value("S3_URL"), value("STORE_URL")) {
                (Some(_), Some(_)) => {
                    let why = "S3_URL and STORE_URL are both set, and large payloads go to one place; unset the other";
                    return Err(Failure::Usage(why.to_owned()));
                }
                (Some(url), None) => Some(("S3_URL", url)),
                (None, Some(url)) => Some(("STORE_URL", url)),
                (None, None) => None,
            },
        };
        match given {
            Some((option, url)) if url.starts_with("http://") || url.starts_with("https://") => {
                if matches!(option, "--s3" | "S3_URL") {
                    let why =
                        format!("{option} can't be used: it has to start with s3://; for HTTP PUT there is --store");
                    return Err(Failure::Usage(why));
                }
                let store = stores::put(option, &url, value("FILESERVER_TOKEN"), config.root_certificates())?;
                config = config.uploader(store);
            }
            Some((option, url)) if matches!(option, "--store" | "STORE_URL") && !url.starts_with("s3://") => {
                return Err(Failure::Usage(format!(
                    "{option} can't be used: it has to start with https:// or http://, or with s3:// for a bucket"
                )));
            }
            Some((option, url)) => {
                let bucket = stores::bucket(option, &url, config.root_certificates()).await?;
                config = config.uploader(bucket);
            }
            None => {}
        }
        Ok(config)
    }

    /// The NATS servers' addresses, as they were given
    pub(crate) fn nats_urls(&self) -> Vec<String> {
        let given = self.settings().ok().and_then(|settings| self.variable(&settings, "NATS_URL").ok());
        let given = given.filter(|urls| !urls.trim().is_empty());
        given.as_deref().unwrap_or(Config::NATS_URL).split(',').map(|url| url.trim().to_owned()).collect()
    }

    /// The profile or the context that is to be used, if any
    fn settings(&self) -> Result<Settings, Failure> {
        let (given, asked) = match (&self.nats.profile, &self.nats.context) {
            (Some(name), _) => (profile::read(name)?, Asked::Profile),
            (None, Some(name)) => (profile::context(name)?, Asked::Context),
            (None, None) => {
                let mut given = profile::in_use()?;
                // What belongs to one server is not sent to another one.
                let elsewhere =
                    self.nats.nats.is_some() || NATS_VARIABLES.iter().any(|name| environment(name).is_some());
                if elsewhere {
                    given.leave_out(&NATS_VARIABLES);
                    given.leave_out(&MANNERS);
                }
                let Files { fileserver, s3, store, .. } = &self.files;
                let elsewhere = fileserver.is_some() || s3.is_some() || store.is_some();
                if elsewhere || STORES.iter().any(|name| environment(name).is_some()) {
                    given.leave_out(&STORES);
                    given.leave_out(&["FILESERVER_TOKEN", "FILESERVER_CA"]);
                }
                (given, Asked::Nothing)
            }
        };
        Ok(Settings { given, asked })
    }

    /// A setting: an option stands in front of its variable, which may then hold anything
    fn variable(&self, settings: &Settings, name: &'static str) -> Result<String, VarError> {
        let Nats { creds, nkey, tls_first, .. } = &self.nats;
        let about_nats = NATS_VARIABLES.contains(&name) || MANNERS.contains(&name);
        if !self.stores && !about_nats {
            return Err(VarError::NotPresent);
        }
        if let Some((_, value)) = self.option(name) {
            return Ok(value.clone());
        }
        if name == "NATS_TLS_FIRST" && *tls_first {
            return Ok("true".to_owned());
        }
        // The option alone says which credentials to use.
        if CREDENTIALS.contains(&name) && (creds.is_some() || nkey.is_some()) {
            return Err(VarError::NotPresent);
        }
        let saved = || settings.given.get(name).ok_or(VarError::NotPresent);
        match settings.asked {
            Asked::Profile => saved(),
            Asked::Context if about_nats => saved(),
            Asked::Context => std::env::var(name),
            Asked::Nothing => match std::env::var(name) {
                Ok(value) if value.trim().is_empty() => saved(),
                Err(VarError::NotPresent) => saved(),
                found => found,
            },
        }
    }

    /// An error about a variable, named by what its value came from
    fn named(&self, settings: &Settings, error: natsbridge::Error) -> Failure {
        match &error {
            natsbridge::Error::Config(config) => self.renamed(settings, config.variable, error.to_string()),
            _ => error.into(),
        }
    }

    /// A text about a variable: its value may have come from an option or a profile
    fn renamed(&self, settings: &Settings, name: &'static str, text: String) -> Failure {
        let text = crate::failure::plain(text);
        match (self.option(name), settings.given.origin_of(name)) {
            (Some((option, _)), _) => Failure::Usage(text.replace(name, option)),
            (None, Some(origin)) => Failure::Usage(format!("{text} (in {origin})")),
            (None, None) => Failure::Usage(text),
        }
    }

    /// The option that stands for a variable, and its value, where it was given
    fn option(&self, name: &str) -> Option<(&'static str, &String)> {
        let Nats { nats, creds, nkey, tls_ca, tls_cert, tls_key, inbox_prefix, .. } = &self.nats;
        let (option, value) = match name {
            "NATS_URL" => ("--nats", nats),
            "NATS_CREDS" => ("--creds", creds),
            "NATS_NKEY" => ("--nkey", nkey),
            "NATS_CA" => ("--tls-ca", tls_ca),
            "NATS_CERT" => ("--tls-cert", tls_cert),
            "NATS_KEY" => ("--tls-key", tls_key),
            "NATS_INBOX_PREFIX" => ("--inbox-prefix", inbox_prefix),
            "FILESERVER_URL" => ("--fileserver", &self.files.fileserver),
            "FILESERVER_CA" => ("--fileserver-ca", &self.files.fileserver_ca),
            _ => return None,
        };
        value.as_ref().map(|value| (option, value))
    }

    /// Connects, and says what to do where that fails
    pub(crate) async fn connect(config: Config) -> Result<Bridge, Failure> {
        if stores::shows_token(&config) {
            let warning = output::stderr_style().red("WARNING:");
            output::note(&format!(
                "{warning} FILESERVER_TOKEN goes to {} in clear text; use https://",
                natsbridge::wire::redacted(config.upload_url())
            ));
        }
        Ok(Bridge::connect(config).await?)
    }
}
