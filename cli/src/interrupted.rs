//! Ctrl-C, and the system's request to stop.

/// Waits until somebody asks the program to stop; tells the exit code for that, which is 128 and the signal's number.
pub(crate) async fn interrupted() -> u8 {
    let control_c = async {
        // Without the signal there is nothing to wait for; the program then ends as the system sees fit.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = control_c => 130,
        () = terminated => 143,
    }
}
