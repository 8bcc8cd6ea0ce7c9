//! A search through every order in which two writers and a logout can reach the store: the real code of
//! loading and saving, against the memory store, one store call at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::store::{Created, Loaded, Record, Rotated, Updated, Version};
use cloakroom::{
    ConcurrentChanges, Error, MemoryStore, Session, SessionKey, SessionStore, Settings, StoreError,
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
    std::future::poll_fn(
        |_| {
            if std::mem::replace(&mut stepped, true) { Poll::Ready(()) } else { Poll::Pending }
        },
    )
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
    async fn clear_expired(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        self.store.clear_expired(now).await
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

type Actor = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

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
fn search(broken: Broken, with_logout: bool, rotate: bool) -> (usize, Vec<String>) {
    let (mut orders, mut count, mut wrong) = (Orders::default(), 0, Vec::new());
    loop {
        count += 1;
        if let Err(what) = follow(&mut orders, broken, with_logout, rotate) {
            wrong.push(what);
        }
        if !orders.next() {
            return (count, wrong);
        }
    }
}

fn follow(orders: &mut Orders, broken: Broken, with_logout: bool, rotate: bool) -> Result<(), String> {
    let store: Arc<dyn SessionStore> = Arc::new(Stepped { store: MemoryStore::new(), broken });
    let open = |session_key: &SessionKey| {
        let mut settings = Settings::new("secret");
        settings.concurrent_changes = ConcurrentChanges::Merge;
        Session::open(Arc::clone(&store), settings, session_key.clone())
    };
    let first = Session::new(Arc::clone(&store), Settings::new("secret"));
    first.set("counter", 0).map_err(|error| error.to_string())?;
    run(first.save()).map_err(|error| error.to_string())?;
    let session_key = first.session_key().ok_or("no key")?;

    let writer = |name: &'static str, rotate: bool| -> Actor {
        let session = open(&session_key);
        Box::pin(async move {
            let session = session.await?;
            session.set(name, 1)?;
            session.modify::<u32>("counter", |counter| counter.unwrap_or(0) + 1)?;
            if rotate {
                session.cycle_key()?;
            }
            session.save().await
        })
    };
    let mut actors: Vec<Option<Actor>> = vec![Some(writer("a", false)), Some(writer("b", rotate))];
    if with_logout {
        let session = open(&session_key);
        actors.push(Some(Box::pin(async move { session.await?.flush().await })));
    }
    let mut results: Vec<Option<Result<(), Error>>> = actors.iter().map(|_| None).collect();
    let mut step = 0;
    while actors.iter().any(Option::is_some) {
        let ready: Vec<usize> = (0..actors.len()).filter(|index| actors[*index].is_some()).collect();
        let index = ready[orders.choose(step, ready.len())];
        step += 1;
        let actor = actors[index].as_mut().ok_or("no actor")?;
        if let Poll::Ready(result) = actor.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            results[index] = Some(result);
            actors[index] = None;
        }
    }
    let stored = run(store.load(&session_key, Utc::now())).map_err(|error| error.to_string())?;
    if with_logout && stored.is_some() {
        return Err("a session that was logged out is back".to_owned());
    }
    if !with_logout && !rotate {
        let data = stored.ok_or("the session is gone")?.data;
        if data.len() != 3 || data.read::<u32>("counter") != Ok(Some(2)) {
            return Err(format!("an update was lost: {}", data.to_json()));
        }
    }
    for result in results.into_iter().flatten() {
        match result {
            Ok(()) | Err(Error::Interrupted) => {}
            Err(other) => return Err(other.to_string()),
        }
    }
    Ok(())
}

#[test]
fn in_every_order_nothing_is_lost_and_nobody_comes_back() {
    let mut orders = 0;
    for (with_logout, rotate) in [(false, false), (true, false), (true, true), (false, true)] {
        let (count, wrong) = search(Broken::Nothing, with_logout, rotate);
        assert!(wrong.is_empty(), "{wrong:?}");
        orders += count;
    }
    println!("model: {orders} of {orders} orders of two writers and a logout keep the promise");
}

#[test]
fn the_search_notices_when_a_guard_is_missing() {
    let (_, wrong) = search(Broken::Comparison, false, false);
    assert!(wrong.iter().any(|what| what.starts_with("an update was lost")), "{wrong:?}");
    let (_, wrong) = search(Broken::Absence, true, false);
    assert!(wrong.iter().any(|what| what.contains("is back")), "{wrong:?}");
}
