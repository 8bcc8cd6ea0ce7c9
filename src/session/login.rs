//! Tracks a session's login, for the log.

use std::sync::atomic::Ordering;

use super::{LazySession, Session, State};
use crate::login_keys::user_id_in;

impl Session {
    /// Asks the CSRF layer around, if there is one, for a new secret.
    pub(crate) fn ask_for_new_csrf_secret(&self) {
        self.inner.needs_csrf_secret.store(true, Ordering::Relaxed);
    }

    /// Notes that a user logged in; the log reports it once the session is saved.
    pub(crate) fn note_login(&self) {
        self.inner.state().is_login = true;
    }
}

impl LazySession {
    /// Whether a login asked for a new CSRF secret. Clears the mark.
    pub(crate) fn take_need_of_csrf_secret(&self) -> bool {
        self.inner.needs_csrf_secret.load(Ordering::Relaxed)
            && self.inner.needs_csrf_secret.swap(false, Ordering::Relaxed)
    }
}

impl State {
    /// The user who is logged in in the stored session. A login that was not saved does not count.
    pub(super) fn stored_user(&self) -> Option<String> {
        if self.is_login { None } else { user_id_in(&self.data).ok().flatten() }
    }
}
