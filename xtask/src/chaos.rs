//! `cargo xtask chaos`: breaks servers, networks and programs on purpose, and counts what is lost.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{process, tools, workspace};

/// What was asked for; what a run takes otherwise is what CI's takes
#[derive(Debug, clap::Args)]
pub(crate) struct Wishes {
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One round of the seed again; 0 stands for all
    #[arg(long, default_value_t = 0)]
    round: u64,
}

/// Builds both programs, finds the servers, and runs the rounds
pub(crate) fn run(&Wishes { minutes, seed, round }: &Wishes) -> Result<()> {
    let nats_server = tools::NATS_SERVER.locate()?;
    let program = workspace::natsbridge()?;
    let chaos = workspace::built("--bin", "natsbridge-chaos")?;
    let mut command = Command::new(chaos);
    command.arg(program).args([minutes, seed, round].map(|number| number.to_string())).env("NATS_SERVER", nats_server);
    match libfaketime() {
        Some(library) => command.arg(library),
        None => &mut command,
    };
    process::run(&mut command)
}

/// The library that gives a program another clock; installed where that needs nobody's leave
fn libfaketime() -> Option<PathBuf> {
    let there = || {
        let folders =
            ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib64/faketime"];
        folders.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1")).find(|file| file.is_file())
    };
    there().or_else(|| {
        // Without it the round that needs it says so.
        tools::apt_install("libfaketime").ok()?;
        there()
    })
}
