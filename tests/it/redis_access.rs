//! Users of Redis: what an ACL must allow, and passwords that change.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{TimeDelta, Utc};
use cloakroom::store::{PasswordSource, Record};
use cloakroom::user_sessions::UserSessions;
use cloakroom::{RedisStore, SessionData, SessionKey, SessionStore, Settings, StoreErrorKind, conformance};

use crate::support::servers::Server;
use crate::support::servers::redis::{client, start, url_of};

/// As docs/stores.md lists them.
const COMMANDS: &str = "+ping +select +exists +get +pexpire +pttl +set +del +scan +eval +evalsha +hget +hset +hdel +hexists \
                        +hgetall";

async fn set_user(server_url: &str, rules: &str) {
    let mut connection = client(server_url).await;
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("site").arg("reset").arg("on").arg(rules.split(' ').collect::<Vec<_>>());
    command.query_async::<()>(&mut connection).await.unwrap();
}

fn url_of_site(server: &Server) -> String {
    format!("redis://site:s3cret@127.0.0.1:{}/1?key_prefix=site", server.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_listed_commands_alone_does_everything() {
    let server = start().await;
    set_user(&url_of(&server), &format!(">s3cret ~site:* {COMMANDS}")).await;
    let url = url_of_site(&server);
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    println!("a limited user of redis: {}", conformance::run(&store, &[]).await.unwrap());
    let settings = Settings::new("secret");
    let index = UserSessions::connect(&url, &settings).await.unwrap();
    let data = SessionData::from_json(r#"{"_auth_user_id": "7"}"#).unwrap();
    let record = Record { data: &data, expire_date: Utc::now() + TimeDelta::hours(1), now: Utc::now() };
    store.create(&SessionKey::random().unwrap(), record).await.unwrap();
    index.rebuild(&settings, &mut |_| ControlFlow::Continue(())).await.unwrap();
    assert_eq!(index.list("7").await.unwrap().len(), 1);
    assert_eq!(index.revoke_all("7").await.unwrap(), 1);

    // None of them is there for nothing.
    let commands = ["select", "exists", "get", "pexpire", "pttl", "set", "del", "scan", "eval", "evalsha"];
    for command in commands {
        set_user(&url_of(&server), &format!(">s3cret ~site:* {COMMANDS} -{command}")).await;
        let works = match RedisStore::open(&url, &settings).await {
            Ok(store) => {
                let store: Arc<dyn SessionStore> = Arc::new(store);
                conformance::run(&store, &[]).await.is_ok() && store.count(Utc::now()).await.is_ok()
            }
            Err(error) => {
                let named = error.to_string().contains(&format!("`{command}`"));
                assert!(named || error.to_string().contains("a command of a script"), "{command}: {error}");
                false
            }
        };
        assert!(!works, "{command} is not needed");
    }
    println!("{} of {} commands are needed", commands.len(), commands.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_scripts_is_refused_at_the_start() {
    let server = start().await;
    for (rules, named) in [
        ("~* +@all -@scripting", "the command `eval`"),
        ("~* +@all -evalsha", "the command `evalsha`"),
        ("~* +@all -eval", "the command `eval`"),
        ("~* +@all -exists", "the command `exists`"),
        // The script may be run, and what it does not.
        ("~* +@all -get", "a command of a script"),
        ("~other:* +@all", "the sessions' keys"),
    ] {
        set_user(&url_of(&server), &format!(">s3cret {rules}")).await;
        let error = RedisStore::open(&url_of_site(&server), &Settings::new("secret")).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{rules}: {text}");
        assert!(text.contains(named) && text.contains(COMMANDS), "{rules}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[cfg(feature = "redis-cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_cluster_needs_the_slots_besides() {
    let (nodes, url) = crate::support::servers::redis::start_cluster().await;
    let hosts = url.strip_prefix("redis+cluster://").unwrap();
    let url = format!("redis+cluster://site:s3cret@{hosts}?key_prefix=site");
    let for_all = async |rules: &str| {
        for node in &nodes {
            set_user(&format!("redis://127.0.0.1:{}", node.port), rules).await;
        }
    };
    for_all(&format!(">s3cret ~site:* {COMMANDS} +cluster|slots")).await;
    let store = cloakroom::connect(&url, &Settings::new("secret")).await.unwrap();
    println!("a limited user of a redis cluster: {}", conformance::run(&store, &[]).await.unwrap());
    for_all(&format!(">s3cret ~site:* {COMMANDS} +cluster|slots -@scripting")).await;
    let error = RedisStore::open(&url, &Settings::new("secret")).await.unwrap_err();
    assert!(error.to_string().contains("the command `eval`"), "{error}");
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
}

/// Where the password comes from, and how often it was asked.
#[derive(Clone)]
struct Vault {
    password: Arc<Mutex<Result<String, String>>>,
    calls: Arc<AtomicU32>,
}

impl Vault {
    fn with(password: &str) -> Vault {
        Vault { password: Arc::new(Mutex::new(Ok(password.to_owned()))), calls: Arc::default() }
    }

    fn source(&self) -> PasswordSource {
        let vault = self.clone();
        PasswordSource::new(move || {
            vault.calls.fetch_add(1, Ordering::Relaxed);
            let next = vault.password.lock().unwrap().clone();
            async move { next }
        })
    }

    fn set(&self, password: Result<&str, &str>) {
        *self.password.lock().unwrap() = password.map(str::to_owned).map_err(str::to_owned);
    }
}

async fn change_password(server_url: &str, password: &str) {
    set_user(server_url, &format!(">{password} ~* +@all")).await;
    let mut connection = client(server_url).await;
    let mut command = redis::cmd("CLIENT");
    command.arg("KILL").arg("USER").arg("site");
    command.query_async::<i64>(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_asks_for_the_password_anew() {
    let server = start().await;
    change_password(&url_of(&server), "first").await;
    let vault = Vault::with("first");
    let mut options = RedisStore::options(&format!("redis://site@127.0.0.1:{}", server.port)).unwrap();
    options.password_source = Some(vault.source());
    assert!(format!("{options:?}").contains("PasswordSource(..)"));
    let store = options.open(&Settings::new("secret")).await.unwrap();
    let session_key = SessionKey::random().unwrap();
    let exists = async || store.exists(&session_key, Utc::now()).await;
    for _ in 0..10 {
        assert!(!exists().await.unwrap());
    }
    assert_eq!(vault.calls.load(Ordering::Relaxed), 1, "once for the one connection");

    vault.set(Ok("second"));
    change_password(&url_of(&server), "second").await;
    assert!(!exists().await.unwrap(), "the next connection has the next password");
    assert_eq!(vault.calls.load(Ordering::Relaxed), 2);

    vault.set(Err("the vault is sealed"));
    change_password(&url_of(&server), "third").await;
    let error = exists().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    vault.set(Ok("third"));
    assert!(!exists().await.unwrap(), "it is asked again");
}

#[cfg(feature = "redis-cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn each_node_of_a_cluster_asks_for_the_password() {
    let (nodes, url) = crate::support::servers::redis::start_cluster().await;
    for node in &nodes {
        change_password(&format!("redis://127.0.0.1:{}", node.port), "first").await;
    }
    let vault = Vault::with("wrong");
    let mut options = RedisStore::options(&url.replace("://", "://site@")).unwrap();
    options.password_source = Some(vault.source());
    let error = options.clone().open(&Settings::new("secret")).await.unwrap_err();
    assert!(error.to_string().contains("refuses this user"), "{error}");
    vault.set(Err("the vault is sealed"));
    let error = options.clone().open(&Settings::new("secret")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    vault.set(Ok("first"));
    vault.calls.store(0, Ordering::Relaxed);
    let store = options.open(&Settings::new("secret")).await.unwrap();
    assert_eq!(store.count(Utc::now()).await.unwrap().live, 0);
    assert!(vault.calls.load(Ordering::Relaxed) >= 3, "each node's connection");

    vault.set(Ok("second"));
    for node in &nodes {
        change_password(&format!("redis://127.0.0.1:{}", node.port), "second").await;
    }
    nodes[0].wait_until(async || store.count(Utc::now()).await.is_ok()).await;
}
