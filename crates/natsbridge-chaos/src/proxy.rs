//! A TCP proxy whose network can be changed while connections are open: stalled, one-way, reset, or forgotten.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Outcome;

/// What happens to bytes from now on
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Nothing passes in either direction; what was written arrives later
    Stall,
    /// Nothing passes from the client to the server
    StallUp,
    /// Nothing passes from the server to the client
    StallDown,
}

#[derive(Debug, Clone, Copy)]
struct Network {
    mode: Mode,
    /// Connections opened before this one are reset
    reset: u64,
    /// Connections opened before this one are forgotten: their bytes vanish, their ends are told nothing
    forgotten: u64,
}

/// Forwards connections to one address for as long as it lives
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    opened: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let network = Arc::new(watch::Sender::new(Network { mode: Mode::Pass, reset: 0, forgotten: 0 }));
        let opened = Arc::new(AtomicU64::new(0));
        let (control, count) = (Arc::clone(&network), Arc::clone(&opened));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(client, upstream, number, control.subscribe()));
            }
        });
        Ok(Self { address, network, opened, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.network.send_modify(|network| network.mode = mode);
    }

    /// Resets every open connection (RST)
    pub(crate) fn reset(&self) {
        let opened = self.opened.load(Ordering::SeqCst);
        self.network.send_modify(|network| network.reset = opened);
    }

    /// Loses every open connection as a NAT does: no byte passes any more, and neither end is told
    pub(crate) fn forget(&self) {
        let opened = self.opened.load(Ordering::SeqCst);
        self.network.send_modify(|network| network.forgotten = opened);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(client: TcpStream, upstream: SocketAddr, number: u64, network: watch::Receiver<Network>) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        // A port without a server refuses; the nearest that an accepted connection can do is a reset.
        let _ = client.set_zero_linger();
        return;
    };
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let mut reset = network.clone();
    tokio::select! {
        () = copy(client_reads, server_writes, number, network.clone(), Mode::StallUp) => {}
        () = copy(server_reads, client_writes, number, network, Mode::StallDown) => {}
        _ = reset.wait_for(|network| network.reset > number) => {}
    }
}

/// Copies one direction until its source ends, a write fails, or the connection is to be reset
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut network: watch::Receiver<Network>,
    stalled_by: Mode,
) {
    let stopped = |network: &Network| network.mode == Mode::Stall || network.mode == stalled_by;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if network.wait_for(|network| !stopped(network) || network.forgotten > number).await.is_err() {
            return;
        }
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let now = *network.borrow();
        if now.forgotten > number {
            // An end that closes is not told to the other one either.
            if read == 0 {
                std::future::pending::<()>().await;
            }
            continue;
        }
        if now.reset > number {
            let _ = to.as_ref().set_zero_linger();
            return;
        }
        if read == 0 {
            return;
        }
        // A stall that began while we read holds up what was read.
        if network.wait_for(|network| !stopped(network) || network.forgotten > number).await.is_err() {
            return;
        }
        if network.borrow().forgotten <= number && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
