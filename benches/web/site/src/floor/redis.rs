//! Redis: one multiplexed connection, GET and SET of unsigned JSON.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::{Router, routing::get};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::{AGE, Data, key_of, new_key, set_cookie};

type WithCookie = ([(HeaderName, String); 1], &'static str);

#[derive(Clone)]
struct Store(MultiplexedConnection);

pub(crate) async fn site(url: &str) -> Router {
    let client = redis::Client::open(url).expect("a URL of Redis");
    let store = Store(client.get_multiplexed_async_connection().await.expect("Redis answers"));
    Router::new()
        .route("/seed", get(seed))
        .route("/read", get(read))
        .route("/count", get(count))
        .route("/new", get(new))
        .route("/login", get(login))
        .route("/user", get(user))
        .with_state(store)
}

impl Store {
    async fn load(&self, key: &str) -> Option<String> {
        self.0.clone().get(key).await.expect("Redis answers")
    }

    async fn save(&self, key: &str, data: &Data<'_>) {
        self.0.clone().set_ex::<_, _, ()>(key, data.json(), AGE as u64).await.expect("the session is saved");
    }
}

async fn seed(State(store): State<Store>) -> WithCookie {
    let key = new_key();
    store.save(&key, &Data::seed()).await;
    (set_cookie(&key), "ok")
}

async fn read(State(store): State<Store>, headers: HeaderMap) -> String {
    let json = store.load(key_of(&headers)).await.expect("the session is there");
    Data::parse(&json).name.to_owned()
}

async fn count(State(store): State<Store>, headers: HeaderMap) -> String {
    let key = key_of(&headers);
    let json = store.load(key).await.expect("the session is there");
    let mut data = Data::parse(&json);
    data.count += 1;
    store.save(key, &data).await;
    data.count.to_string()
}

async fn new(State(store): State<Store>) -> WithCookie {
    let key = new_key();
    store.save(&key, &Data::new()).await;
    (set_cookie(&key), "ok")
}

async fn login(State(store): State<Store>, headers: HeaderMap) -> WithCookie {
    let (key, new_key) = (key_of(&headers), new_key());
    let json = store.load(key).await.expect("the session is there");
    let mut data = Data::parse(&json);
    data.user = "12345";
    let mut pipeline = redis::pipe();
    pipeline.set_ex(&new_key, data.json(), AGE as u64).del(key);
    pipeline.query_async::<()>(&mut store.0.clone()).await.expect("the session is moved");
    (set_cookie(&new_key), "ok")
}

async fn user(State(store): State<Store>, headers: HeaderMap) -> String {
    let json = store.load(key_of(&headers)).await;
    json.map(|json| Data::parse(&json).user.to_owned()).unwrap_or_default()
}
