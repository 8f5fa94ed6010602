//! Accepts connections and serves each until it ends, however it ends.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, response::Response};
use futures_util::task::AtomicWaker;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Sleep,
};

use super::{
    api::{App, router},
    claims::Unsettled,
    error::Reason,
    meter,
    tls::Stream,
};

/// The most that a request's head may have, and what is read at a time
const READ_BUFFER: usize = 32 * 1024;

/// Bytes that wait in the system to be sent, beyond those that the client has room for
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// Headers in a request
const MAX_HEADERS: usize = 100;

/// How long a closed connection is read on, so that the client sees the answer before a reset
const LINGER: Duration = Duration::from_millis(500);

/// Serves connections until `stop` is ready, then lets running requests end within the configured grace
pub(super) async fn serve(listener: &TcpListener, app: &Arc<App>, stop: impl Future<Output = ()> + Send) {
    let router = router(app);
    let places =
        Arc::new(Semaphore::new(usize::try_from(app.config.max_connections).unwrap_or(Semaphore::MAX_PERMITS)));
    let (stopping, _) = watch::channel(false);
    let mut running = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = running.join_next() => continue,
            accepted = accept(listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (app, router, stopping) = (Arc::clone(app), router.clone(), stopping.subscribe());
                running.spawn(async move {
                    let _served = meter::Served::begin();
                    serve_one(stream, &app, router, stopping).await;
                    drop(place);
                });
            }
            // Mostly too many open files: others have to end first.
            Err(error) => {
                tracing::warn!(%error, "file server can't accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    stopping.send_replace(true);
    let all_ended = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(app.config.shutdown_grace, all_ended).await.is_err() {
        tracing::warn!(connections = running.len(), "transfers are cut because the server stops");
        running.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn serve_one(stream: TcpStream, app: &Arc<App>, router: Router, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection keeps Nagle's algorithm");
    }
    // A slow reader would else fill megabytes of the system's memory with what it did not ask for yet.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "connection keeps the system's send buffer");
    }
    let stream = tokio::select! {
        stream = protect(stream, app) => stream,
        // Nothing was asked on it yet, so nothing is cut.
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    let Some(stream) = stream else { return };
    let unsettled = Unsettled::default();
    let watched = Watched::new(stream, app.config.idle_timeout);
    let health = Arc::clone(&watched.health);
    let service = Settling {
        app: Arc::clone(app),
        unsettled: unsettled.clone(),
        outlet: watched.outlet.clone(),
        inner: TowerToHyperService::new(router),
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.header_timeout)
        .max_buf_size(READ_BUFFER)
        .max_headers(MAX_HEADERS)
        .half_close(true)
        .serve_connection(TokioIo::new(watched), service);
    let mut told = false;
    let outcome = loop {
        tokio::select! {
            outcome = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break outcome,
            _ = stopping.wait_for(|stop| *stop), if !told => {
                told = true;
                if !health.used.load(Ordering::Relaxed) {
                    // Nothing was ever asked on it, so nothing is cut.
                    return;
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let unsent = outcome.as_ref().is_err_and(hyper::Error::is_incomplete_message);
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended early");
    }
    // Takes the body apart first, if one was on its way.
    let watched = connection.into_parts().io.into_inner();
    if !health.is_broken() {
        // While a one-shot is not settled, the client gets the time to read it.
        let patience = if unsettled.is_empty() { LINGER } else { app.config.idle_timeout };
        let (ended, one_shot) = (health.ended.load(Ordering::Relaxed), !unsettled.is_empty());
        // TLS's farewell, when nobody reads it any more, is answered with the reset of a client that lacks bytes.
        linger(watched, patience, ended && one_shot, !ended && !one_shot).await;
    }
    unsettled.settle(&app.store, &app.jobs, !unsent && !health.is_broken()).await;
}

/// Speaks TLS if the server has a certificate; nothing if the client does not
async fn protect(stream: TcpStream, app: &Arc<App>) -> Option<Stream> {
    let Some(tls) = &app.tls else { return Some(Stream::Plain(stream)) };
    let accepted = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            // A load balancer that looks whether the port is open closes without a word: it refused nothing.
            Ok(0) | Err(_) => None,
            // The first letter of a method
            Ok(_) if first[0].is_ascii_uppercase() => Some(Err(say_https(stream).await)),
            Ok(_) => Some(tls.accept(stream).await),
        }
    };
    let error = match tokio::time::timeout(app.config.header_timeout, accepted).await {
        Ok(None) => return None,
        Ok(Some(Ok(stream))) => return Some(stream),
        Ok(Some(Err(error))) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    meter::refused(Reason::Handshake);
    tracing::debug!(error, "client and file server do not agree on TLS");
    None
}

/// Tells a client that asks in plain HTTP what is wrong; TLS's own alert would be no HTTP to it
async fn say_https(mut stream: TcpStream) -> io::Error {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
        this file server speaks TLS only; use https:// in place of http://\n";
    let said = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // With bytes unread, the reset could overtake the answer.
        let mut scratch = vec![0; 16 * 1024];
        while stream.read(&mut scratch).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let told = tokio::time::timeout(LINGER, said).await.unwrap_or(Ok(()));
    told.err().unwrap_or_else(|| io::Error::other("it speaks plain HTTP"))
}

/// Closes the sending half and reads what still comes, until the client closes too
///
/// A client that closed its half before the answer shows by nothing but a reset that it did not take the answer.
async fn linger(mut watched: Watched, patience: Duration, half_closed: bool, farewell: bool) {
    let until_closed = async {
        if farewell {
            watched.shutdown().await?;
        } else {
            std::future::poll_fn(|cx| watched.stream.poll_fin(cx)).await?;
        }
        let mut scratch = vec![0; 16 * 1024];
        while watched.read(&mut scratch).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    match tokio::time::timeout(patience, until_closed).await {
        Ok(Ok(())) => {
            if half_closed {
                let reset = watched.stream.tcp().ready(Interest::ERROR);
                if tokio::time::timeout(LINGER, reset).await.is_err() {
                    tracing::debug!("half-closed connection was not reset");
                }
            }
            watched.look_for_reset();
        }
        Ok(Err(error)) => tracing::debug!(%error, "client reset the connection"),
        Err(_) => tracing::debug!("client did not close the connection"),
    }
}

/// Settles the one-shot before a request: a client that asks again has read its answer
#[derive(Debug)]
struct Settling {
    app: Arc<App>,
    unsettled: Unsettled,
    outlet: Outlet,
    inner: TowerToHyperService<Router>,
}

impl Service<hyper::Request<Incoming>> for Settling {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.unsettled.clone());
        request.extensions_mut().insert(self.outlet.clone());
        if self.unsettled.is_empty() {
            return Box::pin(self.inner.call(request));
        }
        let (app, unsettled, inner) = (Arc::clone(&self.app), self.unsettled.clone(), self.inner.clone());
        Box::pin(async move {
            unsettled.settle(&app.store, &app.jobs, true).await;
            inner.call(request).await
        })
    }
}

/// What is known about a connection
#[derive(Debug, Default)]
struct Health {
    /// Something was received
    used: AtomicBool,
    /// The client will send nothing more
    ended: AtomicBool,
    /// Reading or writing failed
    failed: AtomicBool,
    /// The last write found no room, so bytes are still here
    stuck: AtomicBool,
}

impl Health {
    fn is_broken(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.stuck.load(Ordering::Relaxed)
    }
}

/// Whether a connection holds bytes that the system has not taken yet: a body waits until it is empty
///
/// hyper would take several pieces of a body before it looks whether the client reads any.
#[derive(Debug, Clone, Default)]
pub(super) struct Outlet(Arc<(AtomicBool, AtomicWaker)>);

impl Outlet {
    /// Notes that the connection was given bytes
    pub(super) fn fill(&self) {
        self.0.0.store(true, Ordering::Release);
    }

    /// Notes that all bytes left
    fn empty(&self) {
        if self.0.0.swap(false, Ordering::AcqRel) {
            self.0.1.wake();
        }
    }

    /// Ready when the connection holds no bytes
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.1.register(cx.waker());
        if self.0.0.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// A stream that remembers how it fared and gives up when the client reads nothing for too long
struct Watched {
    stream: Stream,
    health: Arc<Health>,
    outlet: Outlet,
    idle: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(stream: Stream, idle: Duration) -> Self {
        Self { stream, health: Arc::default(), outlet: Outlet::default(), idle, stall: None }
    }

    /// Notes a reset that came after the client's regular end
    fn look_for_reset(&self) {
        if !matches!(self.stream.tcp().take_error(), Ok(None)) {
            self.health.failed.store(true, Ordering::Relaxed);
        }
    }

    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Err(_))) {
            self.health.failed.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn note_write<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.health.stuck.store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_ready() {
            self.stall = None;
            return self.note(polled);
        }
        let idle = self.idle;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        std::task::ready!(stall.as_mut().poll(cx));
        self.note(Poll::Ready(Err(io::ErrorKind::TimedOut.into())))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.health.used.store(true, Ordering::Relaxed);
        } else if polled.is_ready() && buffer.remaining() > 0 {
            self.health.ended.store(true, Ordering::Relaxed);
        }
        self.note(polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written all that it had; TLS may hold some of it.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if polled.is_ready() {
            self.outlet.empty();
        }
        self.note_write(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.note(polled)
    }
}
