//! `cargo xtask demo`: one message with every payload type from one process to another, over real servers, checked.

mod csv;
mod sent;
mod verify;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Context, Failure, Outcome};
use crate::process::{Deadline, Process};
use crate::servers::{self, Port};
use crate::workspace::{self, TempFolder};

/// How long everything after the build may take
const LIMIT: Duration = Duration::from_secs(60);

/// Starts both servers, receives in one process what another sends, and compares
pub(crate) fn run() -> Outcome<()> {
    let natsbridge = workspace::natsbridge()?;
    let folder = TempFolder::create()?;
    let [stored, saved] = ["files", "saved"].map(|name| folder.path().join(name));
    for path in [&stored, &saved] {
        std::fs::create_dir(path).context(|| format!("cannot create {}", path.display()))?;
    }
    let parts = sent::parts(&workspace::root().join("testdata/demo"), folder.path())?;

    let deadline = Deadline::after(LIMIT);
    let nats = servers::start_nats(Port::Any, deadline)?;
    let files = servers::start_files(&natsbridge, &stored, Port::Any, deadline)?;
    let program = || {
        let mut command = servers::clean(&natsbridge);
        command.env("NATS_URL", &nats.url).env("FILESERVER_URL", &files.url);
        command
    };

    let mut receiver = start_receiver(program(), &saved, deadline)?;
    let mut send = program();
    send.args(["send", "demo.mixed"]);
    for part in &parts {
        send.args(part.arguments());
    }
    let mut sender = Process::spawn("natsbridge send", &mut send)?;

    println!("\none message, every payload type, from one process to another\n");
    println!("nats-server  process {:<8} {}", nats.process.id(), nats.url);
    println!("file server  process {:<8} {}", files.process.id(), files.url);
    println!("receiver     process {:<8} natsbridge receive 'demo.>'", receiver.id());
    println!("sender       process {:<8} natsbridge send demo.mixed", sender.id());

    sender.wait(deadline)?;
    let printed = receiver.wait(deadline)?;
    let [line] = printed.as_slice() else {
        return Err(Failure::new(format!("the receiver printed {} lines instead of one message", printed.len())));
    };
    let message: Value = serde_json::from_str(line).context(|| "the receiver's line is not JSON".to_owned())?;
    verify::report(&parts, &message)
}

/// Returns once the receiver's subscription is in place: what is sent from then on arrives
fn start_receiver(mut command: Command, saved: &Path, deadline: Deadline) -> Outcome<Process> {
    command.args(["receive", "demo.>", "--count", "1", "--json", "--save"]).arg(saved);
    let mut receiver = Process::spawn("natsbridge receive", &mut command)?;
    receiver.wait_for(deadline, |line| line.text.contains("listening on demo.>").then_some(()))?;
    Ok(receiver)
}
