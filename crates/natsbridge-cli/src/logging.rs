//! The log: on standard error, warnings unless more is asked for.

use tracing_subscriber::EnvFilter;

use crate::output;

/// Starts logging at a level, or more of it; `RUST_LOG` counts for more than `--verbose`
pub(crate) fn start(level: &'static str, verbose: u8) {
    let level = match verbose {
        0 => level,
        1 => "warn,natsbridge=info",
        2 => "info,natsbridge=debug,natsbridge_core=debug,natsbridge_fileserver=debug,natsbridge_nats=debug",
        _ => "trace",
    };
    let filter = EnvFilter::builder().try_from_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::stderr_style().is_coloured())
        // They would be printed on the very stream that is broken.
        .log_internal_errors(false)
        .init();
}
