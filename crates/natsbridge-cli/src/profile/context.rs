//! `--context`: where the `nats` program saved a server, and how it logs in there.

use std::fs;

use serde::Deserialize;

use super::{Given, at_home, folder};
use crate::failure::Failure;
use crate::output;

/// What a context holds that can be used here; the rest is about other things
#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    user: String,
    password: String,
    token: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    tls_first: bool,
    inbox_prefix: String,
    nsc: String,
    user_jwt: String,
    socks_proxy: String,
}

/// The settings of a context of the `nats` program
pub(crate) fn context(name: &str) -> Result<Given, Failure> {
    let shown = output::harmless(name);
    let origin = format!("context `{shown}`");
    let nowhere = || Failure::Usage("there is no folder for contexts: HOME and XDG_CONFIG_HOME are not set".to_owned());
    let dir = folder().ok_or_else(nowhere)?.join("nats").join("context");
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(Failure::Usage(format!("`{shown}` is no context's name")));
    }
    let path = dir.join(format!("{name}.json"));
    let text = fs::read(&path).map_err(|error| {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned));
        let mut names: Vec<_> = names.collect();
        names.sort();
        let others = match &names[..] {
            [] => format!("; there is none in {}", output::harmless(&dir.to_string_lossy())),
            names => format!("; there are {}", output::harmless(&names.join(", "))),
        };
        Failure::Usage(match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no {origin}{others}"),
            _ => format!("{origin} can't be read: {}: {error}", output::harmless(&path.to_string_lossy())),
        })
    })?;
    // The error would show what is around it, which may be a password.
    let wrong = |error: serde_json::Error| {
        Failure::Usage(format!("{origin} is no JSON of a context (line {}, column {})", error.line(), error.column()))
    };
    let context: Context = serde_json::from_slice(&text).map_err(wrong)?;
    context.given(origin)
}

impl Context {
    fn given(self, origin: String) -> Result<Given, Failure> {
        for (field, value) in [("nsc", &self.nsc), ("user_jwt", &self.user_jwt), ("socks_proxy", &self.socks_proxy)] {
            if !value.is_empty() {
                return Err(Failure::Usage(format!(
                    "{origin} has {field}, which is not supported here; give --nats and --creds instead"
                )));
            }
        }
        let file = |path: String| match path.is_empty() {
            true => path,
            false => at_home(&path).to_string_lossy().into_owned(),
        };
        let mut values = vec![
            ("NATS_URL", self.url),
            ("NATS_CERT", file(self.cert)),
            ("NATS_KEY", file(self.key)),
            ("NATS_CA", file(self.ca)),
            ("NATS_TLS_FIRST", if self.tls_first { "true".to_owned() } else { String::new() }),
            ("NATS_INBOX_PREFIX", self.inbox_prefix),
        ];
        // The order of the `nats` program, which takes the first one.
        if !self.user.is_empty() && self.password.is_empty() && self.token.is_empty() {
            // It takes a user without a password for a token.
            values.push(("NATS_TOKEN", self.user));
        } else if !self.user.is_empty() && !self.password.is_empty() {
            values.extend([("NATS_USER", self.user), ("NATS_PASSWORD", self.password)]);
        } else if !self.creds.is_empty() {
            values.push(("NATS_CREDS", file(self.creds)));
        } else if !self.nkey.is_empty() {
            values.push(("NATS_NKEY", file(self.nkey)));
        } else {
            values.push(("NATS_TOKEN", self.token));
        }
        values.retain(|(_, value)| !value.is_empty());
        Ok(Given { origin, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(json: &str) -> Result<Vec<(&'static str, String)>, String> {
        let context: Context = serde_json::from_str(json).unwrap();
        let given = context.given("context `a`".to_owned());
        given.map(|given| given.values).map_err(|error| error.to_string())
    }

    #[test]
    fn one_set_of_credentials_is_taken() {
        let both = r#"{"description":"x","url":"nats://a:4222","user":"u","password":"p","creds":"/c","token":""}"#;
        let expected = [("NATS_URL", "nats://a:4222"), ("NATS_USER", "u"), ("NATS_PASSWORD", "p")];
        assert_eq!(given(both).unwrap(), expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(given(r#"{"token":"t"}"#).unwrap(), [("NATS_TOKEN", "t".to_owned())]);
        assert_eq!(given(r#"{"creds":"/c","nkey":"/n"}"#).unwrap(), [("NATS_CREDS", "/c".to_owned())]);
        assert!(given(r#"{"nsc":"nsc://x"}"#).unwrap_err().contains("nsc"));
    }
}
