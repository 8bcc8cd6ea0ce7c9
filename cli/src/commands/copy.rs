//! `cloakroom copy`: from any store to any other, once or repeatedly.

mod again;
mod record;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::store::{Created, Listed, Record, StoreUrl, Updated};
use cloakroom::{
    Clock, SessionData, SessionKey, SessionStore, StoreError, StoreErrorKind, SystemClock, Value, ValueError,
};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::IgnoredAny;

use self::record::{CopyRecord, Known, State};
use crate::ending::{Ending, usage};
use crate::interrupted::asked_to_stop;
use crate::output::lines::{complain, is_quiet, say};
use crate::sessions::entry;
use crate::sessions::walk::Walk;
use crate::site::SiteOptions;
use crate::site::secrets::read_secret_file;

const EXAMPLES: &str = "\
Examples:
  # Moving a site to another store: while it runs, again, and once more while it is stopped
  cloakroom copy --from sqlite:db.sqlite3 --to 'redis://cache.example/1?key_prefix=site' --record moved.sqlite3
  cloakroom copy --from-django manage.py --to postgres://site@db.example/site --record moved.sqlite3
  # Once, into an empty store:
  cloakroom copy --from sqlite:db.sqlite3 --to postgres://site@db.example/site --secret-key-file secret.txt

Copies the live sessions, reads each back and compares. It can be stopped and restarted at any time. \
Without --record a session that exists at the target is left alone, and --overwrite replaces it.

With --record the command records what it has copied, as digests without keys and data, and copying again updates the \
target:
  changed at the source   replaced at the target
  gone from the source    deleted at the target; if most are gone, only with --delete-most
  changed at the target   kept
  ended at the target     stays ended
  changed on both sides   kept and reported, with exit code 3
The summary says how long the run took. The last run of a move, during which the site is stopped, takes as long.

With --json: one object with copied, there (already at the target), kept (different at the target), replaced, expired, \
gone (deleted while it was copied), failed, and with --record changed_at_target, ended_at_target, deleted (gone from the \
source), conflicts (changed on both sides, or gone from the source and changed at the target), seconds.

Exit codes: 0 the target has all live sessions, 3 it has all except those that were kept, that failed alone, or that are \
conflicts (the first 20 of them are on standard error), 1 a store failed, and the work done is reported, 2 wrong usage.";

/// Copy the sessions of one store to another, and read each back
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The source [default: the site's store]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The target
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file that records what was copied, so that copying again updates the target
    #[arg(long, value_name = "PATH", conflicts_with = "overwrite")]
    record: Option<PathBuf>,
    /// With --record: delete at the target what is gone from the source, even if that is most of what was
    /// copied
    #[arg(long, requires = "record")]
    delete_most: bool,
    /// A file with the secret that signs at the target, if it differs
    #[arg(long, value_name = "PATH")]
    to_secret_key_file: Option<PathBuf>,
    /// Replace sessions that differ at the target
    #[arg(long)]
    overwrite: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

/// The outcome for one session.
#[derive(Debug)]
enum Fate {
    Copied,
    There,
    Kept,
    Replaced,
    Expired,
    Gone,
    ChangedAtTarget,
    EndedAtTarget,
    Deleted,
    Conflict(String),
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
    #[serde(flatten)]
    again: Option<Again>,
}

/// The counts of a copy with a record.
#[derive(Default, Serialize)]
struct Again {
    changed_at_target: u64,
    ended_at_target: u64,
    deleted: u64,
    conflicts: u64,
    seconds: f64,
}

/// How many sessions are copied concurrently: stores serve many at once.
const AT_ONCE: usize = 64;
/// Below this number, most of the sessions may well have ended.
const FEW: u64 = 20;
/// How many failures are reported one by one.
const TOLD: u64 = 20;

struct Copy {
    source: Arc<dyn SessionStore>,
    target: Arc<dyn SessionStore>,
    overwrite: bool,
    delete_most: bool,
    cookie_age: TimeDelta,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let from = match &options.from {
        Some(from) => StoreUrl::from(from.as_str()),
        None => site.url()?.clone(),
    };
    let to = StoreUrl::from(options.to.as_str());
    if from == to && options.to_secret_key_file.is_none() {
        return Err(usage("source and target are the same store"));
    }
    let start = Instant::now();
    let source = site.connect_to(&from).await.context("the source")?;
    let mut target = options.site.settings.read(None)?;
    if let Some(path) = &options.to_secret_key_file {
        target.sign_with(read_secret_file(path)?);
    }
    let target = target.connect_to(&to).await.context("the target")?;
    let cookie_age = site.settings_without_secret().cookie_age;
    let Options { overwrite, delete_most, .. } = options;
    let copy = Copy { source, target, overwrite, delete_most, cookie_age };
    let mut report = Report::default();
    let outcome = match &options.record {
        Some(path) => {
            report.again = Some(Again::default());
            let mut record = CopyRecord::open(path, &from, &to)?;
            copy.run(&mut report, Some(&mut record)).await
        }
        None => copy.run(&mut report, None).await,
    };
    if let Some(again) = &mut report.again {
        again.seconds = (start.elapsed().as_secs_f64() * 10.0).ceil() / 10.0;
    }
    // The work done is reported even if a part of it failed.
    if options.json {
        say(&serde_json::to_string(&report)?)?;
    } else if !is_quiet() {
        report.lines(outcome.is_ok() && asked_to_stop().is_none()).iter().try_for_each(|line| say(line))?;
    }
    outcome?;
    let again = report.again.unwrap_or_default();
    let left = report.there + report.replaced + again.changed_at_target;
    let has_lost_most = again.ended_at_target >= FEW && again.ended_at_target > left;
    if has_lost_most {
        complain(
            "the target has lost most of what was copied: was it emptied? To copy all of it again, name a new --record",
        );
    }
    let conflicts = again.conflicts + u64::from(has_lost_most);
    Ok(if report.failed + report.kept + conflicts == 0 { Ending::Well } else { Ending::WithFindings })
}

impl Copy {
    /// Copies everything, and counts each session's outcome in the report.
    async fn run(&self, report: &mut Report, mut record: Option<&mut CopyRecord>) -> anyhow::Result<()> {
        let now = SystemClock.now();
        let mut walk = Walk::begin(&*self.source, now, "copied").await.context("the source")?;
        while let Some(page) = walk.next().await.context("the source")? {
            let known = match &mut record {
                Some(record) => self.begin(record, &page)?,
                None => vec![None; page.len()],
            };
            let keys: Vec<SessionKey> = page.iter().map(|listed| listed.session_key.clone()).collect();
            let sessions = page.into_iter().zip(known).enumerate();
            let mut fates = stream::iter(sessions)
                .map(async |(index, (listed, known))| (index, self.one(listed, known, now).await))
                .buffer_unordered(AT_ONCE);
            let mut written = vec![None; keys.len()];
            let mut outcome = Ok(());
            while let Some((index, fate)) = fates.next().await {
                match fate {
                    Ok((fate, state)) => {
                        written[index] = state;
                        report.count(fate, &walk);
                    }
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            drop(fates);
            if let Some(record) = &mut record {
                record.end(keys.iter().zip(written))?;
            }
            outcome?;
        }
        match record {
            // An incomplete listing of the source does not show which sessions are gone from it.
            Some(record) if asked_to_stop().is_none() => self.follow_deletions(report, record).await,
            _ => Ok(()),
        }
    }

    /// Records the writes that this page may cause; returns the earlier state of the record.
    fn begin(&self, record: &mut CopyRecord, page: &[Listed]) -> anyhow::Result<Vec<Option<Known>>> {
        let known = page.iter().map(|listed| Ok(Some(record.known(&listed.session_key)?.0)));
        let known = known.collect::<anyhow::Result<Vec<_>>>()?;
        let states = page.iter().filter_map(|listed| {
            let data = listed.session.as_ref().ok()?.data()?;
            Some((&listed.session_key, State::of(data, listed.expire_date)))
        });
        record.begin(states)?;
        Ok(known)
    }

    /// Copies one session. Fails when a store does, but not when the session alone cannot be copied. Returns
    /// the known content of the target's session afterwards.
    async fn one(
        &self,
        listed: Listed,
        known: Option<Known>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<(Fate, Option<State>)> {
        let id = listed.session_key.public_id();
        let failed = |why: &dyn std::fmt::Display| Ok((Fate::Failed(format!("{id}: {why}")), None));
        match entry::State::of(&listed, now) {
            entry::State::Expired => return Ok((Fate::Expired, None)),
            entry::State::Live | entry::State::NotGenuine | entry::State::Unreadable => {}
        }
        let data = match listed.session.as_ref().map(|session| session.data()) {
            Ok(Some(data)) => data,
            Ok(None) => return failed(&"not genuine: not signed with this secret"),
            Err(error) => return failed(error),
        };
        let now = SystemClock.now();
        let expire_date = listed.expire_date.unwrap_or(now + self.cookie_age).min(last_date());
        let record = Record { data, expire_date, now };
        let fate = match known {
            Some(known) => self.bring_up_to_date(&listed, known, record).await,
            None => self.write(&listed, record).await,
        };
        let fate = match fate {
            Ok(fate) => fate,
            Err(error) if error.kind() == StoreErrorKind::Refused => return failed(&error),
            Err(error) => return Err(error).context("the target"),
        };
        let state = State::of(data, listed.expire_date);
        match fate {
            Fate::Copied | Fate::Replaced => {}
            Fate::There => return Ok((fate, Some(state))),
            _ => return Ok((fate, None)),
        }
        let read_back = self.target.load(&listed.session_key, now).await.context("the target")?;
        let came_back = read_back.is_some_and(|loaded| {
            let off = loaded.expire_date.map_or(TimeDelta::zero(), |end| (end - expire_date).abs());
            loaded.data().is_some_and(|there| is_same(there, data)) && off <= TimeDelta::seconds(1)
        });
        // A user who logged out meanwhile was told that the session has ended.
        if !self.source.exists(&listed.session_key, now).await.context("the source")? {
            self.target.delete(&listed.session_key).await.context("the target")?;
            return Ok((Fate::Gone, None));
        }
        if came_back {
            Ok((fate, Some(state)))
        } else {
            failed(&"the target returns other data than was written")
        }
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
            Some(there) if there.data().is_some_and(|data| is_same(data, record.data)) => {
                return Ok(Fate::There);
            }
            Some(_) if !self.overwrite => return Ok(Fate::Kept),
            there => there.as_ref().map(|there| &there.version),
        };
        Ok(match self.target.update(key, expected, record).await? {
            Updated::Updated(_) => Fate::Replaced,
            Updated::Missing => Fate::Gone,
            Updated::Changed => Fate::Kept,
        })
    }
}

/// Whether both have the same content.
fn is_same(one: &SessionData, other: &SessionData) -> bool {
    one.to_json() == other.to_json() && !has_objects(one) || normal_form(one) == normal_form(other)
}

/// A text that is equal for equal data from any store. A pickle keeps a number but not its spelling, as in
/// Python. For an object that only Python can read, JSON would show only the class, so the pickle represents
/// it.
fn normal_form(data: &SessionData) -> Vec<u8> {
    match data.to_pickle() {
        Ok(pickle) if has_objects(data) => pickle,
        Ok(pickle) => match SessionData::from_pickle(&pickle, usize::MAX) {
            Ok(data) => data.to_json().into_bytes(),
            Err(_) => pickle,
        },
        Err(_) => data.to_json().into_bytes(),
    }
}

fn has_objects(data: &SessionData) -> bool {
    data.iter().any(|(_, value): (_, &Value)| {
        matches!(value.deserialize::<IgnoredAny>(), Err(ValueError::PythonObject(_)))
    })
}

/// The last date that Python can read.
fn last_date() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Report {
    /// Counts a session's outcome, and reports it if it needs attention.
    fn count(&mut self, fate: Fate, walk: &Walk<'_>) {
        let (count, why) = match fate {
            Fate::Copied => (&mut self.copied, None),
            Fate::There => (&mut self.there, None),
            Fate::Kept => (&mut self.kept, None),
            Fate::Replaced => (&mut self.replaced, None),
            Fate::Expired => (&mut self.expired, None),
            Fate::Gone => (&mut self.gone, None),
            Fate::ChangedAtTarget => (&mut self.again.get_or_insert_default().changed_at_target, None),
            Fate::EndedAtTarget => (&mut self.again.get_or_insert_default().ended_at_target, None),
            Fate::Deleted => (&mut self.again.get_or_insert_default().deleted, None),
            Fate::Conflict(why) => (&mut self.again.get_or_insert_default().conflicts, Some(why)),
            Fate::Failed(why) => (&mut self.failed, Some(why)),
        };
        *count += 1;
        if let Some(why) = why.filter(|_| *count <= TOLD) {
            walk.progress.say(&why);
        }
    }

    /// Counts more outcomes that need attention.
    fn conflicts(&mut self, count: u64) {
        self.again.get_or_insert_default().conflicts += count;
    }

    fn lines(&self, is_whole: bool) -> Vec<String> {
        let Report { copied, there, kept, replaced, expired, gone, failed, again } = self;
        let end = if is_whole { "" } else { " before it ended in the middle; start it again" };
        let mut lines = vec![format!("{copied} copied, {there} were there, {replaced} replaced{end}")];
        let none = Again::default();
        let Again { changed_at_target, ended_at_target, deleted, conflicts, seconds } =
            again.as_ref().unwrap_or(&none);
        for (count, what) in [
            (kept, "kept, as another is at the target (--overwrite replaces it)"),
            (expired, "expired, not copied"),
            (gone, "deleted meanwhile"),
            (deleted, "deleted, as they are gone from the source"),
            (changed_at_target, "changed at the target, kept"),
            (ended_at_target, "ended at the target, not copied again"),
            (conflicts, "changed on both sides, or gone from the source and used at the target; kept"),
            (failed, "failed"),
        ] {
            if *count > 0 {
                lines.push(format!("{count} {what}"));
            }
        }
        if again.is_some() && is_whole {
            lines.push(format!("took {seconds} s"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloakroom::{MemoryStore, SessionKey};

    /// A user logs out after the session was listed: it must not live on at the target.
    #[tokio::test]
    async fn what_is_deleted_meanwhile_is_deleted_at_the_target() {
        let [source, target] = [(); 2].map(|()| Arc::new(MemoryStore::new()));
        let (now, data) = (SystemClock.now(), SessionData::new());
        let cookie_age = TimeDelta::hours(1);
        let record = Record { data: &data, expire_date: now + cookie_age, now };
        let session_key = SessionKey::from_trusted("abcdefgh12345678");
        assert!(matches!(source.create(&session_key, record).await, Ok(Created::Created(_))));
        let listed =
            source.list().unwrap().next_page(10, now).await.map(|page| page.and_then(|mut page| page.pop()));
        let Ok(Some(listed)) = listed else { unreachable!("it was made above") };
        assert!(source.delete(&session_key).await.is_ok_and(|deleted| deleted));

        let copy = Copy {
            source,
            target: Arc::<MemoryStore>::clone(&target),
            overwrite: false,
            delete_most: false,
            cookie_age,
        };
        assert!(matches!(copy.one(listed, None, now).await, Ok((Fate::Gone, None))));
        assert!(target.load(&session_key, now).await.is_ok_and(|loaded| loaded.is_none()));
    }

    /// A copy was killed after it had written a session, but before it could record that; then the session
    /// changed at the source.
    #[tokio::test]
    async fn what_was_begun_is_known_to_be_a_copy() {
        let [source, target] = [(); 2].map(|()| Arc::new(MemoryStore::new()));
        let (now, cookie_age) = (SystemClock.now(), TimeDelta::hours(1));
        let session_key = SessionKey::from_trusted("abcdefgh12345678");
        let [before, after] = ["1", "2"]
            .map(|visits| SessionData::from_json(&format!("{{\"visits\":{visits}}}")).unwrap_or_default());
        for (store, data) in [(&target, &before), (&source, &after)] {
            let record = Record { data, expire_date: now + cookie_age, now };
            assert!(matches!(store.create(&session_key, record).await, Ok(Created::Created(_))));
        }
        let folder = tempfile::tempdir();
        let path = folder.as_ref().map(|folder| folder.path().join("record"));
        let Ok(Ok(mut record)) =
            path.map(|path| CopyRecord::open(&path, &"memory:".into(), &"memory:".into()))
        else {
            unreachable!("a temporary folder can be written")
        };
        let begun = State::of(&before, Some(now + cookie_age));
        assert!(record.begin([(&session_key, begun)].into_iter()).is_ok());

        let copy = Copy {
            source,
            target: Arc::<MemoryStore>::clone(&target),
            overwrite: false,
            delete_most: false,
            cookie_age,
        };
        let mut report = Report { again: Some(Again::default()), ..Report::default() };
        assert!(copy.run(&mut report, Some(&mut record)).await.is_ok());
        let conflicts = report.again.map(|again| again.conflicts);
        assert_eq!((report.replaced, conflicts), (1, Some(0)));
    }
}
