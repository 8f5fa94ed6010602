//! The recorded exchanges with a real Plik, replayed against the embedded server and compared.
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

use serde_json::{Value, json};
use server_support::{BOUNDARY, Connection, Server, Upload, form, form_body, get, noise, post, text, with_headers};

/// The keys of an object, in order
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Checks that two JSON objects have the same keys in the same order, and the same values but for those that differ
/// between runs
fn same_shape(ours: &Value, recorded: &str) {
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    assert_eq!(keys(ours), keys(&recorded));
    for (key, value) in recorded.as_object().unwrap() {
        match key.as_str() {
            "id" => assert_eq!(text(&ours["id"]).len(), 16),
            "uploadToken" => assert_eq!(text(&ours["uploadToken"]).len(), 32),
            "createdAt" | "expireAt" => {
                let moment = text(&ours[key]);
                assert!(moment.len() >= 20 && moment.starts_with("20") && moment.ends_with('Z'), "{moment}");
            }
            "files" if value.is_array() => {
                let (ours, recorded) = (ours["files"].as_array().unwrap(), value.as_array().unwrap());
                assert_eq!(ours.len(), recorded.len());
                for (ours, recorded) in ours.iter().zip(recorded) {
                    same_shape(ours, &recorded.to_string());
                }
            }
            "fileMd5" if !value.as_str().unwrap().is_empty() => assert_eq!(text(&ours["fileMd5"]).len(), 32),
            _ => assert_eq!(&ours[key], value, "{key}"),
        }
    }
}

#[tokio::test]
async fn step_0_version_config_and_health() {
    let server = Server::with(|config| config.max_size(2_000_000)).await;
    let health = server.get("/health").await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    assert_eq!(health.header("content-type"), "text/plain; charset=utf-8");

    let config = server.get("/config").await;
    assert_eq!(config.header("content-type"), "text/plain; charset=utf-8");
    let recorded = r#"{"maxFileSize":2000000,"maxUserSize":-1,"maxFilePerUpload":1000,"defaultTTL":2592000,"maxTTL":2592000,"downloadDomain":"","downloadDomainAlias":null,"abuseContact":"","feature_authentication":"disabled","feature_one_shot":"enabled","feature_removable":"enabled","feature_stream":"enabled","feature_password":"enabled","feature_comments":"enabled","feature_set_ttl":"enabled","feature_extend_ttl":"disabled","feature_clients":"enabled","feature_github":"enabled","feature_text":"enabled","authentication":false,"noAnonymousUploads":false,"oneShot":true,"removable":true,"stream":true,"protectedByPassword":true,"googleAuthentication":false,"ovhAuthentication":false,"ovhApiEndpoint":"https://eu.api.ovh.com/1.0"}"#;
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let ours = config.json();
    assert_eq!(keys(&ours), keys(&recorded));
    for key in
        ["maxFileSize", "maxFilePerUpload", "defaultTTL", "maxTTL", "feature_one_shot", "oneShot", "noAnonymousUploads"]
    {
        assert_eq!(ours[key], recorded[key], "{key}");
    }

    let version = server.get("/version").await;
    assert_eq!(version.status, 200);
    assert_eq!(keys(&version.json())[..6], ["version", "date", "isRelease", "isMint", "clients", "releases"]);
}

#[tokio::test]
async fn steps_1_to_9_one_shot_from_creation_to_its_end() {
    let server = Server::start().await;
    let content = noise(600_000);
    let created =
        server.send(post("/upload", "Content-Type: application/json\r\n", r#"{"oneShot":true,"ttl":3600}"#)).await;
    assert_eq!((created.status, created.header("content-type")), (200, "text/plain; charset=utf-8"));
    same_shape(
        &created.json(),
        r#"{"id":"fx42p6dwO4x3MKWX","ttl":3600,"extend_ttl":false,"downloadDomain":"","comments":"","files":null,"uploadToken":"jx0Qb1dkPEQAsle3plR4BAqwYcFr81hB","admin":true,"stream":false,"oneShot":true,"removable":false,"protectedByPassword":false,"createdAt":"2026-11-22T07:41:16.06587635Z","expireAt":"2026-11-22T08:41:16.06587644Z"}"#,
    );
    let upload = Upload { id: text(&created.json()["id"]), token: text(&created.json()["uploadToken"]) };

    let sent = server.send(upload.form("payload.bin", &content)).await;
    let file = r#"{"id":"2LNrp1EGZY8zV4Hb","fileName":"payload.bin","status":"uploaded","fileMd5":"97024c28322020428b6ae24f79f055d6","fileType":"application/octet-stream","fileSize":600000,"reference":"","createdAt":"2026-11-22T07:41:16.672798815Z"}"#;
    assert_eq!((sent.status, sent.header("content-type")), (200, "text/plain; charset=utf-8"));
    same_shape(&sent.json(), file);
    assert_eq!(text(&sent.json()["fileMd5"]), md5_hex(&content));
    let id = text(&sent.json()["id"]);

    let seen = server.get(&format!("/upload/{}", upload.id)).await;
    same_shape(
        &seen.json(),
        &format!(
            r#"{{"id":"fx42p6dwO4x3MKWX","ttl":3600,"extend_ttl":false,"downloadDomain":"","comments":"","files":[{file}],"admin":false,"stream":false,"oneShot":true,"removable":false,"protectedByPassword":false,"createdAt":"2026-11-22T07:41:16.06587635Z","expireAt":"2026-11-22T08:41:16.06587644Z"}}"#
        ),
    );

    let path = format!("/file/{}/{id}/payload.bin", upload.id);
    for (method, headers) in [("HEAD", ""), ("GET", "Range: bytes=100-199\r\n")] {
        let answer = server.send(with_headers(method, &path, headers)).await;
        assert_eq!(answer.status, 200, "{method}");
        for (name, value) in [
            ("cache-control", "no-cache, no-store, must-revalidate"),
            ("content-disposition", "filename=\"payload.bin\""),
            ("content-length", "600000"),
            ("content-type", "application/octet-stream"),
            ("expires", "0"),
            ("pragma", "no-cache"),
        ] {
            assert_eq!(answer.header(name), value, "{method} {name}");
        }
        if method == "GET" {
            assert!(answer.body == content);
        }
    }

    server.wait_for(&upload, "deleted").await;
    server.get(&path).await.refuses(404, &format!("file payload.bin ({id}) is not available : deleted\n"));
    let head = server.send(with_headers("HEAD", &path, "")).await;
    assert_eq!((head.status, head.header("content-length")), (404, "63"));
}

#[tokio::test]
async fn step_10_ordinary_file_is_fetched_again_and_again() {
    let server = Server::start().await;
    let content = noise(600_000);
    let stored = server.store("{}", "payload.bin", &content).await;
    for _ in 0..2 {
        let answer = server.get(&stored.path).await;
        assert_eq!((answer.status, answer.header("content-disposition")), (200, "filename=\"payload.bin\""));
        assert_eq!((answer.header("content-length"), answer.header("cache-control")), ("600000", ""));
        assert!(answer.body == content);
    }
    // `attachement` in Plik 1.3.8, `attachment` since.
    let answer = server.get(&format!("{}?dl=1", stored.path)).await;
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"payload.bin\"");
}

#[tokio::test]
async fn step_11_wrong_token_is_refused_before_the_body_is_read() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    for headers in ["X-UploadToken: wrong\r\n", ""] {
        let answer = server.send(form(&format!("/file/{}", upload.id), headers, "a.bin", &noise(600_000))).await;
        answer.refuses(403, "you are not allowed to add file to this upload\n");
        assert_eq!(answer.header("connection"), "close");
    }
    // 11b: with `Expect: 100-continue` the refusal comes in place of the 100.
    let mut connection = Connection::open(server.address()).await;
    let head = with_headers(
        "POST",
        &format!("/file/{}", upload.id),
        &format!(
            "Expect: 100-continue\r\nX-UploadToken: wrong\r\nContent-Length: 600201\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        ),
    );
    connection.send(head).await.refuses(403, "you are not allowed to add file to this upload\n");
    assert!(connection.is_closed().await);
    assert_eq!(server.statuses(&upload).await, Vec::<String>::new());
}

#[tokio::test]
async fn step_12_missing_files_are_reported_with_pliks_text() {
    let server = Server::start().await;
    let stored = server.store("{}", "payload.bin", b"x").await;
    let other = server.create("{}").await;
    server.get("/file/AAAAAAAAAAAAAAAA/BBBBBBBBBBBBBBBB/x").await.refuses(404, "upload AAAAAAAAAAAAAAAA not found\n");
    let path = format!("/file/{}/BBBBBBBBBBBBBBBB/x", stored.upload.id);
    server.get(&path).await.refuses(404, "file BBBBBBBBBBBBBBBB not found\n");
    let path = format!("/file/{}/{}/other.bin", stored.upload.id, stored.file);
    server.get(&path).await.refuses(400, "invalid file name\n");
    // Plik's 500 here is a fault of its own.
    let path = format!("/file/{}/{}/payload.bin", other.id, stored.file);
    server.get(&path).await.refuses(404, &format!("file {} not found\n", stored.file));
}

#[tokio::test]
async fn step_13_file_too_large_is_refused_and_leaves_nothing() {
    let server = Server::with(|config| config.max_size(2_000_000)).await;
    let upload = server.create("{}").await;
    let mut connection = Connection::open(server.address()).await;
    let answer = connection.send(upload.form("big.bin", &noise(3_000_000))).await;
    answer.refuses(400, "file too big (limit is set to 2.0 MB)\n");
    assert_eq!(answer.header("connection"), "close");
    let seen = server.get(&format!("/upload/{}", upload.id)).await.json();
    same_shape(
        &seen["files"][0],
        r#"{"id":"bCjxWmqSsLTzYcYu","fileName":"big.bin","status":"deleted","fileMd5":"","fileType":"","fileSize":0,"reference":"","createdAt":"2026-11-22T07:41:19.376934723Z"}"#,
    );

    let declared = server
        .send(post("/upload", "", r#"{"files":[{"fileName":"big.bin","fileSize":3000000,"reference":"0"}]}"#))
        .await;
    declared.refuses(400, "unable to create upload : file is too big (3.0 MB), maximum file size is 2.0 MB\n");
}

#[tokio::test]
async fn steps_14_and_35_requests_are_read_as_plik_reads_them() {
    let server = Server::start().await;
    for (body, text) in [
        (r#"{"ttl":2592001}"#, "unable to create upload : invalid TTL. (maximum allowed is : 2592000)\n"),
        (r#"{"ttl":-1}"#, "unable to create upload : cannot set infinite TTL (maximum allowed is : 2592000)\n"),
        (
            r#"{"ttl":"3600"}"#,
            "unable to deserialize request body : json: cannot unmarshal string into Go struct field UploadV1.ttl of type int\n",
        ),
        (
            "[]",
            "unable to deserialize request body : json: cannot unmarshal array into Go value of type common.UploadV1\n",
        ),
        (r#"{"stream":true}"#, "unable to create upload : streaming uploads are disabled\n"),
        (r#"{"login":"foo","password":"bar"}"#, "unable to create upload : upload password protection is disabled\n"),
    ] {
        server.send(post("/upload", "", body)).await.refuses(400, text);
    }
    let broken = server.send(post("/upload", "", "not json")).await;
    assert!(broken.status == 400 && broken.text().starts_with("unable to deserialize request body : "), "{broken:?}");
    let long = server.send(post("/upload", "", &" ".repeat(1024 * 1024 + 1))).await;
    long.refuses(400, "unable to read request body : http: request body too large\n");

    // Step 15: no body at all.
    let empty = server.send(with_headers("POST", "/upload", "")).await;
    same_shape(
        &empty.json(),
        r#"{"id":"BZ509IT6nyeF6C7M","ttl":2592000,"extend_ttl":false,"downloadDomain":"","comments":"","files":null,"uploadToken":"Iuk1sPOBBj0Pd4WI20eEXYk0hpntkr7Q","admin":true,"stream":false,"oneShot":false,"removable":false,"protectedByPassword":false,"createdAt":"2026-11-22T07:41:23.195814432Z","expireAt":"2026-12-22T07:41:23.195814923Z"}"#,
    );
    // Step 23: without a token of its own the server ignores one.
    assert_eq!(server.send(post("/upload", "X-PlikToken: bogus\r\n", "{}")).await.status, 200);
}

#[tokio::test]
async fn step_16_odd_forms_and_the_empty_file() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    let path = format!("/file/{}", upload.id);
    let send = |body: &str| {
        let headers =
            format!("X-UploadToken: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n", upload.token);
        post(&path, &headers, body)
    };
    let named = String::from_utf8(form_body("p.bin", b"abc")).unwrap();
    server
        .send(send(&named.replace("name=\"file\"", "name=\"data\"")))
        .await
        .refuses(400, "missing file from multipart form\n");
    server
        .send(send(&named.replace("; filename=\"p.bin\"", "")))
        .await
        .refuses(400, "missing file name from multipart form\n");
    let plain = post(
        &path,
        &format!("X-UploadToken: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n", upload.token),
        "abc",
    );
    server.send(plain).await.refuses(400, "invalid multipart form : request Content-Type isn't multipart/form-data\n");

    // Other fields before the file are skipped.
    let note = named.replace("name=\"file\"; filename=\"p.bin\"", "name=\"note\"");
    let two = note.replace(&format!("--{BOUNDARY}--\r\n"), "") + &named;
    assert_eq!(server.send(send(&two)).await.json()["fileName"], "p.bin");

    let empty = server.send(upload.form("empty.bin", b"")).await.json();
    same_shape(
        &empty,
        r#"{"id":"h2w22DDQXxBp4JP6","fileName":"empty.bin","status":"uploaded","fileMd5":"d41d8cd98f00b204e9800998ecf8427e","fileType":"","fileSize":0,"reference":"","createdAt":"2026-11-22T07:41:23.97768189Z"}"#,
    );
    let fetched = server.get(&format!("{path}/{}/empty.bin", text(&empty["id"]))).await;
    assert_eq!(
        (fetched.status, fetched.header("content-type"), fetched.header("content-length")),
        (200, "application/octet-stream", "0")
    );
}

#[tokio::test]
async fn steps_17_and_51_deletion_needs_a_token_or_a_removable_upload() {
    let server = Server::start().await;
    let stored = server.store("{}", "a.bin", b"content").await;
    let token = format!("X-UploadToken: {}\r\n", stored.upload.token);
    let upload = format!("/upload/{}", stored.upload.id);
    server
        .send(with_headers("DELETE", &stored.path, ""))
        .await
        .refuses(403, "you are not allowed to remove files from this upload\n");
    server.send(with_headers("DELETE", &upload, "")).await.refuses(403, "you are not allowed to remove this upload\n");
    for _ in 0..2 {
        let answer = server.send(with_headers("DELETE", &stored.path, &token)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    server.get(&stored.path).await.refuses(404, &format!("file a.bin ({}) is not available : deleted\n", stored.file));
    assert_eq!(server.send(with_headers("DELETE", &upload, &token)).await.text(), "ok");
    server.get(&upload).await.refuses(404, &format!("upload {} not found\n", stored.upload.id));
    server
        .send(with_headers("DELETE", &upload, &token))
        .await
        .refuses(404, &format!("upload {} not found\n", stored.upload.id));

    let removable = server.store(r#"{"removable":true}"#, "a.bin", b"content").await;
    assert_eq!(server.send(with_headers("DELETE", &removable.path, "")).await.text(), "ok");
}

#[tokio::test]
async fn step_18_declared_file_takes_its_content_once() {
    let server = Server::start().await;
    let created = server
        .send(post(
            "/upload",
            "",
            r#"{"files":[{"fileName":"a.bin","fileSize":600000,"fileType":"application/x-x","reference":"0"}]}"#,
        ))
        .await
        .json();
    same_shape(
        &created["files"][0],
        r#"{"id":"eP0NerB9yv4lcjo5","fileName":"a.bin","status":"missing","fileMd5":"","fileType":"application/x-x","fileSize":600000,"reference":"0","createdAt":"2026-11-22T07:41:26.294384222Z"}"#,
    );
    let file = text(&created["files"][0]["id"]);
    let path = format!("/file/{}/{file}/a.bin", text(&created["id"]));
    let token = format!("X-UploadToken: {}\r\n", text(&created["uploadToken"]));
    let content = noise(600_000);
    server.get(&path).await.refuses(404, &format!("file a.bin ({file}) is not available : missing\n"));
    server.send(form(&path, &token, "b.bin", &content)).await.refuses(400, "invalid file name\n");
    let sent = server.send(form(&path, &token, "a.bin", &content)).await.json();
    same_shape(
        &sent,
        r#"{"id":"eP0NerB9yv4lcjo5","fileName":"a.bin","status":"uploaded","fileMd5":"97024c28322020428b6ae24f79f055d6","fileType":"application/octet-stream","fileSize":600000,"reference":"0","createdAt":"2026-11-22T07:41:26.294384222Z"}"#,
    );
    assert_eq!(text(&sent["id"]), file);
    server
        .send(form(&path, &token, "a.bin", &content))
        .await
        .refuses(400, "invalid file status uploaded, expected missing\n");
    assert!(server.get(&path).await.body == content);
}

#[tokio::test]
async fn steps_20_and_21_content_types_and_the_quick_upload() {
    let server = Server::start().await;
    for (name, content, kind) in [
        ("a.html", "<html><script>1</script></html>\n", "text/plain"),
        ("a.json", "{\"a\":1}\n", "text/plain; charset=utf-8"),
    ] {
        let stored = server.store("{}", name, content.as_bytes()).await;
        assert_eq!(server.get(&stored.path).await.header("content-type"), kind);
    }
    let answer = server.send(form("/", "", "q.bin", b"quick")).await;
    let url = answer.text();
    let path = url.strip_prefix(server.handle.url()).unwrap().trim_end();
    assert!(path.starts_with("/file/") && path.ends_with("/q.bin") && url.ends_with('\n'), "{url}");
    assert_eq!(server.get(path).await.text(), "quick");
}

#[tokio::test]
async fn step_30_names_all_come_back_as_they_were_sent() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    for (sent, stored, escaped) in [
        ("a b.bin", "a b.bin", "a%20b.bin"),
        ("a%20b.bin", "a%20b.bin", "a%2520b.bin"),
        ("é.bin", "é.bin", "%C3%A9.bin"),
        ("a?b#c+d;e,f", "a?b#c+d;e,f", "a%3Fb%23c%2Bd%3Be%2Cf"),
        ("a/b.bin", "b.bin", "b.bin"),
        ("a\\\"b.bin", "a\"b.bin", "a%22b.bin"),
        ("日本日本日本", "日本日本日本", "%E6%97%A5%E6%9C%AC%E6%97%A5%E6%9C%AC%E6%97%A5%E6%9C%AC"),
    ] {
        let file = server.send(upload.form(sent, b"hello")).await.json();
        assert_eq!(file["fileName"], json!(stored));
        let answer = server.get(&format!("/file/{}/{}/{escaped}", upload.id, text(&file["id"]))).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{sent}");
    }
    let long = server.send(upload.form(&"x".repeat(1025), b"hello")).await;
    long.refuses(
        400,
        "unable to create file : file name xxxxxxxxxxxxxxxxxxxx... is too long, maximum length is 1024 characters\n",
    );
    assert_eq!(server.send(upload.form(&"x".repeat(1024), b"hello")).await.status, 200);
}

#[tokio::test]
async fn step_36_unknown_paths_and_methods_are_not_found() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    for request in [
        with_headers("PUT", "/upload", ""),
        get("/file/x"),
        get("/nosuch"),
        with_headers("POST", &format!("/file/{}/", upload.id), ""),
        get("/upload/"),
        get("/"),
    ] {
        server.send(&request).await.refuses(404, "404 page not found\n");
    }
}

#[tokio::test]
async fn step_40_server_with_a_token_and_a_download_domain() {
    let server = Server::with(|config| config.token("open sesame").download_domain("http://localhost:18081/sub")).await;
    server
        .send(post("/upload", "", "{}"))
        .await
        .refuses(400, "unable to create upload : anonymous uploads are disabled\n");
    server.send(post("/upload", "X-PlikToken: bogus\r\n", "{}")).await.refuses(403, "invalid token\n");
    let created = server.send(post("/upload", "X-PlikToken: open sesame\r\n", r#"{"oneShot":false}"#)).await.json();
    assert_eq!(created["downloadDomain"], "http://localhost:18081/sub");
    let path = format!("/file/{}", text(&created["id"]));
    let by_server_token = server.send(form(&path, "X-PlikToken: open sesame\r\n", "a.bin", b"one")).await;
    assert_eq!(by_server_token.status, 200);
    let token = format!("X-UploadToken: {}\r\n", text(&created["uploadToken"]));
    assert_eq!(server.send(form(&path, &token, "b.bin", b"two")).await.status, 200);

    let path = format!("{path}/{}/a.bin", text(&by_server_token.json()["id"]));
    let wrong = server.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    wrong.refuses(400, "Invalid download domain test\n");
    let right = server.send(format!("GET {path} HTTP/1.1\r\nHost: localhost:18081\r\n\r\n")).await;
    assert_eq!((right.status, right.text().as_str()), (200, "one"));
    let config = server.get("/config").await.json();
    assert_eq!((&config["feature_authentication"], &config["noAnonymousUploads"]), (&json!("forced"), &json!(true)));
}

#[tokio::test]
async fn steps_28_and_34_truncated_form_is_refused_and_chunked_taken() {
    let server = Server::start().await;
    let upload = server.create("{}").await;
    let head = format!("X-UploadToken: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n", upload.token);
    let body = form_body("a.bin", &noise(600_000));
    let cut = &body[..body.len() - BOUNDARY.len() - 8];
    let request =
        with_headers("POST", &format!("/file/{}", upload.id), &format!("{head}Content-Length: {}\r\n", cut.len()));
    let answer = server.send([request.as_bytes(), cut].concat()).await;
    assert!(
        answer.status == 500 && answer.text().starts_with("unable to read data from request body : "),
        "{answer:?}"
    );
    assert_eq!(server.statuses(&upload).await, ["deleted"]);

    let mut request =
        with_headers("POST", &format!("/file/{}", upload.id), &format!("{head}Transfer-Encoding: chunked\r\n"))
            .into_bytes();
    for chunk in body.chunks(50_000) {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    assert_eq!(server.send(request).await.json()["fileSize"], 600_000);
    assert_eq!(server.statuses(&upload).await, ["deleted", "uploaded"]);
}

#[tokio::test]
async fn crc_replaces_md5_only_for_clients_that_ask_for_it() {
    let server = Server::start().await;
    let content = noise(600_000);
    let crc = format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &content));
    let created = server.send(post("/upload", "", r#"{"ttl":60,"crc64nvme":true}"#)).await.json();
    assert_eq!(created["crc64nvme"], true);
    let upload = Upload { id: text(&created["id"]), token: text(&created["uploadToken"]) };
    let sent = server.send(upload.form("a.bin", &content)).await.json();
    assert_eq!((text(&sent["fileCrc64nvme"]), text(&sent["fileMd5"])), (crc, String::new()));
    let whole = server.get(&format!("/file/{}/{}/a.bin", upload.id, text(&sent["id"]))).await;
    assert!(whole.body == content);
    assert_eq!(whole.header("etag"), format!("\"{}\"", text(&sent["id"])));
    for body in ["{}", r#"{"crc64nvme":false}"#, r#"{"crc64nvme":"yes"}"#] {
        let created = server.send(post("/upload", "", body)).await;
        assert_eq!((created.status, created.json().get("crc64nvme")), (200, None), "{body}");
    }
}

fn md5_hex(content: &[u8]) -> String {
    use md5::Digest;
    md5::Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
