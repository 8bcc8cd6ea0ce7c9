//! Events of the level `INFO` about logins. They have their own target, so that a site can disable them: the
//! user's id is personal data.

use crate::site::session_key::SessionKey;

/// After a login was saved.
pub(crate) fn logged_in(session_key: &SessionKey, user: &str) {
    tracing::info!(target: "cloakroom::auth", session = %session_key.shown(), user, "user logged in");
}

/// After the session was removed from the store by its own request.
pub(crate) fn logged_out(session_key: &SessionKey, user: &str) {
    tracing::info!(target: "cloakroom::auth", session = %session_key.shown(), user, "user logged out");
}

/// After [`auth::verify_user`](crate::auth::verify_user) removed the session from the store.
pub(crate) fn hash_differs(session_key: &SessionKey, user: &str) {
    tracing::info!(
        target: "cloakroom::auth",
        session = %session_key.shown(),
        user,
        "login ended, as its hash does not fit the user's password; the password was changed, or SECRET_KEY is wrong"
    );
}

/// After a session was ended from outside of its own request.
pub(crate) fn revoked(session_key: &SessionKey, user: &str) {
    tracing::info!(target: "cloakroom::auth", session = %session_key.shown(), user, "session revoked");
}

/// After a session was ended because its user has too many.
pub(crate) fn over_limit(session_key: &SessionKey, user: &str) {
    tracing::info!(
        target: "cloakroom::auth",
        session = %session_key.shown(),
        user,
        "session ended, as its user has more than the limit"
    );
}

/// After a login was refused because its user has too many sessions.
pub(crate) fn login_refused(user: &str) {
    tracing::info!(target: "cloakroom::auth", user, "login refused, as its user has as many sessions as the limit");
}
