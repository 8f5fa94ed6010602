//! The stores that the settings name: who uploads large payloads, and who follows links.

use std::sync::Arc;

use natsbridge::Config;
#[cfg(feature = "s3")]
use natsbridge::store::BucketStore;
use natsbridge::store::{HttpStore, Origin, RootCertificates, Uploader};

use url::Url;

use crate::failure::Failure;

/// Settings that allow links to these origins, as `--allow-origin` gives them
pub(crate) fn allow(config: Config, origins: &[String]) -> Result<Config, Failure> {
    origins.iter().try_fold(config, |config, url| {
        origin("--allow-origin", url)?;
        Ok(config.allow_origin(url))
    })
}

/// Placeholder for the upload's name in a URL
const ID: &str = "{id}";

/// The server that takes HTTP PUT: a folder's URL, or one with `{id}` where the name has to be
pub(crate) fn put(
    option: &str,
    url: &str,
    token: Option<String>,
    authorities: &RootCertificates,
) -> Result<HttpStore, Failure> {
    origin(option, &url.replace(ID, "id"))?;
    let mut template = url.to_owned();
    if !template.contains(ID) {
        let (path, query) =
            url.split_once('?').map_or((url, String::new()), |(path, query)| (path, format!("?{query}")));
        template = format!("{}/{ID}{query}", path.trim_end_matches('/'));
    }
    let mut store = HttpStore::builder(&template).root_certificates(authorities.clone());
    if let Some(token) = token {
        store = store.bearer(token);
    }
    store.build().map_err(|error| Failure::Usage(format!("{option} can't be used: {error}")))
}

/// Whether what is sent to this address leaves the machine
pub(crate) fn leaves_the_machine(server: &str) -> bool {
    let host = Url::parse(server).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}

/// Whether the file server's token can be read by others on its way
pub(crate) fn shows_token(config: &Config) -> bool {
    let plain = store_url(config).is_some_and(|url| url.scheme() == "http");
    plain && config.upload_token().is_some() && leaves_the_machine(config.upload_url())
}

/// The file server's address; nothing for a bucket
pub(crate) fn store_url(config: &Config) -> Option<Url> {
    let uploader = config.to_uploader().ok()?;
    let by_http = uploader.name().contains("http://") || uploader.name().contains("https://");
    by_http.then(|| Url::parse(config.upload_url()).ok()).flatten()
}

/// The origin of a URL that an option gives
pub(crate) fn origin(option: &str, url: &str) -> Result<Origin, Failure> {
    url.parse().map_err(|_| {
        let shown = natsbridge::wire::redacted(url);
        let instead = format!("http://{}", url.trim_start_matches('/'));
        // A name or an address without its scheme, not a pattern and not a URL that is encoded as a whole.
        let instead = match instead.parse::<Origin>() {
            Ok(_) if !url.contains(['*', '%', '@']) && !url.contains("://") => {
                format!("; write {}", natsbridge::wire::shown(&instead))
            }
            _ => String::new(),
        };
        Failure::Usage(format!("{option} can't be used: `{shown}` is not an http or https URL with a host{instead}"))
    })
}

/// The bucket of `s3://BUCKET[/PREFIX][?endpoint=URL][&region=REGION]`
#[cfg(feature = "s3")]
pub(crate) async fn bucket(
    option: &str,
    url: &str,
    authorities: &RootCertificates,
) -> Result<Arc<dyn Uploader>, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{option} can't be used: {why}"));
    let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("it has to start with s3://"))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() || name.contains('@') {
        return Err(wrong("write s3://BUCKET; keys belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
    }
    // Amazon's names have fewer characters, other servers' some more; none can be part of another.
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.chars().all(allowed) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let shown = natsbridge::wire::shown(name);
        return Err(wrong(&format!("`{shown}` is no bucket's name: letters, digits, `-`, `.` and `_` can be in one")));
    }
    let mut store = BucketStore::s3(name).root_certificates(authorities.clone());
    if !prefix.is_empty() {
        store = store.prefix(format!("{}/", prefix.trim_end_matches('/')));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        store = match pair.split_once('=') {
            Some(("endpoint", value)) => {
                // The error would name a URL made of it, not the option.
                origin(&format!("endpoint in {option}"), value)?;
                store.endpoint(value)
            }
            Some(("region", value)) if !value.is_empty() && value.chars().all(allowed) => store.region(value),
            Some(("region", _)) => return Err(wrong("the region is a word such as eu-central-1")),
            _ => return Err(wrong("after `?` it takes endpoint=URL and region=REGION")),
        };
    }
    let store = store.build().map_err(|error| Failure::Usage(format!("{option} can't be used: {error}")))?;
    // Signs a link, so that links to this bucket can be followed; missing keys are found out here.
    store.discover().await.map_err(natsbridge::Error::from)?;
    Ok(Arc::new(store))
}

/// Says that buckets are not in this program
#[cfg(not(feature = "s3"))]
pub(crate) async fn bucket(option: &str, _: &str, _: &RootCertificates) -> Result<Arc<dyn Uploader>, Failure> {
    let why = "this program was built without buckets; build it with its feature s3";
    std::future::ready(Err(Failure::Usage(format!("{option} can't be used: {why}")))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_without_its_scheme_is_shown_with_one() {
        let refused = |url: &str| origin("--fileserver", url).unwrap_err().to_string();
        for (url, instead) in
            [("files.test:8080", "; write http://files.test:8080"), ("//files.test/x", "; write http://files.test/x")]
        {
            assert!(refused(url).ends_with(instead), "{url}: {}", refused(url));
        }
        for url in ["", "//", "*", "a b", "http%3A%2F%2Ffiles.test", "bob:secret@files.test", "ftp://files.test"] {
            assert!(!refused(url).contains("write"), "{url}: {}", refused(url));
        }
    }
}
