//! Saving: compare-and-swap, then a retry that replays the changes on data that another request saved
//! meanwhile.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cloakroom_formats::private::StoredExpiry;
use cloakroom_formats::{EXPIRY_KEY, Moment, SessionData};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use super::changes::Changes;
use super::group::{Answer, Failure, Rider};
use super::queue::{Call, Stored, Turn, Waiting};
use super::reload::signed_with_another_secret;
use super::{Inner, Origin, Session, absolute_lifetime};
use crate::events::SessionEventKind;
use crate::login_keys::user_id_in;
use crate::site::boxed::boxed;
use crate::site::error::{Error, StoreError, StoreErrorKind};
use crate::site::session_key::SessionKey;
use crate::site::settings::ConcurrentChanges;
use crate::store::contract::{Created, Record, Rotated, Updated};
use crate::store::loaded::{Content, Version};
use crate::telemetry::{self, Operation, spans};
use crate::user_sessions::limit::Login;

/// The number of new keys to try before the generator is considered broken.
const MAX_KEY_ATTEMPTS: u32 = 8;
/// The limit when the configured one overflows the clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A write to attempt: the data, and the changes that it includes.
pub(super) struct Attempt<C> {
    pub(super) origin: Origin,
    pub(super) session_key: Option<SessionKey>,
    pub(super) data: SessionData,
    pub(super) changes: C,
    /// The number of attempted writes.
    pub(super) writes: u32,
    /// The time after which no further write is attempted.
    pub(super) end: Instant,
}

/// Changes that can be replayed on other data.
pub(super) trait Redo {
    fn redo(&mut self, session: &Session, data: SessionData, writes: u32) -> Result<SessionData, Error>;
}

impl Redo for &Changes {
    fn redo(&mut self, _: &Session, mut data: SessionData, _: u32) -> Result<SessionData, Error> {
        self.replay(&mut data)?;
        Ok(data)
    }
}

/// A successful save: the session as it is now stored.
#[derive(Clone)]
pub(super) struct Saved {
    pub(super) session_key: SessionKey,
    pub(super) version: Version,
    pub(super) data: SessionData,
    /// The version that the write replaced, if it was compared.
    replaced: Option<Version>,
}

/// The work that remains when a save is done and nothing is locked.
struct Done<'a> {
    /// The saved changes, to be dropped.
    changes: Changes,
    /// The outcome of changes that were made during the save.
    redone: Result<(), Error>,
    /// The login that was saved: its session and its user.
    logged_in: Option<(SessionKey, String)>,
    /// The login whose user's sessions are limited, and its session.
    limited: Option<(Login<'a>, SessionKey)>,
}

/// The changes that a save took from its session. Puts them back unless they were saved.
pub(super) struct Unsaved<'a> {
    inner: &'a Inner,
    pub(super) changes: Changes,
    is_late: bool,
    is_login: bool,
    /// The number of the session that the changes belong to, among those that this handle has been.
    number: u32,
    pub(super) is_saved: bool,
}

impl<'a> Unsaved<'a> {
    /// Takes the changes of the session with this number, to make them again on other data.
    pub(super) fn of(inner: &'a Inner, number: u32) -> Unsaved<'a> {
        let mut state = inner.state();
        let changes =
            if state.number == number { std::mem::take(&mut state.changes) } else { Changes::default() };
        Unsaved { inner, changes, is_late: false, is_login: false, number, is_saved: false }
    }
}

impl Drop for Unsaved<'_> {
    fn drop(&mut self) {
        if self.is_saved {
            return;
        }
        let mut state = self.inner.state();
        if state.number == self.number {
            state.changes.prepend(std::mem::take(&mut self.changes));
            state.unsaved = true;
            state.is_late |= self.is_late;
            state.is_login |= self.is_login;
        }
    }
}

/// The outcome of one attempt.
enum WriteOutcome {
    Saved(SessionKey, Version),
    Missing,
    Changed(SessionKey),
    KeyTaken,
}

impl Session {
    /// Writes the session to the store now. The middleware does so after the response was made; call it to be
    /// sure that the data is stored before going on. Django's `save()`.
    ///
    /// After the response's headers were sent, changes by a stream or by a task that outlives the request are
    /// saved only by this call; a warning in the log reports changes that are never saved. No response
    /// carries a key that is new by then. So set a value, or call [`cycle_key`](Session::cycle_key), before
    /// the handler returns.
    ///
    /// Requests of one process that save the same session at the same time share writes. A save takes at most
    /// [`Settings::save_timeout`](crate::Settings::save_timeout) in total, and one store call more.
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
    /// [`Error::Interrupted`] when the session was deleted meanwhile: it is not restored. [`Error::Conflict`]
    /// as the setting `concurrent_changes` says. [`Error::SaveTimedOut`], [`Error::Store`] and
    /// [`Error::Expiry`]. After an error the changes are still there, and the next save retries them. Only
    /// [`Error::TooManySessions`] drops them: a login was refused, and the session is again what is stored.
    pub async fn save(&self) -> Result<(), Error> {
        let Done { changes, redone, logged_in, limited } = self.save_unsaved().await?;
        // Only now, when nothing is locked: closures and listeners are application code.
        drop(changes);
        if let Some((session_key, user_id)) = logged_in {
            let (kind, client) = (SessionEventKind::LoggedIn, self.client());
            self.site().events.tell(kind, Some(&session_key), &user_id, &client);
        }
        if let Some((login, session_key)) = limited {
            Box::pin(self.end_limited_login(login, &session_key)).await?;
        }
        redone
    }

    async fn end_limited_login(&self, login: Login<'_>, session_key: &SessionKey) -> Result<(), Error> {
        let ended = login.end(session_key, &self.client()).await;
        // Another process was faster: the session has been ended.
        if ended.is_err() && self.own_keys().contains(session_key) {
            self.inner.untold.store(false, Ordering::Relaxed);
            self.go_back(&Origin::New).await;
        }
        ended
    }

    async fn save_unsaved(&self) -> Result<Done<'_>, Error> {
        let limit = self.settings().save_timeout;
        let end = Instant::now().checked_add(limit).unwrap_or_else(|| Instant::now() + LONGEST);
        let busy = match self.inner.busy.try_lock() {
            Ok(busy) => busy,
            Err(_) => {
                let locked = Box::pin(in_time(end, self.inner.busy.lock()));
                locked.await.ok_or_else(|| self.timed_out(0))?
            }
        };
        let start = self.start_to_mark();
        let (mut unsaved, origin, session_key, data) = {
            let mut state = self.inner.state();
            state.mark_start(start);
            let unsaved = Unsaved {
                inner: &self.inner,
                changes: std::mem::take(&mut state.changes),
                is_late: std::mem::take(&mut state.is_late),
                is_login: std::mem::take(&mut state.is_login),
                number: state.number,
                is_saved: false,
            };
            state.unsaved = false;
            (unsaved, state.origin.clone(), state.session_key.clone(), state.data.clone())
        };
        let login = match self.begin_limited_login(&data, &origin, end).await {
            Err(error @ Error::TooManySessions { .. }) => {
                unsaved.is_saved = true;
                Box::pin(self.go_back(&origin)).await;
                // Listeners are told when nothing is locked.
                drop((unsaved, busy));
                let user_id = user_id_in(&data).ok().flatten().unwrap_or_default();
                let kind = SessionEventKind::LoginRefused;
                self.site().events.tell(kind, None, &user_id, &self.client());
                return Err(error);
            }
            begun => begun?,
        };
        let reported_key = session_key.clone();
        let mut attempt =
            Attempt { origin: origin.clone(), session_key, data, changes: &unsaved.changes, writes: 0, end };
        let span = spans::save(&*self.site().store);
        let saved = boxed(|| self.save_in_turn(&mut attempt)).instrument(span.clone()).await;
        let writes = attempt.writes;
        let (before, loaded) = match &origin {
            Origin::Stored(session_key, version) => (Some(session_key), Some(version)),
            _ => (None, None),
        };
        spans::saved(&span, writes, before, saved.as_ref().map(|saved| &saved.session_key));
        match &saved {
            Ok(saved) if saved.replaced.as_ref() != loaded => telemetry::merged(writes.saturating_sub(1)),
            Ok(_) => {}
            Err(Error::Interrupted) => telemetry::interrupted(),
            Err(Error::Conflict { .. } | Error::SaveTimedOut { .. }) => telemetry::refused(writes),
            Err(_) => {}
        }
        let saved = saved?;
        let saved_changes = std::mem::take(&mut unsaved.changes);
        let limited = login.map(|login| (login.saved(), saved.session_key.clone()));
        let (redone, logged_in) = self.take_over(saved, unsaved, before, reported_key);
        Ok(Done { changes: saved_changes, redone, logged_in, limited })
    }

    /// Takes over the stored data. Changes made during the save are applied on top and remain unsaved.
    fn take_over(
        &self,
        saved: Saved,
        mut unsaved: Unsaved<'_>,
        before: Option<&SessionKey>,
        reported_key: Option<SessionKey>,
    ) -> (Result<(), Error>, Option<(SessionKey, String)>) {
        let Saved { session_key, version, mut data, .. } = saved;
        let is_new = before != Some(&session_key);
        let new_key = is_new.then(|| session_key.clone());
        if is_new {
            before.into_iter().for_each(|before| self.note_left_key(before));
            self.inner.untold.store(true, Ordering::Relaxed);
        }
        self.note_stored(&data);
        let user_id = if unsaved.is_login { user_id_in(&data).ok().flatten() } else { None };
        let logged_in = user_id.map(|user_id| (session_key.clone(), user_id));
        let mut redone = Ok(());
        let is_finished = loop {
            let newer = {
                let mut state = self.inner.state();
                if state.number != unsaved.number {
                    // A new session has begun here meanwhile.
                    break false;
                }
                if state.changes.is_empty() {
                    state.changes = std::mem::take(&mut unsaved.changes);
                    state.data = data;
                    // The cookie is the saved session, so it is sent, as by Django's `signed_cookies`.
                    state.modified |= self.site().store.keeps_data_in_cookie();
                    // Unless the key was cycled again meanwhile.
                    if state.session_key == reported_key {
                        state.session_key = Some(session_key.clone());
                    }
                    state.origin = Origin::Stored(session_key, version);
                    state.expire_date = None;
                    break state.is_finished;
                }
                std::mem::take(&mut state.changes)
            };
            // Unlocked, because closures may use the session. Changes that they make are newer still.
            let first = unsaved.changes.append(newer);
            redone = redone.and(unsaved.changes.replay_from(first, &mut data));
        };
        unsaved.is_saved = true;
        // Only now, when whoever begins to watch through this handle sees the new key.
        if let Some(new_key) = new_key {
            self.site().events.watchers.moved(before, &new_key, self.handle());
        }
        if is_finished && is_new {
            self.site().warnings.key_without_response(self.now());
        }
        (redone, logged_in)
    }

    /// Saves if there are unsaved changes, or if `prolong` is set.
    pub(crate) async fn save_if_needed(&self, prolong: bool) -> Result<(), Error> {
        let unsaved = self.inner.state().unsaved;
        if unsaved || prolong { self.save().await } else { Ok(()) }
    }

    /// Saves after earlier requests, and together with concurrent ones.
    async fn save_in_turn(&self, attempt: &mut Attempt<&Changes>) -> Result<Saved, Error> {
        let Origin::Stored(stored_key, version) = attempt.origin.clone() else {
            return self.save_with_retries(attempt).await;
        };
        let merges = self.settings().concurrent_changes == ConcurrentChanges::Merge;
        if !merges || self.site().store.keeps_data_in_cookie() {
            return self.save_with_retries(attempt).await;
        }
        let mut turn = match self.site().queues.begin(&stored_key) {
            Some(turn) => turn,
            None => match Box::pin(self.wait_for_turn(attempt, &stored_key)).await? {
                Waited::Turn(turn) => turn,
                Waited::Saved(saved) => return Ok(saved),
            },
        };
        if let Some(stored) = turn.stored().filter(|stored| stored.version != version) {
            attempt.origin = Origin::Stored(stored_key.clone(), stored.version);
            self.redo(attempt, stored.data)?;
        }
        let saved = self.save_with_retries(attempt).await?;
        if saved.session_key == stored_key {
            turn.end(|| Stored { data: saved.data.clone(), version: saved.version.clone() });
        }
        Ok(saved)
    }

    async fn wait_for_turn(
        &self,
        attempt: &mut Attempt<&Changes>,
        stored_key: &SessionKey,
    ) -> Result<Waited, Error> {
        let (answer, answered) = oneshot::channel();
        let rider = (attempt.session_key.as_ref() == Some(stored_key)).then(|| Rider {
            session: self.clone(),
            changes: attempt.changes.clone(),
            end: attempt.end,
            answer,
        });
        let (called, call) = oneshot::channel();
        if let Some(turn) = self.site().queues.wait(stored_key, Waiting { rider, called }) {
            return Ok(Waited::Turn(turn));
        }
        let waited = async {
            match call.await {
                Ok(Call::Alone(turn)) => Some(Err(turn)),
                Ok(Call::Together(group)) => Some(Ok(group.ride(answered).await)),
                Err(_) => None,
            }
        };
        match in_time(attempt.end, waited).await {
            Some(Some(Err(turn))) => Ok(Waited::Turn(turn)),
            Some(Some(Ok(Answer { writes, outcome }))) => {
                attempt.writes = writes;
                match outcome {
                    Ok(saved) => Ok(Waited::Saved(saved)),
                    Err(Failure::Error(error)) => Err(error),
                    Err(Failure::Panic(panic)) => resume_unwind(panic),
                }
            }
            Some(None) | None => Err(self.timed_out(attempt.writes)),
        }
    }

    pub(super) async fn save_with_retries<C: Redo>(&self, attempt: &mut Attempt<C>) -> Result<Saved, Error> {
        let (mut saves, mut keys) = (0, 0);
        loop {
            attempt.writes += 1;
            match self.save_once(attempt).await? {
                WriteOutcome::Saved(mut session_key, version) => {
                    if self.site().store.keeps_data_in_cookie() {
                        session_key = SessionKey::from_trusted(self.cookie_of(&version)?);
                    }
                    let replaced = match &attempt.origin {
                        Origin::Stored(_, version) => Some(version.clone()),
                        _ => None,
                    };
                    let data = std::mem::take(&mut attempt.data);
                    return Ok(Saved { session_key, version, data, replaced });
                }
                WriteOutcome::Missing => return Err(Error::Interrupted),
                WriteOutcome::KeyTaken => {
                    keys += 1;
                    if keys >= MAX_KEY_ATTEMPTS {
                        return Err(Error::KeysTaken { attempts: keys });
                    }
                    attempt.session_key = Some(self.site().keys.generate()?);
                }
                WriteOutcome::Changed(session_key) => {
                    saves += 1;
                    if self.settings().concurrent_changes == ConcurrentChanges::Reject {
                        return Err(Error::Conflict { attempts: saves });
                    }
                    if Instant::now() >= attempt.end {
                        return Err(self.timed_out(saves));
                    }
                    telemetry::retried();
                    Box::pin(back_off(saves)).await;
                    Box::pin(self.rebase(attempt, session_key)).await?;
                }
            }
        }
    }

    /// The cookie's value, from a store that keeps the data there.
    fn cookie_of<'a>(&self, version: &'a Version) -> Result<&'a str, StoreError> {
        str::from_utf8(version.as_bytes().unwrap_or_default()).map_err(|_| {
            let message = "the session is not text, and a cookie carries nothing else; nothing was sent";
            StoreError::new(self.site().store.name(), StoreErrorKind::Refused, message)
        })
    }

    /// Loads the data that another request saved, and replays this request's changes on it.
    pub(super) async fn rebase<C: Redo>(
        &self,
        attempt: &mut Attempt<C>,
        session_key: SessionKey,
    ) -> Result<(), Error> {
        let loading = self.site().store.load_for_update(&session_key, self.now());
        let loaded = telemetry::call(Operation::Load, loading).await?;
        let Some(loaded) = loaded else { return Err(Error::Interrupted) };
        let Content::Genuine(data) = loaded.content else {
            return Err(signed_with_another_secret(&*self.site().store));
        };
        attempt.origin = Origin::Stored(session_key, loaded.version);
        self.redo(attempt, data)
    }

    pub(super) fn redo<C: Redo>(&self, attempt: &mut Attempt<C>, data: SessionData) -> Result<(), Error> {
        attempt.data = attempt.changes.redo(self, data, attempt.writes)?;
        Ok(())
    }

    async fn save_once<C: Redo>(&self, attempt: &Attempt<C>) -> Result<WriteOutcome, Error> {
        let store = &self.site().store;
        let now = self.now();
        let record = Record { data: &attempt.data, expire_date: self.expire_date(&attempt.data, now)?, now };
        let last_write_wins = self.settings().concurrent_changes == ConcurrentChanges::LastWriteWins;
        match &attempt.origin {
            Origin::Stored(stored_key, version) => {
                let expected = (!last_write_wins).then_some(version);
                let new_key = attempt.session_key.as_ref().filter(|session_key| *session_key != stored_key);
                if let Some(new_key) = new_key {
                    self.record_login(&attempt.data, new_key, Some(stored_key)).await?;
                    // Noted before the move, so that a request that no longer finds the old key can find the
                    // new one.
                    self.site().moves.note(stored_key, new_key, now);
                    let rotating = store.rotate(stored_key, expected, new_key, record);
                    let outcome = match telemetry::call(Operation::Save, rotating).await? {
                        Rotated::Rotated(version) => {
                            return Ok(WriteOutcome::Saved(new_key.clone(), version));
                        }
                        Rotated::Missing => WriteOutcome::Missing,
                        Rotated::Changed => WriteOutcome::Changed(stored_key.clone()),
                        Rotated::KeyTaken => WriteOutcome::KeyTaken,
                    };
                    self.site().moves.forget(stored_key, new_key);
                    return Ok(outcome);
                }
                self.record_login_again(&attempt.data, stored_key).await;
                let updating = store.update(stored_key, expected, record);
                Ok(match telemetry::call(Operation::Save, updating).await? {
                    Updated::Updated(version) => WriteOutcome::Saved(stored_key.clone(), version),
                    Updated::Missing => WriteOutcome::Missing,
                    Updated::Changed => WriteOutcome::Changed(stored_key.clone()),
                })
            }
            origin => {
                // A new session's reported key was generated here; that of a session that is not genuine was
                // not.
                let own_key = attempt.session_key.clone().filter(|_| !matches!(origin, Origin::NotGenuine));
                let session_key = match own_key {
                    Some(session_key) => session_key,
                    // The cookie replaces it.
                    None if store.keeps_data_in_cookie() => SessionKey::from_trusted(""),
                    None => self.site().keys.generate()?,
                };
                self.record_login(&attempt.data, &session_key, None).await?;
                let creating = store.create(&session_key, record);
                Ok(match telemetry::call(Operation::Save, creating).await? {
                    Created::Created(version) => WriteOutcome::Saved(session_key, version),
                    Created::KeyTaken => WriteOutcome::KeyTaken,
                })
            }
        }
    }

    pub(super) fn expire_date(&self, data: &SessionData, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let settings = self.settings();
        let modification = Moment::at(now, settings.time_zone);
        let end = StoredExpiry::read(data.get(EXPIRY_KEY)).date(modification, settings.cookie_age)?;
        let end = end.to_utc(settings.time_zone)?;
        Ok(absolute_lifetime::end(data, settings, now).map_or(end, |last| last.min(end)))
    }

    pub(super) fn timed_out(&self, attempts: u32) -> Error {
        Error::SaveTimedOut { limit: self.settings().save_timeout, attempts }
    }
}

/// The outcome of waiting for a turn.
enum Waited {
    Turn(Turn),
    Saved(Saved),
}

/// Waits at most until `end`. Outside of a runtime there are no timers, so it waits without a limit.
pub(super) async fn in_time<T>(end: Instant, future: impl Future<Output = T>) -> Option<T> {
    match Handle::try_current() {
        Ok(_) => tokio::time::timeout_at(end, future).await.ok(),
        Err(_) => Some(future.await),
    }
}

/// Waits before the next attempt: first not at all, then a random time that grows to 16 ms.
async fn back_off(attempts: u32) {
    if attempts < 2 {
        return tokio::task::yield_now().await;
    }
    let limit = 1_000u64 << attempts.min(4);
    let mut random = [0; 8];
    // Without random bytes all requests wait equally long, which is only slower.
    let _ = getrandom::fill(&mut random);
    let pause = Duration::from_micros(u64::from_ne_bytes(random) % limit);
    match Handle::try_current() {
        Ok(_) => tokio::time::sleep(pause).await,
        // Outside of a runtime there are no timers: a thread that drives the future itself waits itself.
        Err(_) => std::thread::sleep(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, Settings};

    #[test]
    fn a_cookie_carries_nothing_but_text() {
        let session = Session::new(std::sync::Arc::new(MemoryStore::new()), Settings::new("secret"));
        assert_eq!(session.cookie_of(&Version::from_bytes(*b"eyJ9:1")).unwrap(), "eyJ9:1");
        let error = session.cookie_of(&Version::from_bytes([0xff])).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
    }
}
