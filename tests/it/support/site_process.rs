//! The axum site in processes of its own: the test program run again, which serves instead of testing.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cloakroom::store::{Created, Loaded, Record, Rotated, Updated, Version};
use cloakroom::{ConcurrentChanges, SessionKey, SessionStore, Settings, StoreError, async_trait, chrono};
use serde::{Deserialize, Serialize};

use crate::support::axum_site::{self, UserRow, Users};

/// Tells the other process what to serve.
const SITES: &str = "CLOAKROOM_TEST_SITES";
/// Stands before the addresses that the other process tells, among what the test program says.
const ADDRESSES: &str = "addresses: ";

/// One site of a process.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Site {
    /// Of the store.
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) guard: Guard,
    pub(crate) user: UserRow,
}

/// What is taken out of the protocol, to see that a test notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Guard {
    AllThere,
    /// Django's way.
    LastWriteWins,
    /// A session that is gone is made again by a save.
    Resurrects,
}

impl Site {
    async fn serve(self) -> String {
        let mut settings = Settings::new(self.secret.as_str());
        if self.guard == Guard::LastWriteWins {
            settings.concurrent_changes = ConcurrentChanges::LastWriteWins;
        }
        let mut store = cloakroom::connect(&self.url, &settings).await.unwrap();
        if self.guard == Guard::Resurrects {
            store = Arc::new(Resurrecting(store));
        }
        axum_site::start_on(store, Users::One(self.user), settings).await
    }
}

/// A process that serves some sites, until this is dropped.
pub(crate) struct SiteProcess {
    child: Child,
    /// One for each site.
    pub(crate) addresses: Vec<String>,
}

/// Serves until the other end hangs up, when this process was started for that. A test that starts others calls
/// it first, and is done when it is true.
pub(crate) async fn serve_if_asked() -> bool {
    let Ok(sites) = std::env::var(SITES) else { return false };
    let sites: Vec<Site> = serde_json::from_str(&sites).unwrap();
    let mut addresses = Vec::new();
    for site in sites {
        addresses.push(site.serve().await);
    }
    println!("\n{ADDRESSES}{}", serde_json::to_string(&addresses).unwrap());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    true
}

impl SiteProcess {
    /// Starts this test, named in full, once more.
    pub(crate) fn start(test: &str, sites: &[Site]) -> SiteProcess {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(SITES, serde_json::to_string(sites).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addresses = lines
            .find_map(|line| line.unwrap().strip_prefix(ADDRESSES).map(str::to_owned))
            .unwrap_or_else(|| panic!("{test} does not serve when asked; its error stands above"));
        // Read on, so that the process can say what it has to say.
        std::thread::spawn(move || lines.for_each(drop));
        SiteProcess { child, addresses: serde_json::from_str(&addresses).unwrap() }
    }
}

impl SiteProcess {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for SiteProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Django's caches and files do when a save comes between a logout's look and its end.
#[derive(Debug)]
struct Resurrecting(Arc<dyn SessionStore>);

#[async_trait]
impl SessionStore for Resurrecting {
    async fn load(&self, session_key: &SessionKey, now: Now) -> Result<Option<Loaded>, StoreError> {
        self.0.load(session_key, now).await
    }
    async fn create(&self, session_key: &SessionKey, record: Record<'_>) -> Result<Created, StoreError> {
        self.0.create(session_key, record).await
    }
    async fn update(
        &self,
        session_key: &SessionKey,
        expected: Option<&Version>,
        record: Record<'_>,
    ) -> Result<Updated, StoreError> {
        let outcome = self.0.update(session_key, expected, record).await?;
        if outcome == Updated::Missing
            && let Created::Created(version) = self.0.create(session_key, record).await?
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
        self.0.rotate(session_key, expected, new_session_key, record).await
    }
    async fn delete(&self, session_key: &SessionKey) -> Result<bool, StoreError> {
        self.0.delete(session_key).await
    }
    async fn exists(&self, session_key: &SessionKey, now: Now) -> Result<bool, StoreError> {
        self.0.exists(session_key, now).await
    }
    async fn clear_expired_with_progress(
        &self,
        now: Now,
        progress: &mut cloakroom::store::Progress<'_>,
    ) -> Result<u64, StoreError> {
        self.0.clear_expired_with_progress(now, progress).await
    }
}

type Now = chrono::DateTime<chrono::Utc>;
