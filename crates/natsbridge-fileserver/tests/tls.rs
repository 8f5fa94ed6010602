//! File servers behind TLS: an authority of one's own has to be named, and a bad certificate is told apart and not retried.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![cfg(feature = "server")]

mod support;

use std::time::Duration;

use natsbridge_fileserver::server::{FileServer, ServerConfig, ServerHandle};
use natsbridge_fileserver::{
    Downloader, FetchErrorKind, Fetcher, HttpStore, RootCertificates, StoreErrorKind, Target, Uploader,
};
use natsbridge_testkit::certificates::{Authority, Certificate};
use natsbridge_testkit::tls::TlsFront;
use support::*;
use tempfile::TempDir;

/// An embedded file server behind TLS
async fn server(certificate: &Certificate) -> (TlsFront, ServerHandle, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(folder.path()).listen(([127, 0, 0, 1], 0).into());
    let server = FileServer::bind(config).await.unwrap().start();
    (TlsFront::start(server.local_addr(), certificate).await.unwrap(), server, folder)
}

fn roots(authority: &Authority) -> RootCertificates {
    RootCertificates::from_pem(&authority.pem).unwrap()
}

#[tokio::test]
async fn named_authority_is_trusted_for_upload_and_download() {
    let authority = Authority::new("ours").unwrap();
    let (front, _server, _folder) = server(&authority.server("localhost", false).unwrap()).await;
    // Several authorities in one file, and a key between them.
    let pem = format!("{}\n{}", Authority::new("another").unwrap().pem, authority.pem);
    let roots = RootCertificates::from_pem(pem).unwrap();
    let store = plik(&front.url()).root_certificates(roots.clone()).build().unwrap();
    let payload = bytes(700_000);
    let stored = store.upload(&object(&payload), &source(&payload)).await.unwrap();
    assert!(stored.uploaded.url.starts_with("https://localhost:"));
    let fetcher = fetcher().root_certificates(roots).build().unwrap();
    let link = link(stored.uploaded.url, &payload);
    assert_eq!(fetcher.download(&link, Target::Memory).await.unwrap().source, source(&payload));
    assert_eq!(fetcher.head(&link).await.unwrap().status, 200);
}

/// Everything that is said about a certificate which the authorities `roots` do not vouch for
async fn refusals(url: &str, roots: Option<RootCertificates>) -> Vec<String> {
    let roots = roots.unwrap_or_default();
    let mut said = Vec::new();
    let plik = plik(url).root_certificates(roots.clone()).build().unwrap();
    let put = HttpStore::builder(&format!("{url}/{{id}}")).root_certificates(roots.clone()).build().unwrap();
    let stores: [&dyn Uploader; 2] = [&plik, &put];
    for store in stores {
        let error = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (StoreErrorKind::Untrusted, 1), "{}", chain(&error));
        said.push(chain(&error));
    }
    let fetcher: Fetcher = fetcher().root_certificates(roots).build().unwrap();
    let link = link(format!("{url}/file/a/b/c"), b"payload");
    let looked = fetcher.head(&link).await.unwrap_err();
    let fetched = fetcher.download(&link, Target::Memory).await.unwrap_err();
    for error in [&looked, &fetched] {
        assert_eq!(error.kind(), FetchErrorKind::Untrusted, "{}", chain(error));
        said.push(chain(error));
    }
    assert_eq!(fetched.attempts(), 1, "trying again does not make a certificate better");
    said
}

#[tokio::test]
async fn unknown_authority_is_not_trusted_and_not_retried() {
    let authority = Authority::new("ours").unwrap();
    let (front, _server, _folder) = server(&authority.server("localhost", false).unwrap()).await;
    for roots in [None, Some(roots(&Authority::new("another").unwrap()))] {
        for said in refusals(&front.url(), roots).await {
            assert!(said.contains("UnknownIssuer") && said.contains("FILESERVER_CA"), "{said}");
        }
    }
}

#[tokio::test]
async fn expired_certificate_is_called_expired() {
    let authority = Authority::new("ours").unwrap();
    let (front, _server, _folder) = server(&authority.server("localhost", true).unwrap()).await;
    for said in refusals(&front.url(), Some(roots(&authority))).await {
        assert!(said.contains("expired") && said.contains("check its date"), "{said}");
    }
}

#[tokio::test]
async fn url_of_the_wrong_scheme_fails_at_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let certificate = Authority::new("ours").unwrap().server("localhost", false).unwrap();
    std::fs::write(path("files.pem"), &certificate.pem).unwrap();
    std::fs::write(path("files.key"), &certificate.key).unwrap();
    let start =
        async |config: ServerConfig| FileServer::bind(config.listen(([127, 0, 0, 1], 0).into())).await.unwrap().start();
    let plain = start(ServerConfig::new(path("plain"))).await;
    let tls = start(ServerConfig::new(path("tls")).tls(path("files.pem"), path("files.key"))).await;
    // As any other server, it has no more than TLS's alert for a client that asks without TLS.
    let front = TlsFront::start(plain.local_addr(), &certificate).await.unwrap();
    for (url, told) in [
        (format!("https://{}", plain.local_addr()), "does not speak TLS; use http:// in place of https://"),
        (format!("http://{}", tls.local_addr()), "speaks TLS only; use https:// in place of http://"),
        (front.url().replace("https://", "http://"), "does not speak HTTP, or only with TLS (https://)"),
    ] {
        let error = plik(&url).build().unwrap().upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (StoreErrorKind::Rejected, 1), "{}", chain(&error));
        assert!(chain(&error).contains(told), "{}", chain(&error));
        let link = link(format!("{url}/file/a/b/c"), b"payload");
        let error = fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (FetchErrorKind::Rejected, 1), "{}", chain(&error));
        assert!(chain(&error).contains(told), "{}", chain(&error));
    }
    // Its answer reaches a client that is still sending.
    let large = bytes(3_000_000);
    let put = HttpStore::builder(&format!("http://{}/{{id}}", tls.local_addr())).retry(quick()).build().unwrap();
    let error = put.upload(&object(&large), &source(&large)).await.unwrap_err();
    assert!(chain(&error).contains("speaks TLS only") && error.attempts() == 1, "{}", chain(&error));
}

#[cfg(feature = "s3")]
#[tokio::test(flavor = "multi_thread")]
async fn bucket_of_a_named_authority_is_trusted_and_another_is_not() {
    use natsbridge_fileserver::{BucketStore, RetryPolicy};
    use natsbridge_testkit::nanio::Nanio;

    let nanio = Nanio::start().unwrap();
    let authority = Authority::new("ours").unwrap();
    let address = nanio.url().trim_start_matches("http://").parse().unwrap();
    let front = TlsFront::start(address, &authority.server("localhost", false).unwrap()).await.unwrap();
    // Longer than the test waits, so that it sees a second attempt.
    let patient = RetryPolicy::default().base_delay(Duration::from_secs(600)).max_delay(Duration::from_secs(600));
    let store = |roots| {
        let store = BucketStore::s3(Nanio::BUCKET).endpoint(front.url()).region("us-east-1");
        let store = store.access_key(Nanio::ACCESS_KEY, Nanio::SECRET_KEY).retry(patient);
        store.root_certificates(roots).build().unwrap()
    };
    let stored = store(roots(&authority)).upload(&object(b"payload"), &source(b"payload")).await.unwrap();
    let fetcher = fetcher().root_certificates(roots(&authority)).build().unwrap();
    fetcher.download(&link(stored.uploaded.url, b"payload"), Target::Memory).await.unwrap();
    let other = store(roots(&Authority::new("another").unwrap()));
    let (object, source) = (object(b"payload"), source(b"payload"));
    let refused = tokio::time::timeout(Duration::from_secs(30), other.upload(&object, &source)).await;
    let error = refused.expect("the server is asked once").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Untrusted, "{}", chain(&error));
}
