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
mod failure;
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

use std::env;
use std::process::ExitCode;

use crate::failure::{Failure, Outcome};

const USAGE: &str = "\
cargo xtask COMMAND

  demo            send one message with every payload type from one process to
                  another, over a real nats-server and file server, and check it
  up              leave a nats-server and a file server running until Ctrl-C
  test [-- ARGS]  every test, with the real servers they need; ARGS go to the runner
  coverage        every test, counting the lines that they reach
  vectors lint    testdata's vectors: schema, format, names, blobs
  vectors run [--peer NAME]
                  the vectors against Rust or a peer in another language
  vectors regenerate [--producer NAME]
                  makes the vectors again
  bench [--quick] [--json FILE] [--docs] [--from FILE]
                  what it all costs, as ratios within one run; --docs writes
                  docs/benchmarks.md and its plots, --from shows an earlier FILE
  conformance [--peers LIST] [--require LIST] [--json FILE]
                  the vectors against every language, then every sender to
                  every receiver over real servers; LIST is of rust, python,
                  python-pure, node, browser, micropython, julia, dart
  clients [LANG…] [--require LIST]
                  the package of each language in clients/: its own check.sh
                  against real servers, all of them or those named
  chaos [--minutes N] [--seed S] [--round N]
                  servers, networks and programs are broken on purpose; fails
                  where what is lost is not what was reported; 2 minutes and
                  seed 1 unless asked otherwise, or one round of a seed again
  walkthrough [--readme]
                  docs/walkthrough.md and README.md, or that alone, done word
                  for word
  examples [--screenshot FILE]
                  the examples that need another language: a table to Python
                  and back, and the web page in a browser
  operations      the files of docs/operations, each used by its program; then
                  faults, each of which has to raise its alert
  fuzz [--seconds N] [TARGET] [--input FILE]
                  random input for whatever a stranger may send, 60 seconds a
                  target; --input runs one input again

  dist [archive] [wheel] [npm] [image]
                  what a release has for this machine's own target, in
                  target/dist with its checksums: the program with completions
                  and manual pages, or what is named
  wheel           the Python package with the engine inside: dist's wheel

  fmt             every file is formatted
  spelling        words in code and documents
  clippy          lints, with all features and with none
  doc             the documentation builds without a warning
  features        each published crate with each of its features alone
  deny            licences, sources, and who may depend on what
  unused          dependencies that nothing uses
  api [--check]   writes docs/api.txt, or compares it with what there is
  semver          the libraries serve whoever uses the last tagged version
  package         each published crate is packed as for publishing
  validation      docs/validation.md: each requirement's evidence exists
  ci              everything CI does: most of the above
  workflow        writes ci's steps into .github/workflows/ci.yml";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = interrupt::listen().and_then(|()| command(&args));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command, which is the words after `cargo xtask`
fn command(words: &[&str]) -> Outcome<()> {
    match words {
        ["demo"] => demo::run(),
        ["up"] => up::run(),
        ["test"] => test::run(&[]),
        ["test", "--", rest @ ..] => test::run(rest),
        ["coverage"] => coverage::run(),
        ["vectors", "lint"] => vectors::lint(),
        ["vectors", "run"] => vectors::run::run("rust"),
        ["vectors", "run", "--peer", name] => vectors::run::run(name),
        ["vectors", "regenerate"] => vectors::regenerate(None),
        ["vectors", "regenerate", "--producer", name] => vectors::regenerate(Some(name)),
        ["bench", rest @ ..] => bench::run(rest),
        ["chaos", rest @ ..] => chaos::run(rest),
        #[cfg(unix)]
        ["clients", rest @ ..] => clients::run(rest),
        ["conformance", rest @ ..] => conformance::run(rest),
        #[cfg(unix)]
        ["operations"] => operations::run(),
        #[cfg(unix)]
        ["walkthrough"] => walkthrough::run(),
        #[cfg(unix)]
        ["walkthrough", "--readme"] => walkthrough::readme(),
        ["dist", rest @ ..] => dist::run(rest),
        ["wheel"] => dist::run(&["wheel"]),
        ["examples"] => examples::run(None),
        ["examples", "--screenshot", file] => examples::run(Some(file)),
        ["fmt"] => checks::fmt(),
        ["spelling"] => checks::spelling(),
        ["clippy"] => checks::clippy(),
        ["doc"] => checks::doc(),
        ["features"] => checks::features(),
        ["deny"] => checks::deny(),
        ["unused"] => checks::unused(),
        ["api"] => api::write(),
        ["api", "--check"] => api::check(),
        ["semver"] => semver::run(),
        ["package"] => package::run(),
        ["validation"] => validation::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["ci"] => ci::run(),
        ["workflow"] => ci::write_workflow(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::new(format!("no such command: {}\n\n{USAGE}", other.join(" ")))),
    }
}
