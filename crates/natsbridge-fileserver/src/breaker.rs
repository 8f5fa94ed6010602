//! The circuit breaker of each origin, so that an unreachable file server does not cost every message all its retries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Origin;

/// Circuit breaker for a file server that can't be reached
///
/// After `failures` consecutive transfers that failed because the server was unreachable, further transfers fail at once.
/// After `cool_down`, one transfer is tried: if it reaches the server, all are again.
///
/// ```
/// use std::time::Duration;
/// use natsbridge_fileserver::{BreakerPolicy, PlikStore};
///
/// let breaker = BreakerPolicy::default().failures(5).cool_down(Duration::from_secs(30));
/// let store = PlikStore::builder("http://127.0.0.1:8080").breaker(breaker).build()?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    failures: u32,
    cool_down: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 3, cool_down: Duration::from_secs(5) }
    }
}

impl BreakerPolicy {
    /// Returns a policy that never blocks a transfer
    #[must_use]
    pub fn never() -> Self {
        Self::default().failures(u32::MAX)
    }

    /// Sets the number of consecutive failures that block transfers, default 3
    #[must_use]
    pub const fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets how long transfers are blocked before one is tried, default 5 s
    #[must_use]
    pub const fn cool_down(mut self, cool_down: Duration) -> Self {
        self.cool_down = cool_down;
        self
    }
}

/// The error of a blocked transfer
#[derive(Debug, thiserror::Error)]
#[error("no request was sent, because the last transfers could not reach the server; the next one is tried in {} ms", .again_in.as_millis())]
pub(crate) struct Open {
    again_in: Duration,
}

#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
    probing: bool,
}

/// The circuits of one store or fetcher
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    circuits: Arc<Mutex<HashMap<Origin, Circuit>>>,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, circuits: Arc::default() }
    }

    /// Admits a transfer, or returns when the next one is tried
    pub(crate) fn admit(&self, origin: &Origin) -> Result<Permit, Open> {
        let mut circuits = self.lock();
        let mut probe = false;
        if let Some(circuit) = circuits.get_mut(origin)
            && let Some(until) = circuit.open_until
        {
            let now = Instant::now();
            if now < until || circuit.probing {
                return Err(Open { again_in: until.saturating_duration_since(now) });
            }
            circuit.probing = true;
            probe = true;
        }
        drop(circuits);
        Ok(Permit { breaker: self.clone(), origin: origin.clone(), probe })
    }

    // A panic of another thread does not harm the counters.
    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Circuit>> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An admitted transfer; if it is dropped without [`reached`](Self::reached), the breaker learns nothing
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Breaker,
    origin: Origin,
    probe: bool,
}

impl Permit {
    /// Records whether the transfer reached the server
    pub(crate) fn reached(mut self, reached: bool) {
        self.probe = false;
        let policy = self.breaker.policy;
        let mut circuits = self.breaker.lock();
        if reached {
            // Only failing servers are kept, so that strangers' origins do not fill the memory.
            circuits.remove(&self.origin);
            return;
        }
        let circuit = circuits.entry(self.origin.clone()).or_default();
        circuit.probing = false;
        circuit.failures = circuit.failures.saturating_add(1);
        if circuit.failures >= policy.failures {
            circuit.open_until = Instant::now().checked_add(policy.cool_down);
        }
        if circuits.len() > MAX_CIRCUITS {
            let now = Instant::now();
            circuits.retain(|_, circuit| circuit.open_until.is_some_and(|until| until > now));
        }
    }
}

/// Number of origins beyond which those that are not blocked are removed
const MAX_CIRCUITS: usize = 1024;

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe
            && let Some(circuit) = self.breaker.lock().get_mut(&self.origin)
        {
            circuit.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        "http://files.test".parse().expect("an origin")
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.admit(&origin()).expect("closed").reached(false);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn circuit_opens_after_failures_in_a_row_and_allows_one_probe() {
        let breaker = Breaker::new(BreakerPolicy::default());
        fail(&breaker, 3);
        assert!(breaker.admit(&origin()).is_err());
        assert!(
            breaker.admit(&"http://other.test".parse().expect("an origin")).is_ok(),
            "other origins are not concerned"
        );
        tokio::time::advance(Duration::from_secs(5)).await;
        let probe = breaker.admit(&origin()).expect("half open");
        assert!(breaker.admit(&origin()).is_err(), "one probe at a time");
        probe.reached(false);
        assert!(breaker.admit(&origin()).is_err(), "the probe failed");
        tokio::time::advance(Duration::from_secs(5)).await;
        breaker.admit(&origin()).expect("half open").reached(true);
        fail(&breaker, 2);
        assert!(breaker.admit(&origin()).is_ok(), "a success starts the count anew");
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_probe_leaves_room_for_the_next() {
        let breaker = Breaker::new(BreakerPolicy::default().failures(1));
        fail(&breaker, 1);
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(breaker.admit(&origin()).expect("half open"));
        assert!(breaker.admit(&origin()).is_ok());
    }
}
