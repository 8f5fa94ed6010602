//! Checks of a bucket's settings before the first request: names, endpoint and credentials.

#[cfg(any(feature = "s3", feature = "azure"))]
use natsbridge_core::redacted;
use natsbridge_core::shown;
#[cfg(any(feature = "s3", feature = "azure"))]
use url::Url;

use crate::ConfigError;

/// Most bytes of a key's beginning: S3 takes 1,024 in all
const MAX_PREFIX: usize = 900;

fn refused(kind: &'static str, problem: String) -> ConfigError {
    ConfigError::new(kind, problem)
}

/// A bucket's or container's name: what any of the clouds takes, and no way out of a URL's host or path
pub(super) fn name(kind: &'static str, name: &str) -> Result<(), ConfigError> {
    // Azure has containers of its own that begin with a dollar sign.
    let rest = if kind == "azure" { name.strip_prefix('$').unwrap_or(name) } else { name };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edges = rest.bytes().next().into_iter().chain(rest.bytes().last());
    let good = (1..=255).contains(&rest.len())
        && rest.bytes().all(plain)
        && edges.into_iter().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !rest.contains("..");
    if good {
        return Ok(());
    }
    let problem = "`: that is no name of a bucket; letters, digits, `-`, `_` and `.` are, and the first and last is no `-` or `.`";
    Err(refused(kind, format!("the bucket `{}{problem}", shown(name))))
}

/// What keys begin with
pub(super) fn prefix(kind: &'static str, prefix: &str) -> Result<(), ConfigError> {
    if prefix.len() > MAX_PREFIX || prefix.chars().any(char::is_control) {
        let prefix = shown(prefix);
        let problem = format!("the prefix `{prefix}` has control characters, or more than {MAX_PREFIX} bytes");
        return Err(refused(kind, problem));
    }
    Ok(())
}

/// Checks the URL of an endpoint
#[cfg(any(feature = "s3", feature = "azure"))]
pub(super) fn endpoint(kind: &'static str, text: &str) -> Result<(), ConfigError> {
    let problem = |why: &str| refused(kind, format!("the endpoint `{}` can't be used: {why}", redacted(text)));
    let url = Url::parse(text).map_err(|error| problem(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(problem("it has to be an http or https URL with a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(problem("it holds a user name or password; the keys belong into the variables for them"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(problem("it has a query or a fragment"));
    }
    // What the URL parser mends, others do not.
    if text.bytes().any(|byte| {
        byte <= b' ' || byte >= 0x7f || matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'{' | b'}' | b'|' | b'^' | b'`')
    }) {
        return Err(problem("it has characters that no URL has"));
    }
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix(url.scheme()).and_then(|rest| rest.strip_prefix("://"));
    if rest.is_none_or(|rest| rest.starts_with('/')) {
        return Err(problem("write http:// or https:// and the host"));
    }
    Ok(())
}

/// Checks the name of a region or an account
#[cfg(any(feature = "s3", feature = "azure"))]
pub(super) fn word(kind: &'static str, what: &str, text: &str) -> Result<(), ConfigError> {
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if good { Ok(()) } else { Err(refused(kind, format!("the {what} `{}` is no name of one", shown(text)))) }
}

/// Checks keys and tokens, which are sent in headers; errors do not show them
#[cfg(feature = "s3")]
fn sendable(kind: &'static str, name: &str, value: &str) -> Result<(), ConfigError> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(refused(kind, format!("{name} has a space, a line break or another character that no key has")))
}

/// Whether there are keys for S3, or a way to get some; which variables are missing if not
#[cfg(feature = "s3")]
pub(super) fn s3(cloud: &object_store::aws::AmazonS3Builder, instance: bool) -> Result<(), ConfigError> {
    use object_store::aws::AmazonS3ConfigKey as Key;
    let value = |key: Key| cloud.get_config_value(&key).filter(|value| !value.is_empty());
    if let Some(region) = cloud.get_config_value(&Key::Region) {
        word("s3", "region", &region)?;
    }
    for url in [Key::S3Endpoint, Key::Endpoint, Key::StsEndpoint].iter().filter_map(|key| cloud.get_config_value(key)) {
        endpoint("s3", &url)?;
    }
    let (id, secret) = (value(Key::AccessKeyId), value(Key::SecretAccessKey));
    let keys =
        [("AWS_ACCESS_KEY_ID", &id), ("AWS_SECRET_ACCESS_KEY", &secret), ("AWS_SESSION_TOKEN", &value(Key::Token))];
    for (name, key) in keys {
        sendable("s3", name, key.as_deref().unwrap_or_default())?;
    }
    let missing = match (id, secret) {
        (Some(_), Some(_)) => return Ok(()),
        (Some(_), None) => "AWS_SECRET_ACCESS_KEY is not set",
        (None, Some(_)) => "AWS_ACCESS_KEY_ID is not set",
        (None, None) => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
    };
    let identity = value(Key::WebIdentityTokenFile).is_some() && value(Key::RoleArn).is_some();
    let alone = missing.ends_with("are not set");
    if alone && (identity || instance) {
        return Ok(());
    }
    let problem = format!(
        "there are no keys: {missing}; set both, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE. The machine that the \
         program runs on is asked for keys only where the program says so, and never where AWS_EC2_METADATA_DISABLED is true"
    );
    Err(refused("s3", problem))
}

/// Whether the environment disables instance credentials
pub(super) fn machine_is_off_limits() -> bool {
    std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_told_from_invalid_ones() {
        for good in ["payloads", "my.bucket-1", "Legacy_Bucket", "a", "0", &"b".repeat(255)] {
            assert!(name("s3", good).is_ok(), "{good}");
        }
        assert!(name("azure", "$root").is_ok());
        for bad in [
            "",
            " ",
            "pay loads",
            "pay%20loads",
            "a/b",
            "a?b",
            "a#b",
            "a@b",
            "..",
            ".",
            "-a",
            "a-",
            "a..b",
            "a\\b",
            "a:b",
            "ä",
            "a\nb",
            "a\0b",
            "[::1]",
            "$root",
            "<b>",
            "a\"b",
            "{b}",
            "a|b",
            "a^b",
            "a`b",
            &"b".repeat(256),
        ] {
            let error = name("s3", bad).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|text| text.contains("bucket `")), "{bad:?}: {error:?}");
        }
    }

    #[test]
    fn endpoints_are_urls_of_a_server_and_nothing_else() {
        for good in ["http://127.0.0.1:9000", "https://s3.example.com/", "https://h/base", "http://[::1]:1"] {
            assert!(endpoint("s3", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h",
            "h:9000",
            "http://",
            "https:///x",
            "http:h",
            "ftp://h",
            "http://a b",
            "http://h/a b",
            "http://h?x",
            "http://h#x",
            "http://u@h",
            "http://u:p4ssw0rd@h",
            "http://h:99999",
            "http://[::1",
            "http://h\n",
            " http://h",
            "http://h\\x",
            "http://h/{x}",
            "http://h/\u{e4}",
            "s3://b",
        ] {
            let error = endpoint("s3", bad).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|text| !text.contains("p4ssw0rd")), "{bad:?}: {error:?}");
        }
    }
}
