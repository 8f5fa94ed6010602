//! The program `natsbridge`: reads the command line, runs one command, and turns its outcome into an exit code.

mod bench;
mod certificate;
mod connection;
mod doctor;
mod encoding;
mod failure;
mod file_limit;
mod files;
mod global;
mod greeting;
mod inspect;
mod listing;
mod logging;
mod manual;
mod metrics;
mod notify;
mod output;
mod overview;
mod parquet;
mod probe;
mod profile;
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

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};

use crate::failure::Failure;
use crate::global::{Global, Nats};

/// Send anything between programs in different languages over NATS
///
/// Small payloads travel inside the message; large ones are uploaded to a file
/// server and travel as a link.
#[derive(Debug, Parser)]
#[command(name = "natsbridge", version, max_term_width = 80, after_help = AFTER_SHORT, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    // For those who write it first; each command shows its own.
    #[arg(long, short, hide = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(visible_alias = "pub", alias = "publish")]
    Send(Box<Connected<send::Send>>),
    #[command(visible_alias = "sub", aliases = ["subscribe", "listen"])]
    Receive(Box<Connected<receive::Receive>>),
    #[command(visible_alias = "req")]
    Request(Box<Connected<request::Request>>),
    #[command(alias = "respond")]
    Reply(Box<Connected<reply::Reply>>),
    #[command(alias = "server")]
    Serve(Box<Alone<serve::Serve>>),
    Files(files::Files),
    Watch(OnBroker<watch::Watch>),
    Inspect(Connected<inspect::Inspect>),
    Record(OnBroker<record::Record>),
    Replay(OnBroker<record::Replay>),
    #[command(alias = "check")]
    Doctor(Connected<doctor::Doctor>),
    Bench(Connected<bench::Bench>),
    Probe(Connected<probe::Probe>),
    #[command(alias = "profiles")]
    Profile(profile::Profile),
    Completions(manual::Completions),
    Man(manual::Manual),
}

// No comments for rustdoc below: clap would take them for the commands' own help.

// A command that uses NATS and a file server
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
struct Connected<T: Args> {
    #[command(flatten)]
    command: T,
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    other: Other,
}

// A command that uses NATS, and no file server
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
struct OnBroker<T: Args> {
    #[command(flatten)]
    command: T,
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    other: Other,
}

// A command that connects to nothing, and has something to log
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
struct Alone<T: Args> {
    #[command(flatten)]
    command: T,
    #[command(flatten)]
    other: Other,
}

// What every command takes; last, so that what a command does comes first
#[derive(Debug, Args)]
#[command(next_help_heading = "Other options")]
struct Other {
    /// Log more: -v for each message, -vv for each attempt
    #[arg(long, short, action = ArgAction::Count)]
    verbose: u8,
    /// Print help; -h prints it short
    #[arg(long, short, action = ArgAction::Help)]
    help: Option<bool>,
}

const AFTER_SHORT: &str = "\
Examples:
  natsbridge serve --dir files
  natsbridge receive 'lab.>' --save received
  natsbridge send lab.results --text note='run 7' --table data=@run7.csv

`natsbridge --help` lists variables and exit codes, `natsbridge COMMAND -h` the
options of a command.
";

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
  NATS_INBOX_PREFIX
                   as --inbox-prefix
  NATS_TOKEN       the token to log in to NATS with; or NATS_USER and
                   NATS_PASSWORD
  FILESERVER_URL   as --fileserver
  FILESERVER_CA    as --fileserver-ca
  FILESERVER_TOKEN the token that the file server asks uploaders for
  S3_URL           as --s3; its keys are read from AWS_ACCESS_KEY_ID and so on
  STORE_URL        as --store; its token is read from FILESERVER_TOKEN
  SIZE_THRESHOLD   bytes from which a payload becomes a link
  RUST_LOG         what is logged, such as natsbridge=debug
  NO_COLOR         any value turns colours off
A profile (`natsbridge profile --help`) saves these for all terminals. An option
counts for more than --profile, that for more than a variable, and a variable
for more than the profile in use.

Exit codes:
  0  done; also when the reader of the output went away
  1  another failure, such as a full disk
  2  wrong usage: an argument, a variable or a subject
  3  NATS can't be reached, or did not confirm
  4  the file server can't be reached, refused, or can't start
  5  bad input, or a message that can't travel; nothing was sent
  6  messages arrived that could not be read, or inspect found problems
  7  the time of --for ended before --count messages came
  8  not acknowledged in time, refused by a receiver, no reply, or too slow
  9  messages had arrived that were not handled before the end
130 and 143: a second Ctrl-C or SIGTERM ended the program at once.
";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if words.len() < 2 {
        output::note(&overview::text(&Cli::command()));
        return ExitCode::from(2);
    }
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return overview::report(error),
    };
    // Lines of the log would stand in the middle of the table, or of the checks, which tell what they warn of.
    let level = if matches!(cli.command, Command::Watch(_) | Command::Doctor(_)) { "error" } else { "warn" };
    logging::start(level, cli.verbose.saturating_add(cli.command.verbose()));
    file_limit::survive();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return Failure::system("cannot start", source).report(),
    };
    let done = runtime.block_on(cli.command.run());
    // A read of standard input that was given up must not keep the program.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Command {
    const fn verbose(&self) -> u8 {
        match self {
            Self::Send(command) => command.other.verbose,
            Self::Receive(command) => command.other.verbose,
            Self::Request(command) => command.other.verbose,
            Self::Reply(command) => command.other.verbose,
            Self::Serve(command) => command.other.verbose,
            Self::Watch(command) => command.other.verbose,
            Self::Inspect(command) => command.other.verbose,
            Self::Record(command) => command.other.verbose,
            Self::Replay(command) => command.other.verbose,
            Self::Doctor(command) => command.other.verbose,
            Self::Bench(command) => command.other.verbose,
            Self::Probe(command) => command.other.verbose,
            Self::Files(_) | Self::Profile(_) | Self::Completions(_) | Self::Man(_) => 0,
        }
    }

    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Send(send) => send.command.run(&send.global).await,
            Self::Receive(receive) => receive.command.run(&receive.global).await,
            Self::Request(request) => request.command.run(&request.global).await,
            Self::Reply(reply) => reply.command.run(&reply.global).await,
            Self::Serve(serve) => serve.command.run().await,
            Self::Files(files) => files.run(),
            Self::Watch(watch) => watch.command.run(&Global::of_broker(watch.nats)).await,
            Self::Record(record) => record.command.run(&Global::of_broker(record.nats)).await,
            Self::Replay(replay) => replay.command.run(&Global::of_broker(replay.nats)).await,
            Self::Bench(bench) => bench.command.run(&bench.global).await,
            Self::Probe(probe) => probe.command.run(&probe.global).await,
            Self::Inspect(inspect) => inspect.command.run(&inspect.global).await,
            Self::Doctor(doctor) => doctor.command.run(&doctor.global).await,
            Self::Profile(profile) => profile.run(),
            Self::Completions(completions) => completions.run(Cli::command()),
            Self::Man(manual) => manual.run(Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_has_no_contradiction() {
        Cli::command().debug_assert();
    }

    /// Every command, with its whole name and built as for its help
    fn commands() -> Vec<clap::Command> {
        fn add(command: &clap::Command, all: &mut Vec<clap::Command>) {
            all.push(command.clone());
            command.get_subcommands().filter(|inner| inner.get_name() != "help").for_each(|inner| add(inner, all));
        }
        let mut program = Cli::command().term_width(80);
        program.build();
        let mut all = Vec::new();
        add(&program, &mut all);
        all
    }

    /// The lines of each option's help, in a page rendered for 80 columns
    fn options(page: &str) -> Vec<Vec<&str>> {
        let mut options: Vec<Vec<&str>> = Vec::new();
        let mut listed = false;
        for line in page.lines() {
            if !line.starts_with(' ') {
                // A heading, the usage or an empty line ends a list.
                listed = line.ends_with(':') && line != "Examples:";
            } else if listed && (line.starts_with("  -") || line.starts_with("      --")) {
                options.push(vec![line]);
            } else if let Some(option) = options.last_mut().filter(|_| listed) {
                option.push(line);
            }
        }
        options
    }

    #[test]
    fn no_line_of_help_is_wrapped_twice_at_80_columns() {
        let mut seen = 0;
        for mut command in commands() {
            let name = command.get_name().to_owned();
            for (page, long) in [(command.render_help(), false), (command.render_long_help(), true)] {
                let page = page.to_string();
                for line in page.lines() {
                    assert!(line.chars().count() <= 80, "{name}: {line}");
                }
                for option in options(&page).iter().filter(|_| !long) {
                    seen += 1;
                    // Its own line where it is long, and at most two of help.
                    let wrapped = option.iter().filter(|line| !line.trim_start().starts_with('-')).count();
                    assert!(wrapped <= 2, "{name} -h: {option:#?}");
                }
            }
            // What has line breaks of its own must not be broken again.
            let page = command.render_long_help().to_string();
            let shown: Vec<_> = page.lines().map(str::trim).collect();
            let texts = command.get_arguments().filter(|arg| !arg.is_hide_set());
            for text in texts.filter_map(|arg| arg.get_long_help().map(ToString::to_string)) {
                for lines in text.split("\n\n").map(|paragraph| paragraph.lines().collect::<Vec<_>>()) {
                    let whole = |line: &&str| shown.iter().any(|shown| shown.starts_with(line.trim()));
                    assert!(lines.len() < 2 || lines.iter().all(whole), "{name}: wrapped again: {lines:#?}");
                }
            }
        }
        assert!(seen > 150, "{seen}");
    }
}
