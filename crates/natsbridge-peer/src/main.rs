//! The Rust peer of the conformance tests: `peer vectors` and `peer live`, JSON lines on both sides (docs/peers.md).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a peer speaks to the runner by printing")]

mod live;
mod table;
mod value;
mod vectors;

use std::process::ExitCode;

use serde_json::{Value as Json, json};

/// What goes wrong in the peer itself, and ends it
type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "peer vectors\npeer live --nats URL --files URL --name NAME [--ws URL]";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, options @ ..] = args.as_slice() else { return Err(USAGE.into()) };
    let option = |name: &str| {
        let pair = options.chunks(2).find(|pair| pair[0] == name);
        pair.and_then(|pair| pair.get(1)).cloned().ok_or_else(|| format!("{name} is missing\n{USAGE}"))
    };
    match mode.as_str() {
        "vectors" => vectors::run().await,
        "live" => live::run(&option("--nats")?, &option("--files")?, &option("--name")?).await,
        _ => Err(USAGE.into()),
    }
}

/// Prints one line; `println` flushes at its end
fn say(line: &Json) {
    println!("{line}");
}

/// An error as every peer reports it
fn refused(error: &natsbridge::Error) -> Json {
    match error.dataname() {
        Some(dataname) => json!({"error": error.code(), "dataname": dataname}),
        None => json!({"error": error.code()}),
    }
}
