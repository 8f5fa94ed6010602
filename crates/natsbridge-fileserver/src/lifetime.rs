//! Lifetimes that stores offer for links, and the warning when a store grants another one than was asked for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use natsbridge_core::LinkLifetime;

/// Whether a store offers one-shot links, which can be downloaded once
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OneShotRule {
    /// Unknown, or not known yet
    #[default]
    Unknown,
    /// A link is one-shot if the sender asks for it
    Offered,
    /// No link is one-shot: all can be downloaded again until they expire or are deleted
    Never,
    /// Every link is one-shot: such a store suits only messages for one receiver that are not repeated
    Always,
}

/// How long a store keeps links
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpiryRule {
    /// Unknown, or not known yet
    #[default]
    Unknown,
    /// As long as the sender asks for
    Any,
    /// As long as the sender asks for, but at most this duration
    AtMost(Duration),
    /// This duration, whatever the sender asks for
    Always(Duration),
    /// Until they are deleted
    Never,
}

/// The lifetimes that a store offers for links, as far as they are known
///
/// A Plik's rules are known after its first upload, for which its configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LifetimeRules {
    /// Whether links can be one-shot
    pub one_shot: OneShotRule,
    /// How long links are kept
    pub expiry: ExpiryRule,
}

impl LifetimeRules {
    /// Creates the rules of a store
    #[must_use]
    pub const fn new(one_shot: OneShotRule, expiry: ExpiryRule) -> Self {
        Self { one_shot, expiry }
    }

    /// Explains in one sentence how the store changes a lifetime; `None` if it grants it, or if its rules are unknown
    ///
    /// ```
    /// use std::time::Duration;
    /// use natsbridge_core::LinkLifetime;
    /// use natsbridge_fileserver::{ExpiryRule, LifetimeRules, OneShotRule};
    ///
    /// let rules = LifetimeRules::new(OneShotRule::Never, ExpiryRule::Any);
    /// let asked = LinkLifetime::one_shot(Duration::from_secs(60));
    /// assert!(rules.explain_change(asked).is_some_and(|text| text.contains("any number of times")));
    /// ```
    #[must_use]
    pub fn explain_change(&self, asked: LinkLifetime) -> Option<String> {
        self.change(asked).map(|change| change.to_string())
    }

    pub(crate) fn change(&self, asked: LinkLifetime) -> Option<LifetimeChange> {
        let one_shot = match self.one_shot {
            OneShotRule::Always => true,
            OneShotRule::Never => false,
            OneShotRule::Unknown | OneShotRule::Offered => asked.one_shot,
        };
        let ttl = match self.expiry {
            ExpiryRule::AtMost(longest) => Some(asked.ttl.min(longest)),
            ExpiryRule::Always(ttl) => Some(ttl),
            ExpiryRule::Never => None,
            ExpiryRule::Unknown | ExpiryRule::Any => Some(asked.ttl),
        };
        LifetimeChange::between(asked, one_shot, ttl, Duration::ZERO)
    }
}

/// The lifetime that a sender asked for, and the other one that the store granted
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LifetimeChange {
    asked: LinkLifetime,
    one_shot: bool,
    /// `None`: until it is deleted
    ttl: Option<Duration>,
}

impl LifetimeChange {
    /// The change, if it is larger than `slack`
    pub(crate) fn between(asked: LinkLifetime, one_shot: bool, ttl: Option<Duration>, slack: Duration) -> Option<Self> {
        // Servers count in whole seconds.
        let slack = slack + Duration::from_secs(1);
        let kept = one_shot == asked.one_shot && ttl.is_some_and(|ttl| ttl.abs_diff(asked.ttl) <= slack);
        (!kept).then_some(Self { asked, one_shot, ttl })
    }
}

impl fmt::Display for LifetimeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, one_shot, ttl } = *self;
        let often = |one_shot| if one_shot { "read once" } else { "read any number of times" };
        let long = |ttl: Option<Duration>| {
            ttl.map_or_else(|| "until it is deleted".to_owned(), |ttl| format!("for {}", Span(ttl)))
        };
        write!(
            f,
            "a link that can be {} and lives {} was asked for; the store makes one that can be {} and lives {}",
            often(asked.one_shot),
            long(Some(asked.ttl)),
            often(one_shot),
            long(ttl),
        )
    }
}

/// A duration in the largest unit that divides it
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
        let (size, unit) = units
            .into_iter()
            .find(|(size, _)| seconds >= *size && seconds.is_multiple_of(*size))
            .unwrap_or((1, "second"));
        let count = seconds / size;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

/// Which changes a store has already warned of
#[derive(Debug, Default)]
pub(crate) struct LifetimeWarnings {
    one_shot: AtomicBool,
    ttl: AtomicBool,
}

impl LifetimeWarnings {
    /// Logs a warning, once for each kind of change
    pub(crate) fn warn_once(&self, store: &str, change: Option<LifetimeChange>) {
        let Some(change) = change else { return };
        let other_often = change.one_shot != change.asked.one_shot;
        let already = if other_often { &self.one_shot } else { &self.ttl };
        if !already.swap(true, Ordering::Relaxed) {
            tracing::warn!(store, "{change}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_change_says_what_was_asked_for_and_what_is_made() {
        let rules = LifetimeRules::new(OneShotRule::Never, ExpiryRule::AtMost(Duration::from_secs(7 * 86_400)));
        let change =
            rules.change(LinkLifetime::one_shot(Duration::from_secs(30 * 86_400))).map(|change| change.to_string());
        let text = "a link that can be read once and lives for 30 days was asked for; the store makes one that can be read any number of times and lives for 7 days";
        assert_eq!(change.as_deref(), Some(text));
        assert_eq!(rules.change(LinkLifetime::expiring(Duration::from_secs(7 * 86_400))), None);
        let forced = LifetimeRules::new(OneShotRule::Always, ExpiryRule::Always(Duration::from_secs(90)));
        let change = forced.change(LinkLifetime::expiring(Duration::from_secs(90)));
        assert_eq!(change.map(|change| change.one_shot), Some(true));
        assert_eq!(forced.change(LinkLifetime::one_shot(Duration::from_secs(90))), None);
        let put = LifetimeRules::new(OneShotRule::Never, ExpiryRule::Never);
        let change = put.change(LinkLifetime::default()).map(|change| change.to_string());
        assert!(change.is_some_and(|text| text.ends_with("lives until it is deleted")));
        assert_eq!(LifetimeRules::default().change(LinkLifetime::one_shot(Duration::from_secs(5))), None);
    }
}
