//! What the programs stand on: nats-servers, a file server, and the networks between, each of which can break.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use natsbridge_testkit::nats_server::NatsServer;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::Outcome;
use crate::program::Program;
use crate::proxy::{Mode, Proxy};

/// Whose network
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Sender,
    Receiver,
}

/// Servers and the proxies before them
pub(crate) struct World {
    pub(crate) program: PathBuf,
    nodes: Vec<NatsServer>,
    senders: Vec<Proxy>,
    receivers: Vec<Proxy>,
    pub(crate) files: Files,
}

impl World {
    /// One server, or a cluster of three
    pub(crate) async fn start(program: PathBuf, clustered: bool) -> Outcome<Self> {
        let nodes = if clustered { cluster().await? } else { vec![NatsServer::start()?] };
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for node in &nodes {
            let address = SocketAddr::from(([127, 0, 0, 1], node.port()));
            senders.push(Proxy::start(address).await?);
            receivers.push(Proxy::start(address).await?);
        }
        let files = Files::start(program.clone(), tempfile::tempdir()?.into()).await?;
        Ok(Self { program, nodes, senders, receivers, files })
    }

    /// The variables of a program on this side
    pub(crate) fn settings(&self, side: Side) -> Vec<(&'static str, String)> {
        let urls: Vec<_> = self.networks(side).iter().map(|proxy| format!("nats://{}", proxy.address())).collect();
        vec![("NATS_URL", urls.join(",")), ("FILESERVER_URL", self.files.url())]
    }

    pub(crate) fn networks(&self, side: Side) -> &[Proxy] {
        match side {
            Side::Sender => &self.senders,
            Side::Receiver => &self.receivers,
        }
    }

    /// Kills a nats-server and starts it again after a while
    pub(crate) async fn restart_node(&mut self, number: usize, away: Duration) -> Outcome<()> {
        let index = number % self.nodes.len();
        self.nodes[index].kill();
        tokio::time::sleep(away).await;
        let mut node = self.nodes.swap_remove(index);
        // It waits for its port, which would hold up the proxies.
        let node = tokio::task::spawn_blocking(move || node.restart().map(|()| node)).await??;
        self.nodes.push(node);
        let last = self.nodes.len() - 1;
        self.nodes.swap(index, last);
        Ok(())
    }

    /// Mends every network
    pub(crate) fn mend(&self) {
        for proxy in self.senders.iter().chain(&self.receivers).chain([&self.files.network]) {
            proxy.set(Mode::Pass);
        }
    }
}

async fn cluster() -> Outcome<Vec<NatsServer>> {
    // All are held before any is given up, so that they differ.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let routes = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    drop(held);
    let all: Vec<_> = routes.iter().map(|address| format!("\"nats://{address}\"")).collect();
    let mut nodes = Vec::new();
    for (index, address) in routes.iter().enumerate() {
        // Clients must come through their proxies, so the nodes keep their own addresses to themselves.
        let config = format!(
            "server_name: \"node-{index}\"\ncluster {{ name: \"three\", listen: \"{address}\", no_advertise: true, routes: [{}] }}",
            all.join(", ")
        );
        nodes.push(NatsServer::builder().config(&config).start()?);
    }
    Ok(nodes)
}

/// Where a file server keeps its files; the first removes itself
pub(crate) enum Folder {
    Own(TempDir),
    Given(PathBuf),
}

impl From<TempDir> for Folder {
    fn from(folder: TempDir) -> Self {
        Self::Own(folder)
    }
}

/// The embedded file server behind a proxy; it keeps its port and its folder when it is started again
pub(crate) struct Files {
    program: PathBuf,
    folder: Folder,
    address: SocketAddr,
    running: Option<Program>,
    pub(crate) network: Proxy,
}

impl Files {
    pub(crate) async fn start(program: PathBuf, folder: Folder) -> Outcome<Self> {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let network = Proxy::start(address).await?;
        let mut files = Self { program, folder, address, running: None, network };
        files.launch().await?;
        Ok(files)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.network.address())
    }

    async fn launch(&mut self) -> Outcome<()> {
        let listen = self.address.to_string();
        let folder = match &self.folder {
            Folder::Own(folder) => folder.path().display().to_string(),
            Folder::Given(folder) => folder.display().to_string(),
        };
        let running = Program::start(&self.program, &["serve", "--listen", &listen, "--dir", &folder], &[])?;
        running.ready("listening on").await?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends it, by SIGKILL or by SIGTERM, and starts it again after a while
    pub(crate) async fn restart(&mut self, kill: bool, away: Duration) -> Outcome<()> {
        if let Some(running) = self.running.take() {
            if kill {
                running.kill().await?;
            } else {
                running.terminate()?;
                let ended = running.end(Duration::from_secs(20)).await?;
                if !ended.status.success() {
                    return Err(format!("the file server ended with {}{}", ended.status, ended.quoted()).into());
                }
            }
        }
        tokio::time::sleep(away).await;
        self.launch().await
    }
}
