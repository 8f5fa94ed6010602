//! The JSON of Plik's HTTP API, and the limits in its configuration.

use std::time::Duration;

use natsbridge_core::{LinkLifetime, shown};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::body::Sums;
use crate::checksum::Checksum;
use crate::lifetime::LifetimeChange;
use crate::upload::Failure;
use crate::{ExpiryRule, LifetimeRules, OneShotRule, StoreErrorKind as Kind};

/// Asks for an upload
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    one_shot: bool,
    /// Seconds; zero would mean the server's default
    ttl: u64,
    /// Asks for this checksum in place of MD5: a key of the embedded server, which Plik ignores like any it does not know
    crc64nvme: bool,
}

impl From<LinkLifetime> for Create {
    fn from(life: LinkLifetime) -> Self {
        let ttl = life.ttl.as_secs().saturating_add(u64::from(life.ttl.subsec_nanos() > 0));
        Self { one_shot: life.one_shot, ttl: ttl.clamp(1, MAX_TTL), crc64nvme: true }
    }
}

/// Difference between the server's clock and ours up to which a lifetime counts as unchanged
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The longest time that is asked for, in seconds: what fits Go's `int` of 32 bits, 68 years
const MAX_TTL: u64 = 2_147_483_647;

/// An upload that files can be added to
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Created {
    pub(crate) id: String,
    /// A secret that can change and delete the upload
    pub(crate) upload_token: String,
    /// As granted, not as requested
    #[serde(default)]
    pub(crate) one_shot: bool,
    #[serde(default)]
    pub(crate) stream: bool,
    /// Whether the server will answer with this checksum and not with MD5; Plik never says so
    #[serde(default)]
    pub(crate) crc64nvme: bool,
    #[serde(default)]
    ttl: i64,
    #[serde(default)]
    expire_at: Option<String>,
    #[serde(default)]
    download_domain: Option<String>,
    #[serde(default, rename = "downloadURL")]
    download_url: Option<String>,
}

impl Created {
    /// Where its links begin, if not at the server's own URL
    pub(crate) fn link_base(&self, scheme: &str) -> Option<String> {
        link_base([&self.download_url, &self.download_domain], scheme)
    }

    /// The change that the server made to the requested lifetime, if any
    pub(crate) fn change(&self, wish: LinkLifetime, now: OffsetDateTime) -> Option<LifetimeChange> {
        let stated = u64::try_from(self.ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs);
        // A server that states a moment alone counts by its own clock.
        let (ttl, slack) = match (stated, self.expiry(now)) {
            (Some(ttl), _) => (Some(ttl), Duration::ZERO),
            (None, Some(at)) => (Some(Duration::try_from(at - now).unwrap_or_default()), CLOCK_SKEW),
            (None, None) => (None, Duration::ZERO),
        };
        LifetimeChange::between(wish, self.one_shot, ttl, slack)
    }

    /// When its links stop working; servers before `expireAt` give the seconds only
    pub(crate) fn expiry(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let stated = self.expire_at.as_deref().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        stated.or_else(|| {
            let ttl = u64::try_from(self.ttl).ok().filter(|ttl| *ttl > 0)?;
            now.checked_add(time::Duration::try_from(Duration::from_secs(ttl)).ok()?)
        })
    }
}

/// A file that the server has
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) file_name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    file_size: u64,
    #[serde(default)]
    file_md5: String,
    #[serde(default)]
    file_crc64nvme: String,
}

impl Kept {
    /// Why this is not what was sent, if it is not
    pub(crate) fn mismatch(&self, size: u64, sums: &Sums) -> Option<String> {
        let (name, found, sent) = match &sums.checksum {
            Some(checksum @ Checksum::Crc64Nvme(_)) => (checksum.name(), &self.file_crc64nvme, checksum.finish()),
            Some(checksum @ Checksum::Md5(_)) => (checksum.name(), &self.file_md5, checksum.finish()),
            None => return Some("nothing was computed to compare with".to_owned()),
        };
        let kept = self.status == "uploaded" && self.file_size == size && found.eq_ignore_ascii_case(&sent);
        (!kept).then(|| {
            format!(
                "the server has {} bytes with {name} `{}` in status `{}`, sent were {size} with `{sent}`",
                self.file_size,
                shown(found),
                shown(&self.status)
            )
        })
    }
}

/// The server's limits; a missing value means no limit
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    max_file_size: i64,
    #[serde(rename = "maxTTL")]
    max_ttl: i64,
    #[serde(rename = "defaultTTL")]
    default_ttl: i64,
    #[serde(rename = "feature_set_ttl")]
    set_ttl: String,
    download_domain: Option<String>,
    #[serde(rename = "downloadURL")]
    download_url: Option<String>,
    no_anonymous_uploads: bool,
    #[serde(rename = "feature_authentication")]
    authentication: String,
    #[serde(rename = "feature_one_shot")]
    feature_one_shot: String,
    #[serde(rename = "feature_stream")]
    stream: String,
    #[serde(rename = "feature_password")]
    password: String,
    /// How servers before 1.3.6 say that one-shot uploads are available
    one_shot: Option<bool>,
}

const DISABLED: &str = "disabled";
const FORCED: &str = "forced";

impl Config {
    /// Refuses what the server would refuse, before a byte is sent
    pub(crate) fn check(&self, size: u64, has_token: bool) -> Result<(), Failure> {
        let limit = u64::try_from(self.max_file_size).unwrap_or(0);
        if limit > 0 && size > limit {
            return Err(Failure::permanent(
                Kind::TooLarge,
                format!("the payload has {size} bytes, the server takes {limit}"),
            ));
        }
        if (self.no_anonymous_uploads || self.authentication == FORCED) && !has_token {
            return Err(Failure::permanent(
                Kind::Refused,
                "the server takes no anonymous uploads; configure a user token",
            ));
        }
        if self.stream == FORCED {
            let cause = "the server forces streaming, which keeps nothing for a receiver that reads later; turn FeatureStream off";
            return Err(Failure::permanent(Kind::Rejected, cause));
        }
        if self.password == FORCED {
            return Err(Failure::permanent(
                Kind::Rejected,
                "the server wants a password on every upload; turn FeaturePassword off",
            ));
        }
        Ok(())
    }

    /// The nearest to `life` that the server offers
    pub(crate) fn grant(&self, life: LinkLifetime) -> Create {
        let mut create = Create::from(life);
        if let Some(max) = self.longest() {
            create.ttl = create.ttl.min(max);
        }
        create.one_shot = create.one_shot && self.rules().one_shot != OneShotRule::Never;
        create
    }

    /// The longest time that an upload is kept, in seconds
    fn longest(&self) -> Option<u64> {
        u64::try_from(self.max_ttl).ok().filter(|max| *max > 0)
    }

    /// The lifetimes that the server offers
    pub(crate) fn rules(&self) -> LifetimeRules {
        let one_shot = match (&*self.feature_one_shot, self.one_shot) {
            (DISABLED, _) | ("", Some(false)) => OneShotRule::Never,
            (FORCED, _) => OneShotRule::Always,
            ("", None) => OneShotRule::Unknown,
            _ => OneShotRule::Offered,
        };
        let default = u64::try_from(self.default_ttl).ok().filter(|ttl| *ttl > 0);
        let expiry = match (&*self.set_ttl, self.longest()) {
            (DISABLED, _) => default.map_or(ExpiryRule::Never, |ttl| ExpiryRule::Always(Duration::from_secs(ttl))),
            (_, Some(max)) => ExpiryRule::AtMost(Duration::from_secs(max)),
            (_, None) => ExpiryRule::Any,
        };
        LifetimeRules::new(one_shot, expiry)
    }

    /// Where links of this server begin, if not at its own URL
    pub(crate) fn link_base(&self, scheme: &str) -> Option<String> {
        link_base([&self.download_url, &self.download_domain], scheme)
    }
}

/// The first that is configured, with a scheme and without a slash at its end
fn link_base(candidates: [&Option<String>; 2], scheme: &str) -> Option<String> {
    let base =
        candidates.into_iter().flatten().map(|base| base.trim().trim_end_matches('/')).find(|base| !base.is_empty())?;
    // Administrators forget the scheme, and such links do not work (root-gg/plik#292).
    Some(if base.contains("://") { base.to_owned() } else { format!("{scheme}://{base}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_to_live_is_rounded_up_and_never_zero() {
        for (ttl, seconds) in [
            (Duration::ZERO, 1),
            (Duration::from_millis(1), 1),
            (Duration::from_millis(1001), 2),
            (Duration::from_secs(3600), 3600),
            (Duration::MAX, MAX_TTL),
        ] {
            assert_eq!(Create::from(LinkLifetime::expiring(ttl)).ttl, seconds, "{ttl:?}");
        }
    }

    #[test]
    fn configuration_without_limits_allows_everything() -> Result<(), serde_json::Error> {
        for text in ["{}", r#"{"maxFileSize":-1,"maxTTL":0}"#] {
            let config: Config = serde_json::from_str(text)?;
            assert!(config.check(u64::MAX, false).is_ok());
            let life = LinkLifetime::one_shot(Duration::from_secs(60));
            assert_eq!(config.grant(life), Create::from(life));
        }
        let old: Config = serde_json::from_str(r#"{"oneShot":false}"#)?;
        assert!(!old.grant(LinkLifetime::one_shot(Duration::from_secs(60))).one_shot);
        Ok(())
    }
}
