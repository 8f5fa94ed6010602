//! `natsbridge profile`: settings that are saved once and used in every terminal; secrets stay where they are.

mod context;
mod file;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use natsbridge::wire::redacted;
use serde_json::{Value as Json, json};

use crate::failure::Failure;
use crate::{output, stores, units};
pub(crate) use context::context;
use file::{Profiles, Saved};

/// Save where NATS and the file server are, for every terminal
///
/// A profile holds no secret: it names the file or the variable that does.
/// Profiles are in the file profiles.json of the folder natsbridge, below
/// $XDG_CONFIG_HOME or ~/.config (Windows: %APPDATA%).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::doc_markdown, reason = "the help shows variables as they are typed")]
pub(crate) struct Profile {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Save(Box<Save>),
    Use(Use),
    List(List),
    Show(Show),
    Remove(Remove),
}

const EXAMPLES: &str = "\
Examples:
  natsbridge profile save lab --nats tls://lab.example.com --creds lab.creds
  natsbridge profile use lab
  natsbridge send lab.results --text note=hello --profile lab
";

/// Save a profile; one of the same name is replaced
#[derive(Debug, Args)]
#[command(after_help = SAVE_EXAMPLES)]
struct Save {
    /// Name of the profile: letters, digits, `.`, `-` and `_`
    name: String,
    #[command(flatten)]
    saved: Saved,
    /// Use this profile from now on
    #[arg(long = "use")]
    in_use: bool,
}

const SAVE_EXAMPLES: &str = "\
Files have to exist, and are saved with their whole path.

Examples:
  natsbridge profile save lab --nats tls://lab.example.com --creds lab.creds
  natsbridge profile save home --nats nats://10.0.0.2:4222 --user ann \\
      --password-file ~/.secrets/nats --fileserver http://10.0.0.2:8080 --use
  natsbridge profile save cloud --token-env CLOUD_TOKEN --s3 s3://payloads
";

/// Use a profile where neither --profile nor a variable says something else
#[derive(Debug, Args)]
#[command(after_help = USE_EXAMPLES)]
struct Use {
    /// Name of the profile
    #[arg(required_unless_present = "none")]
    name: Option<String>,
    /// Use no profile from now on
    #[arg(long, conflicts_with = "name")]
    none: bool,
}

const USE_EXAMPLES: &str = "\
Examples:
  natsbridge profile use lab
  natsbridge profile use --none
";

/// List the profiles; `*` marks the one in use
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// Print a JSON line
    #[arg(long)]
    json: bool,
}

const LIST_EXAMPLES: &str = "\
Examples:
  natsbridge profile list
  natsbridge profile list --json | jq -r .in_use
";

/// Show what a profile holds
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct Show {
    /// Name of the profile; the one in use by default
    name: Option<String>,
    /// Print a JSON line
    #[arg(long)]
    json: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  natsbridge profile show
  natsbridge profile show lab --json | jq -r .nats
";

/// Remove a profile
#[derive(Debug, Args)]
#[command(after_help = REMOVE_EXAMPLES)]
struct Remove {
    /// Name of the profile
    name: String,
}

const REMOVE_EXAMPLES: &str = "\
Examples:
  natsbridge profile remove lab
";

impl Profile {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let path = file::path()?;
        let reads = matches!(self.action, Action::List(_) | Action::Show(_));
        let _lock = if reads { None } else { Some(file::lock(&path)?) };
        let mut profiles = Profiles::load(&path)?;
        let line = match self.action {
            Action::Save(save) => {
                let Save { name, saved, in_use } = *save;
                check_name(&name)?;
                profiles.profiles.insert(name.clone(), saved.checked()?);
                if in_use {
                    profiles.in_use = Some(name.clone());
                }
                profiles.store(&path)?;
                let next = match profiles.in_use.as_ref() == Some(&name) {
                    true => "it is in use".to_owned(),
                    false => format!("add --profile {name} to a command, or run `natsbridge profile use {name}`"),
                };
                format!("saved profile {name}; {next}")
            }
            Action::Use(Use { name: Some(name), .. }) => {
                profiles.get(&name)?;
                profiles.in_use = Some(name.clone());
                profiles.store(&path)?;
                format!("profile {name} is in use")
            }
            Action::Use(_) => {
                profiles.in_use = None;
                profiles.store(&path)?;
                "no profile is in use".to_owned()
            }
            Action::List(list) => profiles.listed(list.json),
            Action::Show(show) => profiles.shown(show.name.as_deref(), show.json)?,
            Action::Remove(Remove { name }) => {
                profiles.get(&name)?;
                profiles.profiles.remove(&name);
                profiles.in_use = profiles.in_use.filter(|in_use| *in_use != name);
                profiles.store(&path)?;
                format!("removed profile {name}")
            }
        };
        output::line(&line).map_err(Failure::output)
    }
}

/// A name that can be typed without quotes, and is no option
fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.chars().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 64 {
        return Ok(());
    }
    let shown = natsbridge::wire::shown(name);
    Err(Failure::Usage(format!("`{shown}` can't name a profile: use letters, digits, `.`, `-` and `_`")))
}

/// Settings by the names of the variables that they stand for
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// What they are called in an error
    origin: String,
    values: Vec<(&'static str, String)>,
}

impl Given {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn leave_out(&mut self, names: &[&str]) {
        self.values.retain(|(name, _)| !names.contains(name));
    }

    /// What they are called, if they have this one
    pub(crate) fn origin_of(&self, name: &str) -> Option<&str> {
        self.get(name).map(|_| &*self.origin)
    }
}

/// The settings of a profile
pub(crate) fn read(name: &str) -> Result<Given, Failure> {
    let profiles = Profiles::load(&file::path()?)?;
    profiles.get(name)?.given(name)
}

/// The settings of the profile in use; nothing where there is none
pub(crate) fn in_use() -> Result<Given, Failure> {
    // Without a home there is no profile.
    let Ok(path) = file::path() else { return Ok(Given::default()) };
    let profiles = Profiles::load(&path)?;
    match &profiles.in_use {
        Some(name) => profiles.get(name)?.given(name),
        None => Ok(Given::default()),
    }
}

impl Profiles {
    fn get(&self, name: &str) -> Result<&Saved, Failure> {
        self.profiles.get(name).ok_or_else(|| {
            let names: Vec<_> = self.profiles.keys().map(String::as_str).collect();
            let shown = natsbridge::wire::shown(name);
            Failure::Usage(match &names[..] {
                [] => format!("there is no profile `{shown}`; `natsbridge profile save {shown}` makes one"),
                names => format!("there is no profile `{shown}`, but {}", names.join(", ")),
            })
        })
    }

    fn listed(&self, as_json: bool) -> String {
        if as_json {
            let names: Vec<_> = self.profiles.keys().collect();
            return output::json(&json!({ "profiles": names, "in_use": self.in_use }));
        }
        if self.profiles.is_empty() {
            return "no profiles; `natsbridge profile save` makes one".to_owned();
        }
        let line = |(name, saved): (&String, &Saved)| {
            let mark = if self.in_use.as_ref() == Some(name) { '*' } else { ' ' };
            let nats = saved.nats.as_deref().unwrap_or(natsbridge::Config::NATS_URL);
            output::cut(&format!("{mark} {name:<16}  {}", printable(nats)), crate::listing::COLUMNS)
        };
        self.profiles.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn shown(&self, name: Option<&str>, as_json: bool) -> Result<String, Failure> {
        let nothing = || Failure::Usage("no profile is in use; name one: natsbridge profile show NAME".to_owned());
        let name = name.or(self.in_use.as_deref()).ok_or_else(nothing)?;
        let fields = serde_json::to_value(self.get(name)?).unwrap_or_default();
        let Json::Object(mut fields) = fields else { return Ok(String::new()) };
        for value in fields.values_mut() {
            if let Json::String(text) = value {
                *text = printable(text);
            }
        }
        if as_json {
            fields.insert("name".to_owned(), name.into());
            return Ok(output::json(&Json::Object(fields)));
        }
        let mut lines = vec![format!("profile {name}")];
        for (key, value) in &fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            lines.push(format!("  {:<23}  {value}", key.replace('_', "-")));
        }
        Ok(lines.join("\n"))
    }
}

/// A setting to be shown: a password that somebody wrote into the file by hand is not
fn printable(text: &str) -> String {
    let part = |part: &str| if names_user(part) { redacted(part) } else { part.to_owned() };
    output::harmless(&text.split(',').map(part).collect::<Vec<_>>().join(","))
}

/// A file's whole path, so that it is found from every folder
fn whole(option: &str, path: &str) -> Result<String, Failure> {
    let wrong =
        |error: std::io::Error| Failure::Usage(format!("{option} can't be used: {}: {error}", output::harmless(path)));
    let whole = std::fs::canonicalize(at_home(path)).map_err(wrong)?;
    whole.into_os_string().into_string().map_err(|_| Failure::Usage(format!("{option}: the path is not Unicode")))
}

/// A path in which `~` is the user's home
fn at_home(path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").or_else(|| path.strip_prefix("$HOME/"));
    match (home, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(path).to_owned(),
    }
}

/// The folder for the settings of the user's programs
fn folder() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if cfg!(windows) {
        return named("APPDATA");
    }
    named("XDG_CONFIG_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".config")))
}

/// A URL that holds no password
fn without_password(option: &str, url: &str) -> Result<(), Failure> {
    if !url.split(',').any(names_user) {
        return Ok(());
    }
    let instead = match option {
        "--nats" => "give --user with --password-file or --password-env, or --token-file or --token-env",
        _ => "give --fileserver-token-file or --fileserver-token-env",
    };
    Err(Failure::Usage(format!("{option} holds a user or a password, which no profile keeps; {instead}")))
}

/// Whether a URL names a user, and may hold a password
fn names_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@'))
}

/// Whether a store's URL can be used at all, as far as that is known without connecting
fn check_store(option: &str, url: &str) -> Result<(), Failure> {
    without_password(option, url)?;
    match (option, url.starts_with("s3://")) {
        (_, true) if option != "--fileserver" => Ok(()),
        ("--s3", _) => Err(Failure::Usage("--s3 can't be used: it has to start with s3://".to_owned())),
        _ => stores::origin(option, &url.replace("{id}", "id")).map(drop),
    }
}

/// Bytes from which a payload becomes a link
fn threshold(text: &str) -> Result<u64, String> {
    units::size(text)
}
