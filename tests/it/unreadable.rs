//! What is stored but cannot be believed or not be carried: it stays as it is.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use cloakroom::store::{Created, Record};
use cloakroom::{
    Error, FileStore, Session, SessionCodec, SessionData, SessionKey, SessionMiddleware, SessionStore,
    Settings, SignedCookieStore, SqliteStore, StoreErrorKind, Value, auth,
};

const SECRET: &str = "secret";

/// A store, and a look around it at what is kept under a key.
struct Place {
    name: &'static str,
    store: Arc<dyn SessionStore>,
    raw: Raw,
}

enum Raw {
    Sqlite(tempfile::TempDir),
    File(tempfile::TempDir),
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    Server(Box<crate::support::raw_database::Raw>),
    #[cfg(feature = "memcached")]
    Memcached(crate::support::raw_caches::Raw),
}

impl Raw {
    async fn put(&mut self, session_key: &SessionKey, stored: &str) {
        let key = session_key.as_str();
        let insert =
            format!("INSERT INTO django_session VALUES ('{key}', '{stored}', '2099-01-01 00:00:00')");
        match self {
            Raw::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
                connection.execute(&insert, []).unwrap();
            }
            Raw::File(folder) => {
                std::fs::write(folder.path().join(format!("sessionid{key}")), stored).unwrap()
            }
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Raw::Server(raw) => raw.execute(&insert).await,
            #[cfg(feature = "memcached")]
            Raw::Memcached(raw) => {
                raw.set(&format!(":1:django.contrib.sessions.cache{key}"), stored.as_bytes(), 1)
            }
        }
    }

    async fn get(&mut self, session_key: &SessionKey) -> String {
        let key = session_key.as_str();
        let select = format!("SELECT session_data FROM django_session WHERE session_key = '{key}'");
        match self {
            Raw::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(folder.path().join("db.sqlite3")).unwrap();
                connection.query_row(&select, [], |row| row.get(0)).unwrap()
            }
            Raw::File(folder) => {
                std::fs::read_to_string(folder.path().join(format!("sessionid{key}"))).unwrap()
            }
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Raw::Server(raw) => raw.column(&select).await.remove(0),
            #[cfg(feature = "memcached")]
            Raw::Memcached(raw) => {
                let (value, _, _) = raw.get(&format!(":1:django.contrib.sessions.cache{key}")).unwrap();
                String::from_utf8(value).unwrap()
            }
        }
    }
}

/// Stores that keep signed text.
async fn text_stores() -> Vec<Place> {
    let settings = Settings::new(SECRET);
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteStore::at(folder.path().join("db.sqlite3"));
    options.create_table(Default::default()).await.unwrap();
    let store = Arc::new(options.open(&settings).await.unwrap());
    let mut places = vec![Place { name: "sqlite", store, raw: Raw::Sqlite(folder) }];
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::at(folder.path()).open(&settings).await.unwrap());
    places.push(Place { name: "file", store, raw: Raw::File(folder) });
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    {
        use crate::support::raw_database::{Kind, Raw as Server};
        let mut kinds = Vec::new();
        #[cfg(feature = "postgres")]
        kinds.push(("postgres", Kind::Postgres));
        #[cfg(feature = "mysql")]
        kinds.push(("mariadb", Kind::Mariadb));
        for (name, kind) in kinds {
            let url = Server::database(kind).await;
            let raw = Server::new(kind, &url).await;
            raw.create_table(Default::default()).await;
            let store = cloakroom::connect(&url, &settings).await.unwrap();
            places.push(Place { name, store, raw: Raw::Server(Box::new(raw)) });
        }
    }
    places
}

fn login() -> SessionData {
    let mut data = SessionData::new();
    data.write(auth::USER_ID_KEY, "7").unwrap();
    data.write(auth::BACKEND_SESSION_KEY, auth::MODEL_BACKEND).unwrap();
    data
}

/// Logins that nobody signed for this place with this secret.
async fn not_genuine() -> Vec<(&'static str, String)> {
    let (settings, now) = (Settings::new(SECRET), Utc::now());
    let genuine = SessionCodec::new(&settings).encode(&login(), now).unwrap();
    let (payload, signature) = genuine.split_at(genuine.rfind(':').unwrap());
    let longer =
        SessionCodec::new(&settings).encode(&SessionData::from_json(r#"{"a":1}"#).unwrap(), now).unwrap();
    let of_another_class = SessionCodec::with_salt(&settings, "django.contrib.sessions.OwnStore");
    let cookies = SignedCookieStore::new(&settings);
    let data = login();
    let record = Record { data: &data, expire_date: now + TimeDelta::days(1), now };
    let Created::Created(cookie) = cookies.create(&SessionKey::random().unwrap(), record).await.unwrap()
    else {
        panic!("a cookie is never taken")
    };
    let in_legacy = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let json = login().to_json();
    vec![
        ("a payload that was changed", format!("{}{signature}", payload.replacen('e', "f", 1))),
        ("a signature that was changed", format!("{payload}{}", signature.to_ascii_lowercase())),
        ("no signature", payload.to_owned()),
        ("another text's signature", format!("{payload}{}", &longer[longer.rfind(':').unwrap()..])),
        ("another secret", SessionCodec::new(&Settings::new("another")).encode(&login(), now).unwrap()),
        ("another session class", of_another_class.encode(&login(), now).unwrap()),
        ("a signed cookie", String::from_utf8(cookie.as_bytes().unwrap().to_vec()).unwrap()),
        ("JSON alone", json.clone()),
        ("the old format unsigned", in_legacy(&json)),
        ("the old format with an empty signature", in_legacy(&format!(":{json}"))),
        ("a blank", " ".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_for_this_place_logs_nobody_in() {
    let cases = not_genuine().await;
    for mut place in text_stores().await {
        for (case, stored) in &cases {
            let (name, session_key) = (place.name, SessionKey::random().unwrap());
            place.raw.put(&session_key, stored).await;
            let open = Session::open(Arc::clone(&place.store), Settings::new(SECRET), session_key.clone());
            let session = open.await.unwrap_or_else(|error| panic!("{name}, {case}: {error}"));
            assert_eq!(auth::user_id(&session).unwrap(), None, "{name}, {case}");
            assert!(session.data().is_empty(), "{name}, {case}");
            session.set("a", 1).unwrap();
            session.save().await.unwrap();
            assert_ne!(session.session_key(), Some(session_key.clone()), "{name}, {case}");
            assert_eq!(&place.raw.get(&session_key).await, stored, "{name}, {case}: it stays");
        }
        println!("t05: {0}: {1} of {1} sessions that are not genuine log nobody in", place.name, cases.len());
    }
    // What the database keeps is no cookie either.
    let cookies: Arc<dyn SessionStore> = Arc::new(SignedCookieStore::new(&Settings::new(SECRET)));
    let middleware = SessionMiddleware::new(cookies, Settings::new(SECRET)).unwrap();
    let of_the_database = SessionCodec::new(&Settings::new(SECRET)).encode(&login(), Utc::now()).unwrap();
    for (case, stored) in
        cases.iter().filter(|(case, _)| *case != "a signed cookie").chain([&("a row", of_the_database)])
    {
        let session = middleware.begin([format!("sessionid={stored}").as_bytes()]).load().await.unwrap();
        assert_eq!(auth::user_id(&session).unwrap(), None, "cookie: {case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_is_never_overwritten() {
    let codec = SessionCodec::new(&Settings::new(SECRET));
    let signed = |json: &str| codec.encode_json(&Value::from_json(json).unwrap(), Utc::now()).unwrap();
    let texts: Vec<_> = ["[1,2]", "null", "5", "\"text\""].iter().map(|json| signed(json)).collect();
    let mut places: Vec<_> = text_stores().await.into_iter().map(|place| (place, texts.clone())).collect();
    #[cfg(feature = "memcached")]
    let server = crate::support::servers::memcached::start().await;
    #[cfg(feature = "memcached")]
    {
        let url = format!("memcached://127.0.0.1:{}", server.port);
        let store = cloakroom::connect(&url, &Settings::new(SECRET)).await.unwrap();
        let raw = Raw::Memcached(crate::support::raw_caches::Raw::memcached(server.port));
        // A list, a call of `os.system`, no pickle.
        let pickles = ["(lp0\n.", "cos\nsystem\n(S'true'\ntR.", "hello"];
        let pickles = pickles.iter().map(|pickle| (*pickle).to_owned()).collect();
        places.push((Place { name: "memcached", store, raw }, pickles));
    }
    for (mut place, all) in places {
        let name = place.name;
        for stored in &all {
            let session_key = SessionKey::random().unwrap();
            place.raw.put(&session_key, stored).await;
            let open = Session::open(Arc::clone(&place.store), Settings::new(SECRET), session_key.clone());
            match open.await {
                Err(Error::Store(error)) => {
                    assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{name}: {error}")
                }
                other => panic!("{name}, {stored:?}: {other:?}"),
            }
            // A handler that goes on without it, on a site that saves every request.
            let mut settings = Settings::new(SECRET);
            settings.save_every_request = true;
            let middleware = SessionMiddleware::new(Arc::clone(&place.store), settings).unwrap();
            let lazy = middleware.begin([format!("sessionid={}", session_key.as_str()).as_bytes()]);
            assert!(lazy.load().await.is_err() && middleware.finish(&lazy, 200).await.is_err(), "{name}");
            let data = SessionData::new();
            let record =
                Record { data: &data, expire_date: Utc::now() + TimeDelta::days(1), now: Utc::now() };
            assert_eq!(place.store.create(&session_key, record).await.unwrap(), Created::KeyTaken, "{name}");
            assert_eq!(&place.raw.get(&session_key).await, stored, "{name}");
        }
        println!("t47: {name}: {0} of {0} entries that cannot be carried stay as they are", all.len());
    }
}
