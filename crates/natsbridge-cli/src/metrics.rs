//! `--metrics`: the program's counters and durations for Prometheus, over HTTP.

use std::net::SocketAddr;

use clap::Args;

use crate::failure::Failure;
use crate::{output, units};

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
        serve_at(address)?;
        output::note(&format!("metrics on http://{address}/metrics"));
        Ok(())
    }
}

#[cfg(feature = "metrics")]
fn serve_at(address: SocketAddr) -> Result<(), Failure> {
    use std::io;
    use std::net::TcpListener;
    use std::time::Duration;

    use axum::Router;
    use metrics_exporter_prometheus::PrometheusBuilder;

    /// Upper bounds of the durations that are counted, in seconds: from a small file on the same machine to a large one
    const SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
    /// How often durations that nobody asks for are put together, so that they take no memory
    const UPKEEP: Duration = Duration::from_secs(5);

    let failed = |error| Failure::system(format!("cannot serve metrics on {address}"), error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let recorder = PrometheusBuilder::new().set_buckets(&SECONDS).and_then(PrometheusBuilder::install_recorder);
    let metrics = recorder.map_err(|error| failed(io::Error::other(error)))?;
    let page = {
        let metrics = metrics.clone();
        Router::new().fallback(move || std::future::ready(metrics.render()))
    };
    tokio::spawn(axum::serve(listener, page).into_future());
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    });
    Ok(())
}

#[cfg(not(feature = "metrics"))]
fn serve_at(_: SocketAddr) -> Result<(), Failure> {
    Err(Failure::Usage("this program was built without metrics (cargo feature `metrics`)".to_owned()))
}
