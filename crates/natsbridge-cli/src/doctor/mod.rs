//! `natsbridge doctor`: tries everything a message needs, and says what to fix.

mod broker;
mod files;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::certificate::Named;
use crate::failure::Failure;
use crate::global::Global;
use crate::listing::COLUMNS;
use crate::{output, units};

/// Check NATS, its permissions, and the file server
///
/// Connects, publishes, subscribes, and uploads, reads and deletes a file. Each
/// check is a line: ok, warn or fail, with what to fix.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Subject to check permissions for
    ///
    /// Publishes a small message with the purpose updateStatus to it, for the
    /// receiver `natsbridge doctor`. With `*` or `>` it only subscribes.
    subject: Option<String>,
    /// Check only what a program needs that sends to it, or receives from it
    #[arg(long, value_name = "WHAT", requires = "subject")]
    only: Option<Only>,
    /// Size of the file that is uploaded, read and deleted
    ///
    /// Use the size of your payloads: a proxy in front of the file server may
    /// refuse large ones.
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "8MB")]
    upload: u64,
    /// Print one JSON line with all checks
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Ends with 3 when a check of NATS fails, else with 4 when one of the file server
does. Warnings do not count.

Examples:
  natsbridge doctor
  natsbridge doctor lab.results --nats tls://nats.example.com
  natsbridge doctor lab.results --only send
  natsbridge doctor --json | jq '.checks[] | select(.state != \"ok\")'
";

/// How long before its end a certificate is worth a warning: authorities that renew by themselves do so earlier
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a program does with a subject, where it does one thing alone
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Send,
    Receive,
}

/// How a check came out
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check: what was tried, what was found, what to do
#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), fix: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    /// What an error says, and the advice that this program has for it
    fn failed(name: &'static str, failure: &Failure) -> Self {
        let fix = failure.advice().map(Cow::into_owned);
        Self { name, state: State::Fail, found: failure.texts().join(": "), fix }
    }

    /// The same, with advice for a failure that this program has none for
    fn or_fix(mut self, fix: &str) -> Self {
        self.fix.get_or_insert_with(|| fix.to_owned());
        self
    }

    fn to_text(&self) -> String {
        let style = output::stdout_style();
        let word = match self.state {
            State::Ok => format!("{:<4}", self.state.word()),
            State::Warn => style.bold(&format!("{:<4}", self.state.word())),
            State::Fail => style.red(&format!("{:<4}", self.state.word())),
        };
        let mut text = String::new();
        for (n, line) in wrapped(&self.found, COLUMNS - 17).iter().enumerate() {
            let begin = if n == 0 { format!("{word}  {:<11}", self.name) } else { format!("{:17}", "") };
            text.push_str(&format!("{begin}{}\n", output::harmless(line)));
        }
        for (n, line) in self.fix.iter().flat_map(|fix| wrapped(&format!("fix: {fix}"), COLUMNS - 22)).enumerate() {
            let begin = if n == 0 { "" } else { "     " };
            text.push_str(&format!("{:17}{begin}{}\n", "", output::harmless(&line)));
        }
        text.trim_end().to_owned()
    }
}

/// When a server's certificate expires
fn lifetime(found: &Named) -> Check {
    let whose = if found.server == "nats" { "NATS" } else { "the file server" };
    let date = output::date(found.expiry);
    let fix = "renew it; NATS reads it with `nats-server --signal reload`, `natsbridge serve` by itself, nginx with \
               `nginx -s reload`";
    match found.expiry.duration_since(SystemTime::now()) {
        Err(_) => Check {
            name: "cert",
            state: State::Fail,
            found: format!("that of {whose} ({}) expired on {date}", found.address),
            fix: Some(fix.to_owned()),
        },
        Ok(left) if left < SOON => {
            Check::warn("cert", format!("that of {whose} ({}) expires on {date}", found.address), fix)
        }
        Ok(_) => Check::ok("cert", format!("that of {whose} is valid until {date}")),
    }
}

/// Lines that fit behind a check's name
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The checks so far; for people, each is printed when it is done
struct ReceivePolicy {
    json: bool,
    done: Vec<Check>,
}

impl ReceivePolicy {
    fn add(&mut self, check: Check) -> Result<(), Failure> {
        if !self.json {
            output::line(&check.to_text()).map_err(Failure::output)?;
        }
        self.done.push(check);
        Ok(())
    }

    fn failed(&self) -> usize {
        self.done.iter().filter(|check| check.state == State::Fail).count()
    }
}

impl Doctor {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let config = global.config().await?;
        let subject = self.subject.as_deref().map(|subject| (subject, self.only));
        let mut checks = ReceivePolicy { json: self.json, done: Vec::new() };
        broker::check(config.clone(), &global.nats_urls(), subject, &mut checks).await?;
        let broker_failed = checks.failed() > 0;
        files::check(config, self.upload, &mut checks).await?;
        let (failed, of) = (checks.failed(), checks.done.len());
        if self.json {
            let list = checks.done.iter().map(|check| {
                json!({ "name": check.name, "state": check.state.word(), "found": check.found, "fix": check.fix })
            });
            output::line(&output::json(&json!({ "ok": failed == 0, "checks": list.collect::<Vec<_>>() })))
                .map_err(Failure::output)?;
        }
        if failed > 0 {
            return Err(Failure::Unhealthy { failed, of, exit_code: if broker_failed { 3 } else { 4 } });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_finding_and_its_fix_fit_the_terminal() {
        let check = Check::warn("permissions", "word ".repeat(40), "do ".repeat(60));
        let text = check.to_text();
        assert!(text.lines().count() > 4 && text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }
}
