//! `cargo xtask up`: both servers, left running for trying things out.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::interrupt;
use crate::process::Deadline;
use crate::servers::{self, Port};
use crate::workspace::{self, TempFolder};

/// How long the servers may take to start
const START: Duration = Duration::from_secs(30);

/// Runs until Ctrl-C, which ends both servers and removes what was uploaded
pub(crate) fn run() -> Result<()> {
    let natsbridge = workspace::natsbridge_alone()?;
    let folder = TempFolder::create()?;
    let deadline = Deadline::after(START);
    let mut nats = servers::start_nats(Port::Prefer(4222), deadline)?;
    let mut files = servers::start_files(&natsbridge, folder.path(), Port::Prefer(8080), deadline)?;

    println!("nats-server  {}  process {}", nats.url, nats.process.id());
    println!("file server  {}  process {}", files.url, files.process.id());
    println!("\nIn another terminal:\n");
    println!("export NATS_URL={} FILESERVER_URL={}", nats.url, files.url);
    let program = natsbridge.display();
    println!("\nthen, the first in one terminal and the others in a second:\n");
    println!("{program} receive 'demo.>' --save received");
    println!("{program} send demo.hello --text greeting='hello, world'");
    println!("{program} send demo.photo --image photo=@testdata/demo/photo.png");
    println!("\nCtrl-C ends both servers.");

    while !interrupt::asked() {
        thread::sleep(Duration::from_millis(100));
        if let Err(failure) = nats.process.check_alive().and_then(|()| files.process.check_alive()) {
            // Ctrl-C in a terminal reaches the servers as well as us, in any order.
            thread::sleep(Duration::from_millis(100));
            return if interrupt::asked() { Ok(()) } else { Err(failure) };
        }
    }
    println!("\nended");
    Ok(())
}
