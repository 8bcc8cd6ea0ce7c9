//! A search through every order in which two writers and a logout can reach the store: the real code of
//! loading and saving, against the memory store, one store call at a time. Each is a process of its own, or all are
//! requests to one, where writers wait for each other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Created, Loaded, Record, Rotated, Updated, Version};
use cloakroom::{
    Error, MemoryStore, Session, SessionKey, SessionMiddleware, SessionStore, Settings, StoreError,
};

/// What is taken out of the protocol, to see that the search notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Plain writes in place of compare-and-swap.
    Comparison,
    /// An update of a session that is gone creates it again.
    Absence,
}

/// Lets another actor go first before each call.
#[derive(Debug)]
struct Stepped {
    store: MemoryStore,
    broken: Broken,
}

/// Is pending once.
async fn step() {
    let mut stepped = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut stepped, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cloakroom::async_trait]
impl SessionStore for Stepped {
    async fn load(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<Option<Loaded>, StoreError> {
        step().await;
        self.store.load(session_key, now).await
    }
    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        step().await;
        self.store.create(session_key, record).await
    }
    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        step().await;
        let expected = expected.filter(|_| self.broken != Broken::Comparison);
        let outcome = self.store.update(session_key, expected, record).await?;
        if outcome == Updated::Missing
            && self.broken == Broken::Absence
            && let Created::Created(version) = self.store.create(session_key, record).await?
        {
            return Ok(Updated::Updated(version));
        }
        Ok(outcome)
    }
    async fn rotate(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        new_session_key: &SessionKey,
        record: Record<'_>,
    ) -> Result<Rotated, StoreError> {
        step().await;
        let expected = expected.filter(|_| self.broken != Broken::Comparison);
        self.store.rotate(session_key, expected, new_session_key, record).await
    }
    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        step().await;
        self.store.delete(session_key).await
    }
    async fn exists(&self, session_key: &SessionKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.store.exists(session_key, now).await
    }
    async fn clear_expired_with_progress(
        &self,
        now: DateTime<Utc>,
        progress: &mut cloakroom::store::Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.store.clear_expired_with_progress(now, progress).await
    }
}

/// Runs a future whose store calls need nobody else.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Tells whether it found the session, and how it ended.
type Actor = Pin<Box<dyn Future<Output = (bool, Result<(), Error>)>>>;

/// Whether an actor can go on: it has not gone yet, or what it waited for has happened.
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What takes place.
#[derive(Clone, Copy, Debug)]
struct Scene {
    /// The second writer moves the session to another key, as a login does.
    login: bool,
    logout: bool,
    /// All are requests to one process.
    one_process: bool,
}

/// The orders of steps, each followed to its end, in turn.
#[derive(Default)]
struct Orders {
    /// At each step, which of the actors that can go went, and how many could.
    choices: Vec<(usize, usize)>,
}

impl Orders {
    fn choose(&mut self, step: usize, possible: usize) -> usize {
        if step == self.choices.len() {
            self.choices.push((0, possible));
        }
        self.choices[step].0
    }

    /// Moves on to the next order; false after the last.
    fn next(&mut self) -> bool {
        while let Some((chosen, possible)) = self.choices.pop() {
            if chosen + 1 < possible {
                self.choices.push((chosen + 1, possible));
                return true;
            }
        }
        false
    }
}

/// Follows every order; gives how many there are and what went wrong in them.
fn search(broken: Broken, scene: Scene) -> (usize, Vec<String>) {
    let (mut orders, mut count, mut wrong) = (Orders::default(), 0, Vec::new());
    loop {
        count += 1;
        if let Err(what) = follow(&mut orders, broken, scene) {
            wrong.push(what);
        }
        if !orders.next() {
            return (count, wrong);
        }
    }
}

fn follow(orders: &mut Orders, broken: Broken, scene: Scene) -> Result<(), String> {
    let store = Arc::new(Stepped { store: MemoryStore::new(), broken });
    let process = || SessionMiddleware::new(Arc::clone(&store), Settings::new("secret"));
    let one_process = process().map_err(|error| error.to_string())?;
    let first = Session::new(Arc::clone(&store) as _, Settings::new("secret"));
    first.set("counter", 0).map_err(|error| error.to_string())?;
    run(first.save()).map_err(|error| error.to_string())?;
    let session_key = first.session_key().ok_or("no key")?;
    let cookie = format!("sessionid={}", session_key.as_str());

    let request = || {
        let process = if scene.one_process { Ok(one_process.clone()) } else { process() };
        process.map(|process| process.begin([cookie.as_bytes()])).map_err(|error| error.to_string())
    };
    let writer = |name: &'static str, login: bool| -> Result<Actor, String> {
        let lazy = request()?;
        Ok(Box::pin(async move {
            let session = match lazy.load().await {
                Ok(session) => session,
                Err(error) => return (false, Err(error)),
            };
            let found = session.session_key().is_some();
            let saved = async {
                session.set(name, 1)?;
                session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1)?;
                if login {
                    session.cycle_key()?;
                }
                session.save().await
            };
            (found, saved.await)
        }))
    };
    let mut actors: Vec<Option<Actor>> = vec![Some(writer("a", false)?), Some(writer("b", scene.login)?)];
    if scene.logout {
        let lazy = request()?;
        actors.push(Some(Box::pin(async move {
            let session = match lazy.load().await {
                Ok(session) => session,
                Err(error) => return (false, Err(error)),
            };
            let found = session.session_key().is_some();
            (found, session.flush().await)
        })));
    }
    let ready: Vec<Arc<Ready>> = actors.iter().map(|_| Arc::new(Ready(AtomicBool::new(true)))).collect();
    let mut outcomes: Vec<Option<(bool, Result<(), Error>)>> = actors.iter().map(|_| None).collect();
    let mut step = 0;
    while actors.iter().any(Option::is_some) {
        let can_go = |index: &usize| actors[*index].is_some() && ready[*index].0.load(Ordering::Relaxed);
        let possible: Vec<usize> = (0..actors.len()).filter(can_go).collect();
        if possible.is_empty() {
            return Err("everybody waits for somebody".to_owned());
        }
        let index = possible[orders.choose(step, possible.len())];
        step += 1;
        ready[index].0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&ready[index]));
        let actor = actors[index].as_mut().ok_or("no actor")?;
        if let Poll::Ready(outcome) = actor.as_mut().poll(&mut Context::from_waker(&waker)) {
            outcomes[index] = Some(outcome);
            actors[index] = None;
        }
    }
    let stored = run(store.load(&session_key, Utc::now())).map_err(|error| error.to_string())?;
    if scene.logout && stored.is_some() {
        return Err("a session that was logged out is back".to_owned());
    }
    // A logout that found the session ends it, wherever it has gone meanwhile. Who comes after it has a session of its
    // own. One that comes with a key that is dead already ends nothing: such a key is worth nothing.
    let writers = outcomes.iter().take(2).flatten();
    let strangers = writers.filter(|(found, saved)| !found && saved.is_ok()).count() as u64;
    let live = run(store.store.count(Utc::now())).map_err(|error| error.to_string())?.live;
    let is_followed = scene.one_process || !scene.login;
    if matches!(outcomes.get(2), Some(Some((true, _)))) && is_followed && live != strangers {
        return Err("a session that was logged out lives on under another key".to_owned());
    }
    if !scene.logout && !scene.login {
        let data = stored.ok_or("the session is gone")?.data().unwrap().clone();
        if data.len() != 3 || data.read::<u32>("counter") != Ok(Some(2)) {
            return Err(format!("an update was lost: {}", data.to_json()));
        }
    }
    for (_, outcome) in outcomes.into_iter().flatten() {
        match outcome {
            Ok(()) | Err(Error::Interrupted) => {}
            Err(other) => return Err(other.to_string()),
        }
    }
    Ok(())
}

#[test]
fn in_every_order_nothing_is_lost_and_nobody_comes_back() {
    let mut orders = 0;
    for one_process in [false, true] {
        for (logout, login) in [(false, false), (true, false), (true, true), (false, true)] {
            let scene = Scene { login, logout, one_process };
            let (count, wrong) = search(Broken::Nothing, scene);
            assert!(wrong.is_empty(), "{scene:?}: {} of {count} orders: {}", wrong.len(), wrong[0]);
            orders += count;
        }
    }
    println!("model: {orders} of {orders} orders of two writers and a logout keep the promise");
}

#[test]
fn the_search_notices_when_a_guard_is_missing() {
    let scene = Scene { login: false, logout: false, one_process: false };
    let (_, wrong) = search(Broken::Comparison, scene);
    assert!(wrong.iter().any(|what| what.starts_with("an update was lost")), "{wrong:?}");
    let (_, wrong) = search(Broken::Comparison, Scene { one_process: true, ..scene });
    assert!(wrong.is_empty(), "writers of one process take turns: {wrong:?}");
    let (_, wrong) = search(Broken::Absence, Scene { logout: true, ..scene });
    assert!(wrong.iter().any(|what| what.contains("is back")), "{wrong:?}");
}
