//! Secrets planted in every place that takes one: no log, error, `Debug` text or envelope shows them.
#![cfg(all(feature = "server", feature = "s3"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::error::Error as StdError;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use natsbridge::server::{FileServer, ServerConfig};
use natsbridge::store::{
    BucketStore, Digest, Downloader as _, Fetcher, HttpStore, Link, Object, Origin, PlikStore, Receipt, RetryPolicy,
    Source, Stored, Target, Uploaded, Uploader as _,
};
use natsbridge::wire::redacted;
use natsbridge::{
    Bridge, Config, ConnectOptions, LinkLifetime, PayloadType, ReceiveOptions, SendOptions, open, smartreceive,
    smartsend,
};
use natsbridge_testkit::nats_server::NatsServer;
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span;

/// Stands in every secret of this file
const PLANTED: &str = "pl4nt3d";

/// A seed of the right form, so that it gets as far as a real one
const NKEY_SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

/// Everything that was logged, told or sent
static SEEN: Mutex<String> = Mutex::new(String::new());

fn seen() -> std::sync::MutexGuard<'static, String> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(thing: &impl Debug) {
    let _ = writeln!(seen(), "{thing:?}\n{thing:#?}");
}

fn tell_error(error: &(dyn StdError + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        let _ = writeln!(seen(), "{error}\n{error:?}\n{error:#?}");
        next = error.source();
    }
}

/// The error of what has to fail
fn failed<T: Debug, E: StdError + 'static>(result: Result<T, E>) {
    tell_error(&result.expect_err("it fails"));
}

/// No form of a secret was seen: plain, or as Basic authentication writes it
fn nothing_leaked(expected: &[&str]) {
    let seen = seen();
    for part in expected {
        assert!(seen.contains(part), "`{part}` was to be seen: the test does not reach what it is about\n{seen}");
    }
    // The three ways in which the word can fall into groups of three bytes.
    let encoded = ["", "x", "xx"].map(|before| {
        let text = STANDARD.encode(format!("{before}{PLANTED}"));
        text[(before.len() * 8).div_ceil(6)..text.len() - 4].to_owned()
    });
    for secret in [PLANTED, NKEY_SEED].into_iter().chain(encoded.iter().map(String::as_str)) {
        if let Some(at) = seen.find(secret) {
            let from = (0..=at.saturating_sub(300)).rev().find(|at| seen.is_char_boundary(*at)).unwrap();
            panic!("`{secret}` was seen after: {}", &seen[from..at + secret.len()]);
        }
    }
}

/// Keeps what our crates log, at every level
struct Log;

struct Reader<'a>(&'a mut String);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("natsbridge")
    }
    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut seen = seen();
        seen.push_str(span.metadata().name());
        span.record(&mut Reader(&mut seen));
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Reader(&mut seen()));
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = format!("{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Reader(&mut line));
        let _ = writeln!(seen(), "{line}");
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Begins to keep the log; another test of this program may have begun
fn logging() {
    let _ = tracing::subscriber::set_global_default(Log);
}

fn once() -> RetryPolicy {
    RetryPolicy::default().max_retries(1).base_delay(Duration::from_millis(1))
}

fn secret(name: &str) -> String {
    format!("{PLANTED}-{name}")
}

#[test]
fn public_types_show_no_secret_that_they_hold() {
    let [user, token] = ["user", "token"].map(secret);
    let with_user_info = format!("https://{user}:{token}@files.test/x?sig={token}#{token}");
    let nats = format!("nats://{user}:{token}@one.test:4222,{token}@two.test");

    let config = Config::new(&nats)
        .fileserver_url(with_user_info.clone())
        .fileserver_token(token.as_str())
        .allow_origin(with_user_info.clone());
    tell(&config);
    for options in [
        ConnectOptions::new(&nats),
        ConnectOptions::new("a").token(&token),
        ConnectOptions::new("a").user_and_password("ann", &token),
        ConnectOptions::new("a").nkey(NKEY_SEED),
        ConnectOptions::new("a").jwt(&token, NKEY_SEED),
        ConnectOptions::new(format!("a,{token}@b.test")).credentials(&token),
    ] {
        tell(&options);
    }
    tell(&SendOptions::default().broker_url(&nats).fileserver_url(&with_user_info).fileserver_token(&token));
    tell(&ReceiveOptions::default().allow_origin(&with_user_info));

    let plik = PlikStore::builder(&with_user_info).user_token(&token).basic_auth("ann", &token);
    tell(&plik);
    tell(&plik.build().unwrap());
    tell(&PlikStore::new(&with_user_info).unwrap());
    let template = format!("https://ann:{token}@files.test/{{id}}");
    for builder in [HttpStore::builder(&template), HttpStore::builder(&template).bearer(&token)] {
        tell(&builder);
        tell(&builder.build().unwrap());
    }
    let bucket = BucketStore::s3("readings").endpoint("http://127.0.0.1:1").access_key(&token, &token);
    tell(&bucket);
    tell(&bucket.build().unwrap());
    let origin = || with_user_info.parse::<Origin>().unwrap();
    let fetcher =
        Fetcher::builder().bearer(origin(), &token).basic_auth("http://a.test".parse().unwrap(), "ann", &token);
    tell(&fetcher);
    tell(&fetcher.build().unwrap());
    tell(&ServerConfig::new("unused").token(&token));
    tell(&origin());

    let uploaded = Uploaded::new(&with_user_info, 1, Digest::of(b"x"));
    tell(&Stored { uploaded, receipt: Receipt::new(&token) });
    tell(&Link::new("clip", &with_user_info));
    let json = json!({"payloads": [{"dataname": "clip", "payload_type": "video", "transport": "link",
        "data": with_user_info}]});
    tell(&open(json.to_string(), &ReceiveOptions::default()).unwrap());
    tell(&natsbridge_core::Sender::default().broker_url(&nats));
    let _ = writeln!(seen(), "{}", redacted(&with_user_info));
    nothing_leaked(&["files.test", "one.test", "readings", "clip"]);
}

#[test]
fn refused_setting_is_not_repeated_where_it_may_be_secret() {
    let token = secret("setting");
    let read = |name: &'static str, value: String| {
        Config::from_variables(
            move |asked| if asked == name { Ok(value.clone()) } else { Err(std::env::VarError::NotPresent) },
        )
    };
    failed(read("FILESERVER_URL", format!("ftp://ann:{token}@files.test")));
    for url in
        [format!("ann:{token}@files.test"), format!("http://ann:{token}@"), format!("http://ann:{token}@a:port/{{id}}")]
    {
        failed(PlikStore::new(&url));
        failed(HttpStore::builder(&url).build());
        failed(url.parse::<Origin>());
    }
    failed(PlikStore::builder("http://files.test").user_token(format!("{token}\n")).build());
    failed(HttpStore::builder("http://files.test/{id}").bearer(format!("{token}\n")).build());
    failed(HttpStore::builder(&format!("http://ann:{token}@files.test/x")).build());
    nothing_leaked(&["FILESERVER_URL", "URL template"]);
}

#[tokio::test]
async fn message_takes_no_secret_along() {
    logging();
    let [password, token] = ["password", "uploads"].map(secret);
    let nats = NatsServer::builder().user("ann", &password).start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let files = FileServer::bind(ServerConfig::new(dir.path()).listen(listen).token(&token)).await.unwrap().start();

    let config = Config::new(&nats.url().replace("nats://", &format!("nats://ann:{password}@")))
        .fileserver_url(files.url().replace("http://", &format!("http://ann:{password}@")))
        .fileserver_token(token.as_str())
        .retry(once());
    let bridge = Bridge::connect(config).await.unwrap();
    tell(&bridge);
    let mut inbox = bridge.subscribe("lab").await.unwrap();
    let draft = bridge.message("lab").text("note", "x").binary("video", vec![7; 600_000]);
    let sent = draft.send().await.unwrap();
    seen().push_str(std::str::from_utf8(&sent.to_json()).unwrap());
    tell(&sent);
    let message = inbox.next().await.unwrap().unwrap();
    tell(&message);
    message.fetch().await.unwrap();
    tell(&message);
    bridge.drain().await.unwrap();
    files.shutdown().await;
    nothing_leaked(&["message sent", "message received", "file server answered", "\"broker_url\":\"nats://127.0.0.1"]);
}

#[tokio::test]
async fn refused_connection_does_not_name_its_secret() {
    logging();
    let [right, wrong] = ["right", "wrong"].map(secret);
    let nats = NatsServer::builder().token(&right).start().unwrap();
    let url = nats.url();
    let creds = format!("-----BEGIN NATS USER JWT-----\n{wrong}\n------END NATS USER JWT------\n");
    for options in [
        ConnectOptions::new(&url).token(&wrong),
        ConnectOptions::new(url.replace("nats://", &format!("nats://ann:{wrong}@"))),
        ConnectOptions::new(&url).nkey(&wrong),
        ConnectOptions::new(&url).nkey(NKEY_SEED),
        ConnectOptions::new(&url).jwt(&wrong, NKEY_SEED),
        ConnectOptions::new(&url).credentials(&creds),
        ConnectOptions::new(format!("nats://ann:{wrong}@127.0.0.1:1")),
        ConnectOptions::new(format!("nats://ann:{wrong}@:99999")),
        ConnectOptions::new(format!("http://ann:{wrong}@a")),
        ConnectOptions::new(format!("nats://ann:{wrong}@no-such-host.invalid")),
    ] {
        failed(options.connect_timeout(Duration::from_secs(2)).connect().await);
    }
    nothing_leaked(&["127.0.0.1:1"]);
}

#[tokio::test]
async fn failed_upload_does_not_name_its_secret() {
    logging();
    let token = secret("upload");
    let object = Object::new("clip", PayloadType::Video, 3).link_lifetime(LinkLifetime::default());
    let source = Source::from(vec![1, 2, 3]);
    for reply in [
        Reply::new(401, &[], "who are you"),
        Reply::new(302, &[("Location", "http://elsewhere.test/")], ""),
        Reply::new(503, &[], "later"),
        Reply::ok("{\"id\":"),
    ] {
        let server = ScriptedHttp::routed(move |_| Some(reply.clone())).await.unwrap();
        let url = server.url().replace("http://", &format!("http://ann:{token}@"));
        let plik = PlikStore::builder(&url).user_token(&token).retry(once()).build().unwrap();
        failed(plik.upload(&object, &source).await);
        let http = HttpStore::builder(&format!("{url}/{{id}}?key={token}")).bearer(&token).retry(once()).build();
        if let Err(error) = http.unwrap().upload(&object, &source).await {
            tell_error(&error);
        }
        let bucket = BucketStore::s3("readings").endpoint(server.url()).access_key(&token, &token).retry(once());
        if let Err(error) = bucket.build().unwrap().upload(&object, &source).await {
            tell_error(&error);
        }
        let options = SendOptions::default().broker_url(format!("nats://{token}@a")).fileserver_url(&url);
        failed(
            smartsend("a", [("clip", vec![7_u8; 600_000], PayloadType::Video)], &options.fileserver_token(&token))
                .await,
        );
    }
    nothing_leaked(&["who are you", "clip"]);
}

#[tokio::test]
async fn failed_link_does_not_show_its_signature() {
    logging();
    let token = secret("signature");
    let closed = "http://127.0.0.1:1".to_owned();
    let echo = format!("<Error><Message>Request has expired</Message><Signature>{token}</Signature></Error>");
    let mut servers = Vec::new();
    for reply in [
        Reply::new(403, &[], echo),
        Reply::new(302, &[("Location", "http://elsewhere.test/")], ""),
        Reply::new(500, &[], ""),
        Reply::new(200, &[("Content-Encoding", "gzip")], "x"),
        Reply::ok("other bytes").cut_after(40),
        Reply::ok("other bytes"),
    ] {
        servers.push(ScriptedHttp::routed(move |_| Some(reply.clone())).await.unwrap());
    }
    let bases =
        servers.iter().map(ScriptedHttp::url).chain([closed, "http://169.254.169.254".into(), "ftp://a.test".into()]);
    for base in bases {
        let own = base.parse::<Origin>().unwrap_or_else(|_| "http://a.test".parse().unwrap());
        for url in
            [format!("{base}/x?X-Amz-Signature={token}#{token}"), base.replace("://", &format!("://ann:{token}@"))]
        {
            let mut link = Link::new("clip", &url);
            link.sha256 = Some(Digest::of(b"x"));
            link.size = Some(11);
            let fetcher = Fetcher::builder().bearer(own.clone(), &token).retry(once()).build().unwrap();
            failed(fetcher.download(&link, Target::Memory).await);
            failed(Fetcher::builder().retry(once()).build().unwrap().download(&link, Target::Memory).await);
            let json = json!({"payloads": [{"dataname": "clip", "payload_type": "video", "transport": "link", "data": url,
                "metadata": {"sha256": Digest::of(b"x").to_string()}}]});
            failed(smartreceive(json.to_string(), &ReceiveOptions::default().max_retries(0)).await);
        }
    }
    nothing_leaked(&["Request has expired", "169.254.169.254", "clip", "x?…"]);
}
