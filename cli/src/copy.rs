//! `cloakroom copy`: from any store to any other.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::{Created, Listed, Record, Updated};
use cloakroom::{
    Clock, SessionData, SessionStore, StoreError, StoreErrorKind, SystemClock, Value, ValueError,
};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::entry::State;
use crate::lines::say;
use crate::secrets::read_secret_file;
use crate::site::SiteOptions;
use crate::walk::Walk;
use crate::{Ending, usage};

const EXAMPLES: &str = "\
Examples:
  cloakroom copy --from sqlite:db.sqlite3 --to postgres://site@db.example/site --secret-key-file secret.txt
  cloakroom copy --from-django manage.py --to 'redis://cache.example/1?key_prefix=site'
  # To the same table, signed anew, after SECRET_KEY has changed:
  cloakroom copy --from postgres://… --to postgres://… --to-secret-key-file new.txt --overwrite

Copies the sessions that live, reads each back and compares. What is at the target already is left alone, so \
that the command can be stopped and started again at any time, and a session that was changed at the target \
stays; --overwrite replaces it. A session that is deleted at the source while it is copied is deleted at the \
target. A logout after that is not followed: let the site use the new store, then delete the old one.

With --json: one object with copied, there (the same was at the target), kept (another was), replaced, expired, \
gone (deleted meanwhile), failed.

Exit codes: 0 all that live are at the target, 3 all but those kept and those that failed alone (the first 20 of \
them are on standard error), 1 a store failed, and what was done before is told, 2 wrong usage.";

/// Copy the sessions of one store to another, and read each back
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The source; unless given, the site's store
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The target
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with the secret that signs at the target, if it is another
    #[arg(long, value_name = "PATH")]
    to_secret_key_file: Option<PathBuf>,
    /// Replace sessions that are different at the target
    #[arg(long)]
    overwrite: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

/// What became of a session.
enum Fate {
    Copied,
    There,
    Kept,
    Replaced,
    Expired,
    Gone,
    Failed(String),
}

#[derive(Default, Serialize)]
struct Report {
    copied: u64,
    there: u64,
    kept: u64,
    replaced: u64,
    expired: u64,
    gone: u64,
    failed: u64,
}

/// How many sessions are on their way at the same time: stores serve many in one go.
const AT_ONCE: usize = 64;
/// How many failures are told one by one.
const TOLD: u64 = 20;

struct Copy {
    source: Arc<dyn SessionStore>,
    target: Arc<dyn SessionStore>,
    overwrite: bool,
    cookie_age: TimeDelta,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let from = match &options.from {
        Some(from) => from.as_str(),
        None => site.url()?,
    };
    if from == options.to && options.to_secret_key_file.is_none() {
        return Err(usage("source and target are the same store"));
    }
    let source = site.connect_to(from).await.context("the source")?;
    let mut target = options.site.settings.read(None)?;
    if let Some(path) = &options.to_secret_key_file {
        target.sign_with(read_secret_file(path)?);
    }
    let target = target.connect_to(&options.to).await.context("the target")?;
    let cookie_age = site.settings_without_secret().cookie_age;
    let copy = Copy { source, target, overwrite: options.overwrite, cookie_age };
    let mut report = Report::default();
    let outcome = copy.run(&mut report).await;
    // What was done is told also when not all could be.
    if options.json {
        say(&serde_json::to_string(&report)?)?;
    } else {
        report.lines().iter().try_for_each(|line| say(line))?;
    }
    outcome?;
    Ok(match report {
        Report { failed: 0, kept: 0, .. } => Ending::Well,
        _ => Ending::WithFindings,
    })
}

impl Copy {
    /// Copies everything, and counts in the report what became of each session.
    async fn run(&self, report: &mut Report) -> anyhow::Result<()> {
        let now = SystemClock.now();
        let mut walk = Walk::begin(&*self.source, now, "copied").await.context("the source")?;
        while let Some(page) = walk.next().await.context("the source")? {
            let mut fates = stream::iter(page).map(|listed| self.one(listed, now)).buffer_unordered(AT_ONCE);
            while let Some(fate) = fates.next().await {
                match fate? {
                    Fate::Copied => report.copied += 1,
                    Fate::There => report.there += 1,
                    Fate::Kept => report.kept += 1,
                    Fate::Replaced => report.replaced += 1,
                    Fate::Expired => report.expired += 1,
                    Fate::Gone => report.gone += 1,
                    Fate::Failed(why) => {
                        report.failed += 1;
                        if report.failed <= TOLD {
                            walk.progress.say(&why);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies one session; fails when a store does, and not when the session alone cannot be copied.
    async fn one(&self, listed: Listed, now: DateTime<Utc>) -> anyhow::Result<Fate> {
        let id = listed.session_key.public_id();
        let failed = |why: &dyn std::fmt::Display| Ok(Fate::Failed(format!("{id}: {why}")));
        match State::of(&listed, now) {
            State::Expired => return Ok(Fate::Expired),
            State::NotGenuine => return failed(&"not genuine: not signed with this secret"),
            State::Live | State::Unreadable => {}
        }
        let session = match &listed.session {
            Ok(session) => session,
            Err(error) => return failed(error),
        };
        let now = SystemClock.now();
        let expire_date = listed.expire_date.unwrap_or(now + self.cookie_age).min(last_date());
        let record = Record { data: &session.data, expire_date, now };
        let fate = match self.write(&listed, record).await {
            Ok(fate) => fate,
            Err(error) if error.kind() == StoreErrorKind::Refused => return failed(&error),
            Err(error) => return Err(error).context("the target"),
        };
        if !matches!(fate, Fate::Copied | Fate::Replaced) {
            return Ok(fate);
        }
        let read_back = self.target.load(&listed.session_key, now).await.context("the target")?;
        let came_back = read_back.is_some_and(|loaded| {
            let off = loaded.expire_date.map_or(TimeDelta::zero(), |end| (end - expire_date).abs());
            loaded.genuine && is_same(&loaded.data, &session.data) && off <= TimeDelta::seconds(1)
        });
        // Whoever logged out meanwhile was told that the session is dead.
        if !self.source.exists(&listed.session_key, now).await.context("the source")? {
            self.target.delete(&listed.session_key).await.context("the target")?;
            return Ok(Fate::Gone);
        }
        if came_back { Ok(fate) } else { failed(&"the target gives back something else than was written") }
    }

    async fn write(&self, listed: &Listed, record: Record<'_>) -> Result<Fate, StoreError> {
        let key = &listed.session_key;
        if let Created::Created(_) = self.target.create(key, record).await? {
            return Ok(Fate::Copied);
        }
        let there = match self.target.load_for_update(key, record.now).await {
            Err(error) if error.kind() == StoreErrorKind::Unreadable && !self.overwrite => {
                return Ok(Fate::Kept);
            }
            Err(error) if error.kind() == StoreErrorKind::Unreadable => None,
            there => there?,
        };
        let expected = match &there {
            Some(there) if there.genuine && is_same(&there.data, record.data) => {
                return Ok(Fate::There);
            }
            Some(_) if !self.overwrite => return Ok(Fate::Kept),
            Some(there) => Some(&there.version),
            // Expired, or to be overwritten whatever it is.
            None => None,
        };
        Ok(match self.target.update(key, expected, record).await? {
            Updated::Updated(_) => Fate::Replaced,
            Updated::Missing => Fate::Gone,
            Updated::Changed => Fate::Kept,
        })
    }
}

/// Whether both hold the same. A pickle keeps a number and not its spelling, as Python does.
fn is_same(one: &SessionData, other: &SessionData) -> bool {
    // An object that only Python reads shows its class, whatever is in it.
    let is_object = |value: &Value| matches!(value.to::<IgnoredAny>(), Err(ValueError::PythonObject(_)));
    if one.iter().any(|(_, value)| is_object(value)) {
        return one == other;
    }
    let pickled = |data: &SessionData| {
        let pickle = data.to_pickle().ok()?;
        Some(SessionData::from_pickle(&pickle, usize::MAX).ok()?.to_json())
    };
    one.to_json() == other.to_json() || pickled(one).is_some_and(|one| Some(one) == pickled(other))
}

/// The last that Python can read.
fn last_date() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let Report { copied, there, kept, replaced, expired, gone, failed } = self;
        let mut lines = vec![format!("{copied} copied, {there} were there, {replaced} replaced")];
        for (count, what) in [
            (kept, "kept, as another is at the target (--overwrite replaces it)"),
            (expired, "expired, not copied"),
            (gone, "deleted meanwhile"),
            (failed, "failed"),
        ] {
            if *count > 0 {
                lines.push(format!("{count} {what}"));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloakroom::store::Cursor;
    use cloakroom::{MemoryStore, SessionKey};

    /// Somebody logs out after the session was listed: it must not live on at the target.
    #[tokio::test]
    async fn what_is_deleted_meanwhile_is_deleted_at_the_target() {
        let [source, target] = [(); 2].map(|()| Arc::new(MemoryStore::new()));
        let (now, data) = (SystemClock.now(), SessionData::new());
        let cookie_age = TimeDelta::hours(1);
        let record = Record { data: &data, expire_date: now + cookie_age, now };
        let session_key = SessionKey::from_trusted("abcdefgh12345678");
        assert!(matches!(source.create(&session_key, record).await, Ok(Created::Created(_))));
        let listed = source.list(&mut Cursor::start(), 10, now).await.map(|mut page| page.pop());
        let Ok(Some(listed)) = listed else { unreachable!("it was made above") };
        assert!(source.delete(&session_key).await.is_ok_and(|deleted| deleted));

        let copy = Copy { source, target: Arc::<MemoryStore>::clone(&target), overwrite: false, cookie_age };
        assert!(matches!(copy.one(listed, now).await, Ok(Fate::Gone)));
        assert!(target.load(&session_key, now).await.is_ok_and(|loaded| loaded.is_none()));
    }
}
