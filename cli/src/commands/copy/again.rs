//! Copying again with a record: what changed or ended on either side since the last time.

use anyhow::Context;
use cloakroom::chrono::TimeDelta;
use cloakroom::store::{Created, Listed, Loaded, Record, Updated};
use cloakroom::{Clock, SessionData, SessionKey, StoreError, StoreErrorKind, SystemClock};
use futures_util::{StreamExt, stream};

use super::record::{CopyRecord, Known, State};
use super::{AT_ONCE, Copy, FEW, Fate, Report};
use crate::output::lines::complain;
use crate::sessions::walk::Walk;

/// How often a session that changes at the target meanwhile is looked at again.
const ATTEMPTS: u32 = 3;

impl Copy {
    /// Brings the target up to date where it still holds what was copied, and leaves alone what changed there.
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
                    // It came meanwhile, or has expired there and is not removed yet.
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
        Ok(Fate::Conflict(format!("{}: changes at the target all the time", key.public_id())))
    }

    /// Removes the expired entry of a key and makes the session anew. None when the entry is not expired.
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

    /// Deletes at the target what has gone from the source since it was copied, by a logout or under another key.
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
        // Somebody has emptied the source, or named another.
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
                // What expires at the source by itself is no logout: the target has its own end.
                if known.is_done() && !was_seen && !known.has_expired(now) && !listed.is_expired(now) {
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

    /// None when the source has it after all.
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
        // A store deletes whatever is there. Emptied first, by comparison, it is surely what was looked at.
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
