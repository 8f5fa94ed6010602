//! The stores that the settings name: who uploads large payloads, and who follows links.

use std::sync::Arc;

use natsbridge::Config;
use natsbridge::store::{BucketStore, Fetcher, HttpStore, Origin, PlikStore, RootCertificates, Uploader};

use crate::failure::Failure;

/// The configured store: the bucket, or the file server
pub(crate) fn uploader(config: &Config) -> Result<Arc<dyn Uploader>, Failure> {
    if let Some(uploader) = &config.uploader {
        return Ok(Arc::clone(uploader));
    }
    let mut plik =
        PlikStore::builder(&config.fileserver_url).retry(config.retry).root_certificates(config.fileserver_ca.clone());
    if let Some(token) = &config.fileserver_token {
        plik = plik.user_token(token.reveal());
    }
    Ok(Arc::new(plik.build().map_err(|error| Failure::Usage(error.to_string()))?))
}

/// The safe fetcher, for links to the configured store and to the allowed origins
pub(crate) fn fetcher(config: &Config) -> Result<Fetcher, Failure> {
    let mut fetcher = Fetcher::builder()
        .retry(config.retry)
        .max_payload_size(config.checks.max_payload_size)
        .root_certificates(config.fileserver_ca.clone());
    match &config.uploader {
        Some(uploader) => {
            fetcher = uploader.origins().into_iter().fold(fetcher, |fetcher, origin| fetcher.allow(origin));
            if has_own_downloads(config) {
                let refused = |error| Failure::Usage(format!("--store can't be used: {error}"));
                fetcher = match &config.fileserver_token {
                    Some(token) => fetcher.bearer(origin("--store", &config.fileserver_url)?, token.reveal()),
                    None => fetcher.server(&config.fileserver_url.replace(ID, "id")).map_err(refused)?,
                };
            }
        }
        // A user name and password in it are for downloads too.
        None => {
            let refused = |error| Failure::Usage(format!("FILESERVER_URL can't be used: {error}"));
            fetcher = fetcher.server(&config.fileserver_url).map_err(refused)?;
        }
    }
    for allowed in &config.allowed_origins {
        fetcher = fetcher.allow(origin("--allow-origin", allowed)?);
    }
    fetcher.build().map_err(|error| Failure::Usage(error.to_string()))
}

/// Placeholder for the upload's name in a URL
const ID: &str = "{id}";

/// Whether downloads from the uploader's own server need what `fileserver_url` or the token hold: a store for HTTP PUT
pub(crate) fn has_own_downloads(config: &Config) -> bool {
    config.uploader.as_ref().is_some_and(|uploader| uploader.name().starts_with("http store"))
}

/// The server that takes HTTP PUT: a folder's URL, or one with `{id}` where the name has to be
pub(crate) fn put(option: &str, url: &str, config: &Config) -> Result<Arc<dyn Uploader>, Failure> {
    origin(option, &url.replace(ID, "id"))?;
    let mut template = url.to_owned();
    if !template.contains(ID) {
        let (path, query) =
            url.split_once('?').map_or((url, String::new()), |(path, query)| (path, format!("?{query}")));
        template = format!("{}/{ID}{query}", path.trim_end_matches('/'));
    }
    let mut store = HttpStore::builder(&template).retry(config.retry).root_certificates(config.fileserver_ca.clone());
    if let Some(token) = &config.fileserver_token {
        store = store.bearer(token.reveal());
    }
    Ok(Arc::new(store.build().map_err(|error| Failure::Usage(format!("{option} can't be used: {error}")))?))
}

/// The origin of a URL that an option gives
pub(crate) fn origin(option: &str, url: &str) -> Result<Origin, Failure> {
    url.parse().map_err(|_| {
        let shown = natsbridge::wire::redacted(url);
        let instead = match url.contains("://") || url.contains('@') {
            true => String::new(),
            false => format!("; write http://{}", natsbridge::wire::shown(url.trim_start_matches('/'))),
        };
        Failure::Usage(format!("{option} can't be used: `{shown}` is not an http or https URL with a host{instead}"))
    })
}

/// The bucket of `s3://BUCKET[/PREFIX][?endpoint=URL][&region=REGION]`
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
