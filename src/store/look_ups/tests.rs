use std::sync::Mutex;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::*;
use crate::site::error::StoreErrorKind;

const LIMIT: Duration = Duration::from_millis(200);

/// Finds the even numbers, and fails on 13. Each statement needs a permit.
struct Even {
    permits: Semaphore,
    asked: Mutex<Vec<Vec<u32>>>,
}

#[async_trait]
impl Statement for Even {
    type Key = u32;
    type Answer = String;

    async fn run(&self, mut keys: Vec<u32>) -> Result<HashMap<u32, String>, StoreError> {
        keys.sort_unstable();
        self.asked.lock().unwrap().push(keys.clone());
        self.permits.acquire().await.unwrap().forget();
        match keys.contains(&13) {
            true => Err(StoreError::new("even", StoreErrorKind::Unavailable, "13")),
            false => Ok(keys
                .into_iter()
                .filter(|key| key.is_multiple_of(2))
                .map(|key| (key, key.to_string()))
                .collect()),
        }
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    fn too_late(&self) -> StoreError {
        StoreError::new("even", StoreErrorKind::Unavailable, "too late")
    }
}

fn look_ups(permits: usize) -> Arc<LookUps<Even>> {
    let statement = Even { permits: Semaphore::new(permits), asked: Mutex::default() };
    Arc::new(LookUps::new(Arc::new(statement)))
}

impl LookUps<Even> {
    fn asked(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut *self.statement.asked.lock().unwrap())
    }

    fn ask(self: &Arc<Self>, key: u32) -> tokio::task::JoinHandle<Result<Option<String>, String>> {
        let look_ups = Arc::clone(self);
        tokio::spawn(async move { look_ups.find(key).await.map_err(|error| error.to_string()) })
    }
}

/// Lets the tasks go on as far as they can.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_arrive_meanwhile_share_the_next_statement() {
    let look_ups = look_ups(0);
    let first = look_ups.ask(2);
    settle().await;
    assert_eq!(look_ups.asked(), [vec![2]], "nobody waits for company");
    let others: Vec<_> = [4, 2, 5, 4].map(|key| look_ups.ask(key)).into();
    settle().await;
    assert_eq!(look_ups.asked(), [[0; 0]; 0], "one statement at a time");
    look_ups.statement.permits.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(Some("2".to_owned())));
    let answers: Vec<_> = join_all(others).await.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert_eq!(answers, [Some("4"), Some("2"), None, Some("4")].map(|answer| answer.map(str::to_owned)));
    assert_eq!(look_ups.asked(), [[2, 4, 5]], "each key once");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_that_of_its_own_statement_alone() {
    let look_ups = look_ups(0);
    let bad = look_ups.ask(13);
    settle().await;
    let (gone, good) = (look_ups.ask(6), look_ups.ask(8));
    settle().await;
    gone.abort();
    look_ups.statement.permits.add_permits(2);
    assert!(bad.await.unwrap().unwrap_err().contains("13"));
    assert_eq!(good.await.unwrap(), Ok(Some("8".to_owned())));
    assert_eq!(look_ups.asked(), [vec![13], vec![8]], "who has gone is not asked for");
}

#[tokio::test(start_paused = true)]
async fn waiting_counts_in_the_limit() {
    let look_ups = look_ups(0);
    let (start, first) = (Instant::now(), look_ups.ask(2));
    sleep(LIMIT / 2).await;
    let second = look_ups.ask(4);
    assert!(first.await.unwrap().unwrap_err().contains("too late"));
    assert!(second.await.unwrap().unwrap_err().contains("too late"));
    assert_eq!(start.elapsed(), LIMIT + LIMIT / 2);
    look_ups.statement.permits.add_permits(2);
    assert_eq!(look_ups.ask(6).await.unwrap(), Ok(Some("6".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_statement_takes_a_bounded_number() {
    let look_ups = look_ups(9);
    let all = (14..14 + 3 * u32::try_from(MOST).unwrap()).map(|key| look_ups.ask(key));
    let all: Vec<_> = all.collect();
    for answer in join_all(all).await {
        answer.unwrap().unwrap();
    }
    assert!(look_ups.asked().iter().all(|keys| keys.len() <= MOST));
}

#[test]
fn each_runtime_asks_for_itself() {
    let look_ups = look_ups(0);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ended, other) = (runtime(), runtime());
    ended.block_on(async {
        look_ups.ask(2);
        settle().await;
    });
    drop(ended);
    look_ups.statement.permits.add_permits(1);
    assert_eq!(other.block_on(look_ups.find(4)).unwrap(), Some("4".to_owned()));
}
