//! A raw HTTP client and a server to talk to, shared by the tests of the embedded server.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use natsbridge_fileserver::server::{FileServer, ServerConfig, ServerHandle};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Longer than anything here takes; a test that waits this long has failed
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a free port with a folder of its own
pub struct Server {
    pub handle: ServerHandle,
    pub dir: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|config| config).await
    }

    pub async fn with(change: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let handle = serve(change(config(dir.path()))).await;
        Self { handle, dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Stops the server and starts another on the same folder
    pub async fn restart(self) -> Self {
        let Self { handle, dir } = self;
        handle.shutdown().await;
        let handle = serve(config(dir.path())).await;
        Self { handle, dir }
    }

    pub async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut connection = Connection::open(self.address()).await;
        connection.send(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(get(path)).await
    }

    /// Makes an upload with this JSON
    pub async fn create(&self, json: &str) -> Upload {
        let answer = self.send(post("/upload", "", json)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        Upload { id: text(&json["id"]), token: text(&json["uploadToken"]) }
    }

    /// Makes an upload with this JSON and one file in it, and returns the file's path
    pub async fn store(&self, json: &str, name: &str, content: &[u8]) -> Stored {
        let upload = self.create(json).await;
        let answer = self.send(upload.form(name, content)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let file = text(&answer.json()["id"]);
        Stored { path: format!("/file/{}/{file}/{name}", upload.id), file, upload }
    }

    /// The statuses of the upload's files
    pub async fn statuses(&self, upload: &Upload) -> Vec<String> {
        let json = self.get(&format!("/upload/{}", upload.id)).await.json();
        json["files"].as_array().into_iter().flatten().map(|file| text(&file["status"])).collect()
    }

    /// All files in the folders of uploads
    pub fn files_on_disk(&self) -> Vec<PathBuf> {
        let uploads = std::fs::read_dir(self.dir.path().join("uploads")).unwrap();
        let folders = uploads.map(|upload| upload.unwrap().path()).filter(|path| path.is_dir());
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path()).collect()
    }

    /// How many of them hold content
    pub fn content_files(&self) -> usize {
        self.files_on_disk().iter().filter(|path| !path.to_string_lossy().contains("record.json")).count()
    }

    /// Waits until no content is left: a record is changed first and the content erased after it
    pub async fn wait_for_no_content(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.content_files() > 0 {
            assert!(Instant::now() < deadline, "content stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the upload's first file has the status
    pub async fn wait_for(&self, upload: &Upload, status: &str) {
        tokio::time::timeout(PATIENCE, async {
            while self.statuses(upload).await.first().map(String::as_str) != Some(status) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("file never became {status}"));
    }
}

pub fn config(dir: &Path) -> ServerConfig {
    ServerConfig::new(dir).listen(([127, 0, 0, 1], 0).into())
}

pub async fn serve(config: ServerConfig) -> ServerHandle {
    FileServer::bind(config).await.unwrap().start()
}

/// An upload and the token that may change it
pub struct Upload {
    pub id: String,
    pub token: String,
}

impl Upload {
    /// The request that adds a file
    pub fn form(&self, name: &str, content: &[u8]) -> Vec<u8> {
        form(&format!("/file/{}", self.id), &format!("X-UploadToken: {}\r\n", self.token), name, content)
    }
}

/// A file, and the path it is fetched by
pub struct Stored {
    pub upload: Upload,
    pub file: String,
    pub path: String,
}

pub fn get(path: &str) -> String {
    with_headers("GET", path, "")
}

pub fn with_headers(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

pub fn post(path: &str, headers: &str, body: &str) -> String {
    with_headers("POST", path, &format!("{headers}Content-Length: {}\r\n", body.len())) + body
}

pub const BOUNDARY: &str = "------------------------0970a90ae12ff40f";

/// The body that curl sends for `-F file=@…`
pub fn form_body(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

/// A whole upload request
pub fn form(path: &str, headers: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let body = form_body(name, content);
    let head = with_headers(
        "POST",
        path,
        &format!(
            "{headers}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n",
            body.len()
        ),
    );
    [head.as_bytes(), &body].concat()
}

/// An answer as it came
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The header's value, empty if it is absent
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks status and text of a refusal
    pub fn refuses(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, text));
        assert_eq!(self.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
    }
}

/// One connection, kept alive between requests
pub struct Connection {
    pub stream: BufReader<TcpStream>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: BufReader::with_capacity(64 * 1024, TcpStream::connect(address).await.unwrap()) }
    }

    pub async fn send(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        // An early refusal closes the connection under our hands; the answer is what counts.
        let _ = self.stream.get_mut().write_all(request).await;
        self.answer(request.starts_with(b"HEAD")).await
    }

    pub async fn answer(&mut self, head: bool) -> Answer {
        tokio::time::timeout(PATIENCE, self.read_answer(head)).await.expect("no answer in time")
    }

    async fn read_answer(&mut self, head: bool) -> Answer {
        let mut answer = self.read_head().await;
        let length = answer.header("content-length").parse::<u64>().unwrap_or_default();
        if !head {
            (&mut self.stream).take(length).read_to_end(&mut answer.body).await.unwrap();
        }
        answer
    }

    pub async fn read_head(&mut self) -> Answer {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).await.unwrap();
            assert!(read > 0, "connection closed without an answer");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status: u16 = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return Box::pin(self.read_head()).await;
        }
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Answer { status, headers, body: Vec::new() }
    }

    /// Whether the server ends the connection
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await.expect("connection stays open");
        matches!(read, Ok(0) | Err(_))
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Bytes that no two offsets share a window of
pub fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(step).collect()
}
