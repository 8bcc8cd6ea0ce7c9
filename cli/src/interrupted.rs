//! Ctrl-C, and the system's request to stop.

use std::sync::atomic::{AtomicU8, Ordering};

/// The exit code for the signal that asked the program to stop, or 0.
static ASKED: AtomicU8 = AtomicU8::new(0);

/// Waits until the program is asked to stop; returns the exit code for that, which is 128 plus the signal's
/// number.
pub(crate) async fn interrupted() -> u8 {
    let control_c = async {
        // Without the signal there is nothing to wait for; the system then ends the program.
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
    let code = tokio::select! {
        () = control_c => 130,
        () = terminated => 143,
    };
    ASKED.store(code, Ordering::Relaxed);
    code
}

/// The exit code to end with, once the program was asked to stop. Long work checks it between its batches,
/// stops there, reports its work so far, and returns
/// [`Ending::Interrupted`](crate::ending::Ending::Interrupted) with this code.
pub(crate) fn asked_to_stop() -> Option<u8> {
    Some(ASKED.load(Ordering::Relaxed)).filter(|code| *code != 0)
}
