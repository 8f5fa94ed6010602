//! `skips.json`: which peer can't do which vectors, why, and with which code it has to say so.

use anyhow::{Context as _, Result, anyhow};
use fs_err as fs;
use serde_json::Value;

use super::testdata;

/// One entry
#[derive(Debug)]
pub(crate) struct Skip {
    pub(super) runner: String,
    /// A vector's name, where `*` stands for any text
    pub(super) vector: String,
    pub(super) reason: String,
    /// The code with which the peer has to refuse; without one the vector is skipped
    pub(super) code: Option<String>,
}

impl Skip {
    pub(crate) fn covers(&self, runner: &str, vector: &str) -> bool {
        self.runner == runner && matches(&self.vector, vector)
    }
}

/// Every entry, in the file's order
pub(crate) fn load() -> Result<Vec<Skip>> {
    let path = testdata().join("skips.json");
    let text = fs::read_to_string(&path)?;
    let json: Vec<Value> = serde_json::from_str(&text).context("skips.json is no list")?;
    let word = |entry: &Value, key: &str| {
        let word = entry[key].as_str().filter(|word| !word.is_empty()).map(str::to_owned);
        word.ok_or_else(|| anyhow!("skips.json: an entry without {key}: {entry}"))
    };
    let entry = |entry: &Value| {
        let code = entry.get("code").map(|_| word(entry, "code")).transpose()?;
        let [runner, vector, reason] = [word(entry, "runner")?, word(entry, "vector")?, word(entry, "reason")?];
        Ok(Skip { runner, vector, reason, code })
    };
    json.iter().map(entry).collect()
}

/// Whether `*` in the pattern can stand for text so that it is the name
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| &rest[at..]).chain([""]).any(|rest| matches(after, rest))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_matches_any_text() {
        for (pattern, name, fits) in [
            ("send/a", "send/a", true),
            ("send/a*", "send/a", true),
            ("*/a_*", "receive/valid/a_b", true),
            ("*link*", "receive/valid/x_link", true),
            ("send/a*c", "send/abd", false),
            ("send/a", "send/ab", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
