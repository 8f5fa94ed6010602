//! The payloads of a command line: their options in the order in which they were given, read before anything is sent.

use std::collections::HashSet;
use std::error::Error;
use std::io;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use natsbridge::wire::{JsonText, shown};
use natsbridge::{MessageBuilder, PayloadType, Value};

use super::input::{Input, Stored};
use super::{exact, table};
use crate::encoding::{self, NotText};
use crate::failure::Failure;
use crate::output;

/// Option, what its value is called, and what its help says
const OPTIONS: [(&str, Kind, &str, &str); 7] = [
    ("text", Kind::Text, "NAME=VALUE", "Text"),
    ("dict", Kind::Dictionary, "NAME=JSON|@FILE", "Dictionary: any JSON value"),
    ("table", Kind::Table, "NAME=@FILE", "Table: .csv, .tsv, .parquet, .arrow, .json or .ndjson"),
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
    input: Input,
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
                (place, Given { option, kind, name: name.clone(), input: Input::of(value) })
            }));
        }
        given.sort_by_key(|(place, _)| *place);
        Ok(Self(given.into_iter().map(|(_, given)| given).collect()))
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

impl Parts {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the inputs, so that a bad one is found before anything is sent
    ///
    /// Files that are sent as they are stay where they are, however large.
    pub(super) fn read(&self, how: table::How) -> Result<Ready, Failure> {
        // All are looked at before the first is read, which may be a pipe that has yet to be written.
        self.0.iter().try_for_each(Given::check)?;
        self.check_streams()?;
        self.warn_of_twins();
        let mut ready = Ready(Vec::with_capacity(self.0.len()));
        for given in &self.0 {
            ready.0.push((given.name.clone(), given.read(how)?));
        }
        Ok(ready)
    }

    /// Refuses a stream that is given twice: it can be read once
    fn check_streams(&self) -> Result<(), Failure> {
        let mut streams = HashSet::new();
        let mut inputs = self.0.iter().map(|given| &given.input);
        match inputs.find(|input| input.is_stream() && !streams.insert(input.shown())) {
            None => Ok(()),
            Some(twice) => Err(Failure::Usage(format!(
                "{} can be one payload only, since it can be read once; save it in a file first",
                twice.shown()
            ))),
        }
    }

    /// Two payloads of one name are allowed, and seldom meant
    fn warn_of_twins(&self) {
        let mut seen = HashSet::new();
        let mut told = HashSet::new();
        for Given { name, .. } in &self.0 {
            if !seen.insert(name) && told.insert(name) {
                output::note(&format!(
                    "warning: more than one payload is called `{}`; a receiver that asks by name gets the first",
                    shown(name)
                ));
            }
        }
    }
}

impl Given {
    fn refused(&self, problem: impl Into<String>) -> Failure {
        Failure::input(&self.name, problem)
    }

    fn unreadable(&self, error: io::Error) -> Failure {
        self.refused(format!("cannot read {}", self.input.shown())).because(error)
    }

    /// Finds out what can be found out without reading
    fn check(&self) -> Result<(), Failure> {
        let needs_file = matches!(self.kind, Kind::Table | Kind::File(_));
        if needs_file && matches!(self.input, Input::Here(_)) {
            return Err(Failure::Usage(format!(
                "--{} takes a file: write {name}=@FILE, or {name}=@- for standard input",
                self.option,
                name = shown(&self.name)
            )));
        }
        self.input.check().map_err(|error| self.unreadable(error))?;
        self.table_format().map(drop)
    }

    fn read(&self, how: table::How) -> Result<Item, Failure> {
        let bytes = || self.input.bytes().map_err(|error| self.unreadable(error));
        Ok(match self.kind {
            Kind::Text => {
                let refused =
                    |cause| self.refused("the text is not UTF-8; send it with --file, or convert it").because(cause);
                let bytes = bytes()?;
                // A UTF-8 mark is part of the text; UTF-16 that is valid UTF-8 too would arrive full of zeros.
                encoding::unmarked(&bytes).map_err(refused)?;
                let text = String::from_utf8(bytes.into());
                let text = text.map_err(|error| refused(NotText::found_in(error.as_bytes())))?;
                Item::Value(PayloadType::Text, Value::Text(text))
            }
            Kind::Dictionary => {
                let bytes = bytes()?;
                let refused = |cause: Box<dyn Error + Send + Sync>| {
                    self.refused("the dictionary can't be sent as it is").because(cause)
                };
                let text = encoding::text(&bytes).map_err(|error| refused(error.into()))?;
                exact::json(&text, 1).map_err(|why| {
                    let hint = if why.ends_with(exact::MORE) { "; send several objects with --table" } else { "" };
                    refused(format!("{why}{hint}").into())
                })?;
                Item::Value(PayloadType::Dictionary, Value::JsonText(JsonText::new(text.into_owned())))
            }
            Kind::Table => {
                let bytes = bytes()?;
                let format = self.table_format()?.unwrap_or_else(|| table::Format::sniffed(&bytes));
                let read = table::read(&bytes, format, how);
                let (payload_type, value) = read.map_err(|why| self.refused("the table can't be read").because(why))?;
                Item::Value(payload_type, value)
            }
            Kind::File(payload_type) => {
                Item::File(payload_type, self.input.stored().map_err(|error| self.unreadable(error))?)
            }
        })
    }

    /// How a table is written, where its file's name says it; of a stream, its first bytes will
    fn table_format(&self) -> Result<Option<table::Format>, Failure> {
        let Input::File(path) = &self.input else { return Ok(None) };
        match table::Format::of(path) {
            _ if !matches!(self.kind, Kind::Table) => Ok(None),
            Ok(format) => Ok(Some(format)),
            Err(_) if self.input.is_stream() => Ok(None),
            Err(advice) => {
                Err(self.refused(format!("{} can't be sent as a table", self.input.shown())).because(advice))
            }
        }
    }
}

/// Payloads that were read, or whose files were found
#[derive(Debug)]
pub(crate) struct Ready(Vec<(String, Item)>);

#[derive(Debug)]
enum Item {
    Value(PayloadType, Value),
    File(PayloadType, Stored),
}

/// Files that have to outlive the sending of their message
#[derive(Debug)]
pub(crate) struct Spooled(#[allow(dead_code, reason = "kept for what happens when it is dropped")] Vec<Stored>);

impl Ready {
    /// Adds the payloads to a message; what streams were spooled to has to outlive its sending
    pub(crate) fn add_to(self, mut draft: MessageBuilder) -> (MessageBuilder, Spooled) {
        let mut files = Vec::new();
        for (name, item) in self.0 {
            draft = match item {
                Item::Value(payload_type, value) => draft.value(name, value, payload_type),
                Item::File(payload_type, file) => {
                    let draft = draft.file(name, file.path(), payload_type);
                    files.push(file);
                    draft
                }
            };
        }
        (draft, Spooled(files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<(String, String)>, clap::Error> {
        let matches = Parts::augment_args(Command::new("send").no_binary_name(true)).try_get_matches_from(words)?;
        let parts = Parts::from_arg_matches(&matches)?;
        Ok(parts.0.into_iter().map(|given| (given.name, format!("{:?}", given.input))).collect())
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
    fn numbers_keep_the_digits_that_they_were_written_with() {
        let text = "{ \"a\": [1.10, 1E5, -0, 100000000000000000000.0] }";
        let (option, kind, name) = ("dict", Kind::Dictionary, "a".to_owned());
        let given = Given { option, kind, name, input: Input::Here(text.to_owned()) };
        let read = given.read(table::How::default()).unwrap();
        let Item::Value(PayloadType::Dictionary, Value::JsonText(sent)) = read else { panic!("{read:?}") };
        assert_eq!(sent.as_bytes(), text);
    }

    #[test]
    fn payload_without_name_and_second_stdin_are_refused() {
        for words in [&["--text", "hello"][..], &["--text", "=hello"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
        let given = |name: &str| Given {
            option: "file",
            kind: Kind::File(PayloadType::Binary),
            name: name.to_owned(),
            input: Input::Stdin,
        };
        assert!(Parts(vec![given("a")]).check_streams().is_ok());
        assert!(Parts(vec![given("a"), given("b")]).check_streams().is_err());
    }
}
