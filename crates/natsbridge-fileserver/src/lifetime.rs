//! What stores make of the lifetime that a link was wished to have, and how a sender learns of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use natsbridge_core::LinkLifetime;

/// Whether a store has links that can be read once
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OneShotRule {
    /// It is not known, or not known yet
    #[default]
    Unknown,
    /// A link is one-shot where that is asked for
    Offered,
    /// No link is: any can be read again until it expires or is deleted
    Never,
    /// Every link is, whatever is asked for: no message for several receivers, and none that is repeated, may use it
    Always,
}

/// How long the links of a store live
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpiryRule {
    /// It is not known, or not known yet
    #[default]
    Unknown,
    /// As long as asked for
    Any,
    /// As long as asked for, but at most so long
    AtMost(Duration),
    /// So long, whatever is asked for
    Always(Duration),
    /// Until they are deleted
    Never,
}

/// What a store makes of a wished lifetime, as far as it is known
///
/// A Plik's rules are known once it was asked for its configuration, at its first upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LifetimeRules {
    /// Whether its links can be read once
    pub one_shot: OneShotRule,
    /// How long its links live
    pub expiry: ExpiryRule,
}

impl LifetimeRules {
    /// The rules of a store
    #[must_use]
    pub const fn new(one_shot: OneShotRule, expiry: ExpiryRule) -> Self {
        Self { one_shot, expiry }
    }

    /// What the store makes of a wish where that is something else; `None` where it grants it, or is not known to change it
    #[must_use]
    pub fn change(&self, wish: LinkLifetime) -> Option<LifetimeChange> {
        let one_shot = match self.one_shot {
            OneShotRule::Always => true,
            OneShotRule::Never => false,
            OneShotRule::Unknown | OneShotRule::Offered => wish.one_shot,
        };
        let ttl = match self.expiry {
            ExpiryRule::AtMost(longest) => Some(wish.ttl.min(longest)),
            ExpiryRule::Always(ttl) => Some(ttl),
            ExpiryRule::Never => None,
            ExpiryRule::Unknown | ExpiryRule::Any => Some(wish.ttl),
        };
        LifetimeChange::between(wish, one_shot, ttl, Duration::ZERO)
    }
}

/// A wished lifetime of a link, and the other one that the store made of it; shown as a sentence
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifetimeChange {
    /// What was asked for
    pub wish: LinkLifetime,
    /// Whether the link can be read once
    pub one_shot: bool,
    /// How long the link lives; `None`: until it is deleted
    pub ttl: Option<Duration>,
}

impl LifetimeChange {
    /// The change, if there is one beyond `slack`
    pub(crate) fn between(wish: LinkLifetime, one_shot: bool, ttl: Option<Duration>, slack: Duration) -> Option<Self> {
        // Servers count in whole seconds.
        let slack = slack + Duration::from_secs(1);
        let kept = one_shot == wish.one_shot && ttl.is_some_and(|ttl| ttl.abs_diff(wish.ttl) <= slack);
        (!kept).then_some(Self { wish, one_shot, ttl })
    }
}

impl fmt::Display for LifetimeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wish, one_shot, ttl } = *self;
        let often = |one_shot| if one_shot { "read once" } else { "read any number of times" };
        let long = |ttl: Option<Duration>| {
            ttl.map_or_else(|| "until it is deleted".to_owned(), |ttl| format!("for {}", Span(ttl)))
        };
        write!(
            f,
            "a link that can be {} and lives {} was asked for; the store makes one that can be {} and lives {}",
            often(wish.one_shot),
            long(Some(wish.ttl)),
            often(one_shot),
            long(ttl),
        )
    }
}

/// A time in the largest unit that divides it
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

/// Whether a store's user was told that it changes lifetimes: once is enough
#[derive(Debug, Default)]
pub(crate) struct Told {
    one_shot: AtomicBool,
    ttl: AtomicBool,
}

impl Told {
    /// Warns of what the store made of a wish, of each kind of change once
    pub(crate) fn tell(&self, store: &str, change: Option<LifetimeChange>) {
        let Some(change) = change else { return };
        let other_often = change.one_shot != change.wish.one_shot;
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
    fn a_change_says_what_was_asked_for_and_what_became_of_it() {
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
