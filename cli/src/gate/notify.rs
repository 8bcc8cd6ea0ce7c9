//! Tells systemd how the service is: the protocol of `sd_notify`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Sends a state, such as `READY=1`, if a service manager asks for it.
pub(crate) fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|from| from.send_to(state.as_bytes(), Path::new(&socket)));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell the service manager {state}");
    }
}
