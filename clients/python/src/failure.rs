//! What can go wrong in a call, and the Python exception that it becomes.

use std::error::Error as StdError;
use std::fmt;

use natsbridge::Error;
use natsbridge::wire::Header;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Why a call failed
pub(crate) enum Failure {
    /// The library's own error, and the message that it is about
    Library(Box<Error>, Option<Box<Header>>),
    /// What this package finds before the library is called
    Own(Box<Own>),
    /// What the user's own code raised, or Python itself
    Python(PyErr),
}

/// A failure that this package words
pub(crate) struct Own {
    pub(crate) kind: &'static str,
    pub(crate) code: &'static str,
    pub(crate) text: String,
    pub(crate) dataname: Option<String>,
}

impl Failure {
    pub(crate) fn own(kind: &'static str, code: &'static str, text: impl Into<String>) -> Self {
        Self::Own(Box::new(Own { kind, code, text: text.into(), dataname: None }))
    }

    /// A value that does not suit its payload type, or an argument of the wrong type
    pub(crate) fn wrong(text: impl Into<String>) -> Self {
        Self::own("WrongType", "wrong_value", text)
    }

    /// The same failure, about this payload
    pub(crate) fn about(self, dataname: &str) -> Self {
        match self {
            Self::Own(mut own) => {
                own.dataname.get_or_insert_with(|| dataname.to_owned());
                Self::Own(own)
            }
            Self::Python(error) => Python::attach(|py| {
                let about = py.import("natsbridge._errors").and_then(|errors| errors.getattr("_about"));
                let named = about.and_then(|about| about.call1((error.value(py), dataname)));
                Self::Python(named.map_or_else(|_| error, PyErr::from_value))
            }),
            other => other,
        }
    }

    pub(crate) fn of(error: impl Into<Error>, header: Option<&Header>) -> Self {
        Self::Library(Box::new(error.into()), header.map(|header| Box::new(header.clone())))
    }

    /// The exception
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Python(error) => error,
            Self::Own(own) => {
                let Own { kind, code, text, dataname } = *own;
                let text = match &dataname {
                    Some(name) => format!("payload `{}`: {text}", natsbridge::wire::shown(name)),
                    None => text,
                };
                exception(py, Words { kind, code, text, dataname: dataname.as_deref(), ..Words::default() }, None)
            }
            Self::Library(error, header) => {
                let cause = cause_of(&*error);
                let header = error.header().or(header.as_deref());
                let msg_id = error.msg_id().or_else(|| header.map(Header::msg_id));
                let kind = format!("{:?}", error.kind());
                let mut text = format!("{error:?}");
                if let Error::Fetch(fetch) = &*error
                    && let Some(origin) = fetch.refused_origin()
                {
                    text += &format!("; if you trust it: allowed_origins=[\"{origin}\"]");
                }
                let words = Words {
                    kind: &kind,
                    code: error.code(),
                    text,
                    dataname: error.dataname(),
                    msg_id,
                    correlation_id: header.map(Header::correlation_id),
                    subject: error.subject(),
                    retryable: error.is_retryable(),
                    nack_reason: Some(error.nack_reason()),
                };
                exception(py, words, cause.map(|cause| cause.clone_ref(py)))
            }
        }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(error, None)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error, _) => write!(f, "{error:?}"),
            Self::Own(own) => f.write_str(&own.text),
            Self::Python(error) => write!(f, "{error}"),
        }
    }
}

/// What the exception is made of
#[derive(Default)]
struct Words<'a> {
    kind: &'a str,
    code: &'a str,
    text: String,
    dataname: Option<&'a str>,
    msg_id: Option<&'a str>,
    correlation_id: Option<&'a str>,
    subject: Option<&'a str>,
    retryable: bool,
    /// What strangers may be told
    nack_reason: Option<String>,
}

fn exception(py: Python<'_>, words: Words<'_>, cause: Option<PyErr>) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = MAKE.import(py, "natsbridge._errors", "_make").and_then(|make: &Bound<'_, PyAny>| {
        let Words { kind, code, text, dataname, msg_id, correlation_id, subject, retryable, nack_reason } = words;
        let nothing = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let known = (nothing(msg_id), nothing(correlation_id), nothing(subject));
        let cause = cause.map(|cause| cause.into_value(py));
        make.call1((kind, code, text, dataname, known, retryable, cause, nack_reason))
    });
    match made {
        Ok(made) => PyErr::from_value(made),
        Err(error) => error,
    }
}

/// What a handler of the user's raised, as the source of the library's error
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) PyErr);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Raised {}

/// The exception behind an error, if it was one
fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a PyErr> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(raised) = error.downcast_ref::<Raised>() {
            return Some(&raised.0);
        }
        next = error.source();
    }
    None
}
