//! One side of a measure over real servers, run in a process of its own: so its peak memory is its own as well.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Failure, large, links, nats, typed};

/// How long one job may take before it counts as hung
const LIMIT: Duration = Duration::from_secs(90);

/// What is measured
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Scenario {
    /// Messages per second that a publisher gets to a raw receiver
    Publish,
    /// As [`Publish`](Self::Publish), with nothing between core and the connection: the envelope is planned and written for
    /// every message, with given identifiers and time
    Written,
    /// Messages per second that a receiver takes from a raw publisher
    Receive,
    /// Messages per second from the value at the publisher to the value at the receiver
    Through,
    /// Seconds from before a send to the value in the receiver's hands, one message at a time
    Latency,
    /// Seconds of an acknowledged delivery, one at a time
    Deliver,
    /// Seconds from before a send of a large payload to its verified bytes in the receiver's memory
    Link,
    /// Seconds of an upload and of a download to a file, digest checked
    Transfer,
    /// Seconds of that many uploads at once, and of their downloads to files, digests checked
    Large,
    /// Seconds from the bytes of an Arrow table to rows of a struct, and the memory in MB that it took beside them
    TableRows,
}

impl Scenario {
    /// What the side under test does
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Written => "publish what core writes",
            Self::Receive => "receive",
            Self::Through => "send and receive",
            Self::Latency => "one-way latency",
            Self::Deliver => "acknowledged delivery",
            Self::Link => "link",
            Self::Transfer => "transfer",
            Self::Large => "large files",
            Self::TableRows => "rows of a table",
        }
    }
}

/// Who does it
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "a comparison has two sides")]
pub enum Side {
    /// `natsbridge`
    Natsbridge,
    /// What it is compared with
    Other,
}

/// One side of one round
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// What is measured
    pub scenario: Scenario,
    /// Who does it
    pub side: Side,
    /// The NATS server
    pub nats_url: String,
    /// The file server, for links
    pub files_url: String,
    /// The file to transfer; a download goes beside it
    pub file: String,
    /// Bytes of the payload
    pub size: usize,
    /// Messages, all publishers together
    pub count: u64,
    /// Publishers, each with a connection
    pub publishers: u64,
    /// Messages that publishers may be ahead of the receiver; as many as none is dropped where nothing is said
    pub ahead: Option<usize>,
}

impl Job {
    /// A job with one publisher; what it does not name is empty
    #[must_use]
    pub fn new(scenario: Scenario, side: Side, nats_url: &str) -> Self {
        let nats_url = nats_url.to_owned();
        Self {
            scenario,
            side,
            nats_url,
            files_url: String::new(),
            file: String::new(),
            size: 0,
            count: 0,
            publishers: 1,
            ahead: None,
        }
    }

    /// Runs it in a process of its own
    ///
    /// # Errors
    /// What the process says when it fails.
    pub fn spawn(&self) -> Result<Outcome, Failure> {
        let output = Command::new(std::env::current_exe()?)
            .args(["job", &serde_json::to_string(self)?])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{} of {} bytes: see above", self.scenario.verb(), self.size).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs it here, on two threads
    ///
    /// # Errors
    /// What the measured parts say, or that it hung.
    pub fn perform(&self) -> Result<Outcome, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let values = runtime.block_on(async {
            tokio::time::timeout(LIMIT, async {
                match self.scenario {
                    Scenario::Link => links::message(self).await,
                    Scenario::Transfer => links::transfer(self).await,
                    Scenario::Large => large::transfers(self).await,
                    Scenario::TableRows => typed::table_rows(self),
                    _ => nats::prepare(self).await?.await,
                }
            })
            .await
            .map_err(|_| format!("{} did not end within {} s", self.scenario.verb(), LIMIT.as_secs()))?
        })?;
        Ok(Outcome { values, peak_kib: peak_kib("self") })
    }
}

/// What one round gave
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The values that the scenario names
    pub values: Vec<f64>,
    /// The process's peak resident memory in KiB, where the system tells
    pub peak_kib: Option<u64>,
}

/// Peak resident memory in KiB of a process, as Linux counts it
#[must_use]
pub fn peak_kib(process: &str) -> Option<u64> {
    status_kib(process, "VmHWM:")
}

/// Resident memory in KiB that a process has now, as Linux counts it
#[must_use]
pub fn now_kib(process: &str) -> Option<u64> {
    status_kib(process, "VmRSS:")
}

fn status_kib(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?.parse().ok()
}
