//! `--metrics`: the program's counters and durations for Prometheus, over HTTP.

use std::io;
use std::net::SocketAddr;

use clap::Args;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::failure::Failure;
use crate::{output, units};

/// Upper bounds of the durations that are counted, in seconds: from a small file on the same machine to a large one
const SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Where the metrics are served
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    #[arg(long, value_name = "ADDRESS", help = METRICS, value_parser = units::address)]
    metrics: Option<SocketAddr>,
}

const METRICS: &str = "Serve Prometheus metrics at this address, such as 127.0.0.1:9464";

impl Metrics {
    pub(crate) const fn is_asked(&self) -> bool {
        self.metrics.is_some()
    }

    /// Begins to serve those of a program that sends or receives, where that was asked for
    pub(crate) fn serve(&self) -> Result<(), Failure> {
        if self.metrics.is_some() {
            self.install()?;
            natsbridge::metrics::describe_metrics();
        }
        Ok(())
    }

    /// Begins to serve what the program counts, where that was asked for
    pub(crate) fn install(&self) -> Result<(), Failure> {
        let Some(address) = self.metrics else { return Ok(()) };
        let exporter = PrometheusBuilder::new().with_http_listener(address).set_buckets(&SECONDS);
        exporter
            .and_then(PrometheusBuilder::install)
            .map_err(|error| Failure::system(format!("cannot serve metrics on {address}"), io::Error::other(error)))?;
        output::note(&format!("metrics on http://{address}/metrics"));
        Ok(())
    }
}
