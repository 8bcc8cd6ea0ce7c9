//! The index of user sessions: one list of checks, on each store that keeps one.

mod checks;
mod django;
mod fail_over;
mod limit;
mod requests;

use std::path::Path;
use std::sync::Arc;

use cloakroom::chrono::{SubsecRound, TimeDelta, Utc};
use cloakroom::user_sessions::{Client, UserSessions};
use cloakroom::{Clock, ManualClock, Session, SessionKey, SessionMiddleware, SessionStore, Settings, auth};

/// A site with an index, at a time that the test sets.
struct Site {
    user_sessions: UserSessions,
    middleware: SessionMiddleware,
    clock: Arc<ManualClock>,
}

impl Site {
    async fn connect(url: &str) -> Site {
        Site::on(UserSessions::connect(url, &settings()).await.unwrap())
    }

    fn on(user_sessions: UserSessions) -> Site {
        let clock = Arc::new(ManualClock::new(Utc::now().trunc_subsecs(6)));
        let user_sessions = user_sessions.with_clock(Arc::clone(&clock) as _);
        let middleware = SessionMiddleware::new(user_sessions.store(), settings())
            .unwrap()
            .with_clock(Arc::clone(&clock) as _)
            .with_user_sessions(user_sessions.clone());
        Site { user_sessions, middleware, clock }
    }

    /// One request with this cookie, or none, from this client; gives the key in the end.
    async fn request<F: Future<Output = Result<(), cloakroom::Error>>>(
        &self,
        session_key: Option<&SessionKey>,
        handle: impl FnOnce(Session) -> F,
    ) -> Result<Option<SessionKey>, cloakroom::Error> {
        let cookie = session_key.map(|session_key| format!("sessionid={}", session_key.as_str()));
        let lazy = self.middleware.begin(cookie.as_deref().map(str::as_bytes));
        lazy.set_client(Client::new(Some("192.0.2.7"), Some("Browser/1.0")));
        let session = lazy.load().await?;
        let handled = handle(session.clone()).await;
        self.middleware.finish(&lazy, if handled.is_ok() { 200 } else { 500 }).await?;
        handled?;
        Ok(session.session_key())
    }

    async fn log_in(&self, user_id: &str) -> SessionKey {
        let key = self.request(None, async |session| auth::login(&session, user(user_id)).await).await;
        key.unwrap().unwrap()
    }

    async fn visit(&self, session_key: &SessionKey) -> Option<String> {
        let mut found = None;
        let look = async |session: Session| {
            found = auth::user_id(&session)?;
            Ok(())
        };
        self.request(Some(session_key), look).await.unwrap();
        found
    }

    /// A session as Django leaves it: the index hears nothing of it.
    async fn log_in_elsewhere(&self, user_id: &str) -> SessionKey {
        let session = Session::new(self.user_sessions.store(), settings());
        auth::login(&session, user(user_id)).await.unwrap();
        session.save().await.unwrap();
        session.session_key().unwrap()
    }

    /// The ids of the listed sessions, in their order.
    async fn ids(&self, user_id: &str) -> Vec<String> {
        let listed = self.user_sessions.list(user_id).await.unwrap();
        listed.iter().map(|session| session.id().to_string()).collect()
    }

    async fn lives(&self, session_key: &SessionKey) -> bool {
        self.user_sessions.store().exists(session_key, self.clock.now()).await.unwrap()
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }
}

fn settings() -> Settings {
    Settings::new("secret")
}

fn user(id: &str) -> auth::User<'_> {
    auth::User { id, password: "hash", backend: auth::MODEL_BACKEND }
}

/// The site on a new table.
async fn with_table(url: &str) -> Site {
    let database = url.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|')).map(|(url, _)| url);
    cloakroom::store::create_table(database.unwrap_or(url), Default::default()).await.unwrap();
    let error = UserSessions::connect(url, &settings()).await.unwrap_err();
    assert!(error.to_string().contains("create-table --user-sessions"), "{error}");
    use cloakroom::store::table::TableCreation;
    for made in [TableCreation::Created, TableCreation::AlreadyThere] {
        assert_eq!(cloakroom::store::create_user_session_table(url).await.unwrap(), made);
    }
    Site::connect(url).await
}

fn sqlite_url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("db.sqlite3").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    checks::run(Site::connect("memory:").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    checks::run(with_table(&sqlite_url(folder.path())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_db() {
    let folder = tempfile::tempdir().unwrap();
    checks::run(with_table(&format!("cached_db:{}|memory:", sqlite_url(folder.path()))).await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    conforms(&crate::support::servers::postgres::database().await).await;
}

/// An index of the tests' own in the database of this URL.
#[cfg(feature = "postgres")]
pub(crate) async fn conforms(url: &str) {
    checks::run(with_table(url).await).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    checks::run(with_table(&crate::support::servers::mariadb::database().await).await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    checks::run(Site::connect(&crate::support::servers::redis::url().await).await).await;
}

#[cfg(feature = "redis-cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster() {
    checks::run(Site::connect(&crate::support::servers::redis::cluster_url().await).await).await;
}

/// Sessions where no index can be, and the index in a database beside them.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_an_index_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let (files, database) = (folder.path().join("files"), sqlite_url(folder.path()));
    std::fs::create_dir(&files).unwrap();
    std::fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let files = format!("file:{}", files.display());
    with_table(&database).await;
    let error = UserSessions::connect(&files, &settings()).await.unwrap_err();
    assert!(error.to_string().contains("keeps no index"), "{error}");
    let user_sessions = UserSessions::connect_with_index(&files, &database, &settings()).await.unwrap();
    checks::run(Site::on(user_sessions)).await;
}

#[tokio::test]
async fn sessions_in_cookies_cannot_be_revoked_and_are_refused() {
    let error = UserSessions::connect_with_index("cookie:", "memory:", &settings()).await.unwrap_err();
    assert!(error.to_string().contains("cannot be ended by the server"), "{error}");
}

/// Whoever configures the wrong secret sees nothing, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite_url(folder.path());
    let site = with_table(&url).await;
    site.log_in("7").await;
    site.advance(100);
    let wrong = UserSessions::connect(&url, &Settings::new("another secret")).await.unwrap();
    let wrong = wrong.with_clock(Arc::clone(&site.clock) as _);
    assert!(wrong.list("7").await.unwrap().is_empty());
    assert_eq!(wrong.not_genuine("7").await.unwrap(), 1, "and is told");
    assert_eq!(site.user_sessions.not_genuine("7").await.unwrap(), 0);
    assert_eq!(wrong.revoke_all("7").await.unwrap(), 0);
    assert_eq!(site.ids("7").await.len(), 1);
}

/// One session that cannot be ended wholly keeps none of the others alive.
#[tokio::test]
async fn all_sessions_are_ended_though_the_cache_is_dead() {
    use crate::support::watched_store::WatchedStore;
    use cloakroom::{CachedDbStore, MemoryStore, StoreErrorKind};
    let (database, copies) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let cache = WatchedStore::new(Arc::clone(&copies) as _);
    let store = Arc::new(CachedDbStore::new(Arc::clone(&database) as _, Arc::clone(&cache) as _).unwrap());
    let site = Site::on(UserSessions::new(store, Arc::clone(&database) as _).await.unwrap());
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(site.log_in("7").await);
    }
    cache.fail(Some(("update", StoreErrorKind::Unavailable)));
    let error = site.user_sessions.revoke_all("7").await.unwrap_err();
    assert!(error.to_string().contains("gone from the database"), "{error}");
    for key in &keys {
        assert!(!site.lives(key).await, "the first failure spared the others");
    }
    cache.fail(None);
    site.user_sessions.revoke_all("7").await.unwrap();
    for key in &keys {
        let copy = copies.load(key, site.clock.now()).await.unwrap();
        assert!(
            copy.is_none_or(|copy| copy.data().unwrap().is_empty()),
            "the second call buries what is left in the cache"
        );
    }
}
