//! Brings the index up to date with all sessions.

use std::ops::ControlFlow;

use chrono::{DateTime, SubsecRound, Utc};
use cloakroom_formats::EXPIRY_KEY;

use super::{Client, Entry, UserSessions, is_indexable, is_settled};
use crate::site::error::Error;
use crate::site::settings::Settings;
use crate::store::listing::Listed;

/// How many sessions or entries are in memory at a time.
const PAGE: usize = 500;

/// The outcome of [`UserSessions::rebuild`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// How many sessions it read.
    pub sessions: u64,
    /// In how many of them a user is logged in: they are now in the index.
    pub logged_in: u64,
    /// How many have an unknown user, and so may be missing in the index: they could not be read, are not
    /// signed with this secret, or hold an invalid user id ([`auth::user_id_in`](crate::auth::user_id_in)).
    pub unread: u64,
}

/// The outcome of [`UserSessions::clean`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// How many entries it checked.
    pub entries: u64,
    /// How many of them it removed because their session is gone.
    pub removed: u64,
}

/// Receives the number of sessions or entries checked so far, and decides whether to go on.
///
/// ```
/// use std::ops::ControlFlow;
/// use cloakroom::user_sessions::Progress;
///
/// let mut stop = |done| if done < 1_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
/// let progress: &mut Progress = &mut stop;
/// assert!(progress(500).is_continue() && progress(1_000).is_break());
/// ```
pub type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + Send + 'a;

impl UserSessions {
    /// Records all existing logins, Django's too: goes through all sessions and adds missing entries.
    /// Existing entries stay as they are. So the index can be used meanwhile, and this can be stopped and
    /// restarted at any time. Needs memory for one page.
    ///
    /// When the user was last seen in such a session is unknown. The entry gets the time of the last save, if
    /// the expiry reveals it, and otherwise the current time.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use cloakroom::{Session, Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let settings = Settings::new("secret");
    /// let user_sessions = UserSessions::connect("memory:", &settings).await?;
    /// // As Django leaves it.
    /// let session = Session::new(user_sessions.store(), settings.clone());
    /// session.set("_auth_user_id", "7")?;
    /// session.save().await?;
    ///
    /// let rebuilt = user_sessions.rebuild(&settings, &mut |_| ControlFlow::Continue(())).await?;
    /// assert_eq!((rebuilt.sessions, rebuilt.logged_in), (1, 1));
    /// assert_eq!(user_sessions.list("7").await?.len(), 1);
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], also when the store cannot list its sessions.
    pub async fn rebuild(&self, settings: &Settings, progress: &mut Progress<'_>) -> Result<Rebuilt, Error> {
        let (mut rebuilt, mut listing) = (Rebuilt::default(), self.store.list()?);
        loop {
            let now = self.clock.now();
            let Some(page) = listing.next_page(PAGE, now).await? else { break };
            rebuilt.sessions += page.len() as u64;
            let live = page.iter().filter(|listed| !listed.is_expired(now));
            let mut entries = Vec::new();
            for listed in live {
                match listed.user_id() {
                    Ok(None) => {}
                    Ok(Some(user_id)) if is_indexable(&user_id) => {
                        entries.push(entry(listed, user_id, settings, now));
                    }
                    _ => rebuilt.unread += 1,
                }
            }
            if !entries.is_empty() {
                self.index.fill(&entries).await?;
            }
            rebuilt.logged_in += entries.len() as u64;
            if progress(rebuilt.sessions).is_break() {
                break;
            }
        }
        Ok(rebuilt)
    }

    /// Removes the entries whose session is gone: ended by Django, expired, or cleared. It is to the index
    /// what `clearsessions` is to sessions; a listing does the same for its user. Needs memory for one page.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use cloakroom::{Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let user_sessions = UserSessions::connect("memory:", &Settings::new("secret")).await?;
    /// let cleaned = user_sessions.clean(&mut |_entries| ControlFlow::Continue(())).await?;
    /// assert_eq!((cleaned.entries, cleaned.removed), (0, 0), "nobody was logged in");
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn clean(&self, progress: &mut Progress<'_>) -> Result<Cleaned, Error> {
        self.find_stale(true, progress).await
    }

    /// Counts the entries that [`clean`](UserSessions::clean) would remove, without removing them.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use cloakroom::{Settings, user_sessions::UserSessions};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let user_sessions = UserSessions::connect("memory:", &Settings::new("secret")).await?;
    /// let stale = user_sessions.count_stale(&mut |_entries| ControlFlow::Continue(())).await?;
    /// assert_eq!((stale.entries, stale.removed), (0, 0), "nobody was logged in");
    /// # Ok::<(), cloakroom::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`clean`](UserSessions::clean).
    pub async fn count_stale(&self, progress: &mut Progress<'_>) -> Result<Cleaned, Error> {
        self.find_stale(false, progress).await
    }

    async fn find_stale(&self, remove: bool, progress: &mut Progress<'_>) -> Result<Cleaned, Error> {
        let (mut cleaned, mut entries) = (Cleaned::default(), self.index.entries());
        loop {
            let Some(page) = entries.next_page(PAGE, self.clock.now()).await? else { break };
            let now = self.clock.now();
            let session_keys: Vec<_> = page.iter().map(|entry| entry.session_key.clone()).collect();
            let live = self.store.live_among(&session_keys, now).await?;
            let mut gone = Vec::new();
            for entry in &page {
                if !live.contains(&entry.session_key) && is_settled(entry, now) {
                    gone.push((entry.user_id.as_str(), &entry.session_key));
                }
            }
            if remove && !gone.is_empty() {
                self.index.remove(&gone).await?;
            }
            cleaned.entries += page.len() as u64;
            cleaned.removed += gone.len() as u64;
            if progress(cleaned.entries).is_break() {
                break;
            }
        }
        Ok(cleaned)
    }
}

/// The entry of a session in which this user is logged in.
fn entry(listed: &Listed, user_id: String, settings: &Settings, now: DateTime<Utc>) -> Entry {
    let sets_its_expiry = listed
        .session
        .as_ref()
        .is_ok_and(|loaded| loaded.data().is_some_and(|data| data.contains_key(EXPIRY_KEY)));
    let saved = match listed.expire_date {
        Some(expire_date) if !sets_its_expiry => {
            expire_date.checked_sub_signed(settings.cookie_age).filter(|saved| *saved < now)
        }
        _ => None,
    };
    let seen = saved.unwrap_or(now).trunc_subsecs(6);
    let entry = Entry::new(user_id, listed.session_key.clone(), now, Client::default());
    Entry { first_seen: seen, last_seen: seen, ..entry }
}
