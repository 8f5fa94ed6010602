//! The program `natsbridge`: reads the command line, runs one command, and turns its outcome into an exit code.

mod bench;
mod connection;
mod doctor;
mod encoding;
mod failure;
mod file_limit;
mod files;
mod global;
mod inspect;
mod listing;
mod logging;
mod manual;
mod metrics;
mod output;
mod progress;
mod receive;
mod record;
mod reply;
mod request;
mod scratch;
mod send;
mod serve;
mod session;
mod signals;
mod stores;
mod units;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::failure::Failure;
use crate::global::Global;

/// Send anything between programs in different languages over NATS
///
/// Small payloads travel inside the message; large ones are uploaded to a file
/// server and travel as a link.
#[derive(Debug, Parser)]
#[command(name = "natsbridge", version, max_term_width = 80, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(Box<send::Send>),
    Receive(receive::Receive),
    Request(Box<request::Request>),
    Reply(reply::Reply),
    Serve(serve::Serve),
    Files(files::Files),
    Watch(watch::Watch),
    Inspect(inspect::Inspect),
    Record(record::Record),
    Replay(record::Replay),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Completions(manual::Completions),
    Man(manual::Manual),
}

const AFTER_HELP: &str = "\
Examples:
  natsbridge serve --dir files
  natsbridge receive 'lab.>' --save received
  natsbridge send lab.results --text note='run 7' --table data=@run7.csv

Variables:
  NATS_URL         as --nats; keeps a password out of the process list
  NATS_CREDS, NATS_NKEY, NATS_CA, NATS_CERT, NATS_KEY, NATS_TLS_FIRST
                   as --creds, --nkey, --tls-ca, --tls-cert, --tls-key and
                   --tls-first
  NATS_TOKEN       the token to log in to NATS with; or NATS_USER and
                   NATS_PASSWORD
  FILESERVER_URL   as --fileserver
  FILESERVER_CA    as --fileserver-ca
  FILESERVER_TOKEN the token that the file server asks uploaders for
  S3_URL           as --s3; its keys are read from AWS_ACCESS_KEY_ID and so on
  SIZE_THRESHOLD   bytes from which a payload becomes a link
  RUST_LOG         what is logged, such as natsbridge=debug
  NO_COLOR         any value turns colours off

Exit codes:
  0  done; also when the reader of the output went away
  1  another failure, such as a full disk
  2  wrong usage: an argument, a variable or a subject
  3  NATS can't be reached, or did not confirm
  4  the file server can't be reached, refused, or can't start
  5  bad input, or a message that can't travel; nothing was sent
  6  messages arrived that could not be read, or inspect found problems
  7  the time of --for ended before --count messages came
  8  not acknowledged in time, refused by a receiver, or no reply
  9  messages had arrived that were not handled before the end
130 and 143: a second Ctrl-C or SIGTERM ended the program at once.
";

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Lines of the log would stand in the middle of the table, or of the checks, which tell what they warn of.
    let level = if matches!(cli.command, Command::Watch(_) | Command::Doctor(_)) { "error" } else { "warn" };
    logging::start(level, cli.global.verbose);
    file_limit::survive();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return Failure::system("cannot start", source).report(),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Send(send) => send.run(&cli.global).await,
            Command::Receive(receive) => receive.run(&cli.global).await,
            Command::Request(request) => request.run(&cli.global).await,
            Command::Reply(reply) => reply.run(&cli.global).await,
            Command::Serve(serve) => serve.run().await,
            Command::Files(files) => files.run(),
            Command::Watch(watch) => watch.run(&cli.global).await,
            Command::Record(record) => record.run(&cli.global).await,
            Command::Replay(replay) => replay.run(&cli.global).await,
            Command::Bench(bench) => bench.run(&cli.global).await,
            Command::Inspect(inspect) => inspect.run(&cli.global).await,
            Command::Doctor(doctor) => doctor.run(&cli.global).await,
            Command::Completions(completions) => completions.run(Cli::command()),
            Command::Man(manual) => manual.run(Cli::command()),
        }
    });
    // A read of standard input that was given up must not keep the program.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_has_no_contradiction() {
        Cli::command().debug_assert();
    }
}
