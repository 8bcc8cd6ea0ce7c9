//! The checks. A check's name states the requirement.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cloakroom_formats::SessionData;

use super::{Check, Problem};
use crate::site::error::StoreErrorKind;
use crate::site::session_key::SessionKey;
use crate::store::contract::{Created, Record, Rotated, SessionStore, Touched, Updated};
use crate::store::listing::Listed;
use crate::store::loaded::Loaded;
use crate::store::loaded::Version;

type Store = Arc<dyn SessionStore>;
type Outcome = Result<(), Problem>;

macro_rules! checks {
    ($($name:ident)*) => {
        /// Every check, in reading order.
        pub const CHECKS: &[Check] = &[
            $(Check { name: stringify!($name), run: |store| Box::pin($name(store)) },)*
        ];
    };
}

checks! {
    an_unknown_key_is_absent
    what_was_created_is_loaded
    data_comes_back_letter_for_letter
    what_is_too_large_is_refused_and_nothing_is_lost
    creating_under_a_taken_key_writes_nothing
    updating_replaces_data_and_expiry
    updating_an_absent_session_creates_nothing
    updating_what_changed_meanwhile_writes_nothing
    updating_without_expectation_overwrites
    updating_twice_with_the_returned_version_works
    updating_with_equal_data_succeeds
    touching_extends_the_session_and_keeps_its_data
    touching_what_changed_or_is_absent_writes_nothing
    rotating_moves_the_session
    rotating_an_absent_session_creates_nothing
    rotating_what_changed_meanwhile_writes_nothing
    rotating_to_a_taken_key_writes_nothing
    deleting_removes_for_good
    an_expired_session_is_absent
    expiry_counts_to_the_microsecond
    of_many_keys_those_that_exist_are_told
    clearing_removes_expired_sessions_only
    of_many_creators_of_one_key_one_succeeds
    of_many_updates_of_one_version_one_succeeds
    of_many_rotations_of_one_session_one_succeeds
    no_update_survives_a_deletion
    keys_do_not_alias
    a_listing_finds_what_was_there_all_the_while
    a_listing_holds_expired_sessions
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(Problem::Violated(format!($($message)+)));
        }
    };
}

macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                ensure!(*left == *right, "{}: got {left:?}, expected {right:?}", format_args!($($message)+))
            }
        }
    };
}

fn now() -> DateTime<Utc> {
    // Stores whose server expires entries follow the real clock.
    use crate::site::clock::Clock;
    crate::site::clock::SystemClock.now()
}

fn data(json: &str) -> Result<SessionData, Problem> {
    SessionData::from_json(json).map_err(|error| Problem::Violated(error.to_string()))
}

fn record(data: &SessionData) -> Record<'_> {
    let now = now();
    Record { data, expire_date: now + TimeDelta::hours(1), now }
}

/// The data as JSON; empty for an entry that is not genuine.
fn json(loaded: &Loaded) -> String {
    loaded.data().map(SessionData::to_json).unwrap_or_default()
}

async fn load(store: &Store, session_key: &SessionKey) -> Result<Option<String>, Problem> {
    Ok(store.load(session_key, now()).await?.map(|loaded| json(&loaded)))
}

async fn create(store: &Store, json: &str) -> Result<(SessionKey, Version), Problem> {
    let session_key = SessionKey::random()?;
    match store.create(&session_key, record(&data(json)?)).await? {
        Created::Created(version) => Ok((session_key, version)),
        Created::KeyTaken => Err(Problem::Violated("a random key is taken".to_owned())),
    }
}

async fn an_unknown_key_is_absent(store: Store) -> Outcome {
    let session_key = SessionKey::random()?;
    ensure_eq!(load(&store, &session_key).await?, None, "load");
    ensure!(!store.exists(&session_key, now()).await?, "it exists");
    ensure!(!store.delete(&session_key).await?, "it was deleted");
    Ok(())
}

async fn what_was_created_is_loaded(store: Store) -> Outcome {
    let (session_key, version) = create(&store, r#"{"a":1}"#).await?;
    let Some(loaded) = store.load(&session_key, now()).await? else {
        return Err(Problem::Violated("it is absent".to_owned()));
    };
    ensure!(loaded.is_genuine(), "it is not genuine");
    ensure_eq!(json(&loaded), r#"{"a":1}"#, "data");
    ensure!(loaded.version == version, "the version that create returned is another than the one loaded");
    ensure!(store.exists(&session_key, now()).await?, "it does not exist");
    Ok(())
}

/// For sizes around a reader's limits: either the session is given back, or the save fails and the old data
/// stays.
async fn what_is_too_large_is_refused_and_nothing_is_lost(store: Store) -> Outcome {
    let (session_key, _) = create(&store, r#"{"good":true}"#).await?;
    let large = [
        ("17 MB of text", format!(r#"{{"text":"{}"}}"#, "a".repeat(17_000_000))),
        ("2,100,000 numbers", format!(r#"{{"list":[{}1]}}"#, "1,".repeat(2_099_999))),
    ];
    for (what, json) in large {
        let large = data(&json)?;
        let given_back = |loaded: Option<String>| loaded.is_some_and(|loaded| loaded == large.to_json());
        let before = load(&store, &session_key).await?;
        match store.update(&session_key, None, record(&large)).await {
            Ok(_) if store.keeps_data_in_cookie() => {}
            Ok(_) => {
                ensure!(given_back(load(&store, &session_key).await?), "{what}: saved, and not given back")
            }
            Err(_) => {
                let unchanged = load(&store, &session_key).await? == before;
                ensure!(
                    unchanged,
                    "{what}: the save failed, and the session before it is not there any more"
                );
            }
        }
        let other_key = SessionKey::random()?;
        match store.create(&other_key, record(&large)).await {
            Ok(_) if store.keeps_data_in_cookie() => {}
            Ok(_) => {
                ensure!(given_back(load(&store, &other_key).await?), "{what}: created, and not given back")
            }
            Err(_) => {
                ensure!(
                    load(&store, &other_key).await?.is_none(),
                    "{what}: not created, and there all the same"
                );
            }
        }
        store.delete(&other_key).await?;
    }
    store.delete(&session_key).await?;
    Ok(())
}

async fn data_comes_back_letter_for_letter(store: Store) -> Outcome {
    let long = format!(r#"{{"text":"{}"}}"#, "abcdefgh".repeat(2_500));
    for json in [
        "{}",
        r#"{"z":1,"a":2,"M":3}"#,
        r#"{"big":123456789012345678901234567890,"float":1e-05,"zero":-0.0,"nan":NaN,"inf":-Infinity}"#,
        r#"{"text":"Z\u00fcrich \ud83e\udd80 \u0000 \u007f \"quoted\"","lone":"\ud83e","":""}"#,
        r#"{"deep":[[[[[[[[[[[[[[[[{"a":[]}]]]]]]]]]]]]]]]]}"#,
        &long,
    ] {
        let (session_key, _) = create(&store, json).await?;
        ensure_eq!(load(&store, &session_key).await?.as_deref(), Some(json), "data");
    }
    Ok(())
}

async fn creating_under_a_taken_key_writes_nothing(store: Store) -> Outcome {
    let (session_key, _) = create(&store, r#"{"first":1}"#).await?;
    let outcome = store.create(&session_key, record(&data(r#"{"second":2}"#)?)).await?;
    ensure_eq!(outcome, Created::KeyTaken, "outcome");
    ensure_eq!(load(&store, &session_key).await?.as_deref(), Some(r#"{"first":1}"#), "data");
    Ok(())
}

async fn updating_replaces_data_and_expiry(store: Store) -> Outcome {
    let (session_key, version) = create(&store, r#"{"a":1}"#).await?;
    let (now, changed) = (now(), data(r#"{"a":2}"#)?);
    let record = Record { data: &changed, expire_date: now + TimeDelta::hours(5), now };
    let outcome = store.update(&session_key, Some(&version), record).await?;
    ensure!(matches!(outcome, Updated::Updated(_)), "outcome: {outcome:?}");
    let loaded = store.load(&session_key, now + TimeDelta::hours(4)).await?;
    let Some(loaded) = loaded else { return Err(Problem::Violated("it kept its old expiry".to_owned())) };
    ensure_eq!(json(&loaded), r#"{"a":2}"#, "data");
    if let Some(expire_date) = loaded.expire_date {
        let off = (expire_date - record.expire_date).abs();
        ensure!(off <= TimeDelta::seconds(1), "expire_date is off by {off}");
    }
    Ok(())
}

async fn touching_extends_the_session_and_keeps_its_data(store: Store) -> Outcome {
    let (session_key, start, kept) = (SessionKey::random()?, now(), data(r#"{"a":1}"#)?);
    let record = Record { data: &kept, expire_date: start + TimeDelta::seconds(2), now: start };
    store.create(&session_key, record).await?;
    let Some(loaded) = store.load(&session_key, start).await? else {
        return Err(Problem::Violated("it is absent".to_owned()));
    };
    let record = Record { expire_date: start + TimeDelta::hours(1), ..record };
    ensure_eq!(store.touch(&session_key, &loaded.version, record).await?, Touched::Extended, "outcome");
    if loaded.expire_date.is_none() {
        // A server with its own clock would have expired it by then.
        tokio::time::sleep(std::time::Duration::from_millis(3_200)).await;
    }
    let Some(loaded) = store.load(&session_key, start + TimeDelta::minutes(30)).await? else {
        return Err(Problem::Violated("it kept its old expiry".to_owned()));
    };
    ensure_eq!(json(&loaded), r#"{"a":1}"#, "data");
    if let Some(expire_date) = loaded.expire_date {
        let off = (expire_date - record.expire_date).abs();
        ensure!(off <= TimeDelta::seconds(1), "expire_date is off by {off}");
    }
    Ok(())
}

async fn touching_what_changed_or_is_absent_writes_nothing(store: Store) -> Outcome {
    let (session_key, first) = create(&store, r#"{"a":1}"#).await?;
    let (old, new) = (data(r#"{"a":1}"#)?, data(r#"{"a":2}"#)?);
    let outcome = store.update(&session_key, Some(&first), record(&new)).await?;
    let Updated::Updated(second) = outcome else {
        return Err(Problem::Violated(format!("outcome of the update: {outcome:?}")));
    };
    ensure_eq!(store.touch(&session_key, &first, record(&old)).await?, Touched::Stale, "outcome");
    ensure_eq!(load(&store, &session_key).await?.as_deref(), Some(r#"{"a":2}"#), "data");
    store.delete(&session_key).await?;
    ensure_eq!(store.touch(&session_key, &second, record(&new)).await?, Touched::Stale, "outcome");
    ensure_eq!(load(&store, &session_key).await?, None, "load of a deleted session");
    Ok(())
}

async fn updating_an_absent_session_creates_nothing(store: Store) -> Outcome {
    let (session_key, version) = create(&store, "{}").await?;
    store.delete(&session_key).await?;
    for expected in [None, Some(&version)] {
        let outcome = store.update(&session_key, expected, record(&data(r#"{"a":1}"#)?)).await?;
        ensure_eq!(outcome, Updated::Missing, "outcome");
        ensure_eq!(load(&store, &session_key).await?, None, "load");
    }
    Ok(())
}

async fn updating_what_changed_meanwhile_writes_nothing(store: Store) -> Outcome {
    let (session_key, first) = create(&store, r#"{"a":1}"#).await?;
    let outcome = store.update(&session_key, Some(&first), record(&data(r#"{"a":2}"#)?)).await?;
    ensure!(matches!(outcome, Updated::Updated(_)), "outcome: {outcome:?}");
    let outcome = store.update(&session_key, Some(&first), record(&data(r#"{"a":3}"#)?)).await?;
    ensure_eq!(outcome, Updated::Changed, "outcome");
    ensure_eq!(load(&store, &session_key).await?.as_deref(), Some(r#"{"a":2}"#), "data");
    Ok(())
}

async fn updating_without_expectation_overwrites(store: Store) -> Outcome {
    let (session_key, _) = create(&store, r#"{"a":1}"#).await?;
    for json in [r#"{"a":2}"#, r#"{"a":3}"#] {
        let outcome = store.update(&session_key, None, record(&data(json)?)).await?;
        ensure!(matches!(outcome, Updated::Updated(_)), "outcome: {outcome:?}");
        ensure_eq!(load(&store, &session_key).await?.as_deref(), Some(json), "data");
    }
    Ok(())
}

async fn updating_twice_with_the_returned_version_works(store: Store) -> Outcome {
    let (session_key, mut version) = create(&store, r#"{"a":0}"#).await?;
    for number in 1..5 {
        let changed = data(&format!(r#"{{"a":{number}}}"#))?;
        version = match store.update(&session_key, Some(&version), record(&changed)).await? {
            Updated::Updated(version) => version,
            other => return Err(Problem::Violated(format!("update {number}: {other:?}"))),
        };
    }
    Ok(())
}

async fn updating_with_equal_data_succeeds(store: Store) -> Outcome {
    let (session_key, version) = create(&store, r#"{"a":1}"#).await?;
    let same = data(r#"{"a":1}"#)?;
    let record = record(&same);
    for expected in [Some(&version), None, None] {
        let outcome = store.update(&session_key, expected, record).await?;
        ensure!(matches!(outcome, Updated::Updated(_)), "outcome: {outcome:?}");
    }
    Ok(())
}

async fn rotating_moves_the_session(store: Store) -> Outcome {
    let (old_key, version) = create(&store, r#"{"a":1}"#).await?;
    let new_key = SessionKey::random()?;
    let outcome = store.rotate(&old_key, Some(&version), &new_key, record(&data(r#"{"a":2}"#)?)).await?;
    let Rotated::Rotated(version) = outcome else {
        return Err(Problem::Violated(format!("outcome: {outcome:?}")));
    };
    ensure_eq!(load(&store, &old_key).await?, None, "the old key");
    ensure_eq!(load(&store, &new_key).await?.as_deref(), Some(r#"{"a":2}"#), "the new key");
    let outcome = store.update(&new_key, Some(&version), record(&data(r#"{"a":3}"#)?)).await?;
    ensure!(
        matches!(outcome, Updated::Updated(_)),
        "update with the version that rotate returned: {outcome:?}"
    );
    Ok(())
}

async fn rotating_an_absent_session_creates_nothing(store: Store) -> Outcome {
    let (old_key, version) = create(&store, "{}").await?;
    store.delete(&old_key).await?;
    for expected in [None, Some(&version)] {
        let new_key = SessionKey::random()?;
        let outcome = store.rotate(&old_key, expected, &new_key, record(&data(r#"{"a":1}"#)?)).await?;
        ensure_eq!(outcome, Rotated::Missing, "outcome");
        ensure_eq!(load(&store, &new_key).await?, None, "the new key");
        ensure_eq!(load(&store, &old_key).await?, None, "the old key");
    }
    Ok(())
}

async fn rotating_what_changed_meanwhile_writes_nothing(store: Store) -> Outcome {
    let (old_key, first) = create(&store, r#"{"a":1}"#).await?;
    store.update(&old_key, Some(&first), record(&data(r#"{"a":2}"#)?)).await?;
    let new_key = SessionKey::random()?;
    let outcome = store.rotate(&old_key, Some(&first), &new_key, record(&data(r#"{"a":3}"#)?)).await?;
    ensure_eq!(outcome, Rotated::Changed, "outcome");
    ensure_eq!(load(&store, &old_key).await?.as_deref(), Some(r#"{"a":2}"#), "the old key");
    ensure_eq!(load(&store, &new_key).await?, None, "the new key");
    Ok(())
}

async fn rotating_to_a_taken_key_writes_nothing(store: Store) -> Outcome {
    let (old_key, version) = create(&store, r#"{"mine":1}"#).await?;
    let (taken, _) = create(&store, r#"{"theirs":1}"#).await?;
    for expected in [Some(&version), None] {
        let outcome = store.rotate(&old_key, expected, &taken, record(&data(r#"{"mine":2}"#)?)).await?;
        ensure_eq!(outcome, Rotated::KeyTaken, "outcome");
        ensure_eq!(load(&store, &old_key).await?.as_deref(), Some(r#"{"mine":1}"#), "the old key");
        ensure_eq!(load(&store, &taken).await?.as_deref(), Some(r#"{"theirs":1}"#), "the taken key");
    }
    Ok(())
}

async fn deleting_removes_for_good(store: Store) -> Outcome {
    let (session_key, _) = create(&store, r#"{"a":1}"#).await?;
    ensure!(store.delete(&session_key).await?, "delete says there was none");
    ensure_eq!(load(&store, &session_key).await?, None, "load");
    ensure!(!store.exists(&session_key, now()).await?, "it exists");
    ensure!(!store.delete(&session_key).await?, "deleting again says there was one");
    Ok(())
}

async fn an_expired_session_is_absent(store: Store) -> Outcome {
    let (session_key, empty, start) = (SessionKey::random()?, SessionData::new(), now());
    let record = Record { data: &empty, expire_date: start + TimeDelta::seconds(2), now: start };
    store.create(&session_key, record).await?;
    ensure!(store.load(&session_key, start).await?.is_some(), "it is absent before it expired");
    let later = start + TimeDelta::seconds(3);
    if store.load(&session_key, later).await?.is_some() {
        // A server with its own clock expires it only in real time.
        tokio::time::sleep(std::time::Duration::from_millis(3_200)).await;
    }
    ensure!(store.load(&session_key, later).await?.is_none(), "it is loaded");
    ensure!(!store.exists(&session_key, later).await?, "it exists");
    Ok(())
}

async fn expiry_counts_to_the_microsecond(store: Store) -> Outcome {
    let (session_key, empty, start) = (SessionKey::random()?, SessionData::new(), now());
    let expire_date = start + TimeDelta::seconds(60);
    store.create(&session_key, Record { data: &empty, expire_date, now: start }).await?;
    let loaded = store.load(&session_key, start).await?;
    ensure!(loaded.is_some(), "absent before it expires");
    let Some(known) = loaded.and_then(|loaded| loaded.expire_date) else {
        // The server keeps the time in its own units.
        return Ok(());
    };
    ensure_eq!(known, expire_date, "expire_date");
    let microsecond = TimeDelta::microseconds(1);
    ensure!(
        store.load(&session_key, expire_date - microsecond).await?.is_some(),
        "absent a microsecond early"
    );
    ensure!(store.load(&session_key, expire_date).await?.is_none(), "there when it expires exactly now");
    Ok(())
}

async fn of_many_keys_those_that_exist_are_told(store: Store) -> Outcome {
    let empty = SessionData::new();
    let mut session_keys = Vec::new();
    for number in 0..250 {
        let session_key = SessionKey::random()?;
        let now = now();
        let record = Record { data: &empty, expire_date: now + TimeDelta::hours(1), now };
        match number % 3 {
            0 => drop(store.create(&session_key, record).await?),
            1 => {
                let before = now - TimeDelta::hours(2);
                let expire_date = now - TimeDelta::hours(1);
                store.create(&session_key, Record { expire_date, now: before, ..record }).await?;
            }
            _ => {}
        }
        session_keys.push(session_key);
    }
    // Asked for twice, and told once.
    session_keys.push(session_keys[0].clone());
    let live = store.live_among(&session_keys, now()).await?;
    for session_key in &session_keys {
        let exists = store.exists(session_key, now()).await?;
        ensure_eq!(live.contains(session_key), exists, "live_among, where `exists` says {exists}");
    }
    ensure!(live.iter().all(|live| session_keys.contains(live)), "a key is told that was not asked for");
    ensure_eq!(store.live_among(&[], now()).await?.len(), 0, "of no keys");
    for session_key in &session_keys {
        store.delete(session_key).await?;
    }
    Ok(())
}

async fn clearing_removes_expired_sessions_only(store: Store) -> Outcome {
    let (empty, start) = (SessionData::new(), now() - TimeDelta::days(400));
    let (expired, exactly, alive) = (SessionKey::random()?, SessionKey::random()?, SessionKey::random()?);
    for (session_key, offset) in [(&expired, -1), (&exactly, 0), (&alive, 1)] {
        let expire_date = start + TimeDelta::microseconds(offset);
        store
            .create(session_key, Record { data: &empty, expire_date, now: start - TimeDelta::days(1) })
            .await?;
    }
    let loaded = store.load(&expired, start - TimeDelta::days(1)).await?;
    ensure!(loaded.is_some(), "absent before it expires");
    if loaded.is_some_and(|loaded| loaded.expire_date.is_none()) {
        // The server follows its own clock and expires them itself.
        for session_key in [&expired, &exactly, &alive] {
            store.delete(session_key).await?;
        }
        return Ok(());
    }
    ensure_eq!(store.clear_expired(start).await?, 1, "cleared");
    let before = start - TimeDelta::days(1);
    ensure!(store.load(&expired, before).await?.is_none(), "the expired session is still there");
    ensure!(store.load(&exactly, before).await?.is_some(), "the session that expires exactly now is gone");
    ensure!(store.load(&alive, before).await?.is_some(), "a session that has not expired is gone");
    for session_key in [&exactly, &alive] {
        store.delete(session_key).await?;
    }
    Ok(())
}

/// Runs the same call many times concurrently and counts the calls that report success.
async fn race<T, F>(call: impl Fn(u32) -> F) -> Result<usize, Problem>
where
    T: Send + 'static,
    F: Future<Output = Result<Option<T>, Problem>> + Send + 'static,
{
    let tasks: Vec<_> = (0..8).map(|number| tokio::spawn(call(number))).collect();
    let mut successes = 0;
    for task in tasks {
        let outcome = task.await.map_err(|error| Problem::Violated(error.to_string()))?;
        successes += usize::from(outcome?.is_some());
    }
    Ok(successes)
}

async fn of_many_creators_of_one_key_one_succeeds(store: Store) -> Outcome {
    let session_key = SessionKey::random()?;
    let successes = race(|number| {
        let (store, session_key) = (Arc::clone(&store), session_key.clone());
        async move {
            let mine = data(&format!(r#"{{"writer":{number}}}"#))?;
            let outcome = store.create(&session_key, record(&mine)).await?;
            Ok(matches!(outcome, Created::Created(_)).then_some(()))
        }
    });
    ensure_eq!(successes.await?, 1, "successes");
    Ok(())
}

async fn of_many_updates_of_one_version_one_succeeds(store: Store) -> Outcome {
    let (session_key, version) = create(&store, "{}").await?;
    let successes = race(|number| {
        let (store, session_key, version) = (Arc::clone(&store), session_key.clone(), version.clone());
        async move {
            let mine = data(&format!(r#"{{"writer":{number}}}"#))?;
            let outcome = store.update(&session_key, Some(&version), record(&mine)).await?;
            Ok(matches!(outcome, Updated::Updated(_)).then_some(()))
        }
    });
    ensure_eq!(successes.await?, 1, "successes");
    Ok(())
}

async fn of_many_rotations_of_one_session_one_succeeds(store: Store) -> Outcome {
    let (session_key, _) = create(&store, r#"{"a":1}"#).await?;
    let new_keys: Vec<_> = (0..8).map(|_| SessionKey::random()).collect::<Result<_, _>>()?;
    let successes = race(|number| {
        let (store, session_key) = (Arc::clone(&store), session_key.clone());
        let new_key = new_keys[number as usize].clone();
        async move {
            let outcome = store.rotate(&session_key, None, &new_key, record(&data(r#"{"a":1}"#)?)).await?;
            Ok(matches!(outcome, Rotated::Rotated(_)).then_some(()))
        }
    });
    ensure_eq!(successes.await?, 1, "successes");
    let mut alive = 0;
    for new_key in &new_keys {
        alive += usize::from(load(&store, new_key).await?.is_some());
    }
    ensure_eq!(alive, 1, "sessions afterwards");
    Ok(())
}

async fn no_update_survives_a_deletion(store: Store) -> Outcome {
    for _ in 0..20 {
        let (session_key, version) = create(&store, r#"{"a":1}"#).await?;
        ensure!(load(&store, &session_key).await?.is_some(), "absent before it is deleted");
        let attempts = race(|number| {
            let (store, session_key, version) = (Arc::clone(&store), session_key.clone(), version.clone());
            async move {
                let mine = data(&format!(r#"{{"writer":{number}}}"#))?;
                match number % 4 {
                    0 => _ = store.delete(&session_key).await?,
                    1 => _ = store.update(&session_key, None, record(&mine)).await?,
                    2 => _ = store.update(&session_key, Some(&version), record(&mine)).await?,
                    _ => _ = store.load(&session_key, now()).await?,
                }
                Ok(Some(()))
            }
        });
        attempts.await?;
        ensure_eq!(load(&store, &session_key).await?, None, "load after a deletion");
    }
    Ok(())
}

async fn keys_do_not_alias(store: Store) -> Outcome {
    let (session_key, _) = create(&store, r#"{"a":1}"#).await?;
    ensure!(load(&store, &session_key).await?.is_some(), "absent under its own key");
    let text = session_key.as_str();
    for alias in [text.to_uppercase(), format!("{text} "), text[..31].to_owned(), format!("{text}0")] {
        if alias == text {
            continue;
        }
        let alias = SessionKey::from_trusted(alias);
        // A store may also refuse such a key, which the middleware never passes on.
        ensure!(!matches!(store.load(&alias, now()).await, Ok(Some(_))), "another key finds the session");
    }
    Ok(())
}

/// Returns a complete listing, with a callback after each page; `None` where the store has no listing.
async fn list<F: Future<Output = Outcome>>(
    store: &Store,
    limit: usize,
    mut meanwhile: impl FnMut() -> F,
) -> Result<Option<Vec<Listed>>, Problem> {
    let mut all = Vec::new();
    let mut listing = match store.list() {
        Ok(listing) => listing,
        Err(error) if error.kind() == StoreErrorKind::Unsupported => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    while let Some(page) = listing.next_page(limit, now()).await? {
        all.extend(page);
        meanwhile().await?;
    }
    Ok(Some(all))
}

async fn a_listing_finds_what_was_there_all_the_while(store: Store) -> Outcome {
    let (mut staying, mut going) = (HashMap::new(), Vec::new());
    for number in 0..40 {
        let (session_key, _) = create(&store, &format!(r#"{{"number":{number}}}"#)).await?;
        staying.insert(session_key, number);
        going.push(create(&store, "{}").await?.0);
    }
    let (going, added) = (std::sync::Mutex::new(going), std::sync::Mutex::new(Vec::new()));
    let listed = list(&store, 7, || async {
        let one = crate::site::lock::lock(&going).pop();
        if let Some(session_key) = one {
            store.delete(&session_key).await?;
            let (session_key, _) = create(&store, "{}").await?;
            crate::site::lock::lock(&added).push(session_key);
        }
        Ok(())
    });
    let listed = listed.await?;
    let is_supported = listed.is_some();
    let (going, added) = (
        std::mem::take(&mut *crate::site::lock::lock(&going)),
        std::mem::take(&mut *crate::site::lock::lock(&added)),
    );
    let count = store.count(now()).await;
    let mut missing = staying.clone();
    for listed in listed.into_iter().flatten() {
        let Some(number) = missing.remove(&listed.session_key) else { continue };
        ensure!(!listed.is_expired(now()), "a live session is listed as expired");
        let loaded = listed.session?;
        ensure_eq!(json(&loaded), format!(r#"{{"number":{number}}}"#), "data");
        ensure!(loaded.is_genuine(), "it is not genuine");
        let changed = data(r#"{"changed":true}"#)?;
        let outcome = store.update(&listed.session_key, Some(&loaded.version), record(&changed)).await?;
        ensure!(matches!(outcome, Updated::Updated(_)), "update with the version listed: {outcome:?}");
    }
    for session_key in staying.keys().chain(&going).chain(&added) {
        store.delete(session_key).await?;
    }
    if !is_supported {
        return Ok(());
    }
    ensure!(missing.is_empty(), "{} of {} sessions are not listed", missing.len(), staying.len());
    // Other sessions may come and go in the same store.
    ensure!(count?.live >= 40, "fewer are counted than there are");
    Ok(())
}

async fn a_listing_holds_expired_sessions(store: Store) -> Outcome {
    let (session_key, empty) = (SessionKey::random()?, SessionData::new());
    let (end, before) = (now() - TimeDelta::days(400), now() - TimeDelta::days(401));
    store.create(&session_key, Record { data: &empty, expire_date: end, now: before }).await?;
    let kept = store.load(&session_key, before).await?.and_then(|loaded| loaded.expire_date);
    let listed = list(&store, 500, || async { Ok(()) }).await;
    let count = store.count(now()).await;
    store.delete(&session_key).await?;
    // A server that expires entries by itself keeps none.
    let (Some(expire_date), Some(listed)) = (kept, listed?) else { return Ok(()) };
    let found = listed.into_iter().find(|listed| listed.session_key == session_key);
    let Some(found) = found else {
        return Err(Problem::Violated("an expired session is not listed".to_owned()));
    };
    ensure_eq!(found.expire_date, Some(expire_date), "expire_date");
    ensure!(found.is_expired(now()), "it is not listed as expired");
    ensure!(count?.expired >= 1, "it is not counted as expired");
    Ok(())
}
