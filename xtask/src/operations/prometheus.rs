//! A Prometheus that is asked for its alerts, by curl.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::interrupt;
use crate::process::{self, Deadline};

/// Where one listens
#[derive(Debug)]
pub(super) struct Prometheus {
    pub(super) address: String,
}

impl Prometheus {
    /// The alerts that fire, as `name instance`
    pub(super) fn firing(&self) -> Result<BTreeSet<String>> {
        let said = self.get("/api/v1/alerts")?;
        let alerts = said["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let text = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        Ok(firing.map(|alert| format!("{} {}", text(alert, "alertname"), text(alert, "instance"))).collect())
    }

    /// Waits until an alert fires
    pub(super) fn await_alert(&self, name: &str, deadline: Deadline) -> Result<()> {
        self.until(deadline, || {
            let firing = self.firing()?;
            Ok(firing.iter().any(|alert| alert.split(' ').next() == Some(name)).then_some(()))
        })
        .map_err(|failure| {
            let firing = self.firing().unwrap_or_default();
            anyhow!("{name} is not raised ({failure:#}); firing: {firing:?}")
        })
    }

    /// Waits until this many programs answer
    pub(super) fn await_targets_up(&self, number: usize, deadline: Deadline) -> Result<()> {
        self.until(deadline, || {
            let said = self.get("/api/v1/targets")?;
            let targets = said["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
            let up = targets.iter().filter(|target| target["health"] == "up").count();
            Ok((up >= number).then_some(()))
        })
    }

    fn until<T>(&self, deadline: Deadline, look: impl Fn() -> Result<Option<T>>) -> Result<T> {
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

    fn get(&self, path: &str) -> Result<Value> {
        let body = get(&self.address, path)?;
        serde_json::from_str(&body).with_context(|| format!("Prometheus says no JSON at {path}"))
    }
}

/// The body of a page
pub(super) fn get(address: &str, path: &str) -> Result<String> {
    let words = ["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "10"];
    process::output(Command::new("curl").args(words).arg(format!("http://{address}{path}")))
}
