//! Progress of uploads and downloads: what a hook is told of transfers that succeed, start again, or fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::{Arc, Mutex};

use natsbridge::server::{FileServer, ServerConfig};
use natsbridge::store::{
    BoxError, Digest, Link, MemoryStore, Object, Source, Uploaded, download_handler, upload_handler,
};
use natsbridge::{
    Bridge, Config, Direction, MemoryBroker, PayloadType, Progress, ReceiveOptions, SendOptions, smartreceive,
    smartsend,
};

const SIZE: u64 = 20_000_000;

/// One report, as it is kept
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    dataname: String,
    direction: Direction,
    done: u64,
    total: u64,
    transfer: u64,
    ended: bool,
}

#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<Report>>>);

impl Reports {
    fn hook(&self) -> impl Fn(Progress<'_>) + Send + Sync + 'static {
        let reports = Arc::clone(&self.0);
        move |progress| {
            let Progress { dataname, direction, done, total, transfer, ended, .. } = progress;
            reports.lock().unwrap().push(Report {
                dataname: dataname.to_owned(),
                direction,
                done,
                total,
                transfer,
                ended,
            });
        }
    }

    fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn done(&self) -> Vec<u64> {
        self.take().iter().map(|report| report.done).collect()
    }
}

/// Checks the reports of one transfer that succeeded at once
fn check_whole(reports: &[Report], direction: Direction) {
    let (last, before) = reports.split_last().expect("it is reported");
    assert_eq!((last.done, last.total, last.ended), (SIZE, SIZE, true));
    assert_eq!(reports[0].done, 0);
    assert!(reports.len() > 10, "{}", reports.len());
    for report in reports {
        assert_eq!((&*report.dataname, report.direction, report.total), ("film", direction, SIZE));
        assert_eq!(report.transfer, last.transfer);
    }
    assert!(before.iter().all(|report| !report.ended && report.done < SIZE));
    assert!(before.windows(2).all(|pair| pair[1].done >= pair[0].done + 65_536), "it grows by 64 KiB at least");
}

async fn file_server(folder: &std::path::Path) -> natsbridge::server::ServerHandle {
    FileServer::bind(ServerConfig::new(folder).listen(([127, 0, 0, 1], 0).into())).await.unwrap().start()
}

mod bridge {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn upload_and_download_grow_to_their_total() {
        let folder = tempfile::tempdir().unwrap();
        let server = file_server(&folder.path().join("stored")).await;
        let (all, own) = (Reports::default(), Reports::default());
        let config = Config::default().on_progress(all.hook()).fileserver_url(server.url().to_owned());
        let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
        let mut messages = bridge.subscribe("films").await.unwrap().lazy();

        let path = folder.path().join("film");
        std::fs::write(&path, vec![7; usize::try_from(SIZE).unwrap()]).unwrap();
        let message = || bridge.message("films").text("note", "small").file("film", &path, PayloadType::Video);
        message().on_progress(own.hook()).send().await.unwrap();
        check_whole(&own.take(), Direction::Upload);
        assert!(all.take().is_empty(), "the message's own hook replaces that of the configuration");
        message().send().await.unwrap();
        check_whole(&all.take(), Direction::Upload);

        let message = messages.next().await.unwrap().unwrap();
        message.payload("film").unwrap().save(folder.path().join("saved")).await.unwrap();
        check_whole(&all.take(), Direction::Download);
    }
}

mod functions {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn smartsend_and_smartreceive_report_too() {
        let folder = tempfile::tempdir().unwrap();
        let server = file_server(folder.path()).await;
        let (sent, received) = (Reports::default(), Reports::default());
        let options = SendOptions::default().fileserver_url(server.url()).on_progress(sent.hook());
        let film = [("film", vec![7_u8; usize::try_from(SIZE).unwrap()], PayloadType::Video)];
        let (_, json) = smartsend("films", film, &options).await.unwrap();
        check_whole(&sent.take(), Direction::Upload);
        let options = ReceiveOptions::default().allow_origin(server.url()).on_progress(received.hook());
        smartreceive(&json, &options).await.unwrap();
        check_whole(&received.take(), Direction::Download);
    }
}

mod handlers {
    use super::*;

    const SMALL: u64 = 1_000_000;

    fn bytes() -> Vec<u8> {
        vec![7; usize::try_from(SMALL).unwrap()]
    }

    fn options(reports: &Reports) -> SendOptions {
        SendOptions::default().on_progress(reports.hook())
    }

    #[tokio::test]
    async fn upload_that_starts_again_goes_back() {
        let reports = Reports::default();
        let handler = upload_handler(|object: Object, source: Source| async move {
            for done in [0, 100_000, 100_001, 400_000, 0, 300_000, SMALL] {
                object.report(done);
            }
            Ok::<_, BoxError>(Uploaded::new("http://files.test/1", source.len(), Digest::of(&bytes())))
        });
        let options = options(&reports).fileserver_upload_handler(handler);
        smartsend("films", [("film", bytes(), PayloadType::Video)], &options).await.unwrap();
        assert_eq!(reports.done(), [0, 100_000, 400_000, 0, 300_000, SMALL]);
    }

    #[tokio::test]
    async fn upload_that_fails_ends_where_it_was() {
        let reports = Reports::default();
        let handler = upload_handler(|object: Object, _: Source| async move {
            object.report(SMALL / 2);
            Err::<Uploaded, BoxError>("the disk is full".into())
        });
        let options = options(&reports).fileserver_upload_handler(handler);
        smartsend("films", [("film", bytes(), PayloadType::Video)], &options).await.unwrap_err();
        let reports = reports.take();
        let seen: Vec<_> = reports.iter().map(|report| (report.done, report.ended)).collect();
        assert_eq!(seen, [(0, false), (SMALL / 2, false), (SMALL / 2, true)]);
    }

    #[tokio::test]
    async fn store_that_reports_nothing_has_a_beginning_and_an_end() {
        let reports = Reports::default();
        let handler = upload_handler(|_: Object, source: Source| async move {
            Ok::<_, BoxError>(Uploaded::new("http://files.test/1", source.len(), Digest::of(&bytes())))
        });
        let send = options(&reports).fileserver_upload_handler(handler);
        let (_, json) = smartsend("films", [("film", bytes(), PayloadType::Video)], &send).await.unwrap();
        assert_eq!(reports.done(), [0, SMALL]);

        let handler = download_handler(|_: Link| async { Ok::<_, BoxError>(bytes().into()) });
        let receive = ReceiveOptions::default().fileserver_download_handler(handler).on_progress(reports.hook());
        smartreceive(&json, &receive).await.unwrap();
        assert_eq!(reports.done(), [0, SMALL]);
    }

    #[tokio::test]
    async fn transfers_of_one_name_have_numbers_of_their_own() {
        let reports = Reports::default();
        let options = options(&reports).fileserver_upload_handler(MemoryStore::new());
        let twice = [(); 2].map(|()| ("film", bytes(), PayloadType::Video));
        smartsend("films", twice, &options).await.unwrap();
        let numbers: std::collections::HashSet<_> = reports.take().iter().map(|report| report.transfer).collect();
        assert_eq!(numbers.len(), 2);
    }
}
