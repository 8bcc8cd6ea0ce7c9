//! Saving: compare and swap, and the changes again on top of what another request saved meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::Instrument;

use super::changes::Changes;
use super::{Inner, Origin, Session, absolute_age};
use crate::error::Error;
use crate::expiry::{EXPIRY_KEY, Moment, StoredExpiry};
use crate::observe::{self, Operation, spans};
use crate::session_data::SessionData;
use crate::session_key::SessionKey;
use crate::settings::ConcurrentChanges;
use crate::store::{Created, Record, Rotated, Updated, Version};

/// How many new keys are tried before the generator is taken for broken.
const MAX_KEY_ATTEMPTS: u32 = 8;

/// What one attempt at saving starts from. Puts the changes back when saving fails or is cancelled.
struct Attempt<'a> {
    inner: &'a Inner,
    origin: Origin,
    session_key: Option<SessionKey>,
    data: SessionData,
    changes: Changes,
    /// How many writes were tried.
    writes: u32,
    saved: bool,
}

impl Attempt<'_> {
    /// The key under which the session is in the store.
    fn stored_key(&self) -> Option<&SessionKey> {
        match &self.origin {
            Origin::Stored(session_key, _) => Some(session_key),
            _ => None,
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.saved {
            let mut state = self.inner.state();
            state.changes.prepend(std::mem::take(&mut self.changes));
            state.unsaved = true;
        }
    }
}

/// What came of one attempt.
enum Outcome {
    Saved(SessionKey, Version),
    Missing,
    Changed(SessionKey),
    KeyTaken,
}

impl Session {
    /// Writes the session to the store now. The middleware does so after the response was made; call it to be
    /// sure that the data is stored before going on. Django's `save()`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{MemoryStore, Session, Settings};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("visits", 1)?;
    /// session.save().await?;
    /// assert!(session.exists(&session.session_key().unwrap()).await?);
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the session was deleted meanwhile: it is not brought back.
    /// [`Error::Conflict`] as the settings' `concurrent_changes` say. [`Error::Store`] and [`Error::Expiry`].
    pub async fn save(&self) -> Result<(), Error> {
        let _busy = self.inner.busy.lock().await;
        let mut attempt = {
            let mut state = self.inner.state();
            state.mark_start(self.settings(), &*self.site().clock);
            state.unsaved = false;
            Attempt {
                inner: &self.inner,
                origin: state.origin.clone(),
                session_key: state.session_key.clone(),
                data: state.data.clone(),
                changes: std::mem::take(&mut state.changes),
                writes: 0,
                saved: false,
            }
        };
        let reported_key = attempt.session_key.clone();
        let span = spans::save(&*self.site().store);
        let saved = self.save_with_retries(&mut attempt).instrument(span.clone()).await;
        spans::saved(&span, attempt.writes, attempt.stored_key(), saved.as_ref().map(|(key, _)| key));
        let (mut session_key, version) = saved?;
        attempt.saved = true;
        if self.site().store.keeps_data_in_cookie() {
            let cookie = version.as_bytes().map(String::from_utf8_lossy).unwrap_or_default();
            session_key = SessionKey::from_trusted(cookie.as_ref());
        }
        let stored_key = attempt.stored_key();
        if stored_key != Some(&session_key) {
            stored_key.into_iter().for_each(|stored_key| self.has_left(stored_key));
            self.inner.untold.store(true, Ordering::Relaxed);
        }
        self.is_stored(&attempt.data);
        let mut guard = self.inner.state();
        let state = &mut *guard;
        // The cookie is what was saved, so it is sent, as by Django's `signed_cookies`.
        state.modified |= self.site().store.keeps_data_in_cookie();
        // What was changed while saving is still to be saved, on top of what is stored now.
        state.data = std::mem::take(&mut attempt.data);
        state.changes.replay(&mut state.data)?;
        // Unless the key was cycled once more meanwhile.
        if state.session_key == reported_key {
            state.session_key = Some(session_key.clone());
        }
        state.origin = Origin::Stored(session_key, version);
        Ok(())
    }

    /// Saves if anything is not saved yet, or if `prolong`ing was asked for.
    pub(crate) async fn save_if_needed(&self, prolong: bool) -> Result<(), Error> {
        let unsaved = self.inner.state().unsaved;
        if unsaved || prolong { self.save().await } else { Ok(()) }
    }

    async fn save_with_retries(&self, attempt: &mut Attempt<'_>) -> Result<(SessionKey, Version), Error> {
        let settings = self.settings();
        let (mut saves, mut keys) = (0, 0);
        loop {
            attempt.writes += 1;
            match self.save_once(attempt).await? {
                Outcome::Saved(session_key, version) => {
                    if saves > 0 {
                        observe::merged(saves);
                    }
                    return Ok((session_key, version));
                }
                Outcome::Missing => {
                    observe::interrupted();
                    return Err(Error::Interrupted);
                }
                Outcome::KeyTaken => {
                    keys += 1;
                    if keys >= MAX_KEY_ATTEMPTS {
                        return Err(Error::KeysTaken { attempts: keys });
                    }
                    attempt.session_key = Some(self.site().keys.generate()?);
                }
                Outcome::Changed(session_key) => {
                    saves += 1;
                    if settings.concurrent_changes == ConcurrentChanges::Reject
                        || saves >= settings.max_save_attempts
                    {
                        observe::refused(saves);
                        return Err(Error::Conflict { attempts: saves });
                    }
                    observe::retried();
                    back_off(saves).await;
                    self.rebase(attempt, session_key).await?;
                }
            }
        }
    }

    /// Loads what another request saved, and puts this request's changes on top.
    async fn rebase(&self, attempt: &mut Attempt<'_>, session_key: SessionKey) -> Result<(), Error> {
        let loading = self.site().store.load_for_update(&session_key, self.now());
        let loaded = observe::call(Operation::Load, loading).await?;
        let Some(loaded) = loaded.filter(|loaded| loaded.genuine) else {
            observe::interrupted();
            return Err(Error::Interrupted);
        };
        attempt.data = loaded.data;
        attempt.changes.replay(&mut attempt.data)?;
        attempt.origin = Origin::Stored(session_key, loaded.version);
        Ok(())
    }

    async fn save_once(&self, attempt: &Attempt<'_>) -> Result<Outcome, Error> {
        let store = &self.site().store;
        let now = self.now();
        let record = Record { data: &attempt.data, expire_date: self.expire_date(&attempt.data, now)?, now };
        let last_write_wins = self.settings().concurrent_changes == ConcurrentChanges::LastWriteWins;
        match &attempt.origin {
            Origin::Stored(stored_key, version) => {
                let expected = (!last_write_wins).then_some(version);
                let new_key = attempt.session_key.as_ref().filter(|session_key| *session_key != stored_key);
                if let Some(new_key) = new_key {
                    self.see_user(&attempt.data, new_key, Some(stored_key)).await?;
                    let rotating = store.rotate(stored_key, expected, new_key, record);
                    return Ok(match observe::call(Operation::Save, rotating).await? {
                        Rotated::Rotated(version) => Outcome::Saved(new_key.clone(), version),
                        Rotated::Missing => Outcome::Missing,
                        Rotated::Changed => Outcome::Changed(stored_key.clone()),
                        Rotated::KeyTaken => Outcome::KeyTaken,
                    });
                }
                self.see_user_again(&attempt.data, stored_key).await;
                let updating = store.update(stored_key, expected, record);
                Ok(match observe::call(Operation::Save, updating).await? {
                    Updated::Updated(version) => Outcome::Saved(stored_key.clone(), version),
                    Updated::Missing => Outcome::Missing,
                    Updated::Changed => Outcome::Changed(stored_key.clone()),
                })
            }
            origin => {
                // A key reported for a new session was made here; that of a session which is not genuine was not.
                let own_key = attempt.session_key.clone().filter(|_| !matches!(origin, Origin::NotGenuine));
                let session_key = match own_key {
                    Some(session_key) => session_key,
                    None => self.site().keys.generate()?,
                };
                self.see_user(&attempt.data, &session_key, None).await?;
                let creating = store.create(&session_key, record);
                Ok(match observe::call(Operation::Save, creating).await? {
                    Created::Created(version) => Outcome::Saved(session_key, version),
                    Created::KeyTaken => Outcome::KeyTaken,
                })
            }
        }
    }

    fn expire_date(&self, data: &SessionData, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let settings = self.settings();
        let modification = Moment::at(now, settings.time_zone);
        let end = StoredExpiry::read(data.get(EXPIRY_KEY)).date(modification, settings)?;
        let end = end.to_utc(settings.time_zone)?;
        Ok(absolute_age::end(data, settings, now).map_or(end, |last| last.min(end)))
    }
}

/// Waits before the next attempt: not at all at first, then a random time that grows to 16 ms.
async fn back_off(attempts: u32) {
    if attempts < 2 {
        return tokio::task::yield_now().await;
    }
    let limit = 1_000u64 << attempts.min(4);
    let mut random = [0; 8];
    // Without random bytes everybody waits equally long, which is only slower.
    let _ = getrandom::fill(&mut random);
    tokio::time::sleep(Duration::from_micros(u64::from_ne_bytes(random) % limit)).await;
}
