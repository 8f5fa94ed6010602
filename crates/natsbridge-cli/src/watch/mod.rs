//! `natsbridge watch`: what passes on a subject, second by second, without reading a link.

pub(crate) mod keys;
mod table;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, SystemTime};

use clap::Args;
use natsbridge::{Message, Subscriber};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::connection::{Connection, Meaning};
use crate::failure::Failure;
use crate::global::Global;
use crate::metrics::Metrics;
use crate::signals::Stop;
use crate::{output, session, units};
use keys::Keys;
use table::Flows;

/// Watch the messages of a subject, second by second
///
/// On a terminal, a table of the busiest subjects is updated each second;
/// elsewhere, a line is printed. It downloads no link and sends no reply.
/// The key q, Ctrl-C and SIGTERM end it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// Subject to subscribe to; `*` matches one token, `>` one or more at the end
    subject: String,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    lasting: Option<Duration>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print one JSON line per second
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Latency is the time between a message's timestamp and its arrival: it is only
as exact as the clocks of both machines. Missing messages are gaps in the
numbers of the senders.

Examples:
  natsbridge watch '>'
  natsbridge watch 'lab.>' --for 1m --json >> lab.ndjson
";

/// How often a line is printed, or the table is drawn
const EACH: Duration = Duration::from_secs(1);

/// What a break of the connection means
const MEANING: Meaning = Meaning {
    gone: "What passes meanwhile is not counted.",
    back: "It counts again; what passed meanwhile is missing.",
};

impl Watch {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        session::check_subscription(&self.subject, None)?;
        let config = global.config().await?;
        self.metrics.serve()?;
        let bridge = Global::connect(config).await?;
        let mut connection = Connection::watch(bridge.events(), bridge.broker_url().to_owned(), MEANING);
        let stop = Stop::watch();
        let listening = async {
            let inbox = bridge.subscribe(&self.subject).await?.lazy();
            bridge.confirm().await?;
            Ok::<_, Failure>(inbox)
        };
        let mut inbox = tokio::select! {
            inbox = listening => inbox?,
            _ = stop.requested() => return Ok(()),
        };
        let live = !self.json && io::stdout().is_terminal() && output::moves_cursor();
        let keys = if live { Keys::start() } else { None };
        let end = if keys.is_some() { "q" } else { "Ctrl-C" };
        output::note(&format!("watching {}; {end} ends it", self.subject));
        let mut screen = Screen { drawn: 0, live };
        let done = self.watch(&mut connection, &stop, &mut inbox, keys.as_ref(), &mut screen).await;
        // Gives the terminal back before anything else is printed.
        drop(keys);
        let connected = connection.is_up();
        // What follows is our own leaving.
        drop(connection);
        if connected {
            session::end(&bridge).await;
        }
        done
    }

    async fn watch(
        &self,
        connection: &mut Connection,
        stop: &Stop,
        inbox: &mut Subscriber,
        keys: Option<&Keys>,
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        let deadline = self.lasting.and_then(|lasting| Instant::now().checked_add(lasting));
        let mut ticks = tokio::time::interval_at(Instant::now() + EACH, EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flows = Flows::default();
        loop {
            let quit = async {
                match keys {
                    Some(keys) => keys.quit().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = quit => return self.show(&mut flows, inbox, screen),
                _ = stop.requested() => return self.show(&mut flows, inbox, screen),
                // A line stands below the table: what was drawn stays above it.
                () = connection.changed() => screen.drawn = 0,
                () = session::until(deadline) => return self.show(&mut flows, inbox, screen),
                _ = ticks.tick() => self.show(&mut flows, inbox, screen)?,
                message = inbox.next() => match message {
                    None => return Err(Failure::ConnectionClosed),
                    Some(Ok(message)) => flows.note(message.subject().as_str(), &Passed::of(&message)),
                    Some(Err(error)) if session::is_last(&error) => return Err(error.into()),
                    Some(Err(_)) => flows.unread += 1,
                }
            }
        }
    }

    fn show(&self, flows: &mut Flows, inbox: &Subscriber, screen: &mut Screen) -> Result<(), Failure> {
        let losses = inbox.losses();
        let missing = losses.missing.max(inbox.dropped());
        if self.json {
            let mut line = flows.to_json();
            if let Json::Object(fields) = &mut line {
                fields.insert("missing".to_owned(), missing.into());
                fields.insert("repeated".to_owned(), losses.duplicates.into());
                fields.insert("at".to_owned(), json!(humantime::format_rfc3339_millis(SystemTime::now()).to_string()));
            }
            output::line(&output::json(&line)).map_err(Failure::output)?;
        } else if screen.live {
            screen.draw(&flows.to_table(missing, losses.duplicates))?;
        } else {
            output::line(&flows.to_line(missing)).map_err(Failure::output)?;
        }
        flows.next_second();
        Ok(())
    }
}

/// The part of the terminal that is drawn anew
struct Screen {
    drawn: usize,
    live: bool,
}

impl Screen {
    fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        // Clears to the end of the screen, where the last table was longer.
        text.push_str("\r\x1b[J");
        text.push_str(&lines.join("\n"));
        self.drawn = lines.len();
        output::line(&text).map_err(Failure::output)
    }
}

/// What is told of one message
#[derive(Debug, Default)]
pub(crate) struct Passed {
    bytes: u64,
    direct: u64,
    links: u64,
    latency: Option<Duration>,
}

impl Passed {
    fn of(message: &Message) -> Self {
        let mut passed = Self::default();
        for handle in message.payloads() {
            passed.bytes += handle.size().unwrap_or(0);
            if handle.transport() == natsbridge::Transport::Link {
                passed.links += 1;
            } else {
                passed.direct += 1;
            }
        }
        let sent = message.header().sent_at().map(SystemTime::from);
        // A clock that is ahead of ours would make it negative: then it took no time that can be told.
        passed.latency = sent.map(|sent| SystemTime::now().duration_since(sent).unwrap_or_default());
        passed
    }
}
