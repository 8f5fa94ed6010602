//! What the fuzz targets share: memory that is watched, addresses that nobody may be sent to, a server to talk to.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use natsbridge_fileserver::server::{FileServer, ServerConfig, ServerHandle};
use peak_alloc::PeakAlloc;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use url::{Host, Url};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most memory held since it was made
pub struct Memory(usize);

impl Memory {
    pub fn watch() -> Self {
        MEMORY.reset_peak_usage();
        Self(MEMORY.current_usage())
    }

    pub fn within(&self, bytes: usize) {
        let peak = MEMORY.peak_usage().saturating_sub(self.0);
        assert!(peak <= bytes, "{peak} bytes were held, {bytes} are allowed");
    }
}

/// A payload's metadata as a general parser sees it
pub fn metadata_of(payload: &Json) -> Map<String, Json> {
    payload["metadata"].as_object().cloned().unwrap_or_default()
}

/// Whether the URL leads to an address that the policy has to refuse; written apart from the policy, range by range
pub fn forbidden(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => forbidden_v4(ip),
        Some(Host::Ipv6(ip)) => forbidden_v6(ip),
        // What a resolver of the system would take for an address must have become one by now.
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
            digits || name.parse::<IpAddr>().is_ok()
        }
        None => true,
    }
}

const V4: [(Ipv4Addr, u32); 7] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    (Ipv4Addr::new(192, 0, 0, 192), 32),
];

pub fn forbidden_v4(ip: Ipv4Addr) -> bool {
    V4.iter().any(|(net, bits)| (u32::from(ip) ^ u32::from(*net)) >> (32 - bits) == 0)
}

pub fn forbidden_v6(ip: Ipv6Addr) -> bool {
    let number = u128::from(ip);
    let starts = |prefix: u128, bits: u32| (number ^ prefix) >> (128 - bits) == 0;
    let low = Ipv4Addr::from((number & 0xffff_ffff) as u32);
    let embedded = [
        (starts(0, 96) && number != 1, low),
        (starts(0xffff << 32, 96), low),
        (starts(0xffff << 48, 96), low),
        (starts(0x64_ff9b << 96, 96), low),
        (starts(0x2002 << 112, 16), Ipv4Addr::from((number >> 80) as u32)),
        (starts(0x2001 << 112, 32), Ipv4Addr::from(!(number as u32))),
    ];
    number == 0
        || starts(0xff << 120, 8)
        || starts(0xfe80 << 112, 10)
        || starts(0xfec0 << 112, 10)
        || starts((0x64_ff9b << 96) | (1 << 80), 48)
        || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        || ip == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
        || embedded.iter().any(|(is, inner)| *is && forbidden_v4(*inner))
}

/// The address moved into one of the forbidden nets: chance alone hardly finds them
pub fn steered_v4(which: u8, ip: Ipv4Addr) -> Ipv4Addr {
    let (net, bits) = V4[usize::from(which) % V4.len()];
    let host = u32::MAX.checked_shr(bits).unwrap_or(0);
    Ipv4Addr::from(u32::from(net) | (u32::from(ip) & host))
}

/// The address with the IPv4 one where some translation looks for it, or in a forbidden net
pub fn steered_v6(which: u8, inner: Ipv4Addr, ip: Ipv6Addr) -> Ipv6Addr {
    let (number, inner) = (u128::from(ip), u128::from(u32::from(inner)));
    let below = |bits: u32| number & (u128::MAX >> bits);
    Ipv6Addr::from(match which / 16 {
        0 => inner,
        1 => (0xffff << 32) | inner,
        2 => (0xffff << 48) | inner,
        3 => (0x64_ff9b << 96) | inner,
        4 => (0x2002 << 112) | (inner << 80) | below(48),
        5 => (0x2001 << 112) | (number & !(u128::MAX << 96) & !0xffff_ffff) | (inner ^ 0xffff_ffff),
        6 => (0xfe80 << 112) | below(10),
        7 => (0xfec0 << 112) | below(10),
        8 => (0xff << 120) | below(8),
        9 => (0x64_ff9b << 96) | (1 << 80) | below(48),
        _ => number,
    })
}

/// An upload that is always there, with one file
pub const UPLOAD: &str = "fx42p6dwO4x3MKWX";
pub const FILE: &str = "2LNrp1EGZY8zV4Hb";
pub const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz012345";

/// Longer than any answer takes
const PATIENCE: Duration = Duration::from_secs(10);

/// An embedded file server on a folder of its own, and the means to talk to it
pub struct Served {
    runtime: Runtime,
    server: ServerHandle,
    outer: TempDir,
    talks: AtomicU32,
}

impl Served {
    pub fn start() -> Self {
        let outer = tempfile::tempdir().expect("a folder");
        fs::write(outer.path().join("secret"), "out of reach").expect("a secret");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let config = ServerConfig::new(outer.path().join("files")).listen(([127, 0, 0, 1], 0).into()).max_size(100_000);
        let server = runtime.block_on(async { FileServer::bind(config).await.expect("a server").start() });
        let served = Self { runtime, server, outer, talks: AtomicU32::new(0) };
        served.restore();
        served
    }

    /// Sends bytes on a connection of their own, waits that long for the answer to begin, and reads until the server
    /// closes; then looks at its folder
    pub fn talk(&self, bytes: &[u8], wait: Duration) -> Vec<u8> {
        let turn = self.talks.fetch_add(1, Ordering::Relaxed);
        let talk = exchange(self.server.local_addr(), turn, bytes, wait);
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await });
        let answer = answer.expect("the server ends the connection");
        assert!(!answer.windows(12).any(|window| window == b"out of reach"), "the secret got out");
        self.check();
        answer
    }

    fn uploads(&self) -> PathBuf {
        self.outer.path().join("files/uploads")
    }

    fn check(&self) {
        assert_eq!(names(self.outer.path()), ["files", "secret"]);
        assert_eq!(names(&self.outer.path().join("files")), ["lock", "uploads"]);
        assert_eq!(fs::read(self.outer.path().join("secret")).expect("still there"), b"out of reach");
        let (mut uploads, mut files) = (0, 0);
        for upload in names(&self.uploads()) {
            assert!(is_id(&upload), "{upload:?}");
            uploads += 1;
            for file in names(&self.uploads().join(&upload)) {
                assert!(is_id(&file) || matches!(&*file, "record.json" | "record.json.new"), "{file:?}");
                files += 1;
            }
        }
        if uploads != 1 || files != 2 {
            self.restore();
        }
    }

    /// Brings the folder back to the one upload
    fn restore(&self) {
        let uploads = self.uploads();
        for upload in names(&uploads) {
            // An erasure of the server's own may be under way.
            let _ = fs::remove_dir_all(uploads.join(upload));
        }
        let folder = uploads.join(UPLOAD);
        fs::create_dir_all(&folder).expect("an upload's folder");
        let token: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
        let file = json!({"id": FILE, "fileName": "a.bin", "status": "uploaded", "fileMd5": "", "fileType": "text/plain",
            "fileSize": 5, "reference": "", "createdAt": "2026-01-01T00:00:00Z"});
        let record = json!({"version": 1, "id": UPLOAD, "ttl": 60, "comments": "", "one_shot": false, "removable": true,
            "token_sha256": token, "created_at": "2026-01-01T00:00:00Z", "expire_at": "2999-01-01T00:00:00Z",
            "files": [file]});
        fs::write(folder.join(FILE), "hello").expect("content");
        fs::write(folder.join("record.json"), record.to_string()).expect("a record");
    }
}

async fn exchange(server: SocketAddr, turn: u32, bytes: &[u8], wait: Duration) -> Vec<u8> {
    let socket = TcpSocket::new_v4().expect("a socket");
    // All of 127.0.0.0/8 is this machine where it is Linux: ports would run out behind one address.
    let [_, a, b, c] = (turn % 0x00ff_fffd + 1).to_be_bytes();
    let _ = socket.bind(SocketAddr::from(([127, a, b, c], 0)));
    let mut stream = socket.connect(server).await.expect("the server takes connections");
    // The server may have answered and closed before all is sent: its answer is what counts.
    let _ = stream.write_all(bytes).await;
    let mut answer = vec![0];
    // A client that closes its half is taken for gone, so the answer has to begin before.
    let begun = tokio::time::timeout(wait, stream.read(&mut answer)).await;
    answer.truncate(begun.map_or(0, |read| read.unwrap_or(0)));
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The names in a folder, sorted; none where it has just been removed
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_id(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
