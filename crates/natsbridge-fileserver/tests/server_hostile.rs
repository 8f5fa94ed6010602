//! What strangers and accidents may do to the server, and what it does about it.
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

use natsbridge_fileserver::server::{FileServer, ServerConfig, sweep};
use server_support::{BOUNDARY, Connection, Server, config, form, form_body, get, noise, post, serve, with_headers};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn uploads_survive_a_restart_and_no_secret_is_on_disk() {
    let server = Server::start().await;
    let content = noise(300_000);
    let stored = server.store(r#"{"comments":"kept","ttl":600}"#, "a.bin", &content).await;
    let before = server.get(&format!("/upload/{}", stored.upload.id)).await.json();
    for path in server.files_on_disk() {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(&stored.upload.token), "{path:?}");
    }
    let server = server.restart().await;
    assert_eq!(server.get(&format!("/upload/{}", stored.upload.id)).await.json(), before);
    assert!(server.get(&stored.path).await.body == content);
    assert_eq!(server.send(stored.upload.form("b.bin", b"more")).await.status, 200);
}

#[tokio::test]
async fn paths_do_not_lead_out_of_the_folder() {
    let server = Server::start().await;
    std::fs::write(server.dir.path().join("secret"), "secret").unwrap();
    let stored = server.store("{}", "a.bin", b"public").await;
    let id = &stored.upload.id;
    let long = "A".repeat(5000);
    for path in [
        "/file/../../../etc/passwd".to_owned(),
        "/file/..%2f..%2f/..%2fsecret/x".to_owned(),
        "/file/%2e%2e/%2e%2e/secret".to_owned(),
        format!("/file/{id}/..%2f..%2fsecret/a.bin"),
        format!("/file/{id}/record.json/record.json"),
        format!("/file/{id}/%2e%2e/secret"),
        format!("/file/{id}/{}%00/a.bin", stored.file),
        format!("/file/{id}/%2Fetc%2Fpasswd/passwd"),
        format!("/file/{long}/{long}/x"),
        format!("/upload/{long}"),
        "/upload/..".to_owned(),
        "/upload/%2e%2e%2fsecret".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert!(matches!(answer.status, 400 | 404) && !answer.text().contains("secret"), "{path}: {answer:?}");
        let answer = server.send(with_headers("DELETE", &path, "")).await;
        assert!(matches!(answer.status, 400 | 403 | 404), "{path}: {answer:?}");
    }
    let absolute = server.send("GET /etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    absolute.refuses(404, "404 page not found\n");

    // A file name never becomes a path.
    for name in ["../../evil", "/etc/evil", "C:\\evil"] {
        assert_eq!(server.send(stored.upload.form(name, b"evil")).await.status, 200, "{name}");
    }
    for name in [".", "..", "a/..", "evil\u{1}x"] {
        assert_eq!(server.send(stored.upload.form(name, b"evil")).await.status, 400, "{name}");
    }
    let names = server.files_on_disk().into_iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    assert!(names.into_iter().all(|name| name == "record.json" || name.len() == 16));
}

#[cfg(unix)]
#[tokio::test]
async fn links_planted_in_the_folder_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let server = Server::start().await;
    let secret = server.dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let stored = server.store("{}", "a.bin", b"public").await;
    let folder = server.dir.path().join("uploads").join(&stored.upload.id);
    let content = folder.join(&stored.file);
    assert_eq!(std::fs::metadata(&content).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);

    std::fs::remove_file(&content).unwrap();
    symlink(&secret, &content).unwrap();
    server.get(&stored.path).await.refuses(500, "internal server error\n");

    // A whole upload behind a link, readable if it were followed.
    let other = server.store("{}", "b.bin", b"elsewhere").await;
    let real = server.dir.path().join("elsewhere");
    let place = server.dir.path().join("uploads").join(&other.upload.id);
    std::fs::rename(&place, &real).unwrap();
    symlink(&real, &place).unwrap();
    assert_eq!(server.get(&other.path).await.status, 404);

    // Nor are they erased through.
    let token = format!("X-UploadToken: {}\r\n", stored.upload.token);
    assert_eq!(server.send(with_headers("DELETE", &stored.path, &token)).await.status, 200);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
}

#[tokio::test]
async fn content_gone_missing_is_a_server_error_and_uses_nothing_up() {
    // Step 52 of the recorded exchanges, where Plik marks the one-shot removed.
    let server = Server::start().await;
    let stored = server.store(r#"{"oneShot":true}"#, "a.bin", b"once").await;
    let content = server.dir.path().join("uploads").join(&stored.upload.id).join(&stored.file);
    std::fs::rename(&content, content.with_extension("away")).unwrap();
    server.get(&stored.path).await.refuses(500, "internal server error\n");
    std::fs::rename(content.with_extension("away"), &content).unwrap();
    assert_eq!(server.get(&stored.path).await.text(), "once");
}

#[tokio::test]
async fn requests_too_large_are_cut_off() {
    let server = Server::with(|config| config.max_size(1_000_000)).await;
    // A head far beyond 64 KiB; hyper reads in growing steps and may take one more.
    let mut connection = Connection::open(server.address()).await;
    let answer = connection.send(with_headers("GET", "/health", &format!("X-Long: {}\r\n", "x".repeat(300_000)))).await;
    assert_eq!(answer.status, 431);
    assert!(connection.is_closed().await);
    // More headers than a person has use for.
    let many: String = (0..500).map(|n| format!("X-{n}: x\r\n")).collect();
    assert_eq!(server.send(with_headers("GET", "/health", &many)).await.status, 431);

    // A length that can't fit is refused before anything is sent.
    let upload = server.create("{}").await;
    let head = format!("X-UploadToken: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n", upload.token);
    let mut connection = Connection::open(server.address()).await;
    let announced =
        with_headers("POST", &format!("/file/{}", upload.id), &format!("{head}Content-Length: 100000000\r\n"));
    connection.send(announced).await.refuses(400, "file too big (limit is set to 1.0 MB)\n");

    // Without a length it is stopped at the limit.
    let mut connection = Connection::open(server.address()).await;
    let request =
        with_headers("POST", &format!("/file/{}", upload.id), &format!("{head}Transfer-Encoding: chunked\r\n"));
    let part = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n{}",
        "x".repeat(1_000_001)
    );
    let answer = connection.send(format!("{request}{:x}\r\n{part}\r\n", part.len())).await;
    answer.refuses(400, "file too big (limit is set to 1.0 MB)\n");
    assert!(connection.is_closed().await);

    // A part's head that never ends, and fields without end before the file.
    for filler in ["X-Long: ", "\r\n\r\n"] {
        let body =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"x\"{filler}{}", "x".repeat(1_500_000));
        let answer = server.send(post(&format!("/file/{}", upload.id), &head, &body)).await;
        assert!(answer.status == 400 && answer.text().starts_with("invalid multipart form : "), "{answer:?}");
    }
    assert_eq!(server.content_files(), 0);
}

#[tokio::test]
async fn slow_clients_are_closed() {
    let short = Duration::from_millis(200);
    let server = Server::with(|config| config.header_timeout(short).idle_timeout(short)).await;
    let begun = Instant::now();
    let mut connection = Connection::open(server.address()).await;
    connection.stream.get_mut().write_all(b"GET /health HTTP/1.1\r\nHost: te").await.unwrap();
    assert!(connection.is_closed().await);
    assert!(begun.elapsed() >= short);

    let upload = server.create("{}").await;
    let request = upload.form("a.bin", &noise(300_000));
    let mut connection = Connection::open(server.address()).await;
    connection.send(&request[..200_000]).await.refuses(408, "upload stood still for more than 0 s\n");
    assert!(connection.is_closed().await);
    assert_eq!(server.statuses(&upload).await, ["deleted"]);
    assert_eq!(server.content_files(), 0);
}

#[tokio::test]
async fn client_that_stops_reading_is_closed() {
    let server = Server::with(|config| config.idle_timeout(Duration::from_millis(200))).await;
    let stored = server.store(r#"{"oneShot":true}"#, "a.bin", &noise(24 * 1024 * 1024)).await;
    let mut stuck = Connection::open(server.address()).await;
    stuck.stream.get_mut().write_all(get(&stored.path).as_bytes()).await.unwrap();
    assert_eq!(stuck.read_head().await.status, 200);
    // The file is offered to others as soon as the stuck download is given up.
    let deadline = Instant::now() + server_support::PATIENCE;
    while server.get(&stored.path).await.status != 200 {
        assert!(Instant::now() < deadline, "stuck download was never given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn idle_connections_by_the_hundred_do_not_hinder_others() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for n in 0..100 {
        let mut connection = Connection::open(server.address()).await;
        if n % 2 == 0 {
            connection.stream.get_mut().write_all(b"POST /upload HTTP/1.1\r\n").await.unwrap();
        }
        idle.push(connection);
    }
    let content = noise(1_000_000);
    let stored = server.store("{}", "a.bin", &content).await;
    assert!(server.get(&stored.path).await.body == content);
}

#[tokio::test]
async fn interrupted_upload_leaves_nothing() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    let request = upload.form("a.bin", &noise(2_000_000));
    let mut connection = Connection::open(server.address()).await;
    connection.stream.get_mut().write_all(&request[..1_000_000]).await.unwrap();
    server.wait_for(&upload, "uploading").await;
    drop(connection);
    server.wait_for(&upload, "deleted").await;
    server.wait_for_no_content().await;
    // Step 27 of the recorded exchanges: the upload itself takes another file.
    assert_eq!(server.send(&request).await.status, 200);
}

#[tokio::test]
#[cfg(unix)]
async fn upload_keeps_no_space_announced_and_not_filled() {
    use std::os::unix::fs::MetadataExt as _;
    let server = Server::start().await;
    let upload = server.create("{}").await;
    let content = noise(1_500_000);
    let headers = format!(
        "X-UploadToken: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 100000000\r\n",
        upload.token
    );
    let head = with_headers("POST", &format!("/file/{}", upload.id), &headers);
    let answer = server.send([head.as_bytes(), &form_body("a.bin", &content)].concat()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = server.files_on_disk().into_iter().map(|path| std::fs::metadata(path).unwrap());
    let found = found.max_by_key(std::fs::Metadata::len).unwrap();
    assert_eq!(found.len(), 1_500_000);
    assert!(found.blocks() * 512 < 1_600_000, "{} bytes are kept", found.blocks() * 512);
}

#[tokio::test]
async fn upload_cut_by_a_stopping_server_leaves_nothing() {
    let server = Server::with(|config| config.shutdown_grace(Duration::from_millis(50))).await;
    let upload = server.create("{}").await;
    let request = upload.form("a.bin", &noise(2_000_000));
    let mut connection = Connection::open(server.address()).await;
    connection.stream.get_mut().write_all(&request[..1_000_000]).await.unwrap();
    server.wait_for(&upload, "uploading").await;
    let Server { handle, dir } = server;
    handle.shutdown().await;
    let names = std::fs::read_dir(dir.path().join("uploads").join(&upload.id)).unwrap();
    let names: Vec<_> = names.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["record.json"]);
}

#[tokio::test]
async fn files_left_by_a_killed_server_are_removed_at_the_next_start() {
    let server = Server::start().await;
    let stored = server.store("{}", "a.bin", b"kept").await;
    let cut = server.store("{}", "b.bin", b"half").await;
    let Server { handle, dir } = server;
    handle.shutdown().await;
    // As the disk looks after `kill -9` in the middle of an upload (step 53) and of making one.
    let uploads = dir.path().join("uploads");
    let record = uploads.join(&cut.upload.id).join("record.json");
    let text = std::fs::read_to_string(&record).unwrap().replace("\"uploaded\"", "\"uploading\"");
    std::fs::write(&record, text).unwrap();
    std::fs::write(uploads.join(&cut.upload.id).join("record.json.new"), "{\"half").unwrap();
    std::fs::create_dir(uploads.join("AAAAAAAAAAAAAAAA")).unwrap();
    std::fs::write(uploads.join("README"), "not ours").unwrap();

    let server = Server { handle: serve(config(dir.path())).await, dir };
    assert_eq!(server.get(&stored.path).await.text(), "kept");
    server.get(&cut.path).await.refuses(404, &format!("file b.bin ({}) is not available : deleted\n", cut.file));
    let uploads = server.dir.path().join("uploads");
    assert!(!uploads.join(&cut.upload.id).join(&cut.file).exists());
    assert!(!uploads.join(&cut.upload.id).join("record.json.new").exists());
    assert!(!uploads.join("AAAAAAAAAAAAAAAA").exists());
    assert!(uploads.join("README").exists());
}

#[tokio::test]
async fn broken_record_hurts_its_own_upload_only() {
    let server = Server::start().await;
    let good = server.store("{}", "a.bin", b"good").await;
    let bad = server.store("{}", "b.bin", b"bad").await;
    std::fs::write(server.dir.path().join("uploads").join(&bad.upload.id).join("record.json"), "{").unwrap();
    let server = server.restart().await;
    server.get(&bad.path).await.refuses(500, "internal server error\n");
    assert_eq!(server.get(&good.path).await.text(), "good");
}

#[tokio::test]
async fn upload_expires_to_the_second_and_is_swept() {
    let server = Server::with(|config| config.sweep_interval(Duration::from_millis(100))).await;
    let begun = Instant::now();
    let stored = server.store(r#"{"ttl":2}"#, "a.bin", &noise(1000)).await;
    let lasting = server.store(r#"{"ttl":60}"#, "b.bin", b"lasting").await;
    let made = begun.elapsed();
    // Sweeping would answer `not found`; the refusal by date comes first, so either may be seen.
    loop {
        let asked = begun.elapsed();
        let answer = server.get(&stored.path).await;
        if answer.status == 404 {
            assert!(begun.elapsed() >= Duration::from_secs(2), "expired early");
            let upload = &stored.upload.id;
            assert!(
                [format!("upload {upload} has expired\n"), format!("upload {upload} not found\n")]
                    .contains(&answer.text())
            );
            break;
        }
        assert!(asked < made + Duration::from_secs(2), "lives too long");
    }
    let deadline = Instant::now() + server_support::PATIENCE;
    while server.dir.path().join("uploads").join(&stored.upload.id).exists() {
        assert!(Instant::now() < deadline, "never swept");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.get(&lasting.path).await.text(), "lasting");
}

#[tokio::test]
async fn expiry_needs_no_sweep_and_a_sweep_needs_no_server() {
    let server = Server::start().await;
    let stored = server.store(r#"{"ttl":1}"#, "a.bin", &noise(5000)).await;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let refusal = format!("upload {} has expired\n", stored.upload.id);
    server.get(&stored.path).await.refuses(404, &refusal);
    server.send(stored.upload.form("b.bin", b"late")).await.refuses(404, &refusal);
    server.get(&format!("/upload/{}", stored.upload.id)).await.refuses(404, &refusal);

    assert!(sweep(server.dir.path()).is_err_and(|error| error.code() == "fileserver_locked"));
    let Server { handle, dir } = server;
    handle.shutdown().await;
    let report = sweep(dir.path()).unwrap();
    assert_eq!((report.uploads, report.bytes), (1, 5000));
    assert_eq!(sweep(dir.path()).unwrap().uploads, 0);
    assert!(sweep(&dir.path().join("absent")).is_err_and(|error| error.code() == "fileserver_folder"));
}

#[tokio::test]
async fn servers_do_not_share_a_folder() {
    let server = Server::start().await;
    let second = FileServer::bind(config(server.dir.path())).await;
    let error = second.expect_err("second server started");
    assert_eq!(error.code(), "fileserver_locked");
    assert!(error.to_string().contains("in use by another file server"), "{error}");
    let Server { handle, dir } = server;
    handle.shutdown().await;
    FileServer::bind(config(dir.path())).await.unwrap();
}

#[tokio::test]
async fn port_in_use_and_file_for_a_folder_are_told_apart() {
    let server = Server::start().await;
    let other = tempfile::tempdir().unwrap();
    let error = FileServer::bind(ServerConfig::new(other.path()).listen(server.address())).await.unwrap_err();
    assert_eq!(error.code(), "fileserver_listen");
    let file = other.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(FileServer::bind(config(&file)).await.unwrap_err().code(), "fileserver_folder");
}

#[tokio::test]
async fn dropped_server_handle_ends_the_server() {
    let server = Server::start().await;
    let address = server.address();
    let mut idle = Connection::open(address).await;
    assert_eq!(idle.send(get("/health")).await.status, 200);
    drop(server.handle);
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn shutdown_lets_a_running_upload_end() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    let request = upload.form("a.bin", &noise(1_000_000));
    let mut connection = Connection::open(server.address()).await;
    let mut unused = Connection::open(server.address()).await;
    connection.stream.get_mut().write_all(&request[..500_000]).await.unwrap();
    server.wait_for(&upload, "uploading").await;
    let Server { handle, dir } = server;
    let stopping = tokio::spawn(handle.shutdown());
    assert!(unused.is_closed().await);
    assert_eq!(connection.send(&request[500_000..]).await.json()["status"], "uploaded");
    stopping.await.unwrap();
    drop(dir);
}

#[tokio::test]
async fn pages_of_configured_origins_alone_may_use_the_server() {
    let origin = "https://app.example.com";
    let server = Server::with(|config| config.cors_origin(origin)).await;
    let preflight = |origin: &str| {
        let headers = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-uploadtoken\r\n"
        );
        with_headers("OPTIONS", "/file/fx42p6dwO4x3MKWX", &headers)
    };
    let answer = server.send(preflight(origin)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, origin));
    assert!(answer.header("access-control-allow-headers").contains("X-UploadToken"));
    assert!(answer.header("access-control-allow-methods").contains("DELETE"));
    assert_eq!(answer.header("vary"), "Origin");

    let stored = server.store("{}", "a.bin", b"content").await;
    let answer = server.send(with_headers("GET", &stored.path, &format!("Origin: {origin}\r\n"))).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin));
    for name in ["ETag", "Content-Range", "Content-Length"] {
        assert!(answer.header("access-control-expose-headers").contains(name), "{name}");
    }
    // A refusal must be readable for the page too.
    let answer = server.send(with_headers("GET", "/upload/fx42p6dwO4x3MKWX", &format!("Origin: {origin}\r\n"))).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (404, origin));

    for stranger in ["https://evil.example.com", "https://app.example.com.evil.com", "null"] {
        let answer = server.send(preflight(stranger)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""), "{stranger}");
        let answer = server.send(with_headers("GET", &stored.path, &format!("Origin: {stranger}\r\n"))).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""), "{stranger}");
    }
    let plain = Server::start().await;
    let answer = plain.send(preflight(origin)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin"), answer.header("vary")), (403, "", ""));
}

#[tokio::test]
async fn server_token_guards_every_way_to_make_an_upload() {
    let server = Server::with(|config| config.token("open sesame")).await;
    for (headers, status) in [
        ("", 400),
        ("X-PlikToken: open sesam\r\n", 403),
        ("X-PlikToken: \r\n", 403),
        ("X-PlikToken: open sesame\r\n", 200),
    ] {
        assert_eq!(server.send(post("/upload", headers, "{}")).await.status, status, "{headers}");
        assert_eq!(server.send(form("/", headers, "q.bin", b"quick")).await.status, status, "{headers}");
    }
}
