//! Retries: how many, after which pause, and until when.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use crate::BoxError;

/// Retries of a failed transfer: exponential backoff with jitter (`docs/specification.md`, section 8)
///
/// The default is 5 retries after 100 ms, 200 ms and so on up to 5,000 ms. Each pause is drawn at random between half
/// and all of that time, so that many clients do not retry in step. `Retry-After` can lengthen a pause, but not shorten it.
/// A transfer fails at once when the next pause would exceed its total timeout, or when the server asks to wait longer
/// than [`max_retry_after`](Self::max_retry_after).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    max_retries: u32,
    base_delay: Duration,
    max_delay: Duration,
    max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 5,
            base_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Returns a policy without retries
    #[must_use]
    pub fn never() -> Self {
        Self::default().max_retries(0)
    }

    /// Sets the maximum number of retries after the first attempt, default 5
    #[must_use]
    pub const fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// Sets the first pause, default 100 ms; each further pause is twice as long
    #[must_use]
    pub const fn base_delay(mut self, base_delay: Duration) -> Self {
        self.base_delay = base_delay;
        self
    }

    /// Sets the maximum pause, default 5,000 ms
    #[must_use]
    pub const fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// Whether there is any retry
    pub(crate) const fn retries(&self) -> bool {
        self.max_retries > 0
    }

    /// Sets the maximum `Retry-After` to wait for, default 30 s; a transfer fails at once if the server asks for more
    #[must_use]
    pub const fn max_retry_after(mut self, max_retry_after: Duration) -> Self {
        self.max_retry_after = max_retry_after;
        self
    }

    /// The pauses of one transfer
    fn pauses(&self) -> ExponentialBackoff {
        // The jitter adds up to once the delay, so half of each delay goes in.
        ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.base_delay.min(self.max_delay) / 2)
            .with_max_delay(self.max_delay / 2)
            .with_max_times(usize::try_from(self.max_retries).unwrap_or(usize::MAX))
            .with_jitter()
            .build()
    }
}

/// The attempts of one transfer
#[derive(Debug)]
pub(crate) struct Retries {
    pauses: ExponentialBackoff,
    max_retry_after: Duration,
    deadline: Instant,
    attempts: u32,
}

impl Retries {
    pub(crate) fn new(policy: &RetryPolicy, deadline: Instant) -> Self {
        Self { pauses: policy.pauses(), max_retry_after: policy.max_retry_after, deadline, attempts: 0 }
    }

    /// The number of attempts so far
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts an attempt
    pub(crate) fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Waits before the next attempt
    ///
    /// Returns `source`, the cause of the last failure, if there is no next attempt: no retry is left, the pause would
    /// exceed the deadline, or the server asks to wait too long.
    pub(crate) async fn pause(&mut self, retry_after: Option<Duration>, source: BoxError) -> Result<(), BoxError> {
        let Some(pause) = self.pauses.next() else { return Err(source) };
        let most = self.max_retry_after;
        if let Some(asked) = retry_after.filter(|asked| *asked > most) {
            return Err(TooLong { asked, most, source }.into());
        }
        let pause = retry_after.map_or(pause, |asked| asked.max(pause));
        let Some(until) = Instant::now().checked_add(pause).filter(|until| *until < self.deadline) else {
            return Err(source);
        };
        tokio::time::sleep_until(until).await;
        Ok(())
    }
}

/// The error for a `Retry-After` beyond the maximum
#[derive(Debug, thiserror::Error)]
#[error("the server asks to wait {} s, more than the maximum of {} s", .asked.as_secs(), .most.as_secs())]
struct TooLong {
    asked: Duration,
    most: Duration,
    source: BoxError,
}

/// Parses a `Retry-After` header: seconds, or an HTTP date relative to `now`
pub(crate) fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
}

/// The moment `total` from now, or 30 years from now if that overflows
pub(crate) fn deadline(total: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(total).unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_100_ms_to_5_seconds_with_jitter_inside() {
        let policy = RetryPolicy::default().max_retries(9);
        for _ in 0..50 {
            let pauses: Vec<_> = policy.pauses().collect();
            assert_eq!(pauses.len(), 9);
            for (pause, full) in pauses.iter().zip([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]) {
                let full = Duration::from_millis(full);
                assert!(*pause <= full + Duration::from_micros(10), "{pause:?} is above {full:?}");
                assert!(*pause + Duration::from_micros(10) >= full / 2, "{pause:?} is below half of {full:?}");
            }
        }
        assert_eq!(RetryPolicy::default().pauses().count(), 5);
        assert_eq!(RetryPolicy::never().pauses().count(), 0);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = OffsetDateTime::from_unix_timestamp(784_111_777).expect("a time"); // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO), "a date that has passed");
        for value in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(value, now), None, "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pause_respects_the_server_and_the_deadline() {
        let start = Instant::now();
        let mut retries = Retries::new(&RetryPolicy::default(), deadline(Duration::from_secs(60)));
        assert!(retries.pause(Some(Duration::from_secs(30)), "busy".into()).await.is_ok());
        assert!(start.elapsed() >= Duration::from_secs(30));
        let before = Instant::now();
        let refused = retries.pause(Some(Duration::from_secs(30)), "busy".into()).await;
        assert_eq!(refused.map_err(|source| source.to_string()), Err("busy".to_owned()), "beyond the deadline");
        assert_eq!(before.elapsed(), Duration::ZERO, "what can't help is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_beyond_the_cap_is_given_up_at_once() {
        let start = Instant::now();
        let mut retries = Retries::new(&RetryPolicy::default(), deadline(Duration::from_secs(3600)));
        let refused = retries.pause(Some(Duration::from_secs(1700)), "busy".into()).await;
        let text = "the server asks to wait 1700 s, more than the maximum of 30 s";
        assert_eq!(refused.map_err(|source| source.to_string()), Err(text.to_owned()));
        assert_eq!(start.elapsed(), Duration::ZERO);
        let policy = RetryPolicy::default().max_retry_after(Duration::from_secs(1800));
        let mut retries = Retries::new(&policy, deadline(Duration::from_secs(3600)));
        assert!(retries.pause(Some(Duration::from_secs(1700)), "busy".into()).await.is_ok());
    }

    /// What a process of its own prints for the test below
    #[test]
    #[ignore = "the test below starts it"]
    #[allow(clippy::print_stdout, reason = "the answer to the test that started it")]
    fn pauses_of_this_process() {
        println!("pauses {:?}", RetryPolicy::default().pauses().collect::<Vec<_>>());
    }

    #[test]
    fn retry_pauses_differ_between_processes() -> std::io::Result<()> {
        let run = || -> std::io::Result<String> {
            let mut process = std::process::Command::new(std::env::current_exe()?);
            process.args(["--exact", "retry::tests::pauses_of_this_process", "--ignored", "--nocapture"]);
            let said = String::from_utf8_lossy(&process.output()?.stdout).into_owned();
            let pauses = said.lines().find_map(|line| line.split_once("pauses [")).map(|(_, pauses)| pauses.to_owned());
            pauses.ok_or_else(|| std::io::Error::other(said))
        };
        let (one, other) = (run()?, run()?);
        assert_eq!(one.split(',').count(), 5);
        assert_ne!(one, other, "five pauses of a microsecond's grain are never equal by chance");
        Ok(())
    }
}
