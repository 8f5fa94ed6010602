//! The project's commands, `cargo xtask COMMAND`: one file each.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its caller by printing")]

mod api;
mod bench;
mod chaos;
mod checks;
mod ci;
#[cfg(unix)]
mod clients;
mod conformance;
mod coverage;
mod demo;
mod dist;
mod examples;
mod fuzz;
mod interrupt;
mod links;
#[cfg(unix)]
mod operations;
mod package;
mod peers;
mod process;
mod semver;
mod servers;
mod test;
mod tools;
mod up;
mod validation;
mod vectors;
#[cfg(unix)]
mod walkthrough;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's commands
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
enum Xtask {
    /// Send one message with every payload type from one process to another, over a real nats-server and file server, and check it
    Demo,
    /// Leave a nats-server and a file server running until Ctrl-C
    Up,
    /// Every test, with the real servers they need
    Test {
        /// What goes to the runner, and chooses what it runs
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Every test, counting the lines that they reach
    Coverage,
    /// testdata's vectors
    #[command(subcommand)]
    Vectors(Vectors),
    /// What it all costs, as ratios within one run
    Bench(bench::Wishes),
    /// The vectors against every language, then every sender to every receiver over real servers
    Conformance(conformance::Options),
    /// The package of each language in clients/: its own check.sh against real servers
    #[cfg(unix)]
    Clients(clients::Options),
    /// Break servers, networks and programs on purpose; fails where what is lost is not what was reported
    Chaos(chaos::Wishes),
    /// docs/walkthrough.md and README.md, done word for word
    #[cfg(unix)]
    Walkthrough {
        /// README.md alone
        #[arg(long)]
        readme: bool,
    },
    /// The examples that need another language: a table to Python and back, and the web page in a browser
    Examples {
        /// Where a picture of the page goes
        #[arg(long)]
        screenshot: Option<String>,
    },
    /// The files of docs/operations, each used by its program; then faults, each of which has to raise its alert
    #[cfg(unix)]
    Operations,
    /// Random input for whatever a stranger may send
    Fuzz(fuzz::Wishes),
    /// What a release has for this machine's own target, in target/dist with its checksums
    Dist {
        /// The program with completions and manual pages, or what is named
        #[arg(default_value = "archive")]
        what: Vec<dist::Kind>,
    },
    /// The Python package with the engine inside: dist's wheel
    Wheel,
    /// Every file is formatted
    Fmt,
    /// Words in code and documents
    Spelling,
    /// Lints, with all features and with none
    Clippy,
    /// The documentation builds without a warning
    Doc,
    /// Each published crate with each of its features alone
    Features,
    /// Licences, sources, and who may depend on what
    Deny,
    /// Dependencies that nothing uses
    Unused,
    /// Write docs/api.txt
    Api {
        /// Compare it with what there is
        #[arg(long)]
        check: bool,
    },
    /// The libraries serve whoever uses the last tagged version
    Semver,
    /// Each published crate is packed as for publishing
    Package,
    /// docs/validation.md: each requirement's evidence exists
    Validation,
    /// Everything CI does: most of the above
    Ci,
    /// Write ci's steps into .github/workflows/ci.yml
    Workflow,
}

#[derive(Debug, Subcommand)]
enum Vectors {
    /// Schema, format, names, blobs
    Lint,
    /// The vectors against a peer
    Run {
        #[arg(long, default_value = "rust", value_parser = peers::named)]
        peer: &'static str,
    },
    /// Make the vectors again
    Regenerate {
        /// Of one producer
        #[arg(long)]
        producer: Option<String>,
    },
}

fn main() -> ExitCode {
    let xtask = Xtask::parse();
    match interrupt::listen().and_then(|()| xtask.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

impl Xtask {
    fn run(self) -> Result<()> {
        match self {
            Self::Demo => demo::run(),
            Self::Up => up::run(),
            Self::Test { args } => test::run(&args),
            Self::Coverage => coverage::run(),
            Self::Vectors(Vectors::Lint) => vectors::lint(),
            Self::Vectors(Vectors::Run { peer }) => vectors::run::run(peer),
            Self::Vectors(Vectors::Regenerate { producer }) => vectors::regenerate(producer.as_deref()),
            Self::Bench(wishes) => bench::run(&wishes),
            Self::Chaos(wishes) => chaos::run(&wishes),
            #[cfg(unix)]
            Self::Clients(options) => clients::run(&options),
            Self::Conformance(options) => conformance::run(&options),
            #[cfg(unix)]
            Self::Operations => operations::run(),
            #[cfg(unix)]
            Self::Walkthrough { readme: false } => walkthrough::run(),
            #[cfg(unix)]
            Self::Walkthrough { readme: true } => walkthrough::readme(),
            Self::Dist { what } => dist::run(&what),
            Self::Wheel => dist::run(&[dist::Kind::Wheel]),
            Self::Examples { screenshot } => examples::run(screenshot.as_deref()),
            Self::Fmt => checks::fmt(),
            Self::Spelling => checks::spelling(),
            Self::Clippy => checks::clippy(),
            Self::Doc => checks::doc(),
            Self::Features => checks::features(),
            Self::Deny => checks::deny(),
            Self::Unused => checks::unused(),
            Self::Api { check: false } => api::write(),
            Self::Api { check: true } => api::check(),
            Self::Semver => semver::run(),
            Self::Package => package::run(),
            Self::Validation => validation::run(),
            Self::Fuzz(wishes) => fuzz::run(&wishes),
            Self::Ci => ci::run(),
            Self::Workflow => ci::write_workflow(),
        }
    }
}
