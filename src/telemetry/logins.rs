//! Events of the level `INFO` about logins. They have their own target, so that a site can disable them: the
//! user's id is personal data.

use crate::site::session_key::SessionKey;

/// How the session of a logged-in user ended.
#[derive(Clone, Copy)]
pub(crate) enum Ended {
    /// By [`Session::flush`](crate::Session::flush) or [`Session::delete`](crate::Session::delete).
    LoggedOut,
    /// By [`auth::verify_user`](crate::auth::verify_user).
    HashDiffers,
}

/// After a login was saved.
pub(crate) fn logged_in(session_key: &SessionKey, user: &str) {
    tracing::info!(target: "cloakroom::auth", session = %session_key.shown(), user, "user logged in");
}

/// After the session was removed from the store.
pub(crate) fn ended(how: Ended, session_key: &SessionKey, user: &str) {
    match how {
        Ended::LoggedOut => {
            tracing::info!(target: "cloakroom::auth", session = %session_key.shown(), user, "user logged out");
        }
        Ended::HashDiffers => tracing::info!(
            target: "cloakroom::auth",
            session = %session_key.shown(),
            user,
            "login ended, as its hash does not fit the user's password; the password was changed, or SECRET_KEY is wrong"
        ),
    }
}

/// After a session was ended from outside of its own request.
pub(crate) fn revoked(session_key: &SessionKey, user: &str) {
    tracing::info!(target: "cloakroom::auth", session = %session_key.shown(), user, "session revoked");
}

/// After a session was ended because its user has too many.
pub(crate) fn over_limit(session_key: &SessionKey, user: &str) {
    let session = session_key.shown();
    tracing::info!(target: "cloakroom::auth", %session, user, "session ended, as its user has more than the limit");
}

/// A login was refused because its user has too many sessions.
pub(crate) fn login_refused(user: &str, limit: usize) {
    tracing::info!(target: "cloakroom::auth", user, limit, "login refused, as its user has as many sessions as the limit");
}
