//! Reports of stores and fetcher: bytes as they go, and back where an attempt starts again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::{Arc, Mutex};

use natsbridge_core::{Link, Object};
use natsbridge_fileserver::{Downloader, HttpStore, Target, Uploader};
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;

/// Bytes done, of each report
#[derive(Clone, Default)]
struct Done(Arc<Mutex<Vec<u64>>>);

impl Done {
    fn watch(&self, object: Object) -> Object {
        let done = self.clone();
        object.on_progress(move |bytes, total| done.push(bytes, total))
    }

    fn watch_link(&self, link: Link) -> Link {
        let done = self.clone();
        link.on_progress(move |bytes, total| done.push(bytes, total))
    }

    fn push(&self, bytes: u64, total: u64) {
        assert!(bytes <= total, "{bytes} of {total}");
        self.0.lock().unwrap().push(bytes);
    }

    /// What was reported, in attempts: each begins where the count goes back
    fn attempts(&self) -> Vec<Vec<u64>> {
        let done = self.0.lock().unwrap();
        done.chunk_by(|before, after| before <= after).map(<[u64]>::to_vec).collect()
    }
}

#[tokio::test]
async fn download_that_starts_again_reports_from_zero() {
    let payload = bytes(300_000);
    let replies = [Reply::ok(&payload).cut_after(100_000), Reply::ok(&payload)];
    let server = ScriptedHttp::start(replies).await.unwrap();
    let done = Done::default();
    let link = done.watch_link(link(format!("{}/x", server.url()), &payload));
    fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap();
    let attempts = done.attempts();
    assert_eq!((attempts.len(), attempts[0].last(), attempts[1].last()), (2, Some(&100_000), Some(&300_000)));
    assert!(attempts.iter().all(|attempt| attempt[0] == 0), "{attempts:?}");
}

#[tokio::test]
async fn download_that_is_resumed_goes_on_where_it_was() {
    let payload = bytes(100_000);
    let tagged = [("ETag", "\"v1\""), ("Accept-Ranges", "bytes")];
    let rest = [("ETag", "\"v1\""), ("Content-Range", "bytes 40000-99999/100000")];
    let replies = [Reply::new(200, &tagged, &payload).cut_after(40_000), Reply::new(206, &rest, &payload[40_000..])];
    let server = ScriptedHttp::start(replies).await.unwrap();
    let done = Done::default();
    let link = done.watch_link(link(format!("{}/x", server.url()), &payload));
    fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap();
    let attempts = done.attempts();
    assert_eq!((attempts.len(), attempts[0].last()), (1, Some(&100_000)), "{attempts:?}");
}

#[tokio::test]
async fn upload_that_starts_again_reports_from_zero() {
    let payload = bytes(2_000_000);
    let server = ScriptedHttp::start([Reply::new(503, &[], ""), Reply::new(201, &[], "")]).await.unwrap();
    let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).retry(quick()).build().unwrap();
    let done = Done::default();
    store.upload(&done.watch(object(&payload)), &source(&payload)).await.unwrap();
    let attempts = done.attempts();
    let chunks = [0, 524_288, 1_048_576, 1_572_864, 2_000_000];
    assert_eq!(attempts, [chunks, chunks]);
}

#[cfg(feature = "s3")]
mod bucket {
    use natsbridge_fileserver::BucketStore;
    use natsbridge_testkit::nanio::Nanio;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn parts_are_reported_when_the_server_has_them() {
        let server = Nanio::start().unwrap();
        let store = BucketStore::s3(Nanio::BUCKET).endpoint(server.url()).region("us-east-1");
        let store = store.access_key(Nanio::ACCESS_KEY, Nanio::SECRET_KEY).build().unwrap();
        let payload = bytes(20_000_000);
        let done = Done::default();
        store.upload(&done.watch(object(&payload)), &source(&payload)).await.unwrap();
        // Two parts are under way at once, so that a later one may come first.
        let attempts = done.attempts();
        let [reports] = &attempts[..] else { panic!("{attempts:?}") };
        assert_eq!((reports.len(), reports[0], reports[3]), (4, 0, 20_000_000), "{reports:?}");
    }
}
