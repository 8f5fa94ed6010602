//! `natsbridge probe`: a message to itself every few seconds, through NATS and the file server and back, and its time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clap::Args;
use metrics::Unit;
use natsbridge::{Bridge, Config, Error, LinkLifetime, Subscriber};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use crate::certificate::{self, Named};
use crate::connection::{Connection, Meaning};
use crate::failure::{Failure, chain};
use crate::global::Global;
use crate::metrics::Metrics;
use crate::signals::Stop;
use crate::{notify, output, session, units};

/// Histogram: seconds from sending to the checked payload; label `outcome`, `ok` or an error's code
const DURATION: &str = "probe_duration_seconds";
/// Counter: messages sent
const MESSAGES: &str = "probe_messages_total";
/// Counter: messages that came back whole, but later than wanted
const LATE: &str = "probe_late_total";
/// Counter: messages that did not come back whole
const FAILURES: &str = "probe_failures_total";
/// Gauge: 1 if the last message came back whole, else 0
const UP: &str = "probe_up";
/// Gauge: quantiles of the last messages in seconds; label `quantile`
const LATENCY: &str = "probe_latency_seconds";
/// Gauge: when a server's certificate expires, in seconds since 1970; label `server`
const CERTIFICATE_EXPIRY: &str = "probe_certificate_expiry_timestamp_seconds";

/// What a break means here
const MEANING: Meaning = Meaning { gone: "Messages fail until it is back.", back: "Messages are measured again." };

/// Messages that quantiles are made of: the last three hours at one every ten seconds
const KEPT: usize = 1_000;

/// How many of a hundred messages have to come in time (requirement: 95 % within 200 ms)
const GOAL: f64 = 95.0;

/// Messages between two looks at the certificates
const CERTIFICATES: u32 = 6;

/// Measure how long messages take, again and again, for monitoring
///
/// Sends a message with a small payload and a link to itself every few seconds,
/// through NATS and the file server, reads both and checks them. Prints the
/// latency, and at the end p50, p95, p99 and how many came in time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Probe {
    /// Time from one message to the next
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::some_time)]
    every: Duration,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// A message that takes longer is late; of 100, 95 have to be in time
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = units::some_time)]
    within: Duration,
    /// A message that takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::some_time)]
    timeout: Duration,
    /// Bytes of the payload that goes by link; 0 leaves the file server out
    #[arg(long, value_name = "SIZE", default_value = "100kB", value_parser = units::size)]
    size: u64,
    /// Subject to send on [default: natsbridge.probe.ID]
    ///
    /// This user needs permission to publish and to subscribe to it.
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print a JSON line for each message, and one at the end
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Ends with 8 if fewer than 95 of 100 messages came back in time.

Examples:
  natsbridge probe
  natsbridge probe --count 20 --every 1s --json
  natsbridge probe --metrics 127.0.0.1:9465 --subject ops.probe
";

/// A message that came back, or the code and text of what went wrong
type Outcome = Result<Duration, (&'static str, String)>;

impl Probe {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let config = global.config().await?.sender_name("natsbridge probe");
        // However small it is, it has to go by link.
        let limits = config.message_limits();
        let threshold = limits.threshold().min(self.size.max(1));
        let config = config.limits(limits.size_threshold(threshold));
        self.metrics.serve()?;
        describe();
        let stop = Stop::watch();
        notify::ready();
        // Only the metrics tell of certificates.
        let watching = self.metrics.is_asked().then(|| {
            let every = self.every.saturating_mul(CERTIFICATES);
            tokio::spawn(watch_certificates(config.clone(), global.nats_urls(), every))
        });
        let mut tally = Tally::default();
        let mut way = None;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.count.is_none_or(|count| tally.sent < count) {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.requested() => break,
            }
            let outcome = self.once(&config, &mut way).await;
            tally.add(&outcome, self.within);
            self.print(tally.sent, &outcome)?;
        }
        if let Some(watching) = watching {
            watching.abort();
        }
        if let Some(Way { bridge, connection, .. }) = way {
            let up = connection.is_up();
            drop(connection);
            if up {
                session::end(&bridge).await;
            }
        }
        self.summary(&tally)
    }

    /// Sends one message and waits for it; connects first where that is not done
    async fn once(&self, config: &Config, way: &mut Option<Way>) -> Outcome {
        let told = |error: &Error| (error.code(), chain(error).join(": "));
        let there = match way {
            Some(there) => there,
            None => way.insert(Way::open(config, self.subject.as_deref()).await.map_err(|error| told(&error))?),
        };
        let start = Instant::now();
        match tokio::time::timeout(self.timeout, there.there_and_back(self.size)).await {
            Ok(Ok(())) => Ok(start.elapsed()),
            Ok(Err(error)) => {
                // A subscription that the server ended does not come back by itself.
                if session::is_last(&error) && there.connection.is_up() {
                    *way = None;
                }
                Err(told(&error))
            }
            Err(_) if !there.connection.is_up() => Err(("disconnected", "no connection to NATS".to_owned())),
            Err(_) => {
                let took = humantime::format_duration(self.timeout);
                Err(("timeout", format!("it did not come back within {took}")))
            }
        }
    }

    fn print(&self, number: u64, outcome: &Outcome) -> Result<(), Failure> {
        let line = match (self.json, outcome) {
            (true, Ok(took)) => output::json(&json!({
                "message": number, "ok": true, "ms": millis(*took), "late": *took > self.within,
            })),
            (true, Err((code, text))) => {
                output::json(&json!({ "message": number, "ok": false, "code": code, "error": text }))
            }
            (false, Ok(took)) if *took > self.within => format!("late  {:.1} ms", millis(*took)),
            (false, Ok(took)) => format!("ok    {:.1} ms", millis(*took)),
            (false, Err((code, text))) => format!("fail  {code}: {}", output::harmless(text)),
        };
        output::line(&line).map_err(Failure::output)
    }

    fn summary(&self, tally: &Tally) -> Result<(), Failure> {
        if tally.sent == 0 {
            return Ok(());
        }
        let [p50, p95, p99] = tally.quantiles().map(millis);
        let share = tally.share();
        let line = if self.json {
            output::json(&json!({
                "messages": tally.sent, "failed": tally.failed, "late": tally.late,
                "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "in_time_percent": share,
            }))
        } else {
            let within = humantime::format_duration(self.within);
            format!(
                "messages {}, failed {}, p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms; {share:.1} % within {within}",
                tally.sent, tally.failed
            )
        };
        output::line(&line).map_err(Failure::output)?;
        if share < GOAL {
            return Err(Failure::Late { share, within: self.within });
        }
        Ok(())
    }
}

/// A connection and the subscription that its messages come back to
struct Way {
    bridge: Bridge,
    connection: Connection,
    inbox: Subscriber,
    subject: String,
}

impl Way {
    async fn open(config: &Config, subject: Option<&str>) -> Result<Self, Error> {
        let bridge = Bridge::connect(config.clone()).await?;
        let subject = subject.map_or_else(|| format!("natsbridge.probe.{}", bridge.sender_id()), str::to_owned);
        // Another probe on the same subject must not read this one's link, nor this one another's.
        let inbox = bridge.subscribe(&subject).await?.lazy();
        bridge.confirm().await?;
        let connection = Connection::watch(bridge.events(), bridge.broker_url().to_owned(), MEANING);
        Ok(Self { bridge, connection, inbox, subject })
    }

    async fn there_and_back(&mut self, size: u64) -> Result<(), Error> {
        let mut message =
            self.bridge.message(&*self.subject).receiver_id(self.bridge.sender_id()).text("small", "probe");
        if size > 0 {
            // Not one-shot: whoever else uses the subject, such as a second probe, would take it from us.
            let life = LinkLifetime::expiring(Duration::from_secs(60));
            let large = vec![b'.'; usize::try_from(size).unwrap_or(0)];
            message = message.binary("large", large).link_lifetime(life);
        }
        let sent = message.send_confirmed().await?;
        loop {
            let Some(message) = self.inbox.next().await else { return std::future::pending().await };
            let message = message?;
            // One that failed before may come late.
            if message.header().msg_id() != sent.header().msg_id() {
                continue;
            }
            message.fetch().await?;
            message.text("small")?;
            if size > 0 {
                message.bytes("large")?;
            }
            return Ok(());
        }
    }
}

/// What was measured so far
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    failed: u64,
    late: u64,
    last: VecDeque<Duration>,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome, within: Duration) {
        self.sent += 1;
        metrics::counter!(MESSAGES).increment(1);
        metrics::gauge!(UP).set(if outcome.is_ok() { 1.0 } else { 0.0 });
        match outcome {
            Ok(took) => {
                metrics::histogram!(DURATION, "outcome" => "ok").record(*took);
                if *took > within {
                    self.late += 1;
                    metrics::counter!(LATE).increment(1);
                }
                if self.last.len() == KEPT {
                    self.last.pop_front();
                }
                self.last.push_back(*took);
                for (quantile, value) in ["0.5", "0.95", "0.99"].into_iter().zip(self.quantiles()) {
                    metrics::gauge!(LATENCY, "quantile" => quantile).set(value.as_secs_f64());
                }
            }
            Err(_) => {
                self.failed += 1;
                metrics::counter!(FAILURES).increment(1);
            }
        }
    }

    /// p50, p95 and p99 of the last messages that came back
    fn quantiles(&self) -> [Duration; 3] {
        let mut sorted: Vec<_> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        // The nearest rank: of twenty, the nineteenth is p95.
        [50, 95, 99].map(|percent| {
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(rank).copied().unwrap_or_default()
        })
    }

    /// How many of a hundred came back in time
    fn share(&self) -> f64 {
        let count = |count: u64| u32::try_from(count).map_or(f64::MAX, f64::from);
        100.0 * count(self.sent - self.failed - self.late) / count(self.sent.max(1))
    }
}

/// Says what each metric means, and begins counters at zero, so that `increase` sees their first event
fn describe() {
    metrics::describe_histogram!(
        DURATION,
        Unit::Seconds,
        "time of a message through NATS and the file server and back"
    );
    metrics::describe_counter!(MESSAGES, "messages sent to measure their time");
    metrics::describe_counter!(LATE, "messages that came back later than wanted");
    metrics::describe_counter!(FAILURES, "messages that did not come back whole");
    metrics::describe_gauge!(UP, "whether the last message came back whole");
    metrics::describe_gauge!(LATENCY, Unit::Seconds, "quantiles of the last messages");
    metrics::describe_gauge!(CERTIFICATE_EXPIRY, Unit::Seconds, "when a server's certificate expires, since 1970");
    for name in [MESSAGES, LATE, FAILURES] {
        metrics::counter!(name).increment(0);
    }
}

/// Notes when the servers' certificates expire, for as long as it runs
async fn watch_certificates(config: Config, servers: Vec<String>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        // Of several NATS servers, the one that expires first.
        let mut first = BTreeMap::new();
        for Named { server, expiry, .. } in certificate::all(&config, &servers).await {
            let known = first.entry(server).or_insert(expiry);
            *known = expiry.min(*known);
        }
        for (server, expiry) in first {
            let seconds = expiry.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
            metrics::gauge!(CERTIFICATE_EXPIRY, "server" => server).set(seconds.as_secs_f64());
        }
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank_and_late_ones_count_against_the_goal() {
        let mut tally = Tally::default();
        let within = Duration::from_millis(200);
        assert_eq!((tally.quantiles(), tally.share()), ([Duration::ZERO; 3], 0.0));
        for n in 1..=20 {
            tally.add(&Ok(Duration::from_millis(n * 10)), within);
        }
        assert_eq!(tally.quantiles(), [100, 190, 200].map(Duration::from_millis));
        assert!((tally.share() - 100.0).abs() < f64::EPSILON);
        tally.add(&Ok(Duration::from_millis(201)), within);
        tally.add(&Err(("timeout", String::new())), within);
        assert_eq!((tally.sent, tally.late, tally.failed), (22, 1, 1));
        assert!((tally.share() - 100.0 * 20.0 / 22.0).abs() < 1e-9);
        for _ in 0..KEPT {
            tally.add(&Ok(Duration::from_millis(1)), within);
        }
        assert_eq!(tally.quantiles(), [Duration::from_millis(1); 3], "only the last ones count");
    }
}
