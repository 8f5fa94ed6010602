//! One received message as it is printed: its payloads fetched, checked, saved and shown.

use std::io;
use std::path::{Path, PathBuf};

use natsbridge::store::Digest;
use natsbridge::wire::Header;
use natsbridge::{Bridge, Error, HandlerError, Message, Payload, PayloadType, Purpose, Transport};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::Saving;
use super::convert::{TableFile, convert};
use super::preview::is_table;
use super::show::{Body, Budget, Form, READ_BACK, Shown, Unshown};
use crate::failure::{Failure, chain, fetch_advice};
use crate::listing::{self, Row};
use crate::output;
use crate::scratch::Scratch;
use crate::session::header_fields;

/// Messages whose links load at once
const LOADING: usize = 32;

/// Payloads up to this size are looked into at once, larger ones on another thread, in bytes
const SMALL: u64 = 16 * 1024;

/// How messages are printed, and what all of them share for that
#[derive(Debug)]
pub(crate) struct Printing {
    saving: Saving,
    form: Form,
    scratch: Scratch,
    loading: Semaphore,
    /// One large value at a time is in memory
    showing: Semaphore,
}

/// A message with what could be read of it
#[derive(Debug)]
pub(crate) struct Report {
    subject: String,
    /// What people read in the subject's place
    headline: Option<String>,
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
    unshown: Option<Unshown>,
    path: Option<PathBuf>,
    /// Where a link is that is not saved, until it is printed
    _folder: Option<TempDir>,
}

/// Why a message could not be read, or not all of it
#[derive(Debug)]
struct Problem {
    code: &'static str,
    message: String,
    /// The same for the message's sender
    told: String,
    dataname: Option<String>,
    retryable: bool,
    /// What to do here; no sender is told
    help: Option<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let dataname = error.dataname().map(str::to_owned);
        let help = match error.inner() {
            Error::Fetch(error) => fetch_advice(error),
            _ => None,
        };
        let message = chain(error).join(": ");
        let (told, retryable) = (error.nack_reason(), error.is_retryable());
        Self { code: error.code(), message, told, dataname, retryable, help }
    }
}

impl Printing {
    pub(crate) fn new(saving: Saving, form: Form) -> Self {
        let (loading, showing) = (Semaphore::new(LOADING), Semaphore::new(1));
        Self { saving, form, scratch: Scratch::new(), loading, showing }
    }

    /// Fetches every payload of a message; where one fails, the others are still read
    pub(crate) async fn report(&self, message: &Result<Message, Error>) -> Report {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                return Report {
                    subject: error.subject().unwrap_or_default().to_owned(),
                    headline: None,
                    header: error.header().cloned(),
                    payloads: Vec::new(),
                    problem: Some(error.into()),
                };
            }
        };
        let (subject, header) = (message.subject().to_string(), message.header().clone());
        let mut report = Report { subject, headline: None, header: Some(header), payloads: Vec::new(), problem: None };
        // Closed by nobody.
        let _turn = match message.payloads().iter().any(|handle| handle.part().is_none()) {
            true => self.loading.acquire().await.ok(),
            false => None,
        };
        let mut budget = Budget::new();
        for handle in message.payloads() {
            match self.entry(handle, &mut budget).await {
                Ok(entry) => report.payloads.push(entry),
                // The first is told; a second one's cause is mostly the same.
                Err(error) => report.problem = report.problem.or_else(|| Some((&error).into())),
            }
        }
        report
    }

    async fn entry(&self, handle: &Payload, budget: &mut Budget) -> Result<Entry, Error> {
        let (dataname, payload_type, transport) = (handle.name().to_owned(), handle.payload_type(), handle.transport());
        let (mut shown, mut unshown, mut path, mut folder) = (Shown::Nothing, None, None, None);
        let direct = handle.part().and_then(|part| part.bytes());
        // What is at hand is read first, so that no file is made of what can't be read.
        if let Some(bytes) = direct {
            (shown, unshown) =
                self.shown(&dataname, payload_type, Body::Memory(bytes.clone()), handle.size(), budget).await?;
        }
        let (size, sha256) = match (&self.saving.save, direct) {
            (None, Some(bytes)) => (handle.size().unwrap_or(0), Digest::of(bytes)),
            (Some(dir), _) => {
                let saved = handle.save(dir).await?;
                path = Some(saved.path);
                (saved.size, saved.sha256)
            }
            (None, None) => {
                let unusable = |source| local(&dataname, std::env::temp_dir(), source);
                let private = self.scratch.folder().map_err(unusable)?;
                let saved = handle.save(private.path()).await?;
                folder = Some((private, saved.path));
                (saved.size, saved.sha256)
            }
        };
        if direct.is_none() && !payload_type.is_bytes() {
            let file = folder.as_ref().map(|(_, file)| file).or(path.as_ref());
            if let Some(file) = file.filter(|_| size <= READ_BACK) {
                let read = self.shown(&dataname, payload_type, Body::File(file.clone()), Some(size), budget).await;
                (shown, unshown) = match read {
                    Ok(read) => read,
                    Err(error) => {
                        remove(file).await;
                        return Err(error);
                    }
                };
            } else {
                unshown = Some(Unshown::too_large());
            }
        }
        if let (Some(saved), Some(wanted)) = (&mut path, self.saving.save_tables)
            && is_table(payload_type)
        {
            match self.converted(saved.clone(), payload_type, wanted).await {
                Ok(file) => *saved = file,
                Err(problem) => {
                    let error: &(dyn std::error::Error + 'static) = problem.as_ref();
                    tracing::warn!(error, dataname, "a table stays in the file that it came as");
                }
            }
        }
        let _folder = folder.map(|(folder, _)| folder);
        Ok(Entry { dataname, payload_type, transport, size, sha256, shown, unshown, path, _folder })
    }

    async fn converted(
        &self,
        saved: PathBuf,
        payload_type: PayloadType,
        wanted: TableFile,
    ) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
        let _turn = self.showing.acquire().await;
        tokio::task::spawn_blocking(move || convert(&saved, payload_type, wanted)).await?
    }

    async fn shown(
        &self,
        dataname: &str,
        payload_type: PayloadType,
        body: Body,
        size: Option<u64>,
        budget: &mut Budget,
    ) -> Result<(Shown, Option<Unshown>), Error> {
        let form = self.form;
        if payload_type.is_bytes() {
            return Ok((Shown::Nothing, None));
        }
        // Only a table can take much more memory than it has bytes.
        if size.is_some_and(|size| size <= SMALL) && payload_type != PayloadType::ArrowTable {
            return Shown::of(dataname, payload_type, body, form, budget);
        }
        let _turn = self.showing.acquire().await;
        let name = dataname.to_owned();
        let mut left = budget.clone();
        let shown = tokio::task::spawn_blocking(move || {
            let shown = Shown::of(&name, payload_type, body, form, &mut left);
            (shown, left)
        });
        let (shown, left) = shown.await.unwrap_or_else(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime stops it.
            Err(_) => (Err(Error::Stopped), budget.clone()),
        });
        *budget = left;
        shown
    }
}

impl Report {
    /// Has people read this in the subject's place: an inbox tells them nothing
    pub(crate) fn headed(mut self, headline: String) -> Self {
        self.headline = Some(headline);
        self
    }

    /// Tells the sender that the message was printed, or why it can't be read
    pub(crate) async fn acknowledge(&self, bridge: &Bridge, message: &Result<Message, Error>) -> bool {
        let answered = match (message, &self.problem) {
            // A reply gets no reply: two programs would go on for ever.
            (Ok(message), _) if matches!(message.header().msg_purpose(), Purpose::Ack | Purpose::Nack) => return false,
            (Ok(message), None) => message.ack().await,
            (Ok(message), Some(problem)) => message.nack(nack(problem.code, &problem.told, problem.retryable)).await,
            (Err(unread), _) => bridge.nack(unread).await,
        };
        match answered {
            Ok(()) => true,
            // Its sender does not want to know.
            Err(Error::NoReplySubject { .. }) => false,
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, subject = self.subject, "a message could not be acknowledged");
                false
            }
        }
    }

    pub(crate) const fn is_error(&self) -> bool {
        self.problem.is_some()
    }

    /// Prints the message at once
    pub(crate) fn print(&self, form: Form) -> Result<(), Failure> {
        output::above_bars(|| {
            let mut stdout = io::BufWriter::new(io::stdout().lock());
            self.write(form, &mut stdout).and_then(|()| io::Write::flush(&mut stdout)).map_err(Failure::output)
        })
    }

    /// Writes the message, with its line end; a large value is made meanwhile
    pub(crate) fn write(&self, form: Form, out: &mut dyn io::Write) -> io::Result<()> {
        match form {
            Form::Json => self.write_json(out),
            Form::People => writeln!(out, "{}", self.to_lines().join("\n")),
        }
    }

    fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        // Of what is no envelope, the subject is all that is known.
        let unknown = || Map::from_iter([("subject".to_owned(), Json::from(&*self.subject))]);
        let fields = self.header.as_ref().map_or_else(unknown, header_fields);
        let fields = output::json(&Json::Object(fields));
        write!(out, "{},\"payloads\":[", fields.strip_suffix('}').unwrap_or(&fields))?;
        for (n, entry) in self.payloads.iter().enumerate() {
            if n > 0 {
                out.write_all(b",")?;
            }
            entry.write_json(out)?;
        }
        out.write_all(b"]")?;
        if let Some(Problem { code, message, dataname, help, .. }) = &self.problem {
            let mut error = json!({ "code": code, "message": message, "dataname": dataname });
            if let Some(help) = help {
                error["help"] = help.as_str().into();
            }
            write!(out, ",\"error\":{}", output::json(&error))?;
        }
        out.write_all(b"}\n")
    }

    fn to_lines(&self) -> Vec<String> {
        let style = output::stdout_style();
        let mut lines = vec![style.bold(&output::harmless(self.headline.as_ref().unwrap_or(&self.subject)))];
        if let Some(header) = &self.header {
            let from = format!("  {}, from {}, {}", header.msg_purpose(), header.sender_name(), header.timestamp());
            lines.push(output::cut(&output::harmless(&from), listing::NOTE_COLUMNS));
            lines.push(format!("  correlation  {}", natsbridge::wire::shown(header.correlation_id())));
        }
        if !self.payloads.is_empty() {
            lines.push(listing::heading(style));
        }
        for entry in &self.payloads {
            lines.push(entry.row().line(style));
            if let Shown::Lines(shown) = &entry.shown {
                lines.extend(shown.iter().map(|line| listing::note(line)));
            }
            if let Some(Unshown { code, message, .. }) = &entry.unshown {
                lines.extend(listing::notes(&format!("not shown ({code}): {message}")));
            }
            if let Some(path) = &entry.path {
                // Never cut: it is there to be copied.
                lines.push(format!("    saved as {}", output::harmless(&path.to_string_lossy())));
            }
        }
        if let Some(Problem { code, message, help, .. }) = &self.problem {
            lines.push(format!("  {}", style.red(&format!("can't be read ({code}):"))));
            lines.extend(listing::notes(message));
            lines.extend(help.iter().flat_map(|help| listing::notes(&format!("help: {help}"))));
        }
        lines.push(String::new());
        lines
    }
}

impl Entry {
    fn row(&self) -> Row<'_> {
        Row {
            dataname: &self.dataname,
            payload_type: self.payload_type,
            size: self.size,
            transport: self.transport,
            sha256: Some(self.sha256),
        }
    }

    fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let before = json!({
            "dataname": self.dataname,
            "payload_type": self.payload_type,
            "transport": self.transport,
            "size": self.size,
            "sha256": self.sha256.to_string(),
        });
        let mut after = Map::new();
        after.insert("path".to_owned(), self.path.as_ref().map(|path| path.to_string_lossy()).into());
        if let Some(unshown) = &self.unshown {
            after.insert("unshown".to_owned(), unshown.to_json());
        }
        let (before, after) = (output::json(&before), output::json(&Json::Object(after)));
        write!(out, "{},\"value\":", before.strip_suffix('}').unwrap_or(&before))?;
        self.shown.write(&self.dataname, self.payload_type, out)?;
        write!(out, ",{}", after.strip_prefix('{').unwrap_or(&after))
    }
}

/// What a NACK tells the sender
fn nack(code: &str, reason: &str, retryable: bool) -> HandlerError {
    let error = HandlerError::new(reason).code(code);
    if retryable { error } else { error.permanent() }
}

/// Removes a saved link that is not what its type says
async fn remove(path: &Path) {
    if let Err(error) = tokio::fs::remove_file(path).await {
        tracing::warn!(%error, path = %path.display(), "a payload that can't be read stays in its file");
    }
}

fn local(dataname: &str, path: PathBuf, source: io::Error) -> Error {
    Error::file(dataname, "write", path, source)
}
