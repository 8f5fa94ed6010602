//! `cargo xtask chaos`: breaks servers, networks and programs on purpose, and counts what is lost.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::{process, tools, workspace};

/// What a run takes unless it is asked otherwise; CI's are these
const MINUTES: u64 = 2;
const SEED: u64 = 1;

/// Builds both programs, finds the servers, and runs the rounds
pub(crate) fn run(args: &[&str]) -> Outcome<()> {
    let [minutes, seed, round] = wishes(args)?;
    let nats_server = tools::nats_server()?;
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

/// Minutes, seed, and the one round that is wanted, or 0 for all
fn wishes(mut args: &[&str]) -> Outcome<[u64; 3]> {
    let [mut minutes, mut seed, mut round] = [MINUTES, SEED, 0];
    while let [option, value, rest @ ..] = args {
        let number =
            value.parse().map_err(|_| Failure::new(format!("{option} takes a whole number, not `{value}`")))?;
        match *option {
            "--minutes" => minutes = number,
            "--seed" => seed = number,
            "--round" => round = number,
            other => return Err(Failure::new(format!("chaos does not know `{other}`: try `cargo xtask help`"))),
        }
        args = rest;
    }
    match args {
        [] => Ok([minutes, seed, round]),
        [option, ..] => {
            Err(Failure::new(format!("`{option}` needs a value: chaos [--minutes N] [--seed S] [--round N]")))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::wishes;

    #[test]
    fn options_are_read_or_refused() {
        assert_eq!(wishes(&[]).unwrap(), [2, 1, 0]);
        assert_eq!(wishes(&["--seed", "7", "--minutes", "60"]).unwrap(), [60, 7, 0]);
        for bad in [&["--minutes"][..], &["--minutes", "x"], &["--hours", "1"], &["7"]] {
            assert!(wishes(bad).is_err(), "{bad:?}");
        }
    }
}
