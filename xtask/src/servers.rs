//! The two servers a NATSBridge needs, started on loopback for as long as their owner lives.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::failure::{Context, Outcome};
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
pub(crate) fn free_address() -> Outcome<String> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    free.map(|address| address.to_string()).context(|| "no port is free".to_owned())
}

/// Starts a real nats-server with its default settings
pub(crate) fn start_nats(port: Port, deadline: Deadline) -> Outcome<Server> {
    let port = port.number().map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let mut command = Command::new(tools::nats_server()?);
    command.args(["--addr", "127.0.0.1", "--port", &port]);
    let mut process = Process::spawn("nats-server", &mut command)?;
    let address = process.wait_for(deadline, |line| after(line, "Listening for client connections on "))?;
    process.wait_for(deadline, |line| after(line, "Server is ready"))?;
    Ok(Server { process, url: format!("nats://{address}") })
}

/// Starts the embedded file server on a folder
pub(crate) fn start_files(natsbridge: &Path, folder: &Path, port: Port, deadline: Deadline) -> Outcome<Server> {
    let listen = format!("127.0.0.1:{}", port.number().unwrap_or_default());
    let mut command = clean(natsbridge);
    command.args(["serve", "--listen", &listen, "--dir"]).arg(folder);
    let mut process = Process::spawn("natsbridge serve", &mut command)?;
    let url = process.wait_for(deadline, |line| after(line, "listening on ").filter(|_| line.output == Output::Out))?;
    Ok(Server { process, url })
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
