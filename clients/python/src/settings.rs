//! Settings of a bridge: keywords of `connect` in front of the environment.

use natsbridge::Config;
use natsbridge::broker::{ConnectOptions, SubjectFilter};
use natsbridge::store::RetryPolicy;
use natsbridge::wire::ReceivePolicy;
use pyo3::prelude::*;

use crate::failure::Failure;
use crate::handlers::{Function, UploadFunction, downloader};
use crate::options::Keywords;
use crate::stores::Store;

/// The settings: the environment's, and in front of them the keywords
pub(crate) fn config(mut given: Keywords<'_>, event_loop: Option<&Bound<'_, PyAny>>) -> Result<Config, Failure> {
    let url = given.maybe_text("url")?;
    const LOGIN: [&str; 8] =
        ["token", "user", "password", "nkey", "nkey_file", "credentials", "credentials_file", "jwt"];
    let own_login = LOGIN.iter().any(|name| given.has(name));
    // Who names a server or a login in the program does not mean those of the environment.
    let ignored = |name: &str| match name {
        "NATS_URL" => url.is_some(),
        "NATS_CREDS" | "NATS_NKEY" | "NATS_TOKEN" | "NATS_USER" | "NATS_PASSWORD" => own_login || url.is_some(),
        _ => false,
    };
    let mut config = Config::from_variables(|name| match (ignored(name), &url) {
        (true, Some(url)) if name == "NATS_URL" => Ok(url.clone()),
        (true, _) => Err(std::env::VarError::NotPresent),
        (false, _) => std::env::var(name),
    })?;
    let options = nats(config.connect_options().clone(), &mut given)?;
    config = config.nats(options);
    let (url, token) = (given.some_text("fileserver_url")?, given.some_text("fileserver_token")?);
    if let Some(url) = url {
        config = config.fileserver_url(url);
    }
    if let Some(token) = token {
        config = config.fileserver_token(token);
    }
    if let Some(path) = given.take("fileserver_ca") {
        let path: std::path::PathBuf = path.extract().map_err(Failure::Python)?;
        let roots = std::fs::read(&path).map_err(|error| error.to_string());
        let roots =
            roots.and_then(|pem| natsbridge::store::RootCertificates::from_pem(pem).map_err(|error| error.to_string()));
        let refused = |text| Failure::own("Configuration", "configuration", format!("`fileserver_ca`: {text}"));
        config = config.fileserver_ca(roots.map_err(refused)?);
    }
    if let Some(bytes) = given.number("size_threshold")? {
        config = config.size_threshold(bytes);
    }
    if let Some(receiver) = given.receiver()? {
        let limits = config.message_limits().receiver(receiver);
        config = config.limits(limits);
    }
    if let Some(convert) = given.flag("convert_tables")? {
        let limits = config.message_limits().convert_tables(convert);
        config = config.limits(limits);
    }
    if let Some(name) = given.some_text("sender_name")? {
        config = config.sender_name(name);
    }
    if let Some(id) = given.some_text("sender_id")? {
        config = config.sender_id(id);
    }
    for origin in given.texts("allowed_origins")?.unwrap_or_default() {
        config = config.allow_origin(origin);
    }
    for filter in given.texts("reply_subjects")?.unwrap_or_default() {
        config = config.allow_replies_to(SubjectFilter::new(&*filter).map_err(natsbridge::Error::from)?);
    }
    let mut retry = RetryPolicy::default();
    if let Some(retries) = given.number("max_retries")? {
        retry = retry.max_retries(u32::try_from(retries).unwrap_or(u32::MAX));
    }
    if let Some(base) = given.milliseconds("base_delay")? {
        retry = retry.base_delay(base);
    }
    if let Some(longest) = given.milliseconds("max_delay")? {
        retry = retry.max_delay(longest);
    }
    config = config.retry(retry);
    let mut checks = ReceivePolicy::default();
    if let Some(strict) = given.flag("strict")? {
        checks = checks.strict(strict);
    }
    if let Some(most) = given.number("max_payload_size")? {
        checks = checks.max_payload_size(most);
    }
    config = config.checks(checks);
    if let Some(transfers) = given.number("transfers")? {
        config = config.transfers(usize::try_from(transfers).unwrap_or(usize::MAX));
    }
    if let Some(bytes) = given.number("links_ahead")? {
        config = config.links_ahead(bytes);
    }
    if let Some(timeout) = given.seconds("message_timeout")? {
        config = config.message_timeout(timeout);
    }
    if let Some(timeout) = given.seconds("order_timeout")? {
        config = config.order_timeout(timeout);
    }
    if let Some(fallback) = given.flag("direct_fallback")? {
        config = config.direct_fallback(fallback);
    }
    if let Some(store) = given.take("store") {
        config = config.uploader(Store::uploader_of(&store)?);
        if let Some(memory) = Store::memory_of(&store)? {
            config = config.downloader(memory);
        }
    }
    if let Some(handler) = given.take("fileserver_upload_handler") {
        let token = config.upload_token().unwrap_or_default().to_owned();
        let function = Function::new(&handler, event_loop);
        let url = config.upload_url().to_owned();
        config = config.uploader(UploadFunction::new(function, url, token));
    }
    if let Some(handler) = given.take("fileserver_download_handler") {
        let limit = checks.max_payload_size;
        config = config.downloader(downloader(Function::new(&handler, event_loop), limit));
    }
    if let Some(hook) = given.take("on_progress") {
        let hook = Function::new(&hook, event_loop);
        config = config.on_progress(move |progress| hook.tell(progress));
    }
    given.finish("connect")?;
    Ok(config)
}

fn nats(mut nats: ConnectOptions, given: &mut Keywords<'_>) -> Result<ConnectOptions, Failure> {
    let path = |value: Bound<'_, PyAny>| value.extract::<std::path::PathBuf>().map_err(Failure::Python);
    if let Some(name) = given.maybe_text("name")? {
        nats = nats.name(name);
    }
    if let Some(token) = given.maybe_text("token")? {
        nats = nats.token(token);
    }
    let refused = |text: &str| Failure::own("Configuration", "configuration", text);
    match (given.maybe_text("user")?, given.maybe_text("password")?) {
        (Some(user), Some(password)) => nats = nats.user_and_password(user, password),
        (None, None) => {}
        _ => return Err(refused("`user` and `password` go together")),
    }
    match (given.maybe_text("jwt")?, given.maybe_text("nkey")?) {
        (Some(jwt), Some(seed)) => nats = nats.jwt(jwt, seed),
        (None, Some(seed)) => nats = nats.nkey(seed),
        (Some(_), None) => return Err(refused("`jwt` needs the seed of its key as `nkey`")),
        (None, None) => {}
    }
    if let Some(file) = given.take("nkey_file") {
        nats = nats.nkey_file(path(file)?);
    }
    if let Some(text) = given.maybe_text("credentials")? {
        nats = nats.credentials(text);
    }
    if let Some(file) = given.take("credentials_file") {
        nats = nats.credentials_file(path(file)?);
    }
    if let Some(file) = given.take("ca") {
        nats = nats.root_certificates(path(file)?).require_tls();
    }
    match (given.take("client_cert"), given.take("client_key")) {
        (Some(chain), Some(key)) => nats = nats.client_certificate(path(chain)?, path(key)?).require_tls(),
        (None, None) => {}
        _ => return Err(refused("`client_cert` and `client_key` go together")),
    }
    if given.flag("require_tls")? == Some(true) {
        nats = nats.require_tls();
    }
    if given.flag("tls_first")? == Some(true) {
        nats = nats.tls_first();
    }
    if let Some(timeout) = given.seconds("connect_timeout")? {
        nats = nats.connect_timeout(timeout);
    }
    if let Some(timeout) = given.seconds("confirm_timeout")? {
        nats = nats.confirm_timeout(timeout);
    }
    if let Some(timeout) = given.seconds("drain_timeout")? {
        nats = nats.drain_timeout(timeout);
    }
    if let Some(interval) = given.seconds("ping_interval")? {
        nats = nats.ping_interval(interval);
    }
    if let Some(prefix) = given.maybe_text("inbox_prefix")? {
        nats = nats.inbox_prefix(natsbridge::Subject::new(&*prefix).map_err(natsbridge::Error::from)?);
    }
    Ok(nats)
}
