//! Extends a session that was only read: [`Settings::renew_after`](crate::Settings::renew_after).

use chrono::TimeDelta;

use super::{LazySession, Origin, Session};
use crate::site::error::Error;
use crate::site::session_key::SessionKey;
use crate::store::contract::{Record, Touched};
use crate::telemetry::{self, Operation};

/// What a renewal must gain.
const SHORTEST: TimeDelta = TimeDelta::milliseconds(100);
/// A renewal concerns no user.
const NO_USER: &str = "";

impl LazySession {
    /// Whether this stored session was loaded, and was last saved or extended at least this long ago.
    pub(crate) fn renewal_is_due(&self, after: TimeDelta) -> bool {
        let Some(session) = self.loaded() else { return false };
        let now = session.now();
        let state = self.inner.state();
        let Origin::Stored(session_key, _) = &state.origin else { return false };
        // An invalid expiry stays for the application to repair.
        let Ok(end) = session.expire_date(&state.data, now) else { return false };
        // A session with a shorter idle timeout of its own would end before it is renewed.
        let after = after.min((end - now) / 2);
        match state.expire_date {
            // A fixed moment, or the end of the absolute lifetime, does not move.
            Some(expire_date) => end - expire_date >= after.max(SHORTEST),
            // A store that does not know it, such as Redis: once in each process.
            None => !session.site().renewals.is_recent(NO_USER, session_key, now, after),
        }
    }

    /// Notes that the session was saved or extended now.
    pub(crate) fn note_renewal(&self, session_key: &SessionKey, after: TimeDelta) {
        let site = self.site();
        site.renewals.note(NO_USER, session_key, site.clock.now(), after);
    }
}

impl Session {
    /// Gives the stored session the expiry that a save would give it, without writing its data where the store
    /// can.
    pub(crate) async fn renew(&self) -> Result<Touched, Error> {
        let (origin, data) = {
            let state = self.inner.state();
            (state.origin.clone(), state.data.clone())
        };
        let Origin::Stored(session_key, version) = origin else { return Ok(Touched::Stale) };
        let now = self.now();
        let record = Record { data: &data, expire_date: self.expire_date(&data, now)?, now };
        let touching = self.site().store.touch(&session_key, &version, record);
        Ok(telemetry::call(Operation::Touch, touching).await?)
    }
}
