//! The embedded server against those who know HTTP, multipart and its folder, and mean ill.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "test code"
)]

mod server_support;

use std::time::{Duration, Instant};

use natsbridge_fileserver::server::FileServer;
use server_support::{BOUNDARY, Connection, PATIENCE, Server, Upload, config, post, with_headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends bytes as they are, waits for an answer and reads until the server closes
async fn raw(server: &Server, bytes: impl AsRef<[u8]>) -> String {
    let mut connection = Connection::open(server.address()).await;
    let stream = connection.stream.get_mut();
    // An early refusal closes the connection under our hands; the answer is what counts.
    let _ = stream.write_all(bytes.as_ref()).await;
    let mut answer = vec![0];
    let read = tokio::time::timeout(PATIENCE, connection.stream.read(&mut answer)).await.expect("no answer in time");
    answer.truncate(read.unwrap_or_default());
    let _ = connection.stream.get_mut().shutdown().await;
    let read = tokio::time::timeout(PATIENCE, connection.stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all answers on one connection
fn statuses(answers: &str) -> Vec<u16> {
    answers.match_indices("HTTP/1.1 ").map(|(at, _)| answers[at + 9..at + 12].parse().unwrap()).collect()
}

fn uploads(server: &Server) -> usize {
    std::fs::read_dir(server.dir.path().join("uploads")).unwrap().count()
}

fn multipart(upload: &Upload, boundary: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!(
        "X-UploadToken: {}\r\nContent-Type: multipart/form-data{boundary}\r\nContent-Length: {}\r\n",
        upload.token,
        body.len()
    );
    [with_headers("POST", &format!("/file/{}", upload.id), &headers).as_bytes(), body].concat()
}

#[tokio::test]
async fn path_in_any_spelling_stays_inside_the_folder() {
    let server = Server::start().await;
    std::fs::write(server.dir.path().join("secret"), "out of reach").unwrap();
    let stored = server.store("{}", "a.bin", b"public").await;
    let (id, file) = (&stored.upload.id, &stored.file);
    for way in [
        "%252e%252e%252fsecret",
        "..%255c..%255csecret",
        "..\\..\\secret",
        "%5c..%5c..%5csecret",
        "%c0%ae%c0%ae%c0%afsecret",
        "%e3%80%82%e3%80%82/secret",
        "\u{ff0e}\u{ff0e}\u{2215}secret",
        "%uff0e%uff0e/secret",
        "secret%00.bin",
        "%00",
        "....//....//secret",
        ";/../secret",
        "%2e%2e;/secret",
    ] {
        for path in [
            format!("/file/{way}/{file}/a.bin"),
            format!("/file/{id}/{way}/a.bin"),
            format!("/upload/{way}"),
            format!("/{way}"),
            format!("/file/{id}/{file}/../../../{way}"),
        ] {
            for method in ["GET", "DELETE", "POST"] {
                let answer = raw(&server, with_headers(method, &path, "Content-Length: 0\r\n")).await;
                assert!(!answer.contains("out of reach"), "{method} {path}: {answer}");
                assert!(
                    statuses(&answer).iter().all(|status| (400..500).contains(status)),
                    "{method} {path}: {answer}"
                );
            }
        }
    }
    for target in ["*", "http://test/../secret", "//test/secret", "file:///etc/passwd", "test:443", "/\0", "/\u{7f}"] {
        let answer = raw(&server, with_headers("GET", target, "")).await;
        assert!(statuses(&answer).iter().all(|status| (400..500).contains(status)), "{target:?}: {answer}");
    }
    assert_eq!(std::fs::read_to_string(server.dir.path().join("secret")).unwrap(), "out of reach");
    assert_eq!(server.get(&stored.path).await.text(), "public");
}

#[tokio::test]
async fn request_of_unclear_length_is_refused_or_ends_by_http_rules() {
    let server = Server::start().await;
    // What a second reader of the same bytes would take for a request of its own must not run here.
    let hidden = "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    for (headers, body) in [
        ("Content-Length: 0\r\nContent-Length: 4\r\n", "abcd"),
        ("Content-Length: +2\r\n", "{}"),
        ("Content-Length: 0x2\r\n", "{}"),
        ("Content-Length: -1\r\n", "{}"),
        ("Content-Length: 99999999999999999999\r\n", "{}"),
        ("Content-Length: 2, 2\r\n", "{}"),
        ("Content-Length : 2\r\n", "{}"),
        ("Content-Length:\r\n 2\r\n", "{}"),
        ("X-A: b\r\n folded: line\r\nContent-Length: 2\r\n", "{}"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("X: a\rb\r\nContent-Length: 2\r\n", "{}"),
        ("Content-Length: 2\r\n\0: x\r\n", "{}"),
    ] {
        let answer = raw(&server, with_headers("POST", "/health", headers) + body + hidden).await;
        assert_eq!(statuses(&answer), [400], "{headers:?}: {answer}");
        assert_eq!(uploads(&server), 0, "{headers:?}");
    }
    for chunks in [
        "-1\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "\r\n",
        "2 2\r\n{}\r\n",
        "g\r\n",
    ] {
        let answer =
            raw(&server, with_headers("POST", "/upload", "Transfer-Encoding: chunked\r\n") + chunks + hidden).await;
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{chunks:?}: {answer}");
        assert_eq!(uploads(&server), 0, "{chunks:?}");
    }
    // HTTP/1.0 knows no chunks.
    let old = "POST /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(statuses(&raw(&server, old.to_owned() + hidden).await), [400]);
    assert_eq!(uploads(&server), 0);

    // Both lengths: the chunks decide, as HTTP says, and nothing that follows is taken for a request.
    for both in
        ["Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"]
    {
        let before = uploads(&server);
        let mut connection = Connection::open(server.address()).await;
        let request = with_headers("POST", "/upload", both) + "2\r\n{}\r\n0\r\n\r\n" + hidden;
        assert_eq!(connection.send(request).await.status, 200, "{both:?}");
        assert!(connection.is_closed().await, "{both:?}");
        assert_eq!(uploads(&server), before + 1, "{both:?}");
    }
}

#[tokio::test]
async fn chunks_with_endless_extensions_or_trailers_are_cut_off() {
    let server = Server::start().await;
    let head = with_headers("POST", "/upload", "Transfer-Encoding: chunked\r\n");
    let fine = raw(&server, format!("{head}2;a=b\r\n{{}}\r\n0;c\r\nX-Trailer: y\r\n\r\n")).await;
    assert_eq!(statuses(&fine), [200], "{fine}");
    let extension = "x".repeat(1_000_000);
    let trailers: String = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let many: String = (0..200_000).map(|_| "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n \r\n").collect();
    for chunks in
        [format!("2;{extension}\r\n{{}}\r\n0\r\n\r\n"), format!("2\r\n{{}}\r\n0\r\n{trailers}\r\n"), many + "0\r\n\r\n"]
    {
        let answer = raw(&server, head.clone() + &chunks).await;
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{}: {answer}", &chunks[..20]);
    }
    assert_eq!(uploads(&server), 1);
}

#[tokio::test]
async fn json_that_is_too_large_or_too_deep_is_refused() {
    let server = Server::start().await;
    let large = format!("{{\"comments\":\"{}\"}}", "x".repeat(2_000_000));
    let deep = format!("{{\"x\":{}", "[".repeat(500_000));
    let files = format!("{{\"files\":[{}]}}", vec!["{\"fileName\":\"a\"}"; 1001].join(","));
    for json in [large, deep, files] {
        let answer = raw(&server, post("/upload", "", &json)).await;
        assert!(statuses(&answer).iter().all(|status| (400..500).contains(status)), "{answer}");
    }
    assert_eq!(uploads(&server), 0);
}

#[tokio::test]
async fn multipart_made_to_harm_is_refused_and_leaves_nothing() {
    let server = Server::with(|config| config.max_size(100_000)).await;
    let upload = server.create("{}").await;
    let boundary = format!("; boundary={BOUNDARY}");
    let part = |head: &str, body: &str| format!("--{BOUNDARY}\r\n{head}\r\n\r\n{body}\r\n");
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"";
    let end = format!("--{BOUNDARY}--\r\n");
    let many = part("Content-Disposition: form-data; name=\"x\"", "1").repeat(20_000);
    let headers: String = (0..2_000).map(|n| format!("X-{n}: y\r\n")).collect();
    for (boundary, body) in [
        ("", part(file, "x") + &end),
        ("; boundary=", part(file, "x") + &end),
        ("; boundary=\"", part(file, "x") + &end),
        (&*boundary, String::new()),
        (&boundary, end.clone()),
        (&boundary, "x".repeat(2_000_000)),
        (&boundary, "\r\n".repeat(1_000_000)),
        (&boundary, format!("--{BOUNDARY}").repeat(50_000)),
        (&boundary, many + &end),
        (&boundary, part(&format!("{headers}{file}"), "x") + &end),
        (&boundary, part(&format!("X: {}\r\n{file}", "y".repeat(1_500_000)), "x") + &end),
        (&boundary, part("Content-Disposition: form-data; name=\"file\"; filename=\"\"", "x") + &end),
        (
            &boundary,
            part(&format!("Content-Disposition: form-data; name=\"file\"; filename=\"{}\"", "a".repeat(5000)), "x")
                + &end,
        ),
        (&boundary, part("Content-Disposition: attachment", "x") + &end),
        (&boundary, part(file, &"x".repeat(100_001)) + &end),
        (&boundary, part(file, "x")),
    ] {
        let answer = raw(&server, multipart(&upload, boundary, body.as_bytes())).await;
        let shown = &body[..body.len().min(80)];
        assert!(matches!(statuses(&answer)[..], [400 | 500]), "{boundary:?} {shown:?}: {answer}");
        server.wait_for_no_content().await;
    }
    // After all that a good one is still taken.
    assert_eq!(server.send(upload.form("a.bin", b"good")).await.status, 200);
}

#[tokio::test]
async fn file_name_breaks_out_of_no_header_and_no_record() {
    let server = Server::start().await;
    // A line end in quotes ends the header all the same: the name is what stands before it.
    let upload = server.create("{}").await;
    let added = server.send(upload.form("a\r\nX-Evil: b", b"x")).await;
    assert_eq!((added.status, added.header("x-evil"), &added.json()["fileName"]), (200, "", &"\"a".into()));
    for name in ["a%0d%0aX-Evil: b%0d%0a%0d%0abody", "a%00b", "%22; filename=%22evil", "%e2%80%aegpj.exe"] {
        let upload = server.create("{}").await;
        let part = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''{name}\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
        );
        let added = server.send(multipart(&upload, &format!("; boundary={BOUNDARY}"), part.as_bytes())).await;
        if added.status != 200 {
            assert_eq!(added.status, 400, "{name}");
            continue;
        }
        let file = added.json()["id"].as_str().unwrap().to_owned();
        let encoded = name.replace(' ', "%20");
        let answer = server.get(&format!("/file/{}/{file}/{encoded}", upload.id)).await;
        assert_eq!((answer.header("x-evil"), answer.header("x-content-type-options")), ("", "nosniff"), "{name}");
        let disposition = answer.header("content-disposition");
        assert_eq!(disposition.matches('"').count(), if answer.status == 200 { 2 } else { 0 }, "{disposition}");
    }
}

#[tokio::test]
async fn dripping_head_is_closed_and_a_strangers_body_is_not_awaited() {
    let limit = Duration::from_millis(400);
    let server = Server::with(|config| config.header_timeout(limit).token("open sesame")).await;
    let begun = Instant::now();
    let mut connection = Connection::open(server.address()).await;
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    for byte in with_headers("GET", "/health", &"X-Slow: y\r\n".repeat(200)).bytes() {
        drops.tick().await;
        if connection.stream.get_mut().write_all(&[byte]).await.is_err() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "bytes that keep coming keep the connection open");
        let mut answer = [0];
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::ZERO, connection.stream.read(&mut answer)).await {
            break;
        }
    }
    assert!(begun.elapsed() >= limit);

    // Who lacks the token is answered before the body, however long it says it is.
    for path in ["/upload", "/"] {
        let mut connection = Connection::open(server.address()).await;
        let head = with_headers("POST", path, "X-PlikToken: open sesamf\r\nContent-Length: 9000000\r\n");
        assert_eq!(connection.send(head).await.status, 403, "{path}");
        assert!(connection.is_closed().await);
    }
}

#[tokio::test]
async fn token_guesses_all_get_the_same_refusal() {
    let server = Server::with(|config| config.token("open sesame")).await;
    let mut answers = Vec::new();
    for guess in
        ["o", "open sesam", "open sesamf", "open sesame ", "OPEN SESAME", "\u{e9}", &"open sesame".repeat(1000)]
    {
        let answer = server.send(post("/upload", &format!("X-PlikToken:{guess}x\r\n"), "{}")).await;
        answers.push((answer.status, answer.text()));
    }
    answers.dedup();
    assert_eq!(answers, [(403, "invalid token\n".to_owned())]);
}

#[cfg(unix)]
#[tokio::test]
async fn hard_links_and_symlinks_are_never_written_through() {
    use std::os::unix::fs::symlink;

    let server = Server::start().await;
    let stored = server.store("{}", "a.bin", b"public").await;
    let folder = server.dir.path().join("uploads").join(&stored.upload.id);
    let outside = tempfile::tempdir().unwrap();
    let names = ["record", "content", "draft"].map(|name| outside.path().join(name));
    std::fs::hard_link(folder.join("record.json"), &names[0]).unwrap();
    std::fs::hard_link(folder.join(&stored.file), &names[1]).unwrap();
    std::fs::write(&names[2], "untouched").unwrap();
    let before = names.each_ref().map(|path| std::fs::read(path).unwrap());
    symlink(&names[2], folder.join("record.json.new")).unwrap();

    // Adds a file, so the record is written; then erases the content.
    assert_eq!(server.send(stored.upload.form("b.bin", b"more")).await.status, 200);
    let token = format!("X-UploadToken: {}\r\n", stored.upload.token);
    assert_eq!(server.send(with_headers("DELETE", &stored.path, &token)).await.status, 200);
    assert_eq!(names.each_ref().map(|path| std::fs::read(path).unwrap()), before);

    // Nor does a server start on a folder whose parts are links to elsewhere.
    for part in ["uploads", "lock"] {
        let dir = tempfile::tempdir().unwrap();
        symlink(if part == "lock" { names[2].clone() } else { outside.path().to_owned() }, dir.path().join(part))
            .unwrap();
        let error = FileServer::bind(config(dir.path())).await.expect_err("a link is taken for the folder");
        assert_eq!(error.code(), "fileserver_folder", "{error}");
    }
    assert_eq!(std::fs::read(&names[2]).unwrap(), b"untouched");
}

#[cfg(unix)]
#[tokio::test]
async fn damaged_folder_costs_the_damaged_uploads_only() {
    let server = Server::start().await;
    let good = server.store("{}", "a.bin", b"good").await;
    let mut damaged = Vec::new();
    for _ in 0..9 {
        damaged.push(server.store("{}", "b.bin", b"damaged").await);
    }
    let Server { handle, dir } = server;
    handle.shutdown().await;
    let uploads = dir.path().join("uploads");
    let folder = |n: usize| uploads.join(&damaged[n].upload.id);
    let record = |n: usize| folder(n).join("record.json");
    let text = |n: usize| std::fs::read_to_string(record(n)).unwrap();
    std::fs::write(record(0), "").unwrap();
    std::fs::write(record(1), [0xff; 1000]).unwrap();
    std::fs::write(record(2), "[".repeat(1_000_000)).unwrap();
    std::fs::write(record(3), text(3).replace(&damaged[3].upload.id, &good.upload.id)).unwrap();
    std::fs::write(record(4), text(4).replace(&damaged[4].file, "../../../secret")).unwrap();
    std::fs::write(
        record(5),
        text(5).replace("\"version\":1", "\"version\":255").replace("\"status\":\"uploaded\"", "\"status\":\"eaten\""),
    )
    .unwrap();
    std::fs::remove_file(record(6)).unwrap();
    std::fs::create_dir(record(6)).unwrap();
    std::fs::remove_file(folder(7).join(&damaged[7].file)).unwrap();
    std::fs::create_dir(folder(7).join(&damaged[7].file)).unwrap();
    std::fs::remove_file(record(8)).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(record(8)).status().unwrap().success());
    std::fs::write(dir.path().join("secret"), "out of reach").unwrap();

    let bound = tokio::time::timeout(PATIENCE, FileServer::bind(config(dir.path()))).await;
    let server = Server { handle: bound.expect("the server hangs on its folder").unwrap().start(), dir };
    assert_eq!(server.get(&good.path).await.text(), "good");
    for (n, stored) in damaged.iter().enumerate() {
        for path in [stored.path.clone(), format!("/upload/{}", stored.upload.id)] {
            let answer = server.get(&path).await;
            assert!(!answer.text().contains("out of reach") && !answer.text().contains("good"), "{n}: {answer:?}");
            assert!(matches!(answer.status, 200 | 404 | 500), "{n}: {answer:?}");
        }
    }
    assert!(server.dir.path().join("secret").exists());
    server.store("{}", "c.bin", b"new").await;
}
