//! The view of a scenario: runs its actions on the session.

use std::sync::{Arc, Mutex, MutexGuard};

use cloakroom::chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{Error, Expiry, LazySession, Moment, Session, SessionKey, SessionStore, Value};
use serde_json::{Value as Json, json};

use crate::support::web::Answer;

pub(super) struct View {
    actions: Vec<Json>,
    store: Arc<dyn SessionStore>,
    results: Mutex<Vec<Json>>,
    session: Mutex<Option<LazySession>>,
}

/// An action that raises in Django: the response is a 500.
struct Raised;

impl From<Error> for Raised {
    fn from(_: Error) -> Self {
        Raised
    }
}

impl View {
    pub(super) fn new(actions: Vec<Json>, store: Arc<dyn SessionStore>) -> View {
        View { actions, store, results: Mutex::default(), session: Mutex::default() }
    }

    pub(super) fn results(&self) -> MutexGuard<'_, Vec<Json>> {
        self.results.lock().unwrap()
    }

    pub(super) fn session(&self) -> Option<LazySession> {
        self.session.lock().unwrap().clone()
    }

    pub(super) async fn respond(&self, lazy: LazySession) -> Answer {
        *self.session.lock().unwrap() = Some(lazy.clone());
        let mut answer = Answer::from("ok");
        for action in &self.actions {
            match self.perform(action, &lazy, &mut answer).await {
                Ok(result) => self.results().push(result),
                Err(Raised) => {
                    answer.status = 500;
                    break;
                }
            }
        }
        answer
    }

    /// What a streaming response writes when its body is sent: too late to be saved.
    pub(super) async fn after_the_response(&self) {
        for action in self.actions.iter().filter(|action| action[0] == "stream_set") {
            let lazy = self.session().unwrap();
            lazy.load().await.unwrap().set(action[1].as_str().unwrap(), &action[2]).unwrap();
        }
    }

    async fn perform(&self, action: &Json, lazy: &LazySession, answer: &mut Answer) -> Result<Json, Raised> {
        let name = action[0].as_str().unwrap();
        let argument = |at: usize| action[at].as_str().unwrap();
        match name {
            "status" => answer.status = action[1].as_u64().unwrap() as u16,
            "vary" => answer.headers.push(("vary".to_owned(), argument(1).to_owned())),
            "response_cookie" => {
                let cookie = format!("{}={}; Path=/", argument(1), argument(2));
                answer.headers.push(("set-cookie".to_owned(), cookie));
            }
            "raise" => return Err(Raised),
            "stream" | "stream_set" | "remove_session_attribute" => {}
            "other_request_deletes" => {
                self.store.delete(&SessionKey::from_trusted(argument(1))).await.unwrap();
            }
            "other_request_sets" => self.other_request_sets(argument(1), argument(2), &action[3]).await,
            _ => return self.on_session(action, &lazy.load().await?).await,
        }
        Ok(Json::Null)
    }

    async fn on_session(&self, action: &Json, session: &Session) -> Result<Json, Raised> {
        let key = || action[1].as_str().unwrap();
        let stored = |value: Option<Value>| value.map_or(Json::Null, |value| value.deserialize().unwrap());
        match action[0].as_str().unwrap() {
            "set" => session.set(key(), &action[2])?,
            "get" => return Ok(stored(session.get_value(key()))),
            "getitem" => return Ok(stored(Some(session.get_value(key()).ok_or(Raised)?))),
            "del" => return session.remove(key()).then_some(Json::Null).ok_or(Raised),
            "pop" => {
                let popped = session.pop::<Json>(key())?;
                return popped.or_else(|| action.get(2).cloned()).ok_or(Raised);
            }
            "setdefault" => return Ok(session.set_default(key(), action[2].clone())?),
            "update" => session.update(action[1].as_object().unwrap())?,
            "contains" => return Ok(json!(session.contains_key(key()))),
            "keys" => return Ok(json!(session.keys())),
            // A value that is read is a copy: changing it changes nothing until it is set again.
            "nested_set" if self.actions.iter().any(|other| other[0] == "set_modified") => {
                let mut outer: Json = session.get(key())?.ok_or(Raised)?;
                outer[action[2].as_str().unwrap()] = action[3].clone();
                session.set(key(), outer)?;
            }
            "nested_set" => _ = session.get::<Json>(key())?,
            "clear" => session.clear(),
            "flush" => session.flush().await?,
            "cycle_key" => session.cycle_key()?,
            "create" => session.create()?,
            "save" => session.save().await?,
            "delete" => _ = session.delete().await?,
            "exists" => return Ok(json!(session.exists(&SessionKey::from_trusted(key())).await?)),
            "session_key" => return Ok(json!(session.session_key().map(|key| key.as_str().to_owned()))),
            "is_empty" => return Ok(json!(session.is_empty())),
            "set_modified" => session.set_modified(action[1].as_bool().unwrap()),
            "set_accessed" => session.set_accessed(action[1].as_bool().unwrap()),
            "set_expiry" => session.set_expiry(match &action[1] {
                Json::Null => Expiry::Default,
                number => number.as_i64().map_or_else(|| number.as_f64().unwrap().into(), Expiry::from),
            })?,
            "set_expiry_datetime" => session.set_expiry(match Moment::from_isoformat(key()).unwrap() {
                Moment::Aware(moment) => Expiry::At(moment),
                Moment::Naive(wall_clock) => Expiry::AtWallClock(wall_clock),
            })?,
            "set_expiry_timedelta" => {
                let seconds = action[1].as_f64().unwrap();
                session.set_expiry(TimeDelta::milliseconds((seconds * 1e3) as i64))?;
            }
            "get_expiry_age" => {
                let age = session.get_expiry_age().map_err(|_| Raised)?.seconds();
                return Ok(if age.fract() == 0.0 { json!(age as i64) } else { json!(age) });
            }
            "get_expiry_date" => {
                return Ok(json!(session.get_expiry_date().map_err(|_| Raised)?.isoformat()));
            }
            "get_expire_at_browser_close" => return Ok(json!(session.get_expire_at_browser_close())),
            "set_test_cookie" => session.set_test_cookie()?,
            "test_cookie_worked" => return Ok(json!(session.test_cookie_worked())),
            "delete_test_cookie" => return session.delete_test_cookie().then_some(Json::Null).ok_or(Raised),
            other => panic!("action {other}"),
        }
        Ok(Json::Null)
    }

    async fn other_request_sets(&self, session_key: &str, key: &str, value: &Json) {
        let session_key = SessionKey::from_trusted(session_key);
        let before: DateTime<Utc> = NaiveDateTime::default().and_utc();
        let loaded = self.store.load(&session_key, before).await.unwrap().unwrap();
        let mut changed = loaded.data().unwrap().clone();
        changed.write(key, value).unwrap();
        let record =
            Record { data: &changed, expire_date: loaded.expire_date.unwrap(), now: DateTime::default() };
        self.store.update(&session_key, None, record).await.unwrap();
    }
}
