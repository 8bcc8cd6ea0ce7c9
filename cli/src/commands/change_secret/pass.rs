//! One pass over the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Content, Listed, Loaded, Record, StoreUrlParts, Updated};
use cloakroom::{
    Clock, SessionCodec, SessionData, SessionKey, SessionStore, StoreErrorKind, SystemClock, auth,
};
use futures_util::{StreamExt, stream};

use super::report::{Reason, Seen};
use crate::sessions::cache_in_front;
use crate::sessions::logins::{Login, Logins};
use crate::sessions::walk::Walk;
use crate::site::Site;

/// How many sessions are processed concurrently: stores serve many at once.
const AT_ONCE: usize = 64;
/// The number of attempts for a session that changes meanwhile.
const ATTEMPTS: u32 = 8;

pub(super) struct Change {
    store: Arc<dyn SessionStore>,
    /// The rows of a `cached_db:`, whose versions are the signed texts; for other stores the store itself.
    rows: Arc<dyn SessionStore>,
    /// The copies of a `cached_db:`.
    copies: Option<Copies>,
    codec: SessionCodec,
    logins: Logins,
    dry_run: bool,
}

/// The cache of a `cached_db:` store, from which Django answers.
struct Copies {
    cache: Option<Arc<dyn SessionStore>>,
    /// Set when the cache has failed: it is skipped for the rest of this pass, because each session would
    /// wait for it.
    has_failed: AtomicBool,
}

/// A session's state in the cache.
#[derive(PartialEq, Eq)]
enum Copy {
    /// No copy, or one that matches the row.
    Right,
    Renewed,
    /// The cache does not answer.
    Unknown,
}

/// The outcome for one session.
#[derive(Default)]
struct SessionResult {
    signed_anew: bool,
    renewed: bool,
    copy_renewed: bool,
    login: Option<Login>,
    left: Option<Reason>,
    /// The session ended meanwhile.
    ended: bool,
}

impl SessionResult {
    fn left(reason: Reason) -> SessionResult {
        SessionResult { left: Some(reason), ..SessionResult::default() }
    }
}

impl Change {
    pub(super) async fn begin(site: &Site, logins: Logins, dry_run: bool) -> anyhow::Result<Change> {
        let store = site.connect_to_read().await?;
        let url = site.url()?;
        let (rows, copies) = match url.parts()? {
            StoreUrlParts::CachedDb { database, .. } => {
                (site.connect_to(&database).await?, Some(Copies::of(site).await?))
            }
            _ => (Arc::clone(&store), None),
        };
        let codec = SessionCodec::new(site.settings()?);
        Ok(Change { store, rows, copies, codec, logins, dry_run })
    }

    pub(super) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Processes all sessions, and counts each one's outcome in `seen`.
    pub(super) async fn pass(&self, seen: &mut Seen) -> anyhow::Result<()> {
        let now = SystemClock.now();
        if let Some(copies) = &self.copies {
            copies.has_failed.store(copies.cache.is_none(), Ordering::Relaxed);
        }
        let mut walk = Walk::begin(&*self.rows, now, "looked at").await?;
        while let Some(page) = walk.next().await? {
            seen.listed += page.len() as u64;
            let live: Vec<Listed> = page.into_iter().filter(|listed| !listed.is_expired(now)).collect();
            let empty = SessionData::new();
            let data = live.iter().map(|listed| {
                listed.session.as_ref().ok().and_then(|loaded| loaded.data()).unwrap_or(&empty)
            });
            let logins = self.logins.look(&data.collect::<Vec<_>>()).await?;
            let has_failed = AtomicBool::new(false);
            let mut outcomes = stream::iter(live.into_iter().zip(logins))
                .map(async |(listed, login)| {
                    // Each of them would wait for the failed store.
                    let begins = !has_failed.load(Ordering::Relaxed);
                    if begins { Some((listed.expire_date, self.one(listed, login).await)) } else { None }
                })
                .buffer_unordered(AT_ONCE);
            // Waits for everything in progress, so that the report is complete.
            let mut failed = Ok(());
            while let Some(outcome) = outcomes.next().await {
                match outcome {
                    Some((expire_date, Ok(outcome))) => count(seen, &outcome, expire_date),
                    Some((_, Err(error))) => {
                        has_failed.store(true, Ordering::Relaxed);
                        failed = failed.and(Err(error));
                    }
                    None => {}
                }
            }
            failed?;
        }
        Ok(())
    }

    /// Updates one session to the new secret; fails when the store does.
    async fn one(&self, listed: Listed, login: Login) -> anyhow::Result<SessionResult> {
        let Listed { session_key, mut expire_date, session } = listed;
        let Ok(mut loaded) = session else { return Ok(SessionResult::left(Reason::Unreadable)) };
        let mut login = login;
        for _ in 0..ATTEMPTS {
            let is_of_old_secret = self.is_signed_with_old_secret(&loaded);
            let Content::Genuine(mut data) = loaded.content else {
                return Ok(SessionResult::left(Reason::NotGenuine));
            };
            let new_hash = match &login {
                Login::Under { secret: 1.., now } => Some(now.clone()),
                _ => None,
            };
            let (signed_anew, renewed) = (is_of_old_secret, new_hash.is_some());
            if !signed_anew && !renewed {
                let is_login = matches!(login, Login::Under { .. });
                let copy = if is_login { self.copy(&session_key, &data).await? } else { Copy::Right };
                return Ok(SessionResult {
                    copy_renewed: copy == Copy::Renewed,
                    left: (copy == Copy::Unknown).then_some(Reason::CacheFailed),
                    login: Some(login),
                    ..SessionResult::default()
                });
            }
            if self.dry_run {
                return Ok(SessionResult {
                    signed_anew,
                    renewed,
                    login: Some(login),
                    ..SessionResult::default()
                });
            }
            if let Some(hash) = &new_hash {
                data.write(auth::HASH_SESSION_KEY, hash)?;
            }
            let now = SystemClock.now();
            let record = Record { data: &data, expire_date: expire_date.unwrap_or_else(last_date), now };
            match self.rows.update(&session_key, Some(&loaded.version), record).await {
                Ok(Updated::Updated(_)) => {
                    // If the text was only signed again, the copy is still right.
                    let copy = if renewed { self.copy(&session_key, &data).await? } else { Copy::Right };
                    let left = (copy == Copy::Unknown).then_some(Reason::CacheFailed);
                    return Ok(SessionResult {
                        signed_anew,
                        renewed,
                        login: Some(login),
                        left,
                        ..SessionResult::default()
                    });
                }
                Ok(Updated::Missing) => return Ok(SessionResult { ended: true, ..SessionResult::default() }),
                Ok(Updated::Changed) => {}
                Err(error) if error.kind() == StoreErrorKind::Refused => {
                    return Ok(SessionResult::left(Reason::Refused));
                }
                Err(error) => return Err(error).context("a session could not be written"),
            }
            loaded = match self.rows.load(&session_key, now).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => return Ok(SessionResult { ended: true, ..SessionResult::default() }),
                Err(error) if error.kind() == StoreErrorKind::Unreadable => {
                    return Ok(SessionResult::left(Reason::Unreadable));
                }
                Err(error) => return Err(error.into()),
            };
            // The user may have a new password by now.
            (expire_date, login) = (loaded.expire_date, self.login(&loaded).await?);
        }
        Ok(SessionResult::left(Reason::ChangedMeanwhile))
    }

    async fn login(&self, loaded: &Loaded) -> anyhow::Result<Login> {
        let empty = SessionData::new();
        Ok(self.logins.look(&[loaded.data().unwrap_or(&empty)]).await?.pop().unwrap_or(Login::Unknown))
    }

    /// Whether the session is signed with an older secret; caches keep no signatures.
    fn is_signed_with_old_secret(&self, loaded: &Loaded) -> bool {
        let text = loaded.version.as_bytes().and_then(|bytes| str::from_utf8(bytes).ok());
        text.and_then(|text| self.codec.signed_by(text)).is_some_and(|secret| secret > 0)
    }

    /// If Django answers from a copy with another session auth hash than the row's, replaces the copy by the
    /// row. Creates no copies: a cache should not be filled with unused sessions.
    async fn copy(&self, session_key: &SessionKey, row: &SessionData) -> anyhow::Result<Copy> {
        let Some(copies) = &self.copies else { return Ok(Copy::Right) };
        match copies.is_older(session_key, row).await {
            Some(false) => Ok(Copy::Right),
            Some(true) if self.dry_run => Ok(Copy::Renewed),
            Some(true) => {
                self.store.load_for_update(session_key, SystemClock.now()).await?;
                Ok(Copy::Renewed)
            }
            None => Ok(Copy::Unknown),
        }
    }
}

impl Copies {
    /// The store also works without a cache that is down.
    async fn of(site: &Site) -> anyhow::Result<Copies> {
        let cache = cache_in_front::open(site).await?.cache().cloned();
        Ok(Copies { cache, has_failed: AtomicBool::new(false) })
    }

    /// Whether Django would answer with another session auth hash than the row's; `None` when the cache does
    /// not answer.
    async fn is_older(&self, session_key: &SessionKey, row: &SessionData) -> Option<bool> {
        let cache = self.cache.as_ref().filter(|_| !self.has_failed.load(Ordering::Relaxed))?;
        match cache.load(session_key, SystemClock.now()).await {
            Ok(copy) => {
                let hash = |data: &SessionData| data.read::<String>(auth::HASH_SESSION_KEY).ok().flatten();
                let is_older =
                    |data: &SessionData| data.contains_key(auth::USER_ID_KEY) && hash(data) != hash(row);
                Some(copy.as_ref().and_then(|copy| copy.data()).is_some_and(is_older))
            }
            Err(error) => {
                self.has_failed.fetch_or(is_unavailable(&error), Ordering::Relaxed);
                None
            }
        }
    }
}

fn is_unavailable(error: &cloakroom::StoreError) -> bool {
    error.kind() == StoreErrorKind::Unavailable
}

fn count(seen: &mut Seen, outcome: &SessionResult, expire_date: Option<DateTime<Utc>>) {
    if outcome.ended {
        return;
    }
    let is_changed = outcome.signed_anew || outcome.renewed || outcome.copy_renewed;
    seen.signed_anew += u64::from(outcome.signed_anew);
    seen.logins_renewed += u64::from(outcome.renewed);
    seen.copies_renewed += u64::from(outcome.copy_renewed);
    match &outcome.login {
        Some(Login::UserGone) => seen.ending.user_gone += 1,
        Some(Login::NoSecret) => seen.ending.password_changed += 1,
        _ => {}
    }
    let reason = match &outcome.login {
        Some(Login::Unknown) => Some(Reason::UserUnknown),
        _ => outcome.left,
    };
    if let Some(reason) = reason {
        seen.leave(reason, expire_date);
    }
    if is_changed {
        seen.change(expire_date);
    } else if reason.is_none() && !matches!(outcome.login, Some(Login::UserGone | Login::NoSecret)) {
        seen.right_already += 1;
    }
}

/// The expiry for a session without one: the last date that Python can write.
fn last_date() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
