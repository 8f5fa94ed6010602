//! A way into the link policy for the fuzz targets; compiled with `--cfg fuzzing` only.

use url::Url;

use crate::policy::Policy;

/// Whether a link would be followed, and to where; else what a user would be warnings
///
/// # Errors
/// The text of the refusal.
pub fn followed(allowed: &[&str], link: &str) -> Result<Url, String> {
    let mut policy = Policy::default();
    for origin in allowed {
        policy.allow(origin.parse().map_err(|error: crate::ConfigError| error.to_string())?);
    }
    policy.check(link).map(|(url, _)| url).map_err(|blocked| blocked.to_string())
}
