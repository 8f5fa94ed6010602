//! The log: on standard error, warnings unless more is asked for; what strangers wrote can't command a terminal there.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::failure::chain;
use crate::output;

/// Lines that one place in the program logs in an episode
const LINES: u32 = 3;

/// How long a place has to be quiet before it begins a new episode
const QUIET: Duration = Duration::from_secs(60);

/// Starts logging at a level, or more of it; `RUST_LOG` counts for more than `--verbose`
pub(crate) fn start(level: &'static str, verbose: u8) {
    // Breaks of the connection are told by the commands themselves.
    let quiet = format!("{level},natsbridge_nats::connection=error");
    let level = match verbose {
        0 => quiet.as_str(),
        1 => "warn,natsbridge=info,natsbridge_nats=info",
        2 => "info,natsbridge=debug,natsbridge_core=debug,natsbridge_fileserver=debug,natsbridge_nats=debug",
        _ => "trace",
    };
    let given = EnvFilter::builder().try_from_env();
    // Whoever asks for more gets all of it.
    let episodes = (given.is_err() && verbose == 0).then(Episodes::default);
    tracing_subscriber::fmt()
        .with_env_filter(given.unwrap_or_else(|_| EnvFilter::new(level)))
        .fmt_fields(Fields)
        .with_writer(Log(episodes))
        .with_ansi(output::stderr_style().is_coloured())
        // They would be printed on the very stream that is broken.
        .log_internal_errors(false)
        .init();
}

/// Writes an event's fields on one line, whatever strangers have written into them
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, result: Ok(()), empty: true };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
    empty: bool,
}

impl Line<'_> {
    fn add(&mut self, field: &Field, text: &str) {
        let between = if std::mem::take(&mut self.empty) { "" } else { " " };
        let text = natsbridge::wire::harmless(text);
        self.result = self.result.and_then(|()| match field.name() {
            "message" => write!(self.writer, "{between}{text}"),
            name => write!(self.writer, "{between}{name}={text}"),
        });
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.add(field, &chain(value).join(": "));
    }
}

/// Standard error; what one place says again and again is left out, where episodes are counted
struct Log(Option<Episodes<Identifier>>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Out;

    fn make_writer(&'a self) -> Out {
        Out::Line
    }

    fn make_writer_for(&'a self, place: &Metadata<'_>) -> Out {
        match self.0.as_ref().map(|episodes| episodes.next(place.callsite(), Instant::now())) {
            None => Out::Line,
            Some(line) if line < LINES => Out::Line,
            Some(LINES) => Out::Last,
            Some(_) => Out::Nothing,
        }
    }
}

/// Where a line goes
enum Out {
    Line,
    /// The last one of an episode
    Last,
    Nothing,
}

impl io::Write for Out {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Line => io::Write::write_all(&mut io::stderr(), line)?,
            Self::Last => {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let more = b" (more of the same is not logged; -v logs all)\n";
                io::Write::write_all(&mut io::stderr(), &[line, more].concat())?;
            }
            Self::Nothing => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How often each place in the program has logged something
struct Episodes<K>(Mutex<HashMap<K, Episode>>);

struct Episode {
    last: Instant,
    lines: u32,
}

impl<K> Default for Episodes<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Episodes<K> {
    /// The number of the line that this place logs now, in its episode
    fn next(&self, place: K, now: Instant) -> u32 {
        let mut episodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let episode = episodes.entry(place).or_insert(Episode { last: now, lines: 0 });
        if now.saturating_duration_since(episode.last) > QUIET {
            episode.lines = 0;
        }
        episode.last = now;
        episode.lines = episode.lines.saturating_add(1);
        episode.lines
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn fields_of_strangers_are_one_harmless_line() {
        let memory = Memory::default();
        let sink = memory.clone();
        let layer = tracing_subscriber::fmt::layer().fmt_fields(Fields).with_ansi(false);
        let layer = layer.with_writer(move || sink.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let name = "a\x1b[2J\u{9b}b\u{202e}c\nWARN forged\u{2028}";
            let error = io::Error::other(name);
            let error: &(dyn StdError + 'static) = &error;
            tracing::warn!(name, shown = %name, debug = ?name, error, "said {name}");
            let span = tracing::warn_span!("span", %name);
            let _entered = span.enter();
            tracing::warn!("inside");
        });
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert_eq!(text.replace('\n', ""), natsbridge::wire::harmless(&text.replace('\n', "")), "{text:?}");
        assert!(text.contains("said a\\u{1b}[2J"), "{text}");
    }

    #[test]
    fn log_place_is_logged_a_few_times_and_again_after_a_pause() {
        let episodes = Episodes::default();
        let start = Instant::now();
        let lines: Vec<_> = (0..4).map(|_| episodes.next("a", start)).collect();
        assert_eq!((lines, episodes.next("b", start)), (vec![1, 2, 3, 4], 1));
        assert_eq!(episodes.next("a", start + QUIET), 5);
        assert_eq!(episodes.next("a", start + QUIET * 2 + Duration::from_secs(1)), 1);
    }
}
