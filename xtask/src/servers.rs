//! The servers that a NATSBridge needs, started on loopback for as long as their owner lives.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::process::{Deadline, Line, Output, Process};
use crate::tools;

/// A running server and where it listens
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
}

/// Which port to listen on
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// Any that is free, chosen by the server itself
    Any,
    /// This one if nobody has it, else any
    Prefer(u16),
}

impl Port {
    fn number(self) -> Option<u16> {
        match self {
            Self::Any => None,
            Self::Prefer(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port),
        }
    }
}

/// An address on this machine that nobody listens at now
pub(crate) fn free_address() -> Result<String> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    free.map(|address| address.to_string()).context("no port is free")
}

/// Starts a real nats-server with its default settings
pub(crate) fn start_nats(port: Port, deadline: Deadline) -> Result<Server> {
    let port = port.number().map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let mut command = Command::new(tools::NATS_SERVER.locate()?);
    command.args(["--addr", "127.0.0.1", "--port", &port]);
    let mut process = Process::spawn("nats-server", &mut command)?;
    let address = process.wait_for(deadline, |line| after(line, "Listening for client connections on "))?;
    process.wait_for(deadline, |line| after(line, "Server is ready"))?;
    Ok(Server { process, url: format!("nats://{address}") })
}

/// Starts a real nats-server that pages can talk to as well; returns the URL for them too
pub(crate) fn start_nats_with_websocket(folder: &Path, deadline: Deadline) -> Result<(Server, String)> {
    let config = folder.join("nats.conf");
    let text = "host: 127.0.0.1\nport: -1\nmax_payload: 1MB\n\
                websocket { host: 127.0.0.1, port: -1, no_tls: true, same_origin: false }\n";
    fs::write(&config, text)?;
    let mut process = Process::spawn("nats-server", Command::new(tools::NATS_SERVER.locate()?).arg("-c").arg(config))?;
    // The order of the two lines is the server's own.
    let websocket = process.wait_for(deadline, |line| after(line, "Listening for websocket clients on "))?;
    let address = process.wait_for(deadline, |line| after(line, "Listening for client connections on "))?;
    process.wait_for(deadline, |line| after(line, "Server is ready"))?;
    Ok((Server { process, url: format!("nats://{address}") }, websocket))
}

/// Starts the embedded file server on a folder
pub(crate) fn start_files(natsbridge: &Path, folder: &Path, port: Port, deadline: Deadline) -> Result<Server> {
    serve(natsbridge, folder, port, deadline, &[])
}

/// As [`start_files`], for pages of any origin
pub(crate) fn start_public_files(natsbridge: &Path, folder: &Path, port: Port, deadline: Deadline) -> Result<Server> {
    serve(natsbridge, folder, port, deadline, &["--cors", "*"])
}

fn serve(natsbridge: &Path, folder: &Path, port: Port, deadline: Deadline, options: &[&str]) -> Result<Server> {
    let listen = format!("127.0.0.1:{}", port.number().unwrap_or_default());
    let mut command = clean(natsbridge);
    command.args(["serve", "--listen", &listen]).args(options).arg("--dir").arg(folder);
    let mut process = Process::spawn("natsbridge serve", &mut command)?;
    let url = process.wait_for(deadline, |line| after(line, "listening on ").filter(|_| line.output == Output::Out))?;
    Ok(Server { process, url })
}

/// The bucket of the S3 server, and who may use it
pub(crate) const S3_BUCKET: &str = "payloads";
pub(crate) const S3_ACCESS_KEY: &str = "natsbridge-test-key";
pub(crate) const S3_SECRET_KEY: &str = "natsbridge-test-secret";

/// Starts an S3 server with one empty bucket
pub(crate) fn start_s3(folder: &Path, deadline: Deadline) -> Result<Server> {
    let bucket = folder.join(S3_BUCKET);
    fs::create_dir_all(&bucket)?;
    let address = free_address()?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut command = Command::new(tools::NANIO.locate()?);
    command
        .args([
            "serve",
            "--host",
            "127.0.0.1",
            "--no-access-log",
            "--log-level",
            "warning",
            "--port",
            port,
            "--data-dir",
        ])
        .arg(folder)
        .env("NANIO_ACCESS_KEY", S3_ACCESS_KEY)
        .env("NANIO_SECRET_KEY", S3_SECRET_KEY);
    let mut process = Process::spawn("nanio", &mut command)?;
    // It says nothing when it is ready.
    while TcpStream::connect(&address).is_err() {
        process.check_alive()?;
        deadline.check("nanio", "did not listen")?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(Server { process, url: format!("http://{address}") })
}

/// A command without the caller's own NATS settings, so that it does the same everywhere
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["NATS", "FILESERVER", "PLIK", "SIZE_THRESHOLD"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    // Both servers are on this machine: no proxy stands between.
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    command
}

/// What follows `marker` in a line
fn after(line: &Line, marker: &str) -> Option<String> {
    line.text.split_once(marker).map(|(_, rest)| rest.trim().to_owned())
}
