//! Stores with cookie ages of their own: Django's session classes that override `get_session_cookie_age`.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use cloakroom::{MemoryStore, SessionKey, SessionMiddleware, SessionStore, Settings};

#[tokio::test]
async fn each_site_gives_its_store_an_age() {
    for age in [TimeDelta::hours(1), TimeDelta::weeks(2)] {
        let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
        let mut settings = Settings::new("secret");
        settings.cookie_age = age;
        let middleware = SessionMiddleware::new(Arc::clone(&store), settings).unwrap();
        let lazy = middleware.begin([]);
        lazy.load().await.unwrap().set("a", 1).unwrap();
        let cookie = middleware.finish(&lazy, 200).await.unwrap().set_cookie.unwrap();
        assert!(cookie.contains(&format!("Max-Age={};", age.num_seconds())), "{cookie}");
        let session_key = cookie.split(['=', ';']).nth(1).map(SessionKey::from_trusted).unwrap();
        let stored = store.load(&session_key, Utc::now()).await.unwrap().unwrap();
        let left = stored.expire_date.unwrap() - Utc::now();
        assert!(left <= age && left > age - TimeDelta::minutes(1), "{left}");
    }
}
