//! `natsbridge bench`: how fast messages and links are on the user's own servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use natsbridge::store::{Digest, Downloader as _, Link, Object, Source, Target};
use natsbridge::{Bridge, Direction, Error, LinkLifetime, PayloadType, Subscriber};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connection::{Connection, Meaning};
use crate::failure::Failure;
use crate::global::Global;
use crate::{output, progress, session, units};

/// Messages on their way at once, so that none is dropped
const ON_THEIR_WAY: usize = 4_096;

/// Messages whose time is taken, one after the other
const TIMED: usize = 1_000;

/// How long a message may take before it counts as lost
const PATIENCE: Duration = Duration::from_secs(10);

/// Measure messages and links on your servers
///
/// Sends messages to itself on a subject that nobody else uses: first as many a
/// second as possible, then one at a time for the latency. Then uploads, reads
/// and deletes a file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// Messages to send as fast as possible
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = messages)]
    messages: usize,
    /// Bytes of each message's payload, such as 10kB
    #[arg(long, value_name = "SIZE", default_value = "1kB", value_parser = units::size)]
    size: u64,
    /// Bytes of the file; 0 leaves the file server out
    #[arg(long, value_name = "SIZE", default_value = "16MB", value_parser = units::size)]
    link_size: u64,
    /// Subject to use, where permissions allow no other [default: a new one]
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Print one JSON line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Sender and receiver are both this program, and share its processors.

Examples:
  natsbridge bench
  natsbridge bench --messages 100000 --size 10kB --json
  natsbridge bench --subject lab.bench --link-size 0
  natsbridge bench --link-size 1GB --fileserver https://files.example.com
";

fn messages(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|messages| *messages > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

/// What was measured of messages
struct Messages {
    a_second: f64,
    p50: Duration,
    p99: Duration,
}

/// What was measured of links, in bytes a second
struct Links {
    up: f64,
    down: f64,
}

/// What a break of the connection means
const MEANING: Meaning =
    Meaning { gone: "What is measured now is not the server's speed.", back: "Messages may be lost; measure again." };

impl Bench {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        self.subject.as_deref().map_or(Ok(()), session::check_subject)?;
        let config = global.config().await?;
        let bridge = Global::connect(config.clone()).await?;
        let connection = Connection::watch(bridge.events(), bridge.broker_url().to_owned(), MEANING);
        let limits = bridge.limits();
        if limits.is_link(self.size) {
            let at_most = units::shown(limits.threshold().saturating_sub(1));
            return Err(Failure::Usage(format!("--size is for messages without links: at most {at_most}")));
        }
        let messages = self.messages(&bridge).await?;
        // What follows is our own leaving.
        drop(connection);
        session::end(&bridge).await;
        let links = if self.link_size > 0 { Some(self.links(&config).await?) } else { None };
        if self.json {
            return output::line(&output::json(&self.to_json(&messages, links.as_ref()))).map_err(Failure::output);
        }
        output::line(&self.to_text(&messages, links.as_ref())).map_err(Failure::output)
    }

    async fn messages(&self, bridge: &Bridge) -> Result<Messages, Failure> {
        let own = || format!("natsbridge.bench.{}", bridge.sender_id());
        let subject = self.subject.clone().unwrap_or_else(own);
        let mut inbox = bridge.subscribe(&subject).await?;
        let payload = Bytes::from(filled(self.size));
        let message = |bridge: &Bridge| bridge.message(&*subject).binary("bench", payload.clone());

        let room = Arc::new(Semaphore::new(ON_THEIR_WAY));
        let start = Instant::now();
        let sending = async {
            for _ in 0..self.messages {
                if let Ok(place) = room.acquire().await {
                    place.forget();
                }
                message(bridge).send().await?;
            }
            Ok::<(), Error>(())
        };
        let receiving = async {
            for _ in 0..self.messages {
                next(bridge, &mut inbox).await?;
                room.add_permits(1);
            }
            Ok::<(), Failure>(())
        };
        let (sent, received) = tokio::join!(sending, receiving);
        sent?;
        received?;
        let took = start.elapsed();

        let mut times = Vec::with_capacity(TIMED);
        for _ in 0..TIMED {
            let start = Instant::now();
            message(bridge).send().await?;
            next(bridge, &mut inbox).await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        Ok(Messages { a_second: rate(self.messages, took), p50: at(50), p99: at(99) })
    }

    async fn links(&self, config: &natsbridge::Config) -> Result<Links, Failure> {
        let (uploader, fetcher) = (config.to_uploader()?, config.to_fetcher()?);
        let dir = tempfile::tempdir().map_err(|error| Failure::system("cannot make a temporary folder", error))?;
        let content = Bytes::from(filled(self.link_size));
        let sha256 = Digest::of(&content);
        let object = Object::new("natsbridge bench", PayloadType::Binary, self.link_size);
        let object = object.link_lifetime(LinkLifetime::expiring(Duration::from_secs(3_600)));
        let bar = progress::Single::new();
        let object = object.on_progress(bar.hook("natsbridge bench", Direction::Upload));
        let start = Instant::now();
        let stored = uploader.upload(&object, &Source::Bytes(content)).await;
        let up = start.elapsed();
        drop(bar);
        let stored = stored.map_err(Error::from)?;
        let mut link = Link::new("natsbridge bench", &*stored.uploaded.url);
        (link.size, link.sha256) = (Some(self.link_size), Some(sha256));
        let bar = progress::Single::new();
        let link = link.on_progress(bar.hook("natsbridge bench", Direction::Download));
        let start = Instant::now();
        let downloaded = fetcher.download(&link, Target::File(dir.path().join("bench"))).await;
        let down = start.elapsed();
        drop(bar);
        if let Err(error) = uploader.delete(&stored.receipt).await {
            tracing::warn!(%error, "the file stays at the file server for an hour");
        }
        downloaded.map_err(Error::from)?;
        let bytes = usize::try_from(self.link_size).unwrap_or(usize::MAX);
        Ok(Links { up: rate(bytes, up), down: rate(bytes, down) })
    }

    fn to_json(&self, messages: &Messages, links: Option<&Links>) -> Json {
        json!({
            "messages": self.messages,
            "message_bytes": self.size,
            "messages_a_second": messages.a_second.round(),
            "p50_us": micros(messages.p50),
            "p99_us": micros(messages.p99),
            "link_bytes": self.link_size,
            "upload_bytes_a_second": links.map(|links| links.up.round()),
            "download_bytes_a_second": links.map(|links| links.down.round()),
        })
    }

    fn to_text(&self, messages: &Messages, links: Option<&Links>) -> String {
        let mut text = format!(
            "messages   {} of {}: {:.0} a second\nlatency    p50 {} us, p99 {} us, one at a time",
            self.messages,
            units::shown(self.size),
            messages.a_second,
            micros(messages.p50),
            micros(messages.p99)
        );
        if let Some(links) = links {
            let megabytes = |rate: f64| rate / 1_000_000.0;
            text.push_str(&format!(
                "\nlinks      {}: up {:.0} MB/s, down {:.0} MB/s",
                units::shown(self.link_size),
                megabytes(links.up),
                megabytes(links.down)
            ));
        }
        text
    }
}

/// Bytes that no server compresses away by accident
fn filled(size: u64) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// Waits for the next message of our own; others may use the subject too
async fn next(bridge: &Bridge, inbox: &mut Subscriber) -> Result<(), Failure> {
    let own = async {
        loop {
            match inbox.next().await {
                Some(Ok(message)) if message.header().sender_id() != bridge.sender_id() => {}
                other => return other,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, own).await {
        Ok(Some(Ok(_))) => Ok(()),
        Ok(Some(Err(error))) => Err(error.into()),
        Ok(None) => Err(Failure::ConnectionClosed),
        Err(_) => Err(Failure::TimeRanOut { seen: 0, wanted: 1, unread: 0 }),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How many a second
fn rate(count: usize, took: Duration) -> f64 {
    let count = u32::try_from(count).map_or(f64::MAX, f64::from);
    count / took.as_secs_f64().max(f64::EPSILON)
}
