//! What strangers can make our programs hold: readers that do not read, and small messages that show as large ones.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, DictionaryArray, Int32Array, NullArray, RecordBatch, StringArray};
use natsbridge::store::{Object, PlikStore, Source, Uploader as _};
use natsbridge::{Bridge, Config, PayloadType};
use natsbridge_core::{Table, Value};
use natsbridge_testkit::process::{Output, Process};
use serde_json::Value as Json;

use crate::job::peak_kib;
use crate::links::{FileServer, READY};
use crate::report::{Line, Target};
use crate::sample::number;
use crate::{Failure, workload};

/// Readers that ask for a file and then read nothing
const READERS: usize = 1_000;

/// Bytes of the file that they ask for: more than the system holds for any of them
const FILE: usize = 16_000_000;

/// What all readers together may cost the server, and what one message below 1 MB may cost a receiver, in MiB
const SLOW_READERS: f64 = 100.0;
const SHOWN: f64 = 128.0;

/// How long memory may take to be given back
const GIVEN_BACK: Duration = Duration::from_secs(10);

/// Both measures
///
/// # Errors
/// What a program or a server says.
pub fn all(nats_url: &str, program: &Path) -> Result<Vec<Line>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut lines = runtime.block_on(slow_readers(program))?;
    lines.push(runtime.block_on(shown(nats_url, program))?);
    Ok(lines)
}

/// The server's memory while a thousand readers hold their downloads open, and after they have left
async fn slow_readers(program: &Path) -> Result<Vec<Line>, Failure> {
    let folder = tempfile::tempdir()?;
    let server = FileServer::start(program, folder.path())?;
    let object = Object::new("payload", PayloadType::Binary, u64::try_from(FILE)?);
    let stored = PlikStore::new(&server.url)?.upload(&object, &Source::Bytes(workload::bytes(FILE))).await?;
    let (host, path) = stored.uploaded.url.trim_start_matches("http://").split_once('/').ok_or("a link has a path")?;
    let before = server.now_mib()?;
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let mut reader = TcpStream::connect(host)?;
        write!(reader, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
        // The answer has begun when its first byte is there.
        reader.read_exact(&mut [0; 1])?;
        readers.push(reader);
    }
    let during = server.now_mib()? - before;
    for reader in readers {
        reader.shutdown(Shutdown::Both)?;
    }
    let left = Instant::now();
    let mut after = server.now_mib()? - before;
    while after > SLOW_READERS / 4.0 && left.elapsed() < GIVEN_BACK {
        std::thread::sleep(Duration::from_millis(100));
        after = server.now_mib()? - before;
    }
    let line = |measure: &str, value: f64, limit| {
        Line::new("bounds", measure, value.max(0.0), "MiB").target(Some(Target::AtMost(limit)))
    };
    Ok(vec![
        line("serve: 1,000 readers that do not read, above what it had before", during, SLOW_READERS),
        line("the same within 10 s after they have left", after, SLOW_READERS / 4.0),
    ])
}

/// The most that `receive --json` takes for the worst of some messages below 1 MB
async fn shown(nats_url: &str, program: &Path) -> Result<Line, Failure> {
    let bridge = Bridge::connect(Config::new(nats_url)).await?;
    let mut worst: f64 = 0.0;
    for (payload_type, value) in worst_messages()? {
        let receiver = Receiver::start(nats_url, program)?;
        bridge.message("bounds.shown").value("payload", value, payload_type).send_confirmed().await?;
        worst = worst.max(receiver.peak_after_one_line()?);
    }
    bridge.drain().await?;
    Ok(Line::new("bounds", "receive --json of the worst message below 1 MB, peak memory", worst, "MiB")
        .target(Some(Target::AtMost(SHOWN))))
}

/// Messages that are small on the wire and large when they are shown, or when a naive reader holds them
fn worst_messages() -> Result<Vec<(PayloadType, Value)>, Failure> {
    let nulls: ArrayRef = Arc::new(NullArray::new(4_000_000));
    let nulls = RecordBatch::try_from_iter([("n", nulls)])?;
    let word = "x".repeat(300_000);
    let keys = Int32Array::from_iter_values(std::iter::repeat_n(0, 10_000));
    let column: ArrayRef = Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from(vec![word])))?);
    let dictionary = RecordBatch::try_from_iter([("d", column)])?;
    let table = |batch: RecordBatch| Ok::<_, Failure>(Value::Table(Table::new(batch.schema(), vec![batch])?));
    let objects = Json::Array(vec![serde_json::json!({}); 120_000]);
    Ok(vec![
        (PayloadType::ArrowTable, table(nulls)?),
        (PayloadType::ArrowTable, table(dictionary)?),
        (PayloadType::Dictionary, Value::Json(objects)),
        (PayloadType::Text, Value::Text("\u{1}".repeat(480_000))),
    ])
}

/// `natsbridge receive --json`, ended when dropped
struct Receiver(Process);

impl Receiver {
    fn start(nats_url: &str, program: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["receive", "bounds.shown", "--json", "--nats", nats_url]).stdin(Stdio::null());
        let process = Process::start(&mut command)?;
        process.next_line(READY, |line| line.text.contains("subscribed to"))?;
        Ok(Self(process))
    }

    fn peak_after_one_line(&self) -> Result<f64, Failure> {
        self.0.line(Output::Out, READY)?;
        let peak = peak_kib(&self.0.id().to_string()).ok_or("the system does not tell memory")?;
        Ok(number(peak) / 1024.0)
    }
}
