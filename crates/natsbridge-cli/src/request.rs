//! `natsbridge request`: sends one message and prints the reply.

use std::time::Duration;

use clap::Args;
use natsbridge::error::Refusal;
use natsbridge::{Error, ErrorKind, Message};

use crate::failure::Failure;
use crate::global::Global;
use crate::receive::{Form, Printing, Saving};
use crate::send::MessageArgs;
use crate::{progress, session, stores, units};

/// Send one message and print the reply
///
/// The reply is printed as `natsbridge receive` prints a message. Payloads are
/// given as for `natsbridge send`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Request {
    /// Subject to publish the request to
    subject: String,
    // First, so that payloads come first in the help; last among them.
    /// Send a request without a payload
    #[arg(long, help_heading = "Payloads", display_order = 900)]
    empty: bool,
    /// How long to wait for the reply
    #[arg(long, value_name = "TIME", value_parser = units::some_time, default_value = "5s", help_heading = "Reply")]
    timeout: Duration,
    /// Download from this origin too, besides the file server
    #[arg(long, value_name = "URL", help_heading = "Reply")]
    allow_origin: Vec<String>,
    #[command(flatten, next_help_heading = "Reply")]
    saving: Saving,
    #[command(flatten)]
    message: MessageArgs,
    /// Print the reply as a JSON line
    #[arg(long, help_heading = "Output")]
    json: bool,
}

const EXAMPLES: &str = "\
Ends with 8 when nobody subscribes, no reply comes in time, or the reply is a
refusal (NACK).

Examples:
  natsbridge request math.upper --text word=hello
  natsbridge request lab.mean --table data=@run7.csv --timeout 1m --json
  natsbridge request lab.fit --text run=7 --save fits --save-tables csv
";

impl Request {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        session::check_subject(&self.subject)?;
        self.message.check_payloads(self.empty)?;
        self.message.check(Some("a request"))?;
        let mut config = self.message.settle(global.config().await?);
        config = stores::allow(config, &self.allow_origin)?;
        config = progress::watch(config);
        let ready = self.message.read()?;
        self.saving.prepare().await?;
        let bridge = Global::connect(config).await?;
        let (draft, spooled) = ready.add_to(self.message.address(bridge.message(&*self.subject), true));
        let answer = draft.request(self.timeout).await;
        drop(spooled);
        let done = self.print(answer).await;
        session::end(&bridge).await;
        done
    }

    async fn print(&self, answer: Result<Message, Error>) -> Result<(), Failure> {
        let answer = match answer {
            Err(failed) if !matches!(failed, Error::Unreadable(_)) => return Err(unanswered(failed)),
            answer => answer,
        };
        let form = if self.json { Form::Json } else { Form::People };
        let report = Printing::new(self.saving.clone(), form).report(&answer).await;
        let report = report.headed(format!("reply to {}", self.subject));
        // People are told of a refusal on standard error alone.
        let refused = matches!(&answer, Err(failed) if failed.kind() == ErrorKind::Refused);
        if self.json || !refused {
            report.print(form)?;
        }
        match answer {
            Err(error) if refused => Err(match error.inner() {
                Error::Delivery(delivery) => delivery.refusal().map(refusal).unwrap_or_else(|| error.into()),
                _ => error.into(),
            }),
            _ if report.is_error() => Err(Failure::Unread { unread: 1, seen: 1 }),
            _ => Ok(()),
        }
    }
}

fn unanswered(error: Error) -> Failure {
    match (&error, error.kind()) {
        (Error::Broker(_), ErrorKind::NoResponders | ErrorKind::TimedOut) => Failure::Unanswered(error),
        _ => error.into(),
    }
}

fn refusal(Refusal { receiver, code, reason, .. }: &Refusal) -> Failure {
    Failure::Refused { receiver: receiver.clone(), code: code.clone(), reason: reason.clone() }
}
