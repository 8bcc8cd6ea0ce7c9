//! Encrypted sessions: every store keeps its contract, nobody without the key reads or plants one, and nothing is lost.

use std::sync::Arc;

use cloakroom::chrono::{TimeDelta, Utc};
use cloakroom::store::{EncryptionKey, EncryptionKeys, Record, Touched, create_table, encryption_key_id};
use cloakroom::{
    CachedDbStore, EncryptedStore, Expiry, MemoryStore, MovingStore, Session, SessionData, SessionKey,
    SessionStore, Settings, SignedCookieStore, Site, StoreErrorKind, auth,
};

use crate::stores::{OF_COOKIES, conforms, conforms_but_for};
use crate::support::stores;

const USER: auth::User<'static> = auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND };
const SECRET_TEXT: &str = "CH93-0076-2011";

fn keys(first: u8, older: &[u8]) -> EncryptionKeys {
    let bytes = std::iter::once(first).chain(older.iter().copied());
    EncryptionKeys::new(bytes.map(|byte| EncryptionKey::from_bytes([byte; 32]))).unwrap()
}

fn encrypted(inner: Arc<dyn SessionStore>) -> Arc<dyn SessionStore> {
    Arc::new(EncryptedStore::new(inner, keys(1, &[])))
}

async fn sqlite(folder: &std::path::Path) -> (String, Arc<dyn SessionStore>) {
    let url = format!("sqlite:{}", folder.join("db.sqlite3").display());
    let store = stores::new_table(&url).await;
    (url, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_conforms() {
    for (name, store, _folder) in stores::all().await {
        // The tests over HTTP go through all of them.
        if ["memory", "sqlite", "cached_db", "redis"].contains(&name) {
            conforms(&format!("encrypted {name}"), encrypted(store)).await;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let store = cloakroom::FileStore::at(folder.path()).open(&Settings::new("secret")).await.unwrap();
    conforms("encrypted file", encrypted(Arc::new(store))).await;
    let memory = || encrypted(Arc::new(MemoryStore::new()));
    let both = CachedDbStore::new(memory(), memory()).unwrap();
    conforms("cached_db of encrypted", Arc::new(both)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_conform_and_cannot_be_read_by_their_user() {
    let settings = Settings::new("secret");
    let store = encrypted(Arc::new(SignedCookieStore::new(&settings)));
    conforms_but_for("encrypted cookies", Arc::clone(&store), &OF_COOKIES).await;

    let session = Session::new(Arc::clone(&store), settings.clone());
    session.set("iban", SECRET_TEXT).unwrap();
    session.save().await.unwrap();
    let cookie = session.session_key().unwrap();
    let codec = cloakroom::SessionCodec::of_signed_cookies(&settings);
    let shown = codec.decode(cookie.as_str()).unwrap().to_json();
    assert!(shown.contains("_cloakroom_encrypted") && !shown.contains(SECRET_TEXT), "{shown}");
    let again = Session::open(Arc::clone(&store), settings.clone(), cookie).await.unwrap();
    assert_eq!(again.get::<String>("iban").unwrap().as_deref(), Some(SECRET_TEXT));

    // As docs/encryption.md says, of text that does not compress.
    for (length, fits) in [(2_700, true), (3_000, false)] {
        let mut long = String::new();
        while long.len() < length {
            long += SessionKey::random().unwrap().as_str();
        }
        let session = Session::new(Arc::clone(&store), settings.clone());
        session.set("long", &long[..length]).unwrap();
        assert_eq!(session.save().await.is_ok(), fits, "{length}");
    }

    // A row's entry is no cookie, though the secret signs it.
    let (row, key, now) = (Arc::new(MemoryStore::new()), SessionKey::random().unwrap(), Utc::now());
    let data = SessionData::from_json(r#"{"a":1}"#).unwrap();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    encrypted(row.clone()).create(&key, record).await.unwrap();
    let stored = row.load(&key, now).await.unwrap().unwrap();
    let as_cookie = codec.encode(stored.data().unwrap(), now).unwrap();
    let error = store.load(&SessionKey::from_trusted(as_cookie), now).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{error}");
}

/// What is stored on each store holds nothing of the data; rotated keys read; another key is an error that overwrites
/// nothing; the index of user sessions works.
#[tokio::test(flavor = "multi_thread")]
async fn on_every_store_only_the_keys_open_a_session() {
    for (name, inner, _folder) in stores::all().await {
        let settings = Settings::new("secret");
        let old: Arc<dyn SessionStore> = Arc::new(EncryptedStore::new(inner.clone(), keys(1, &[])));
        let session = Session::new(Arc::clone(&old), settings.clone());
        session.set("iban", SECRET_TEXT).unwrap();
        session.set_expiry(Expiry::sliding(TimeDelta::hours(3))).unwrap();
        session.save().await.unwrap();
        let (key, now) = (session.session_key().unwrap(), Utc::now());
        let stored = inner.load(&key, now).await.unwrap().unwrap();
        let shown = stored.data().unwrap().to_json();
        assert!(!shown.contains(SECRET_TEXT), "{name}: {shown}");
        let id = EncryptionKey::from_bytes([1; 32]).id().to_owned();
        assert_eq!(encryption_key_id(stored.data().unwrap()), Some(id.clone()), "{name}");

        let wrong: Arc<dyn SessionStore> = Arc::new(EncryptedStore::new(inner.clone(), keys(9, &[])));
        let error =
            Session::open(Arc::clone(&wrong), settings.clone(), key.clone()).await.map(drop).unwrap_err();
        assert!(
            error.to_string().contains(&id) && !error.to_string().contains(SECRET_TEXT),
            "{name}: {error}"
        );
        assert_eq!(error.status(), 500, "{name}: {error}");
        let after = inner.load(&key, now).await.unwrap().unwrap();
        assert!(after.content == stored.content, "{name}");

        // A key generation further on: the old one reads, the new one writes.
        let new: Arc<dyn SessionStore> = Arc::new(EncryptedStore::new(inner.clone(), keys(2, &[1])));
        let session = Session::open(Arc::clone(&new), settings.clone(), key.clone()).await.unwrap();
        assert_eq!(session.get::<String>("iban").unwrap().as_deref(), Some(SECRET_TEXT), "{name}");
        session.set("visits", 1).unwrap();
        session.save().await.unwrap();
        let stored = inner.load(&key, now).await.unwrap().unwrap();
        let id = EncryptionKey::from_bytes([2; 32]).id().to_owned();
        assert_eq!(encryption_key_id(stored.data().unwrap()), Some(id), "{name}");

        // A login moves the session to a new key, to which the entry is bound.
        auth::login(&session, USER).await.unwrap();
        session.save().await.unwrap();
        let moved = session.session_key().unwrap();
        assert_ne!(moved, key, "{name}");
        let session = Session::open(Arc::clone(&new), settings.clone(), moved.clone()).await.unwrap();
        assert_eq!(session.get::<u32>("visits").unwrap(), Some(1), "{name}");
        assert_eq!(auth::user_id(&session).unwrap().as_deref(), Some("7"), "{name}");

        // An entry that is copied to another key does not open.
        let stored = inner.load(&moved, now).await.unwrap().unwrap();
        let copied = SessionKey::random().unwrap();
        let record = Record { data: stored.data().unwrap(), expire_date: now + TimeDelta::hours(1), now };
        inner.create(&copied, record).await.unwrap();
        let error = new.load(&copied, now).await.unwrap_err();
        assert!(
            error.kind() == StoreErrorKind::Unreadable && error.to_string().contains("copied"),
            "{name}: {error}"
        );

        // A renewal, on the version that was loaded.
        let loaded = new.load(&moved, now).await.unwrap().unwrap();
        let later = Record { data: loaded.data().unwrap(), expire_date: now + TimeDelta::hours(5), now };
        assert_eq!(new.touch(&moved, &loaded.version, later).await.unwrap(), Touched::Extended, "{name}");
        assert_eq!(new.load(&moved, now).await.unwrap().unwrap().data(), loaded.data(), "{name}");

        if let Ok(mut listing) = new.list() {
            let (mut opened, mut closed) = (0, 0);
            while let Some(page) = listing.next_page(100, now).await.unwrap() {
                for listed in page {
                    match listed.session {
                        Ok(loaded) => opened += u32::from(loaded.data().unwrap().contains_key("iban")),
                        Err(error) => closed += u32::from(error.kind() == StoreErrorKind::Unreadable),
                    }
                }
            }
            assert_eq!((opened, closed), (1, 1), "{name}");
        }
    }
}

/// The engine `file` reads an expiry in the data, and Django's `clearsessions` does too. Of an encrypted session the file's
/// time alone tells it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_a_file_ends_at_its_own_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new("secret");
    let store = encrypted(Arc::new(cloakroom::FileStore::at(folder.path()).open(&settings).await.unwrap()));
    for expiry in [Expiry::sliding(TimeDelta::hours(1)), Expiry::fixed(TimeDelta::hours(1))] {
        let session = Session::new(Arc::clone(&store), settings.clone());
        session.set("iban", SECRET_TEXT).unwrap();
        session.set_expiry(expiry).unwrap();
        session.save().await.unwrap();
        let (key, now) = (session.session_key().unwrap(), Utc::now());
        assert!(store.load(&key, now + TimeDelta::minutes(59)).await.unwrap().is_some());
        assert!(store.load(&key, now + TimeDelta::minutes(61)).await.unwrap().is_none());
        assert_eq!(store.clear_expired(now + TimeDelta::hours(2)).await.unwrap(), 1);
    }
}

/// Users are listed and logged out, over encrypted sessions in SQLite, and a store that moves keeps them.
#[tokio::test(flavor = "multi_thread")]
async fn user_sessions_and_moving_work() {
    let folder = tempfile::tempdir().unwrap();
    let (url, _) = sqlite(folder.path()).await;
    let site = Site::connect_or_create(&url, Settings::new("secret")).await.unwrap();
    let site = site.encrypted(keys(1, &[])).unwrap().index_user_sessions().await.unwrap();
    let session = site.new_session();
    auth::login(&session, USER).await.unwrap();
    session.save().await.unwrap();
    let users = site.user_sessions().unwrap();
    assert_eq!(users.list("7").await.unwrap().len(), 1);
    assert!(site.clone().encrypted(keys(2, &[1])).is_err(), "the index has the other store");

    let new = Arc::new(MemoryStore::new());
    let moving: Arc<dyn SessionStore> =
        Arc::new(MovingStore::new(site.store(), encrypted(new.clone())).unwrap());
    let moved = Session::open(moving, Settings::new("secret"), session.session_key().unwrap()).await.unwrap();
    moved.set("visits", 1).unwrap();
    moved.save().await.unwrap();
    let stored = new.load(&session.session_key().unwrap(), Utc::now()).await.unwrap().unwrap();
    assert!(encryption_key_id(stored.data().unwrap()).is_some());

    assert_eq!(users.revoke_all("7").await.unwrap(), 0, "it has moved away from this store");
    let session = site.new_session();
    auth::login(&session, USER).await.unwrap();
    session.save().await.unwrap();
    assert_eq!(users.revoke_all("7").await.unwrap(), 1);
    create_table(&url, Default::default()).await.unwrap();
}
