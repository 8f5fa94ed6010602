//! A TCP proxy that breaks connections on purpose: exactly as scripted, one entry per connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to one connection
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: all bytes pass
    None,
    /// The connection is reset as soon as it is opened
    Refuse,
    /// Closed after this many bytes from the server
    CutAfter(u64),
    /// Reset after this many bytes from the server
    ResetAfter(u64),
    /// Closed after this many bytes from the client
    CutUploadAfter(u64),
    /// Silent in both directions after this many bytes from the server
    StallAfter(u64),
    /// Nothing reaches the server after this many bytes from the client; what the server says still arrives
    StallUploadAfter(u64),
    /// Every piece from the server waits this long
    Slow(Duration),
}

struct Shared {
    upstream: SocketAddr,
    script: Mutex<VecDeque<Fault>>,
    afterwards: Mutex<Fault>,
    opened: watch::Sender<usize>,
    faulted: watch::Sender<usize>,
    /// Counts how often the connections were forgotten.
    forgotten: watch::Sender<usize>,
}

/// Forwards connections to a server; ends when it is dropped, and every connection with it
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Starts a proxy before `upstream`: the n-th connection suffers the n-th fault, further ones none
    ///
    /// # Errors
    /// If no loopback port can be opened.
    pub async fn start(upstream: SocketAddr, script: impl IntoIterator<Item = Fault>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            script: Mutex::new(script.into_iter().collect()),
            afterwards: Mutex::new(Fault::None),
            opened: watch::Sender::new(0),
            faulted: watch::Sender::new(0),
            forgotten: watch::Sender::new(0),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let fault = lock(&accepting.script).pop_front().unwrap_or_else(|| *lock(&accepting.afterwards));
                accepting.opened.send_modify(|count| *count += 1);
                let shared = Arc::clone(&accepting);
                connections.spawn(async move {
                    // Broken connections are what this is for.
                    let _ = forward(client, fault, &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Sets what connections suffer once the script is over
    pub fn afterwards(&self, fault: Fault) {
        *lock(&self.shared.afterwards) = fault;
    }

    /// Forgets the connections that stand, as a NAT does: nothing passes any more, in either direction, and neither side is
    /// told; new connections work
    pub fn forget(&self) {
        self.shared.forgotten.send_modify(|count| *count += 1);
    }

    /// Where it listens
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were opened so far
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.opened.borrow()
    }

    /// Waits until `n` connections were opened
    pub async fn opened(&self, n: usize) {
        let mut opened = self.shared.opened.subscribe();
        // The sender lives as long as `self`.
        let _ = opened.wait_for(|count| *count >= n).await;
    }

    /// Waits until `n` faults have happened
    pub async fn faulted(&self, n: usize) {
        let mut faulted = self.shared.faulted.subscribe();
        let _ = faulted.wait_for(|count| *count >= n).await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn forward(client: TcpStream, fault: Fault, shared: &Shared) -> io::Result<()> {
    if fault == Fault::Refuse {
        client.set_zero_linger()?;
        shared.faulted.send_modify(|count| *count += 1);
        return Ok(());
    }
    let server = TcpStream::connect(shared.upstream).await?;
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    let (down_limit, up_limit) = match fault {
        Fault::CutAfter(n) | Fault::ResetAfter(n) | Fault::StallAfter(n) => (n, u64::MAX),
        Fault::CutUploadAfter(n) | Fault::StallUploadAfter(n) => (u64::MAX, n),
        Fault::None | Fault::Refuse | Fault::Slow(_) => (u64::MAX, u64::MAX),
    };
    let pause = if let Fault::Slow(pause) = fault { pause } else { Duration::ZERO };
    let mut forgotten = shared.forgotten.subscribe();
    let limited = {
        let mut up = pin!(copy(&mut client_reads, &mut server_writes, up_limit, Duration::ZERO));
        let mut down = pin!(copy(&mut server_reads, &mut client_writes, down_limit, pause));
        let mut up_ended = false;
        loop {
            tokio::select! {
                limited = &mut up, if !up_ended => {
                    if limited? {
                        if !matches!(fault, Fault::StallUploadAfter(_)) {
                            break true;
                        }
                        shared.faulted.send_modify(|count| *count += 1);
                    }
                    // A client that has said everything still wants its answer.
                    up_ended = true;
                }
                limited = &mut down => break limited?,
                // Held and never read again: whoever writes sees its buffers fill, as when nothing is acknowledged.
                Ok(()) = forgotten.changed() => std::future::pending().await,
            }
        }
    };
    if limited {
        shared.faulted.send_modify(|count| *count += 1);
        match fault {
            Fault::StallAfter(_) => std::future::pending().await,
            Fault::ResetAfter(_) => client_writes.as_ref().set_zero_linger()?,
            _ => {}
        }
    }
    Ok(())
}

/// Copies up to `limit` bytes: whether the limit was reached, and not the end
async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    limit: u64,
    pause: Duration,
) -> io::Result<bool> {
    let mut buffer = vec![0; 16 * 1024];
    let mut left = limit;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let n = from.read(&mut buffer[..room]).await?;
        if n == 0 {
            to.shutdown().await?;
            return Ok(false);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        to.write_all(&buffer[..n]).await?;
        left -= u64::try_from(n).unwrap_or(0);
    }
    Ok(true)
}
