//! The signals that ask a program to end in order.

/// Returns at the first Ctrl-C or SIGTERM
#[cfg(unix)]
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return interrupted().await };
    tokio::select! {
        () = interrupted() => {}
        _ = terminate.recv() => {}
    }
}

/// Returns at the first Ctrl-C
#[cfg(not(unix))]
pub(crate) async fn stopped() {
    interrupted().await;
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "Ctrl-C can't be watched for; end the program by its process id");
        std::future::pending::<()>().await;
    }
}
