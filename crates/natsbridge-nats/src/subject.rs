//! Holds the names of NATS: subjects to publish to, filters to subscribe with and queue groups, each checked once.

use std::fmt;
use std::str::FromStr;

/// The longest subject, filter or queue group, in bytes
///
/// nats-server closes a connection whose protocol line exceeds 4,096 bytes (`max_control_line`). A line holds at most
/// two of these names and about thirty bytes besides, so two names of this length always fit.
pub const MAX_NAME_LEN: usize = 2_000;

/// A subject that a message can be published to: non-empty tokens joined by dots, no wildcard
///
/// Stricter than nats-server, which takes `a..b` and `a.*` in a publish and then loses the first and delivers the second
/// literally. White space and control characters are refused as well: the first break the protocol line, the second only
/// ever come from mistakes. A `*` or `>` *inside* a longer token (`a*b`) is an ordinary character, as in the server.
///
/// ```
/// use natsbridge_nats::Subject;
///
/// let subject: Subject = "lab.results".parse()?;
/// assert_eq!(subject.as_str(), "lab.results");
/// assert!("lab.*".parse::<Subject>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject(async_nats::Subject);

impl std::hash::Hash for Subject {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl Subject {
    /// ReceivePolicy `text` and keeps it
    ///
    /// # Errors
    /// A [`SubjectError`] that says what is wrong and what to do.
    pub fn new(text: impl Into<String>) -> Result<Self, SubjectError> {
        let text = text.into();
        match check(&text, Use::Publish) {
            Ok(()) => Ok(Self(text.into())),
            Err(fault) => Err(SubjectError::new(&text, fault)),
        }
    }

    /// The subject as text
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the first token starts with `$`: NATS keeps those (`$SYS`, `$JS`) for itself, and most servers refuse them
    /// to ordinary accounts
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with('$')
    }

    /// Takes a subject that the server sent; it may be one that [`Self::new`] refuses.
    pub(crate) fn from_server(subject: async_nats::Subject) -> Self {
        Self(subject)
    }

    /// Takes a reply subject that the server sent, if a message can be published to it.
    pub(crate) fn reply_from_server(subject: async_nats::Subject) -> Option<Self> {
        check(subject.as_str(), Use::Publish).is_ok().then_some(Self(subject))
    }

    pub(crate) fn into_nats(self) -> async_nats::Subject {
        self.0
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Subject {
    type Error = SubjectError;

    fn try_from(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

/// What a subscription listens to: a subject in which `*` stands for one token and a last `>` for one or more
///
/// ```
/// use natsbridge_nats::SubjectFilter;
///
/// let filter: SubjectFilter = "lab.*.results".parse()?;
/// assert!(filter.matches("lab.7.results"));
/// assert!(!filter.matches("lab.results"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectFilter(async_nats::Subject);

impl std::hash::Hash for SubjectFilter {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl SubjectFilter {
    /// ReceivePolicy `text` and keeps it
    ///
    /// # Errors
    /// A [`SubjectError`] that says what is wrong and what to do.
    pub fn new(text: impl Into<String>) -> Result<Self, SubjectError> {
        let text = text.into();
        match check(&text, Use::Subscribe) {
            Ok(()) => Ok(Self(text.into())),
            Err(fault) => Err(SubjectError::new(&text, fault)),
        }
    }

    /// The filter as text
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

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
        self.0.clone()
    }
}

impl fmt::Debug for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SubjectFilter {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for SubjectFilter {
    type Error = SubjectError;

    fn try_from(text: &str) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl From<Subject> for SubjectFilter {
    fn from(subject: Subject) -> Self {
        Self(subject.0)
    }
}

/// The name of a queue group: of its members, one gets each message
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueGroup(String);

impl QueueGroup {
    /// ReceivePolicy `name` and keeps it; dots and wildcard characters are allowed, they mean nothing here
    ///
    /// # Errors
    /// A [`SubjectError`] when it is empty, too long, or holds white space or control characters.
    pub fn new(name: impl Into<String>) -> Result<Self, SubjectError> {
        let name = name.into();
        match check_characters(&name) {
            Ok(()) => Ok(Self(name)),
            Err(fault) => Err(SubjectError::new(&name, fault)),
        }
    }

    /// The name as text
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for QueueGroup {
    type Err = SubjectError;

    fn from_str(name: &str) -> Result<Self, SubjectError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for QueueGroup {
    type Error = SubjectError;

    fn try_from(name: &str) -> Result<Self, SubjectError> {
        Self::new(name)
    }
}

/// Why a name was refused
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectFault {
    /// There is no text at all
    #[error("it is empty; give at least one token")]
    Empty,
    /// Two dots in a row, or a dot at either end
    #[error("it has an empty token; remove the leading, trailing or doubled dot")]
    EmptyToken,
    /// A space, tab, line break or other white space
    #[error("it holds white space; join words with `-` or `_`")]
    WhiteSpace,
    /// A control character
    #[error("it holds a control character; remove it")]
    ControlCharacter,
    /// `*` or `>` in something to publish to
    #[error("it has a wildcard token; wildcards are for subscribing, publish to one subject")]
    Wildcard,
    /// `>` before the last token
    #[error("`>` stands before the last token; move it to the end or use `*`")]
    TailNotLast,
    /// More than [`MAX_NAME_LEN`] bytes
    #[error("it is longer than {MAX_NAME_LEN} bytes; shorten it, the server closes connections with longer lines")]
    TooLong,
}

impl SubjectFault {
    /// A stable word for the fault
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::EmptyToken => "empty_token",
            Self::WhiteSpace => "white_space",
            Self::ControlCharacter => "control_character",
            Self::Wildcard => "wildcard",
            Self::TailNotLast => "tail_not_last",
            Self::TooLong => "too_long",
        }
    }
}

/// A subject, filter or queue group that NATS could not carry
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not usable as a name in NATS: {fault}")]
pub struct SubjectError {
    text: String,
    fault: SubjectFault,
}

impl SubjectError {
    fn new(text: &str, fault: SubjectFault) -> Self {
        // Enough to recognise it; a megabyte passed by mistake does not belong in a log.
        let text = text.chars().take(80).collect();
        Self { text, fault }
    }

    /// What is wrong with it
    #[must_use]
    pub fn fault(&self) -> SubjectFault {
        self.fault
    }

    /// The stable word of the fault
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Publish,
    Subscribe,
}

fn check(text: &str, purpose: Use) -> Result<(), SubjectFault> {
    check_characters(text)?;
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err(SubjectFault::EmptyToken),
            "*" | ">" if purpose == Use::Publish => return Err(SubjectFault::Wildcard),
            ">" if tokens.peek().is_some() => return Err(SubjectFault::TailNotLast),
            _ => {}
        }
    }
    Ok(())
}

fn check_characters(text: &str) -> Result<(), SubjectFault> {
    if text.is_empty() {
        return Err(SubjectFault::Empty);
    }
    if text.len() > MAX_NAME_LEN {
        return Err(SubjectFault::TooLong);
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    for character in text.chars() {
        if character.is_whitespace() {
            return Err(SubjectFault::WhiteSpace);
        }
        if character.is_control() {
            return Err(SubjectFault::ControlCharacter);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_publish_subject_has_its_word() {
        let long = "a".repeat(MAX_NAME_LEN + 1);
        for (text, code) in [
            ("", "empty"),
            (".", "empty_token"),
            (".a", "empty_token"),
            ("a.", "empty_token"),
            ("a..b", "empty_token"),
            ("a b", "white_space"),
            ("a\r\nPUB x 1", "white_space"),
            ("a.\u{a0}b", "white_space"),
            ("a\u{1}", "control_character"),
            ("*", "wildcard"),
            ("a.>", "wildcard"),
            (long.as_str(), "too_long"),
        ] {
            assert_eq!(Subject::new(text).unwrap_err().code(), code, "{text:?}");
        }
        for text in ["a", "a.b.c", "a*b", "$SYS.x", "größe.ü", "_INBOX.x"] {
            assert_eq!(Subject::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_filter_may_hold_wildcards_in_their_place() {
        for text in ["*", ">", "a.*.b", "a.>", "*.>"] {
            assert_eq!(SubjectFilter::new(text).unwrap().as_str(), text);
        }
        assert_eq!(SubjectFilter::new("a.>.b").unwrap_err().code(), "tail_not_last");
    }

    #[test]
    fn a_filter_matches_what_the_server_would_deliver() {
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
    fn a_refused_name_is_shortened_in_the_error() {
        let error = Subject::new("a ".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
