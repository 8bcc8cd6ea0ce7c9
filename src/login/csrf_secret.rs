//! The secret of CSRF tokens, which a login changes.

use cloakroom_formats::csrf::Secret;

use crate::session::Session;
use crate::site::error::Error;

/// The session key of the secret, with `CSRF_USE_SESSIONS`. Django's `CSRF_SESSION_KEY`.
pub(crate) const CSRF_SESSION_KEY: &str = "_csrftoken";

/// Makes a secret, or a mask.
pub(crate) fn random_secret() -> Result<Secret, Error> {
    loop {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
        if let Some(secret) = Secret::from_random_bytes(&bytes) {
            return Ok(secret);
        }
    }
}

/// Changes the secret at a login, as Django's `rotate_token`: in the session if it is there, and in the
/// cookie through the CSRF layer.
pub(crate) fn rotate(session: &Session) -> Result<(), Error> {
    session.ask_for_new_csrf_secret();
    if session.contains_key(CSRF_SESSION_KEY) {
        session.set(CSRF_SESSION_KEY, random_secret()?.as_str())?;
    }
    Ok(())
}
