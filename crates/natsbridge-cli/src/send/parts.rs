//! The payloads of a command line: their options in the order in which they were given, read before anything is sent.

use std::io::{self, Read as _};
use std::path::PathBuf;

use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use natsbridge::{Draft, PayloadType, Value};
use tempfile::TempPath;

use super::{TableType, table};
use crate::failure::Failure;

/// Option, what its value is called, and what its help says
const OPTIONS: [(&str, Kind, &str, &str); 7] = [
    ("text", Kind::Text, "NAME=VALUE", "Text"),
    ("dict", Kind::Dictionary, "NAME=JSON|@FILE", "Dictionary: any JSON value"),
    ("table", Kind::Table, "NAME=@FILE", "Table: .csv, .arrow, .json or .ndjson"),
    ("image", Kind::File(PayloadType::Image), "NAME=@FILE", "Image, sent as it is"),
    ("audio", Kind::File(PayloadType::Audio), "NAME=@FILE", "Sound, sent as it is"),
    ("video", Kind::File(PayloadType::Video), "NAME=@FILE", "Video, sent as it is"),
    ("file", Kind::File(PayloadType::Binary), "NAME=@FILE", "Any other file, sent as it is"),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Dictionary,
    Table,
    File(PayloadType),
}

/// One payload as it was given
#[derive(Debug, Clone)]
struct Given {
    option: &'static str,
    kind: Kind,
    name: String,
    value: Origin,
}

/// Where a payload's content is
#[derive(Debug, Clone)]
enum Origin {
    Here(String),
    File(PathBuf),
    Stdin,
}

/// The payloads of a command line, in its order across different options
#[derive(Debug, Clone)]
pub(super) struct Parts(Vec<Given>);

impl Args for Parts {
    fn augment_args(command: Command) -> Command {
        let option = |(name, _, value, help): (&'static str, Kind, &'static str, &'static str)| {
            let arg = Arg::new(name).long(name).value_name(value).help(help).help_heading("Payloads");
            arg.action(ArgAction::Append).value_parser(named)
        };
        command.args(OPTIONS.map(option))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Parts {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for (option, kind, ..) in OPTIONS {
            let places = matches.indices_of(option).into_iter().flatten();
            let values = matches.get_many::<(String, String)>(option).into_iter().flatten();
            given.extend(places.zip(values).map(|(place, (name, value))| {
                (place, Given { option, kind, name: name.clone(), value: Origin::of(value) })
            }));
        }
        given.sort_by_key(|(place, _)| *place);
        let given: Vec<_> = given.into_iter().map(|(_, given)| given).collect();
        if given.iter().filter(|given| matches!(given.value, Origin::Stdin)).count() > 1 {
            let text = "standard input (`@-`) can be one payload only\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Splits `NAME=VALUE` at the first `=`
fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a payload needs a name: write NAME=VALUE or NAME=@FILE".to_owned()),
    }
}

impl Origin {
    fn of(value: &str) -> Self {
        match value.strip_prefix('@') {
            None => Self::Here(value.to_owned()),
            Some("-") => Self::Stdin,
            Some(text) if text.starts_with('@') => Self::Here(text.to_owned()),
            Some(path) => Self::File(path.into()),
        }
    }
}

impl Parts {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the inputs, so that a bad one is found before anything is sent
    ///
    /// Files that are sent as they are stay where they are, however large.
    pub(super) fn read(&self, table_as: Option<TableType>) -> Result<Ready, Failure> {
        let mut ready = Ready { items: Vec::with_capacity(self.0.len()), spooled: None };
        for given in &self.0 {
            let item = match given.kind {
                Kind::Text => {
                    let text = String::from_utf8(given.bytes()?.into());
                    let refused = |error| given.refused("the text is not UTF-8; send it with --file").because(error);
                    Item::Value(PayloadType::Text, Value::Text(text.map_err(refused)?))
                }
                Kind::Dictionary => {
                    let json = serde_json::from_slice(&given.bytes()?);
                    let refused = |error| given.refused("the dictionary is not JSON").because(error);
                    Item::Value(PayloadType::Dictionary, Value::Json(json.map_err(refused)?))
                }
                Kind::Table => {
                    let (payload_type, value) = given.table(table_as)?;
                    Item::Value(payload_type, value)
                }
                Kind::File(payload_type) => Item::File(payload_type, given.file(&mut ready.spooled)?),
            };
            ready.items.push((given.name.clone(), item));
        }
        Ok(ready)
    }
}

impl Given {
    fn refused(&self, problem: impl Into<String>) -> Failure {
        Failure::input(&self.name, problem)
    }

    fn bytes(&self) -> Result<Bytes, Failure> {
        match &self.value {
            Origin::Here(text) => Ok(Bytes::from(text.clone())),
            Origin::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(error) => Err(self.unreadable(path.display(), error)),
            },
            Origin::Stdin => {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| self.unreadable("standard input", error))?;
                Ok(bytes.into())
            }
        }
    }

    fn unreadable(&self, what: impl std::fmt::Display, error: io::Error) -> Failure {
        self.refused(format!("cannot read {what}")).because(error)
    }

    fn table(&self, table_as: Option<TableType>) -> Result<(PayloadType, Value), Failure> {
        let format = match &self.value {
            Origin::Here(_) => return Err(self.needs_file()),
            Origin::File(path) => Some(table::Format::of(path).ok_or_else(|| {
                self.refused(format!("{} is no .csv, .arrow, .json or .ndjson file; rename it", path.display()))
            })?),
            Origin::Stdin => None,
        };
        let bytes = self.bytes()?;
        let format = format.unwrap_or_else(|| table::Format::sniffed(&bytes));
        table::read(&bytes, format, table_as).map_err(|cause| self.refused("the table can't be read").because(cause))
    }

    /// The file that holds the payload; standard input becomes a temporary one, so that it may be of any size
    fn file(&self, spooled: &mut Option<TempPath>) -> Result<PathBuf, Failure> {
        match &self.value {
            Origin::Here(_) => Err(self.needs_file()),
            Origin::File(path) => {
                // Later it would be found out after other payloads were uploaded.
                std::fs::File::open(path).map_err(|error| self.unreadable(path.display(), error))?;
                Ok(path.clone())
            }
            Origin::Stdin => {
                let spool = || -> io::Result<TempPath> {
                    let mut file = tempfile::NamedTempFile::new()?;
                    io::copy(&mut io::stdin().lock(), &mut file)?;
                    Ok(file.into_temp_path())
                };
                let path = spool().map_err(|error| self.unreadable("standard input", error))?;
                Ok(spooled.insert(path).to_path_buf())
            }
        }
    }

    fn needs_file(&self) -> Failure {
        Failure::Usage(format!(
            "--{} takes a file: write {}=@FILE, or {}=@- for standard input",
            self.option, self.name, self.name
        ))
    }
}

/// Payloads that were read, or whose files were found
#[derive(Debug)]
pub(crate) struct Ready {
    items: Vec<(String, Item)>,
    /// Standard input, until it was sent
    spooled: Option<TempPath>,
}

#[derive(Debug)]
enum Item {
    Value(PayloadType, Value),
    File(PayloadType, PathBuf),
}

impl Ready {
    /// Adds the payloads to a message; what standard input was spooled to has to outlive its sending
    pub(crate) fn add_to(self, draft: Draft) -> (Draft, Option<TempPath>) {
        let draft = self.items.into_iter().fold(draft, |draft, (name, item)| match item {
            Item::Value(payload_type, value) => draft.value(name, payload_type, value),
            Item::File(payload_type, path) => draft.file(name, payload_type, path),
        });
        (draft, self.spooled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<(String, String)>, clap::Error> {
        let matches = Parts::augment_args(Command::new("send").no_binary_name(true)).try_get_matches_from(words)?;
        let parts = Parts::from_arg_matches(&matches)?;
        Ok(parts.0.into_iter().map(|given| (given.name, format!("{:?}", given.value))).collect())
    }

    #[test]
    fn payloads_keep_their_order_across_options() {
        let words = ["--file", "a=@x", "--text", "b=1=2", "--file=c=@-", "--text", "d=@@at", "--dict", "e={}"];
        let names: Vec<_> = parsed(&words).unwrap();
        let expected = [
            ("a", r#"File("x")"#),
            ("b", r#"Here("1=2")"#),
            ("c", "Stdin"),
            ("d", r#"Here("@at")"#),
            ("e", r#"Here("{}")"#),
        ];
        assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_payload_without_a_name_and_a_second_standard_input_are_refused() {
        for words in [&["--text", "hello"][..], &["--text", "=hello"], &["--text", "a=@-", "--file", "b=@-"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
