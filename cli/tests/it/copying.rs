//! `copy`: from any store to any other, again and again.

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::Record;
use cloakroom::{SessionData, SessionKey, SessionStore};
use serde_json::{Value, json};

use crate::support::command::with_secret;
use crate::support::servers;
use crate::support::sessions::{create, open, postgres, sqlite};

/// Beside the numbers named, everything is 0.
fn report(of: Value) -> Value {
    let mut report =
        json!({ "copied": 0, "there": 0, "kept": 0, "replaced": 0, "expired": 0, "gone": 0, "failed": 0 });
    for (name, count) in of.as_object().unwrap() {
        report[name] = count.clone();
    }
    report
}

async fn json_of(store: &dyn SessionStore, key: &SessionKey) -> Option<String> {
    store.load(key, Utc::now()).await.unwrap().map(|loaded| loaded.data().unwrap().to_json())
}

async fn change(store: &dyn SessionStore, key: &SessionKey, json: &str) {
    let (data, now) = (SessionData::from_json(json).unwrap(), Utc::now());
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.update(key, None, record).await.unwrap();
}

const ODD: &str =
    r#"{"big":123456789012345678901234567890,"nan":NaN,"lone":"\ud83e","nested":{"a":[1,2.5]}}"#;

async fn is_copied(from: &str, to: &str) {
    let (source, target) = (open(from).await, open(to).await);
    let odd = create(&*source, ODD, 7).await;
    let mut keys = Vec::new();
    for number in 0..700 {
        let zeros = if number < 10 { "" } else { ".50" };
        keys.push(create(&*source, &format!(r#"{{"number":{number}{zeros}}}"#), 7).await);
    }
    create(&*source, "{}", -7).await;
    let expired = with_secret(&["count", "--json", "--store", from], "").json()["expired"].clone();
    let copy =
        |more: &[&str]| with_secret(&[&["copy", "--json", "--from", from, "--to", to], more].concat(), "");

    let first = copy(&[]);
    assert_eq!(
        (first.code, first.json()),
        (0, report(json!({ "copied": 701, "expired": expired }))),
        "{first:?}"
    );
    let loaded = target.load(&odd, Utc::now()).await.unwrap().unwrap();
    assert_eq!(loaded.data().unwrap().to_json(), ODD);
    if let Some(end) = loaded.expire_date {
        assert!((end - Utc::now() - TimeDelta::hours(7)).abs() < TimeDelta::minutes(5), "{end}");
    }
    let again = copy(&[]);
    assert_eq!(
        (again.code, again.json()),
        (0, report(json!({ "there": 701, "expired": expired }))),
        "{again:?}"
    );

    // Newer at the target, newer at the source, and one that the first run did not come to.
    change(&*target, &keys[0], r#"{"newer":"target"}"#).await;
    change(&*source, &keys[1], r#"{"newer":"source"}"#).await;
    target.delete(&keys[2]).await.unwrap();
    let resumed = copy(&[]);
    let expected = report(json!({ "copied": 1, "there": 698, "kept": 2, "expired": expired }));
    assert_eq!((resumed.code, resumed.json()), (3, expected), "{resumed:?}");
    assert_eq!(json_of(&*target, &keys[0]).await.unwrap(), r#"{"newer":"target"}"#);
    let forced = copy(&["--overwrite"]);
    let expected = report(json!({ "there": 699, "replaced": 2, "expired": expired }));
    assert_eq!((forced.code, forced.json()), (0, expected), "{forced:?}");
    for key in &keys[..3] {
        assert_eq!(json_of(&*target, key).await, json_of(&*source, key).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_copied_to_postgres() {
    let folder = tempfile::tempdir().unwrap();
    is_copied(&sqlite(folder.path()), &postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_copied_to_redis() {
    is_copied(&postgres().await, &servers::redis::url().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_copied_to_files() {
    let folder = tempfile::tempdir().unwrap();
    is_copied(&servers::redis::url().await, &format!("file:{}", folder.path().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_to_sqlite_behind_redis() {
    let (files, database) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = format!("cached_db:{}|{}", sqlite(database.path()), servers::redis::url().await);
    is_copied(&format!("file:{}", files.path().display()), &to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memcached_is_copied_to_mariadb() {
    let to = servers::mariadb::database().await;
    let made = with_secret(&["create-table", "--store", &to], "");
    assert_eq!(made.code, 0, "{made:?}");
    is_copied(&servers::memcached::url().await, &to).await;
}

/// Killed half-way and started again, until it comes to its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (sqlite(folder.path()), postgres().await);
    let source = open(&from).await;
    for number in 0..3_000 {
        create(&*source, &format!(r#"{{"number":{number}}}"#), 7).await;
    }
    let mut command = crate::support::command::cloakroom(&["copy", "--from", &from, "--to", &to]);
    let mut child = command.env("CLOAKROOM_SECRET_KEY", crate::support::command::SECRET).spawn().unwrap();
    let target = open(&to).await;
    while target.count(Utc::now()).await.unwrap().live <= 100 {
        tokio::task::yield_now().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let copied = target.count(Utc::now()).await.unwrap().live;
    assert!(copied < 3_000, "it was stopped half-way");
    let resumed = with_secret(&["copy", "--json", "--from", &from, "--to", &to], "");
    let resumed = resumed.json();
    let [done, there] = ["copied", "there"].map(|name| resumed[name].as_u64().unwrap());
    // The server may have finished what was under way.
    assert!(there >= copied && done > 0 && done + there == 3_000, "{copied}: {resumed}");
}

/// The same rows, signed with a new secret.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_signed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    create(&*open(&url).await, r#"{"a":1}"#, 7).await;
    let new = folder.path().join("new.txt");
    std::fs::write(&new, "the-new-secret").unwrap();
    let new = new.to_str().unwrap();
    let resign = ["copy", "--from", &url, "--to", &url, "--to-secret-key-file", new];
    let kept = with_secret(&resign, "");
    assert_eq!(kept.code, 3, "{kept:?}");
    let signed = with_secret(&[&resign[..], &["--overwrite"]].concat(), "");
    assert!(signed.code == 0 && signed.stdout.contains("1 replaced"), "{signed:?}");
    assert_eq!(with_secret(&["check", "--store", &url], "").code, 3);
    assert_eq!(with_secret(&["check", "--store", &url, "--secret-key-file", new], "").code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_told() {
    let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (sqlite(folder.path()), sqlite(to.path()));
    create(&*open(&from).await, r#"{"a":1}"#, 7).await;
    let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
    connection
        .execute("INSERT INTO django_session VALUES ('forged00', 'x:y:z', '2999-01-01 00:00:00')", [])
        .unwrap();
    let copied = with_secret(&["copy", "--from", &from, "--to", &to], "");
    assert_eq!(copied.code, 3);
    assert!(copied.stdout.contains("1 copied") && copied.stdout.contains("1 failed"), "{copied:?}");
    assert!(copied.stderr.contains("not genuine") && !copied.stderr.contains("forged00"), "{copied:?}");
    let same = with_secret(&["copy", "--from", &from, "--to", &from], "");
    assert!(same.code == 2 && same.stderr.contains("same store"), "{same:?}");
}

/// An object that only Python reads goes from cache to cache as it is, is told from another of its class, and is refused
/// by a store of JSON, by its name.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_pickle_are_copied_or_told() {
    let (from, to) = (servers::redis::url().await, servers::redis::url().await);
    let (source, target) = (open(&from).await, open(&to).await);
    let cart = |items: u8| {
        let object = [b"cshop.models\nCart\n)\x81}\x8c\x05itemsK", &[items][..], b"sb"].concat();
        let pickle = [b"\x80\x04}(\x8c\x04cart", &object[..], b"\x8c\x0d_auth_user_id\x8c\x017u."].concat();
        SessionData::from_pickle(&pickle, 1 << 20).unwrap()
    };
    let (key, now) = (SessionKey::random().unwrap(), Utc::now());
    for (store, items) in [(&source, 1), (&target, 2)] {
        let record = Record { data: &cart(items), expire_date: now + TimeDelta::hours(1), now };
        store.create(&key, record).await.unwrap();
    }
    let copy = |to: &str| with_secret(&["copy", "--json", "--overwrite", "--from", &from, "--to", to], "");
    assert_eq!(copy(&to).json(), report(json!({ "replaced": 1 })));
    let loaded = target.load(&key, Utc::now()).await.unwrap().unwrap();
    assert!(loaded.data().unwrap().clone() == cart(1) && loaded.data().unwrap().clone() != cart(2));
    assert_eq!(copy(&to).json(), report(json!({ "there": 1 })));
    let folder = tempfile::tempdir().unwrap();
    let refused = copy(&sqlite(folder.path()));
    assert_eq!((refused.code, refused.json()), (3, report(json!({ "failed": 1 }))));
    assert!(refused.stderr.contains("shop.models.Cart"), "{refused:?}");
}
