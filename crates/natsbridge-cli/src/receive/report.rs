//! One received message as it is printed: its payloads fetched, checked, saved and shown.

use std::path::{Path, PathBuf};

use natsbridge::{
    Bridge, Digest, Error, Handle, Header, Incoming, Part, PayloadType, Purpose, ReceiveError, Transport, Value,
};
use serde_json::{Map, Value as Json, json};

use super::header_fields;
use crate::failure::chain;
use crate::listing::{self, Row};
use crate::output;

/// Saved links up to this size are read back to be shown, in bytes
const READ_BACK: u64 = 64 * 1024 * 1024;

/// Lines of a text that are shown to people
const LINES: usize = 10;

/// For whom it is printed
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    People,
    Json,
}

/// A message with what could be read of it
#[derive(Debug)]
pub(crate) struct Report {
    subject: String,
    header: Option<Header>,
    payloads: Vec<Entry>,
    problem: Option<Problem>,
}

/// A payload that was read
#[derive(Debug)]
struct Entry {
    dataname: String,
    payload_type: PayloadType,
    transport: Transport,
    size: u64,
    sha256: Digest,
    shown: Shown,
    path: Option<PathBuf>,
}

/// A payload's value in the form that was asked for
#[derive(Debug)]
enum Shown {
    Json(Json),
    Lines(Vec<String>),
}

/// Why a message could not be read, or not all of it
#[derive(Debug)]
struct Problem {
    code: &'static str,
    message: String,
    dataname: Option<String>,
    retryable: bool,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let dataname = error.dataname().map(str::to_owned);
        Self { code: error.code(), message: chain(error).join(": "), dataname, retryable: error.is_retryable() }
    }
}

impl Report {
    /// Fetches every payload of a message; where one fails, the others are still read
    pub(crate) async fn of(message: &Result<Incoming, ReceiveError>, save: Option<&Path>, form: Form) -> Self {
        let message = match message {
            Ok(message) => message,
            Err(ReceiveError { error, subject, header, .. }) => {
                return Self {
                    subject: subject.clone(),
                    header: header.as_deref().cloned(),
                    payloads: Vec::new(),
                    problem: Some(error.as_ref().into()),
                };
            }
        };
        let (subject, header) = (message.subject().to_owned(), message.header().clone());
        let mut report = Self { subject, header: Some(header), payloads: Vec::new(), problem: None };
        for handle in message.payloads() {
            match Entry::of(handle, save, form).await {
                Ok(entry) => report.payloads.push(entry),
                // The first is told; a second one's cause is mostly the same.
                Err(error) => report.problem = report.problem.or_else(|| Some((&error).into())),
            }
        }
        report
    }

    /// Tells the sender that the message was printed, or why it can't be read
    pub(crate) async fn acknowledge(&self, bridge: &Bridge, message: &Result<Incoming, ReceiveError>) -> bool {
        let answered = match (message, &self.problem) {
            // An answer is not answered: two programs would go on for ever.
            (Ok(message), _) if matches!(message.header().msg_purpose(), Purpose::Ack | Purpose::Nack) => return false,
            (Ok(message), None) => message.ack().await,
            (Ok(message), Some(problem)) => message.nack(problem.code, &problem.message, problem.retryable).await,
            (Err(unread), _) => bridge.nack(unread).await,
        };
        match answered {
            Ok(()) => true,
            // Its sender does not want to know.
            Err(Error::NoReplySubject { .. }) => false,
            Err(error) => {
                tracing::warn!(%error, subject = self.subject, "a message could not be acknowledged");
                false
            }
        }
    }

    pub(crate) const fn is_error(&self) -> bool {
        self.problem.is_some()
    }

    pub(crate) fn to_text(&self, form: Form) -> String {
        match form {
            Form::Json => self.to_json().to_string(),
            Form::People => self.to_lines().join("\n"),
        }
    }

    fn to_json(&self) -> Json {
        // Of what is no envelope, the subject is all that is known.
        let unknown = || Map::from_iter([("subject".to_owned(), Json::from(&*self.subject))]);
        let mut fields = self.header.as_ref().map_or_else(unknown, header_fields);
        fields.insert("payloads".to_owned(), self.payloads.iter().map(Entry::to_json).collect());
        if let Some(Problem { code, message, dataname, .. }) = &self.problem {
            fields.insert("error".to_owned(), json!({ "code": code, "message": message, "dataname": dataname }));
        }
        Json::Object(fields)
    }

    fn to_lines(&self) -> Vec<String> {
        let style = output::stdout_style();
        let mut lines = vec![style.bold(&output::harmless(&self.subject))];
        if let Some(header) = &self.header {
            let from = format!("  {}, from {}, {}", header.msg_purpose(), header.sender_name(), header.timestamp());
            lines.push(output::cut(&output::harmless(&from), listing::NOTE_COLUMNS));
            lines.push(format!("  correlation  {}", output::harmless(header.correlation_id())));
        }
        if !self.payloads.is_empty() {
            lines.push(listing::heading(style));
        }
        for entry in &self.payloads {
            lines.push(entry.row().line(style));
            if let Shown::Lines(shown) = &entry.shown {
                lines.extend(shown.iter().map(|line| listing::note(line)));
            }
            if let Some(path) = &entry.path {
                // Never cut: it is there to be copied.
                lines.push(format!("    saved as {}", output::harmless(&path.to_string_lossy())));
            }
        }
        if let Some(Problem { code, message, .. }) = &self.problem {
            lines.push(format!("  {} {}", style.red(&format!("can't be read ({code}):")), output::harmless(message)));
        }
        lines.push(String::new());
        lines
    }
}

impl Entry {
    async fn of(handle: &Handle, save: Option<&Path>, form: Form) -> Result<Self, Error> {
        let (dataname, payload_type, transport) = (handle.name().to_owned(), handle.payload_type(), handle.transport());
        // What is at hand is read first, so that no file is made of what can't be read.
        let at_hand = match handle.part() {
            Some(part) if !payload_type.is_bytes() => Some(part.value()?),
            _ => None,
        };
        let (size, sha256, value, path) = match (save, handle.part()) {
            (Some(dir), part) => {
                let saved = handle.save(dir).await?;
                let value = match at_hand {
                    None if part.is_none() && !payload_type.is_bytes() && saved.size <= READ_BACK => {
                        Some(read_back(&dataname, payload_type, &saved.path).await?)
                    }
                    at_hand => at_hand,
                };
                (saved.size, saved.sha256, value, Some(saved.path))
            }
            (None, Some(part)) => {
                let sha256 = part.bytes().map_or_else(|| Digest::of(b""), |bytes| Digest::of(bytes));
                (part.size(), sha256, at_hand, None)
            }
            (None, None) => {
                // Of bytes only size and digest are shown, so they need not fit the memory.
                let unusable = |source| local(&dataname, std::env::temp_dir(), source);
                let dir = tempfile::tempdir().map_err(unusable)?;
                let saved = handle.save(dir.path()).await?;
                let value = if payload_type.is_bytes() {
                    None
                } else {
                    Some(read_back(&dataname, payload_type, &saved.path).await?)
                };
                (saved.size, saved.sha256, value, None)
            }
        };
        let shown = Shown::of(&dataname, payload_type, value, form)?;
        Ok(Self { dataname, payload_type, transport, size, sha256, shown, path })
    }

    fn row(&self) -> Row<'_> {
        Row {
            dataname: &self.dataname,
            payload_type: self.payload_type,
            size: self.size,
            transport: self.transport,
            sha256: Some(self.sha256),
        }
    }

    fn to_json(&self) -> Json {
        let value = match &self.shown {
            Shown::Json(value) => value.clone(),
            Shown::Lines(_) => Json::Null,
        };
        json!({
            "dataname": self.dataname,
            "payload_type": self.payload_type,
            "transport": self.transport,
            "size": self.size,
            "sha256": self.sha256.to_string(),
            "value": value,
            "path": self.path.as_ref().map(|path| path.to_string_lossy()),
        })
    }
}

impl Shown {
    fn of(dataname: &str, payload_type: PayloadType, value: Option<Value>, form: Form) -> Result<Self, Error> {
        let Some(value) = value else {
            return Ok(if form == Form::Json { Self::Json(Json::Null) } else { Self::Lines(Vec::new()) });
        };
        Ok(match form {
            Form::Json => Self::Json(as_json(dataname, payload_type, value)?),
            Form::People => Self::Lines(as_lines(&value)),
        })
    }
}

fn as_json(dataname: &str, payload_type: PayloadType, value: Value) -> Result<Json, Error> {
    Ok(match value {
        Value::Text(text) => text.into(),
        Value::Json(json) => json,
        Value::Rows(rows) => rows.into_vec().into(),
        Value::Table(table) => {
            let rows = table.to_rows().map_err(|error| Error::WrongType {
                dataname: dataname.to_owned(),
                payload_type,
                wanted: "rows",
                reason: error.to_string(),
            })?;
            rows.into_vec().into()
        }
        _ => Json::Null,
    })
}

/// The beginning of a value, for people
fn as_lines(value: &Value) -> Vec<String> {
    match value {
        Value::Text(text) => {
            let mut lines: Vec<_> = text.lines().take(LINES).map(str::to_owned).collect();
            if text.lines().nth(LINES).is_some() {
                lines.push("…".to_owned());
            }
            lines
        }
        Value::Json(json) => vec![json.to_string()],
        Value::Rows(rows) => vec![table_line(rows.len(), &rows.columns())],
        Value::Table(table) => {
            let columns: Vec<_> = table.schema().fields().iter().map(|field| field.name().as_str()).collect();
            vec![table_line(table.num_rows(), &columns)]
        }
        _ => Vec::new(),
    }
}

fn table_line(rows: usize, columns: &[&str]) -> String {
    format!("{rows} {} of {}", if rows == 1 { "row" } else { "rows" }, columns.join(", "))
}

/// Reads a saved link to show its value; one that is not what its type says is removed again
async fn read_back(dataname: &str, payload_type: PayloadType, path: &Path) -> Result<Value, Error> {
    let bytes = tokio::fs::read(path).await.map_err(|source| local(dataname, path.to_owned(), source))?;
    match Part::from_source(dataname, payload_type, bytes).into_value() {
        Ok(value) => Ok(value),
        Err(error) => {
            if let Err(error) = tokio::fs::remove_file(path).await {
                tracing::warn!(%error, path = %path.display(), "a payload that can't be read stays in its file");
            }
            Err(error.into())
        }
    }
}

fn local(dataname: &str, path: PathBuf, source: std::io::Error) -> Error {
    Error::File { dataname: dataname.to_owned(), action: "read", path, source }
}
