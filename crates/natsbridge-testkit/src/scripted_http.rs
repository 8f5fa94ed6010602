//! An HTTP/1.1 server that answers from a script, in order, and does to its connections what a test asks for.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Most bytes of a request's body that are kept; the rest is counted
const MAX_KEPT: usize = 128 * 1024 * 1024;

/// How long a closing server takes what its client still sends
const LINGER: Duration = Duration::from_millis(500);

/// One scripted answer: an HTTP response and what happens to it on its way
#[derive(Debug, Clone)]
pub struct Reply {
    bytes: Vec<u8>,
    /// Where the body begins in `bytes`
    body_at: usize,
    before_body: bool,
    then: Then,
    flipped_at: Option<usize>,
    release: Option<Arc<Notify>>,
    keep: bool,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Whole,
    CutAfter(usize),
    ResetAfter(usize),
    StallAfter(usize),
    Dribble(usize, Duration),
}

impl Reply {
    /// A response with this status, headers and body; `Content-Length` is added unless a header frames the body
    #[must_use]
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let framed =
            |name: &str| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding");
        if !headers.iter().any(|(name, _)| framed(name)) {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        Self::raw([head.as_bytes(), body].concat())
    }

    /// A 200 with a body
    #[must_use]
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new(200, &[], body)
    }

    /// A 200 whose end is the end of the connection, without `Content-Length`
    #[must_use]
    pub fn until_close(body: impl AsRef<[u8]>) -> Self {
        let head = b"HTTP/1.1 200 Scripted\r\nConnection: close\r\n\r\n";
        let mut reply = Self::raw([head, body.as_ref()].concat());
        reply.keep = false;
        reply
    }

    /// These bytes as they are, such as recorded ones
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let body_at = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        Self { bytes, body_at, before_body: false, then: Then::Whole, flipped_at: None, release: None, keep: true }
    }

    /// Sends it after the request's head, without reading the request's body, and closes: an early refusal
    #[must_use]
    pub fn early(mut self) -> Self {
        self.before_body = true;
        self.keep = false;
        self
    }

    /// Closes the connection after `n` bytes of the body
    #[must_use]
    pub fn cut_after(mut self, n: usize) -> Self {
        self.then = Then::CutAfter(n);
        self
    }

    /// Resets the connection (RST) after `n` bytes of the body
    #[must_use]
    pub fn reset_after(mut self, n: usize) -> Self {
        self.then = Then::ResetAfter(n);
        self
    }

    /// Says nothing more after `n` bytes of the body, until the server ends
    #[must_use]
    pub fn stall_after(mut self, n: usize) -> Self {
        self.then = Then::StallAfter(n);
        self
    }

    /// Sends nothing at all before `release` is notified
    #[must_use]
    pub fn held_until(mut self, release: Arc<Notify>) -> Self {
        self.release = Some(release);
        self
    }

    /// Sends the body in pieces of `n` bytes with a pause between them
    #[must_use]
    pub fn dribble(mut self, n: usize, pause: Duration) -> Self {
        self.then = Then::Dribble(n.max(1), pause);
        self
    }

    /// Flips one bit of the body's byte `at`
    #[must_use]
    pub fn flip_bit(mut self, at: usize) -> Self {
        self.flipped_at = Some(at);
        self
    }

    fn sent(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(byte) = self.flipped_at.and_then(|at| bytes.get_mut(self.body_at + at)) {
            *byte ^= 1;
        }
        bytes
    }
}

/// A request as it came
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// Path and query
    pub target: String,
    /// In order, names as they came
    pub headers: Vec<(String, String)>,
    /// The body's beginning
    pub body: Bytes,
    /// The whole body's length
    pub body_len: u64,
}

impl Request {
    /// The first header of that name, in any case
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// How a request finds its answer
type Router = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    router: Option<Router>,
    requests: Mutex<Vec<Request>>,
    count: watch::Sender<usize>,
    connections: watch::Sender<usize>,
}

/// Answers from a queue on a free loopback port; ends when it is dropped
///
/// A request beyond the script gets a 599, which no client takes for anything.
pub struct ScriptedHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for ScriptedHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedHttp").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ScriptedHttp {
    /// Starts a server with the first answers
    ///
    /// # Errors
    /// If no loopback port can be opened.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> io::Result<Self> {
        Self::with(replies, None).await
    }

    /// Starts a server that makes its answers from the requests; the queue answers what the function does not
    ///
    /// # Errors
    /// If no loopback port can be opened.
    pub async fn routed(router: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> io::Result<Self> {
        Self::with([], Some(Box::new(router))).await
    }

    async fn with(replies: impl IntoIterator<Item = Reply>, router: Option<Router>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            replies: Mutex::new(replies.into_iter().collect()),
            router,
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            connections: watch::Sender::new(0),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.send_modify(|count| *count += 1);
                let shared = Arc::clone(&accepting);
                connections.spawn(async move {
                    // A client that goes away is part of many scripts.
                    let _ = serve(stream, &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Adds an answer to the queue
    pub fn push(&self, reply: Reply) {
        lock(&self.shared.replies).push_back(reply);
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// How many connections were opened so far
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// How many answers are left in the queue
    #[must_use]
    pub fn left(&self) -> usize {
        lock(&self.shared.replies).len()
    }

    /// Waits until at least `n` requests have come
    pub async fn requested(&self, n: usize) {
        let mut count = self.shared.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count >= n).await;
    }
}

impl Drop for ScriptedHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let Some((mut request, body_at)) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        let early = shared.router.is_none() && lock(&shared.replies).front().is_some_and(|reply| reply.before_body);
        buffer.drain(..body_at);
        if !early {
            if request.header("expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            read_body(&mut stream, &mut buffer, &mut request).await?;
        }
        let routed = shared.router.as_ref().and_then(|router| router(&request));
        let reply = routed.or_else(|| lock(&shared.replies).pop_front());
        let reply = reply.unwrap_or_else(|| Reply::new(599, &[], "nothing is scripted for this request"));
        lock(&shared.requests).push(request);
        shared.count.send_modify(|count| *count += 1);
        if !answer(&mut stream, &reply).await? {
            return Ok(());
        }
    }
}

/// Sends a reply; `false` if the connection is to be closed
async fn answer(stream: &mut TcpStream, reply: &Reply) -> io::Result<bool> {
    if let Some(release) = &reply.release {
        release.notified().await;
    }
    let bytes = reply.sent();
    let upto = |n: usize| &bytes[..bytes.len().min(reply.body_at + n)];
    match reply.then {
        Then::Whole => {
            stream.write_all(&bytes).await?;
            if !reply.keep {
                stream.shutdown().await?;
                // Closing with unread bytes would reset the connection and take the answer with it; Go's server
                // waits as long.
                let _ = tokio::time::timeout(LINGER, tokio::io::copy(stream, &mut tokio::io::sink())).await;
            }
            return Ok(reply.keep);
        }
        Then::CutAfter(n) => {
            stream.write_all(upto(n)).await?;
            stream.shutdown().await?;
        }
        Then::ResetAfter(n) => {
            stream.write_all(upto(n)).await?;
            stream.flush().await?;
            stream.set_zero_linger()?;
        }
        Then::StallAfter(n) => {
            stream.write_all(upto(n)).await?;
            std::future::pending::<()>().await;
        }
        Then::Dribble(n, pause) => {
            let (head, body) = bytes.split_at(reply.body_at);
            stream.write_all(head).await?;
            for piece in body.chunks(n) {
                stream.write_all(piece).await?;
                tokio::time::sleep(pause).await;
            }
            return Ok(reply.keep);
        }
    }
    Ok(false)
}

/// Reads up to the end of the head: the request, and where its body begins in the buffer
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(Request, usize)>> {
    let body_at = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..body_at]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Some((Request { method, target, headers, body: Bytes::new(), body_len: 0 }, body_at)))
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &mut Request) -> io::Result<()> {
    let mut kept = Vec::new();
    let chunked = request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let mut left = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0_usize);
    loop {
        if chunked && left == 0 {
            left = chunk_size(stream, buffer).await?;
            if left == 0 {
                break;
            }
        }
        while left > 0 {
            if buffer.is_empty() && stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let some = left.min(buffer.len());
            let room = MAX_KEPT.saturating_sub(kept.len()).min(some);
            kept.extend_from_slice(&buffer[..room]);
            request.body_len += u64::try_from(some).unwrap_or(0);
            buffer.drain(..some);
            left -= some;
        }
        if !chunked {
            break;
        }
        line(stream, buffer).await?;
    }
    request.body = kept.into();
    Ok(())
}

async fn chunk_size(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let text = line(stream, buffer).await?;
    let size = usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16);
    let size = size.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if size == 0 {
        line(stream, buffer).await?;
    }
    Ok(size)
}

async fn line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|two| two == b"\r\n") {
            let text = String::from_utf8_lossy(&buffer[..at]).into_owned();
            buffer.drain(..at + 2);
            return Ok(text);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
