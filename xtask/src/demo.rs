//! `cargo xtask demo`: one message with every payload type from one process to another, over real servers, checked.

mod csv;
mod sent;
mod verify;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{Deadline, Process};
use crate::servers::{self, Port};
use crate::workspace::{self, TempFolder};

/// How long everything after the build may take
const LIMIT: Duration = Duration::from_secs(60);

/// Starts both servers, receives in one process what another sends, and compares
pub(crate) fn run() -> Result<()> {
    let natsbridge = workspace::natsbridge_alone()?;
    let folder = TempFolder::create()?;
    let [stored, saved] = ["files", "saved"].map(|name| folder.path().join(name));
    for path in [&stored, &saved] {
        fs_err::create_dir(path)?;
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
        bail!("the receiver printed {} lines instead of one message", printed.len());
    };
    let message: Value = serde_json::from_str(line).context("the receiver's line is not JSON")?;
    verify::report(&parts, &message)?;
    println!("{}", next(&natsbridge));
    Ok(())
}

/// What somebody does who has seen this, with the program that is there now
fn next(natsbridge: &Path) -> String {
    // As short as it can be: most people stand in the checkout.
    let shown = natsbridge.strip_prefix(workspace::root()).unwrap_or(natsbridge).display();
    format!(
        "\nNext, with the program that was just built:\n\n  \
         cargo xtask up                                  # servers, until Ctrl-C\n  \
         {shown} --help\n  \
         docs/walkthrough.md                             # ten minutes, to a table of your own\n\n\
         `cargo xtask up` prints the commands that send and receive. To have the program in every\n\
         folder: cargo install --locked --path crates/natsbridge-cli"
    )
}

/// Returns once the receiver's subscription is in place: what is sent from then on arrives
fn start_receiver(mut command: Command, saved: &Path, deadline: Deadline) -> Result<Process> {
    command.args(["receive", "demo.>", "--count", "1", "--json", "--save"]).arg(saved);
    let mut receiver = Process::spawn("natsbridge receive", &mut command)?;
    receiver.wait_for(deadline, |line| line.text.contains("subscribed to demo.>").then_some(()))?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_program_that_was_built_and_pages_that_exist() {
        let built = workspace::root().join("target/debug/natsbridge");
        let advice = next(&built);
        assert!(advice.contains("  target/debug/natsbridge --help"), "{advice}");
        assert!(next(Path::new("/elsewhere/natsbridge")).contains("  /elsewhere/natsbridge --help"));
        for path in ["docs/walkthrough.md", "crates/natsbridge-cli"] {
            assert!(advice.contains(path) && workspace::root().join(path).exists(), "{path}");
        }
        assert!(advice.lines().all(|line| line.chars().count() <= 90), "{advice}");
    }
}
