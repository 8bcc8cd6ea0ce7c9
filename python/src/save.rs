//! The save of one request: the Rust session finds the changes, and replays them on what another request saved.

use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use cloakroom::store::Version;
use cloakroom::{Error, Session, SessionData, SessionKey, Settings, TimeZone, Value, ValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::codec::{Codec, Stored, data};
use crate::error::{Failure, SessionGone};
use crate::store::{PythonStore, lock};

/// A key, and its value as JSON; None where there is no longer one.
type Difference = (String, Option<String>);

/// Saves the dictionary `now` over the session `stored`, by compare-and-swap.
///
/// `canonical` is called at most once, for the JSON that Python makes of the stored dictionary: a value that it spells
/// otherwise than the store is not changed by that. `merges` has a function for each key whose value is computed again
/// from what another request saved: from JSON or None to JSON or None. `cleared`: nothing of what is stored stays.
/// `new_key`: the session moves to a new key in the same step.
///
/// Returns the session's key, the session as it is stored now, and where that differs from `now` because others changed
/// it too.
#[pyfunction]
#[pyo3(signature = (statements, session_key, stored, now, *, canonical, merges, codec, cleared, new_key, aware))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub(crate) fn save(
    python: Python<'_>,
    statements: Py<PyAny>,
    session_key: String,
    stored: &Stored,
    now: &str,
    canonical: &Bound<'_, PyAny>,
    merges: &Bound<'_, PyDict>,
    codec: Option<&Codec>,
    cleared: bool,
    new_key: bool,
    aware: bool,
) -> PyResult<(String, Stored, Vec<Difference>)> {
    let now = data(now)?;
    let failure = Failure::default();
    let store = Arc::new(PythonStore {
        statements,
        codec: codec.map(|codec| Arc::clone(&codec.0)),
        loaded: Mutex::new(Some((stored.data.clone(), Version::from_bytes(stored.text.as_bytes())))),
        written: Mutex::default(),
        failure: failure.clone(),
    });
    let exception = |error: Error| failure.exception(&error);
    // A session of its own for each save, and with it a queue of its own: requests must not save each other's changes
    // here, because each has its own transaction, which may be rolled back.
    let opening =
        Session::open(Arc::clone(&store) as _, settings(aware), SessionKey::from_trusted(session_key));
    let session = run(opening).map_err(exception)?;
    let changes = if cleared {
        session.clear();
        now.iter().map(|(key, value)| (key, Some(value.clone()))).collect()
    } else {
        changes(&stored.data, &now, canonical)?
    };
    for (key, value) in changes {
        if let Some(merge) = merges.get_item(&key)? {
            let merge = Merge {
                before: stored.data.get(&key).cloned(),
                after: value,
                function: merge.unbind(),
                failure: failure.clone(),
            };
            session.modify_value(&key, move |current| merge.run(current)).map_err(exception)?;
        } else if let Some(value) = value {
            session.set_value(&key, value);
        } else {
            session.remove(&key);
        }
    }
    if new_key {
        session.cycle_key().map_err(exception)?;
    }
    python.detach(|| run(session.save())).map_err(exception)?;
    let written = lock(&store.written).take();
    let (Some(written), Some(session_key)) = (written, session.session_key()) else {
        return Err(SessionGone::new_err("the save wrote nothing"));
    };
    let differences = differences(&stored.data, &now, &written.data);
    Ok((session_key.as_str().to_owned(), written, differences))
}

/// What the request changed: set and removed keys.
fn changes(
    stored: &SessionData,
    now: &SessionData,
    canonical: &Bound<'_, PyAny>,
) -> PyResult<Vec<(String, Option<Value>)>> {
    let mut respelled: Option<SessionData> = None;
    let mut changes = Vec::new();
    for (key, _) in stored.iter() {
        if !now.contains_key(&key) {
            changes.push((key, None));
        }
    }
    for (key, value) in now.iter() {
        let before = stored.get(&key);
        if before == Some(value) {
            continue;
        }
        if before.is_some() {
            let respelled = match &respelled {
                Some(respelled) => respelled,
                None => respelled.insert(data(&canonical.call0()?.extract::<String>()?)?),
            };
            if respelled.get(&key) == Some(value) {
                continue;
            }
        }
        changes.push((key, Some(value.clone())));
    }
    Ok(changes)
}

/// Where the session as it was written differs from the request's dictionary, apart from mere spelling.
fn differences(before: &SessionData, now: &SessionData, written: &SessionData) -> Vec<Difference> {
    let gone = now.iter().filter(|(key, _)| !written.contains_key(key)).map(|(key, _)| (key, None));
    let other = written.iter().filter(|(key, value)| match now.get(key) {
        Some(own) => own != *value && before.get(key) != Some(*value),
        None => true,
    });
    gone.chain(other.map(|(key, value)| (key, Some(value.json().to_owned())))).collect()
}

/// Computes a value again from what another request saved.
struct Merge {
    /// The value that the request loaded, and what it made of it.
    before: Option<Value>,
    after: Option<Value>,
    function: Py<PyAny>,
    failure: Failure,
}

impl Merge {
    fn run(&self, current: Option<&Value>) -> Result<Option<Value>, ValueError> {
        if current == self.before.as_ref() { Ok(self.after.clone()) } else { self.again(current) }
    }

    fn again(&self, current: Option<&Value>) -> Result<Option<Value>, ValueError> {
        let merged: PyResult<Option<String>> =
            Python::attach(|python| self.function.bind(python).call1((current.map(Value::json),))?.extract());
        match merged {
            Ok(merged) => merged.map(|json| Value::from_stored_json(&json)).transpose(),
            Err(exception) => {
                self.failure.set(exception);
                Err(ValueError::Syntax("the function raised an exception".to_owned()))
            }
        }
    }
}

/// Settings for the save alone: the codec has the secrets, and Django computes expiries.
fn settings(aware: bool) -> Settings {
    static AWARE: OnceLock<Settings> = OnceLock::new();
    static NAIVE: OnceLock<Settings> = OnceLock::new();
    let with = |time_zone| {
        let mut settings = Settings::new("");
        settings.time_zone = time_zone;
        settings
    };
    let settings = if aware {
        AWARE.get_or_init(|| with(TimeZone::Aware))
    } else {
        NAIVE.get_or_init(|| with(TimeZone::NaiveUtc))
    };
    settings.clone()
}

/// Runs a future on the calling thread, where Django's connection is. Nothing in it waits for another thread: the
/// statements block, and so does the pause between two attempts.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}
