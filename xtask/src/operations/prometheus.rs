//! A Prometheus that is asked for its alerts, over the plainest HTTP.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Context, Failure, Outcome};
use crate::interrupt;
use crate::process::Deadline;

/// Where one listens
#[derive(Debug)]
pub(super) struct Prometheus {
    pub(super) address: String,
}

impl Prometheus {
    /// The alerts that fire, as `name instance`
    pub(super) fn firing(&self) -> Outcome<BTreeSet<String>> {
        let said = self.get("/api/v1/alerts")?;
        let alerts = said["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let text = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        Ok(firing.map(|alert| format!("{} {}", text(alert, "alertname"), text(alert, "instance"))).collect())
    }

    /// Waits until an alert fires
    pub(super) fn await_alert(&self, name: &str, deadline: Deadline) -> Outcome<()> {
        self.until(deadline, || {
            let firing = self.firing()?;
            Ok(firing.iter().any(|alert| alert.split(' ').next() == Some(name)).then_some(()))
        })
        .map_err(|failure| {
            let firing = self.firing().unwrap_or_default();
            Failure::new(format!("{name} is not raised ({failure}); firing: {firing:?}"))
        })
    }

    /// Waits until this many programs answer
    pub(super) fn await_targets_up(&self, number: usize, deadline: Deadline) -> Outcome<()> {
        self.until(deadline, || {
            let said = self.get("/api/v1/targets")?;
            let targets = said["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
            let up = targets.iter().filter(|target| target["health"] == "up").count();
            Ok((up >= number).then_some(()))
        })
    }

    fn until<T>(&self, deadline: Deadline, look: impl Fn() -> Outcome<Option<T>>) -> Outcome<T> {
        loop {
            interrupt::check()?;
            deadline.check("Prometheus", "did not see it")?;
            // It may not listen yet.
            if let Ok(Some(found)) = look() {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn get(&self, path: &str) -> Outcome<Value> {
        let body = get(&self.address, path)?;
        serde_json::from_str(&body).context(|| format!("Prometheus says no JSON at {path}"))
    }
}

/// The body of a page, read to the end of the connection
pub(super) fn get(address: &str, path: &str) -> Outcome<String> {
    let failed = || format!("cannot read http://{address}{path}");
    let mut stream = TcpStream::connect(address).context(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).context(failed)?;
    // HTTP/1.0: no chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).context(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context(failed)?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).ok_or_else(|| Failure::new(failed()))
}
