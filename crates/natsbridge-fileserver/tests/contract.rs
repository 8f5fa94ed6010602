//! The contract suite on every store, each against a real server where there is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "test code")]
#![cfg(feature = "contract")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use natsbridge_core::{Object, PayloadType, Source};
use natsbridge_fileserver::contract::{self, Violation};
use natsbridge_fileserver::{HttpStore, MemoryStore, StoreErrorKind, Uploader};
use natsbridge_testkit::scripted_http::{Reply, Request, ScriptedHttp};
use support::*;
use time::OffsetDateTime;

const LARGE: u64 = 100_000_000;

/// Shows the whole chain of what is broken
fn kept(checked: Result<(), Violation>) {
    if let Err(violation) = checked {
        panic!("{}", chain(&violation));
    }
}

#[tokio::test]
async fn memory_store_keeps_the_contract() {
    let store = MemoryStore::new();
    kept(contract::all(&store, &store, LARGE).await);
    assert!(store.is_empty(), "the suite deletes what it uploads");
}

#[tokio::test]
async fn memory_store_links_expire_by_its_clock() {
    let now = Arc::new(Mutex::new(OffsetDateTime::UNIX_EPOCH));
    let clock = Arc::clone(&now);
    let store = MemoryStore::with_clock(move || *clock.lock().unwrap());
    let pass = |time: Duration| {
        *now.lock().unwrap() += time;
        std::future::ready(())
    };
    kept(contract::expires(&store, &store, Duration::from_secs(3600), pass).await);
}

/// A file server of a few lines: PUT, GET and DELETE on a map
fn file_server() -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
    let files: Mutex<HashMap<String, Vec<u8>>> = Mutex::default();
    move |request| {
        let mut files = files.lock().unwrap();
        Some(match request.method.as_str() {
            "PUT" => {
                files.insert(request.target.clone(), request.body.to_vec());
                Reply::new(201, &[], "")
            }
            "DELETE" => Reply::new(if files.remove(&request.target).is_some() { 204 } else { 404 }, &[], ""),
            _ => files.get(&request.target).map_or_else(|| Reply::new(404, &[], ""), Reply::ok),
        })
    }
}

#[tokio::test]
async fn put_store_keeps_the_contract() {
    let server = ScriptedHttp::routed(file_server()).await.unwrap();
    let store = HttpStore::builder(&format!("{}/dav/{{id}}", server.url())).retry(quick()).build().unwrap();
    let fetcher = fetcher().allow(origin(&server.url())).build().unwrap();
    kept(contract::all(&store, &fetcher, LARGE).await);
}

#[cfg(feature = "server")]
mod embedded {
    use natsbridge_core::LinkLifetime;
    use natsbridge_fileserver::server::{FileServer, ServerConfig};
    use natsbridge_fileserver::{Downloader, FetchErrorKind, Target};
    use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};

    use super::*;

    #[tokio::test]
    async fn plik_store_keeps_the_contract_on_the_embedded_server() {
        let folder = tempfile::tempdir().unwrap();
        let server = FileServer::bind(ServerConfig::new(folder.path()).listen(([127, 0, 0, 1], 0).into()))
            .await
            .unwrap()
            .start();
        let store = plik(server.url()).build().unwrap();
        let fetcher = fetcher().allow(origin(server.url())).build().unwrap();
        kept(contract::all(&store, &fetcher, LARGE).await);
        let wait = |time| tokio::time::sleep(time);
        kept(contract::expires(&store, &fetcher, Duration::from_secs(1), wait).await);
        server.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_shot_cut_is_read_again_where_the_server_restores_it() {
        let folder = tempfile::tempdir().unwrap();
        let server = FileServer::bind(ServerConfig::new(folder.path()).listen(([127, 0, 0, 1], 0).into()))
            .await
            .unwrap()
            .start();
        let payload = bytes(20_000_000);
        let wanted = object(&payload).link_lifetime(LinkLifetime::one_shot(LinkLifetime::DEFAULT_TTL));
        let stored = plik(server.url()).build().unwrap().upload(&wanted, &source(&payload)).await.unwrap();
        let faults = [Fault::CutAfter(100_000), Fault::None];
        let proxy = FaultProxy::start(server.local_addr(), faults).await.unwrap();
        let mut link = link(stored.uploaded.url.replace(server.url(), &proxy.url()), &payload);
        link.one_shot = stored.uploaded.one_shot;
        assert!(link.one_shot);
        let fetcher = fetcher().build().unwrap();
        let downloaded = fetcher.download(&link, Target::Memory).await.unwrap();
        assert_eq!(downloaded.source, Source::from(payload));
        let again = fetcher.download(&link, Target::Memory).await.unwrap_err();
        assert_eq!(again.kind(), FetchErrorKind::Consumed, "{}", chain(&again));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn plik_store_keeps_the_contract_on_a_real_plik() {
    let Ok(url) = std::env::var("PLIK_URL") else {
        eprintln!("PLIK_URL is not set: no real Plik was tested");
        return;
    };
    let store = plik(&url).build().unwrap();
    let origins = store.discover().await.unwrap();
    let fetcher = origins.into_iter().fold(fetcher(), |fetcher, origin| fetcher.allow(origin)).build().unwrap();
    // The configuration is checked before the file is opened, so this asks for the server's limit and sends nothing.
    let absent = Source::File { path: "absent".into(), len: LARGE };
    let refusal = store.upload(&Object::new("large", PayloadType::Binary, LARGE), &absent).await.unwrap_err();
    let large = if refusal.kind() == StoreErrorKind::TooLarge { 1_900_000 } else { LARGE };
    kept(contract::all(&store, &fetcher, large).await);
    kept(contract::expires(&store, &fetcher, Duration::from_secs(2), tokio::time::sleep).await);
}

/// Against Azurite, Microsoft's emulator, with the account's keys from the environment and a container `payloads`
#[cfg(feature = "azure")]
#[tokio::test(flavor = "multi_thread")]
async fn azure_container_keeps_the_contract_on_azurite() {
    if std::env::var_os("AZURITE_BLOB_STORAGE_URL").is_none() {
        eprintln!("AZURITE_BLOB_STORAGE_URL is not set: Azure was not tested");
        return;
    }
    let store = natsbridge_fileserver::BucketStore::azure("payloads").retry(quick()).build().unwrap();
    let origins = store.discover().await.unwrap();
    let fetcher = origins.into_iter().fold(fetcher(), |fetcher, origin| fetcher.allow(origin)).build().unwrap();
    kept(contract::all(&store, &fetcher, LARGE).await);
    kept(contract::expires(&store, &fetcher, Duration::from_secs(2), tokio::time::sleep).await);
}

#[cfg(feature = "s3")]
mod s3 {
    use natsbridge_core::LinkLifetime;
    use natsbridge_fileserver::{BucketStore, BucketStoreBuilder, Downloader, FetchErrorKind, RetryPolicy, Target};
    use natsbridge_testkit::nanio::Nanio;

    use super::*;

    fn bucket(url: &str) -> BucketStoreBuilder {
        BucketStore::s3(Nanio::BUCKET)
            .endpoint(url)
            .region("us-east-1")
            .access_key(Nanio::ACCESS_KEY, Nanio::SECRET_KEY)
            .retry(quick())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bucket_keeps_the_contract_on_a_real_s3_server() {
        let server = Nanio::start().unwrap();
        let store = bucket(&server.url()).build().unwrap();
        assert_eq!(store.discover().await.unwrap(), [origin(&server.url())]);
        let fetcher = fetcher().allow(origin(&server.url())).build().unwrap();
        kept(contract::all(&store, &fetcher, LARGE).await);
        kept(contract::expires(&store, &fetcher, Duration::from_secs(1), tokio::time::sleep).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bucket_link_is_bound_to_its_signature_for_seven_days_at_most() {
        let server = Nanio::start().unwrap();
        let store = bucket(&server.url()).build().unwrap();
        let fetcher = fetcher().build().unwrap();
        let wanted = object(b"payload").link_lifetime(LinkLifetime::one_shot(Duration::from_secs(365 * 24 * 3600)));
        let stored = store.upload(&wanted, &source(b"payload")).await.unwrap();
        let life = stored.uploaded.expires_at.unwrap() - OffsetDateTime::now_utc();
        assert!(life <= time::Duration::days(7) && life > time::Duration::hours(167), "{life}");
        assert!(!stored.uploaded.one_shot, "a bucket has no one-shots");
        assert!(stored.uploaded.url.contains("X-Amz-Expires=604800"));
        let tampered = stored.uploaded.url.replace("X-Amz-Expires=604800", "X-Amz-Expires=604799");
        let kind = fetcher.download(&link(tampered, b"payload"), Target::Memory).await.unwrap_err().kind();
        assert_eq!(kind, FetchErrorKind::Refused);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bucket_with_wrong_key_and_dead_server_are_told_apart() {
        let server = Nanio::start().unwrap();
        let wrong = bucket(&server.url()).access_key(Nanio::ACCESS_KEY, "wrong").build().unwrap();
        let error = wrong.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{}", chain(&error));
        assert!(!format!("{wrong:?} {error:?}").contains("wrong\""));
        let gone = dead();
        let dead = bucket(&gone.url()).retry(RetryPolicy::never()).build().unwrap();
        let error = dead.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unreachable, "{}", chain(&error));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bucket_download_resumes_after_a_cut() {
        use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
        let server = Nanio::start().unwrap();
        let address = server.url().trim_start_matches("http://").parse().unwrap();
        let proxy = FaultProxy::start(address, [Fault::None, Fault::CutAfter(1_000_000), Fault::ResetAfter(2_000_000)])
            .await
            .unwrap();
        // Signed for the proxy's address, since the host is part of the signature.
        let store = bucket(&proxy.url()).build().unwrap();
        let payload = bytes(5_000_000);
        let stored = store.upload(&object(&payload), &source(&payload)).await.unwrap();
        let downloaded =
            fetcher().build().unwrap().download(&link(stored.uploaded.url, &payload), Target::Memory).await.unwrap();
        assert_eq!(downloaded.source, Source::from(payload));
        assert!(proxy.connections() >= 4);
    }
}
