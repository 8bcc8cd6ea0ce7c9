//! Tracks a session's login, for the log.

use super::{Session, State};
use crate::login_keys::user_id_in;

impl Session {
    /// Notes that a user logged in; the log reports it once the session is saved.
    pub(crate) fn note_login(&self) {
        self.inner.state().is_login = true;
    }
}

impl State {
    /// The user who is logged in in the stored session. A login that was not saved does not count.
    pub(super) fn stored_user(&self) -> Option<String> {
        if self.is_login { None } else { user_id_in(&self.data).ok().flatten() }
    }
}
