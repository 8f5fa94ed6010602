//! Holds the names of NATS: subjects to publish to, filters to subscribe with and queue groups, each checked once.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::harmless::harmless;

/// The most bytes in a subject, filter or queue group
///
/// nats-server closes a connection whose protocol line exceeds 4,096 bytes (`max_control_line`). A line holds at most
/// two of these names and about thirty bytes besides, so two names of this length always fit.
const MAX_LEN: usize = 2_000;

/// A subject that a message can be published to: tokens joined by dots, without wildcards
///
/// A subject has at least one token, no empty token, no white space, no control character, and at most 2,000 bytes.
/// `*` and `>` are wildcards only where they are a whole token: `a*b` is an ordinary subject.
///
/// This is stricter than nats-server, which accepts `a..b` and `a.*` in a publish, then loses the first and delivers the
/// second literally.
///
/// ```
/// use natsbridge_nats::Subject;
///
/// let subject: Subject = "lab.results".parse()?;
/// assert_eq!(subject.as_str(), "lab.results");
/// assert!(Subject::new("lab.*").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Name);

/// The subjects of a subscription: a subject in which `*` matches one token, and a last `>` one or more trailing tokens
///
/// ```
/// use natsbridge_nats::SubjectFilter;
///
/// let filter: SubjectFilter = "lab.*.results".parse()?;
/// assert!(filter.matches("lab.7.results"));
/// assert!(!filter.matches("lab.results"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectFilter(Name);

/// The name of a queue group: each message goes to one member of the group
///
/// It may hold dots and wildcard characters, which have no meaning here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueGroup(Name);

/// A subject, filter or queue group that NATS can't carry
///
/// The text names it, and says what is wrong and what to do:
///
/// ```
/// use natsbridge_nats::Subject;
///
/// let error = Subject::new("lab.>").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "can't publish to `lab.>`: it contains a wildcard; publish to one subject, such as lab.results"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SubjectError(String);

impl SubjectError {
    fn new(doing: &str, text: &str, problem: &str) -> Self {
        // Enough to recognise it; a megabyte passed by mistake does not belong in a log.
        let shown: String = text.chars().take(80).collect();
        Self(format!("can't {doing} `{}`: {problem}", harmless(&shown)))
    }
}

/// What the three have in common: how they are made, read and shown
macro_rules! name {
    ($name:ident, $doing:literal, $check:expr) => {
        impl $name {
            /// Checks the text and keeps it
            ///
            /// # Errors
            /// A [`SubjectError`] that says what is wrong and what to do.
            pub fn new(text: impl Into<String>) -> Result<Self, SubjectError> {
                let text = text.into();
                match $check(&text) {
                    Ok(()) => Ok(Self(Name(text.into()))),
                    Err(problem) => Err(SubjectError::new($doing, &text, problem)),
                }
            }

            /// The text
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = SubjectError;

            fn from_str(text: &str) -> Result<Self, SubjectError> {
                Self::new(text)
            }
        }
    };
}

name!(Subject, "publish to", |text| check(text, Use::Publish));
name!(SubjectFilter, "subscribe to", |text| check(text, Use::Subscribe));
name!(QueueGroup, "use the queue group", check_characters);

impl Subject {
    /// Takes a subject that the server sent; it may be one that [`Self::new`] refuses.
    pub(crate) fn from_server(subject: async_nats::Subject) -> Self {
        Self(Name(subject))
    }

    /// Takes a reply subject that the server sent, if a message can be published to it.
    pub(crate) fn reply_from_server(subject: async_nats::Subject) -> Option<Self> {
        check(subject.as_str(), Use::Publish).is_ok().then(|| Self::from_server(subject))
    }

    pub(crate) fn into_nats(self) -> async_nats::Subject {
        self.0.0
    }
}

impl SubjectFilter {
    /// Whether a message published to `subject` reaches this filter
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut wanted = self.as_str().split('.');
        let mut given = subject.split('.');
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    pub(crate) fn to_nats(&self) -> async_nats::Subject {
        self.0.0.clone()
    }
}

impl From<Subject> for SubjectFilter {
    fn from(subject: Subject) -> Self {
        Self(subject.0)
    }
}

/// Text in memory that is shared by its clones
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(async_nats::Subject);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Publish,
    Subscribe,
}

/// What is wrong with a subject or a filter, and what to do
fn check(text: &str, purpose: Use) -> Result<(), &'static str> {
    check_characters(text)?;
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err("it has an empty token; remove the leading, trailing or doubled dot"),
            "*" | ">" if purpose == Use::Publish => {
                return Err("it contains a wildcard; publish to one subject, such as lab.results");
            }
            ">" if tokens.peek().is_some() => return Err("`>` is only allowed as the last token; use `*` before it"),
            _ => {}
        }
    }
    Ok(())
}

fn check_characters(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty; give at least one token, such as lab");
    }
    if text.len() > MAX_LEN {
        return Err("it is longer than 2,000 bytes; shorten it");
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    for character in text.chars() {
        if character.is_whitespace() {
            return Err("it contains white space; join words with `-` or `_`");
        }
        if character.is_control() {
            return Err("it contains a control character; remove it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_subject_are_named() {
        let long = "a".repeat(MAX_LEN + 1);
        for (text, problem) in [
            ("", "it is empty"),
            (".", "empty token"),
            (".a", "empty token"),
            ("a.", "empty token"),
            ("a..b", "empty token"),
            ("a b", "white space"),
            ("a\r\nPUB x 1", "white space"),
            ("a.\u{a0}b", "white space"),
            ("a\u{1}", "control character"),
            ("*", "contains a wildcard"),
            ("a.>", "contains a wildcard"),
            (long.as_str(), "longer than"),
        ] {
            let error = Subject::new(text).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains(char::is_control), "{error}");
        }
        for text in ["a", "a.b.c", "a*b", "$SYS.x", "größe.ü", "_INBOX.x"] {
            assert_eq!(Subject::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn filters_hold_wildcards_in_their_place() {
        for text in ["*", ">", "a.*.b", "a.>", "*.>"] {
            assert_eq!(SubjectFilter::new(text).unwrap().as_str(), text);
        }
        assert!(SubjectFilter::new("a.>.b").unwrap_err().to_string().contains("last token"));
    }

    #[test]
    fn filters_match_what_the_server_delivers() {
        for (filter, subject, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "a.b", false),
            ("a.b", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("*.b", "a.b", true),
            (">", "a.b.c", true),
        ] {
            let parsed = SubjectFilter::new(filter).unwrap();
            assert_eq!(parsed.matches(subject), expected, "{filter} {subject}");
        }
    }

    #[test]
    fn refused_names_are_shortened_in_the_error() {
        let error = Subject::new("a ".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
