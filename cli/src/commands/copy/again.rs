//! Repeated copying with a record: finds changes on either side since the last run.

use anyhow::Context;
use cloakroom::chrono::TimeDelta;
use cloakroom::store::{Created, Listed, Loaded, Record, Updated};
use cloakroom::{Clock, SessionData, SessionKey, StoreError, StoreErrorKind, SystemClock};
use futures_util::{StreamExt, stream};

use super::record::{CopyRecord, Known, State};
use super::{AT_ONCE, Copy, FEW, Fate, Report};
use crate::output::lines::complain;
use crate::sessions::walk::Walk;

/// The number of attempts for a session that changes at the target meanwhile.
const ATTEMPTS: u32 = 3;

impl Copy {
    /// Updates the target's session if it still holds the copied data, and leaves it alone if it was changed
    /// there.
    pub(super) async fn bring_up_to_date(
        &self,
        listed: &Listed,
        known: Known,
        record: Record<'_>,
    ) -> Result<Fate, StoreError> {
        let key = &listed.session_key;
        let source = State::of(record.data, listed.expire_date);
        for _ in 0..ATTEMPTS {
            let there = match self.target.load_for_update(key, record.now).await {
                Err(error) if error.kind() == StoreErrorKind::Unreadable => {
                    return Ok(Fate::Conflict(format!("{}: unreadable at the target", key.public_id())));
                }
                there => there?,
            };
            let Some(there) = there else {
                if known.is_done() && !known.has_expired(record.now) {
                    return Ok(Fate::EndedAtTarget);
                }
                match self.target.create(key, record).await? {
                    Created::Created(_) => return Ok(Fate::Copied),
                    // It was created meanwhile, or it has expired there but is not removed yet.
                    Created::KeyTaken => match self.replace_expired(key, record).await? {
                        Some(fate) => return Ok(fate),
                        None => continue,
                    },
                }
            };
            let target = State::of_loaded(&there);
            if there.is_genuine() && source.is(&target) {
                return Ok(Fate::There);
            }
            if !there.is_genuine() || !known.has_written(&target) {
                return Ok(if there.is_genuine() && known.is_copied(&source) {
                    Fate::ChangedAtTarget
                } else {
                    Fate::Conflict(format!("{}: changed at the source and at the target", key.public_id()))
                });
            }
            match self.target.update(key, Some(&there.version), record).await? {
                Updated::Updated(_) => return Ok(Fate::Replaced),
                Updated::Missing | Updated::Changed => {}
            }
        }
        Ok(Fate::Conflict(format!("{}: keeps changing at the target", key.public_id())))
    }

    /// Replaces the expired entry of a key by the session. `None` when the entry has not expired.
    async fn replace_expired(
        &self,
        key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Option<Fate>, StoreError> {
        if self.target.exists(key, record.now).await? {
            return Ok(None);
        }
        self.target.delete(key).await?;
        Ok(match self.target.create(key, record).await? {
            Created::Created(_) => Some(Fate::Copied),
            Created::KeyTaken => None,
        })
    }

    /// Deletes at the target the sessions that have gone from the source since they were copied, by a logout
    /// or a change of key.
    pub(super) async fn follow_deletions(
        &self,
        report: &mut Report,
        record: &CopyRecord,
    ) -> anyhow::Result<()> {
        let now = SystemClock.now();
        let (missing, all) = record.missing(now)?;
        if missing == 0 {
            return Ok(());
        }
        // The source was probably emptied, or another source was named.
        if missing >= FEW && missing * 2 > all && !self.delete_most {
            let why = format!(
                "{missing} of {all} sessions are gone from the source since they were copied. Is it the right one? Nothing \
                 was deleted at the target; --delete-most does so"
            );
            complain(&why);
            report.conflicts(missing);
            return Ok(());
        }
        let mut walk = Walk::begin(&*self.target, now, "compared").await.context("the target")?;
        while let Some(page) = walk.next().await.context("the target")? {
            let mut candidates = Vec::new();
            for listed in page {
                let (known, was_seen) = record.known(&listed.session_key)?;
                // A session that expires at the source is not a logout: the target has its own expiry.
                // A copy that was interrupted may have written the session without recording that it did.
                let is_copy = || {
                    let there = listed.session.as_ref().ok().map(State::of_loaded);
                    there.is_some_and(|there| known.has_written(&there))
                };
                let is_known = known.is_done() || is_copy();
                if is_known && !was_seen && !known.has_expired(now) && !listed.is_expired(now) {
                    candidates.push((listed.session_key, known));
                }
            }
            let mut fates = stream::iter(candidates)
                .map(async |(key, known)| (self.follow_deletion(&key, known).await, key))
                .buffer_unordered(AT_ONCE);
            while let Some((fate, key)) = fates.next().await {
                if let Some(fate) = fate? {
                    if matches!(fate, Fate::Deleted) {
                        record.forget(&key)?;
                    }
                    report.count(fate, &walk);
                }
            }
        }
        Ok(())
    }

    /// Deletes one session; `None` when the source has it after all.
    async fn follow_deletion(&self, key: &SessionKey, known: Known) -> anyhow::Result<Option<Fate>> {
        let now = SystemClock.now();
        if self.source.exists(key, now).await.context("the source")? {
            return Ok(None);
        }
        let conflict = || {
            let id = key.public_id();
            Ok(Some(Fate::Conflict(format!("{id}: gone from the source, and changed at the target"))))
        };
        let there: Loaded = match self.target.load_for_update(key, now).await {
            Ok(Some(there)) => there,
            Ok(None) => return Ok(Some(Fate::Deleted)),
            Err(error) if error.kind() == StoreErrorKind::Unreadable => return conflict(),
            Err(error) => return Err(error).context("the target"),
        };
        if !there.is_genuine() || !known.has_written(&State::of_loaded(&there)) {
            return conflict();
        }
        // A store's deletion does not compare. Emptying the session first, with a comparison, makes sure that
        // the right one is deleted.
        let empty = Record { data: &SessionData::new(), expire_date: now + TimeDelta::seconds(5), now };
        match self.target.update(key, Some(&there.version), empty).await.context("the target")? {
            Updated::Updated(_) => {
                self.target.delete(key).await.context("the target")?;
                Ok(Some(Fate::Deleted))
            }
            Updated::Missing => Ok(Some(Fate::Deleted)),
            Updated::Changed => conflict(),
        }
    }
}
