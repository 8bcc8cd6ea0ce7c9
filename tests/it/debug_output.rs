//! No public type's `Debug` shows a session key, a cookie, a secret, a password or what is in a session: all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cloakroom::auth::{AuthUser, LazyUser, Next, UserSource};
use cloakroom::chrono::{DateTime, TimeDelta, Utc};
use cloakroom::csrf::{CsrfRequest, CsrfSettings, RequestHeaders, Secret};
use cloakroom::messages::{Keep, Level, Message, MessageList, MessageSettings, MessageSigner};
use cloakroom::signing::{SecretKey, Signer, TimestampSigner};
use cloakroom::store::cache::KeyFunction;
use cloakroom::store::table::{ColumnValue, ExtraColumn};
use cloakroom::store::{CachedDbStore, Listed, Listing, Pages, PasswordSource, Record, StoreUrl, Version};
use cloakroom::testing::TestSite;
use cloakroom::user_sessions::{Client, Entry, UserSessionId, UserSessions};
use cloakroom::{
    AuthLayer, AuthTransform, Clock, CsrfLayer, CsrfMiddleware, CsrfStep, CsrfTransform, DecodeError, Error,
    FileStore, LoginRedirect, MemcachedStore, MemoryStore, MessagesLayer, MessagesMiddleware,
    MessagesTransform, MovingStore, MysqlStore, PickleError, PostgresStore, RedisStore, RequestHead,
    RequireLayer, RequireTransform, Session, SessionCodec, SessionData, SessionKey, SessionLayer,
    SessionMiddleware, SessionStore, SessionTransform, Settings, SignedCookieStore, SqliteStore, StoreError,
    StoreErrorKind, SystemClock, Value, auth, spawn_cleaner, spawn_watcher,
};

use crate::support::servers;
use crate::support::source_files::rust_files;

/// What must not be shown.
const KEY: &str = "k3yofasession0123456789abcdefghi";
const SECRET: &str = "s3cret-of-the-site";
const PASSWORD: &str = "hunter2";
const CONTENT: &str = "c0ntent";

/// Types that hold no texts, or texts of the program and of the settings alone: names, reasons, times, the user's id.
const HOLD_NOTHING: [&str; 93] = [
    // Costs.
    "PasswordAlgorithm",
    "PasswordHasher",
    "Verified",
    // Names of tables and columns.
    "PermissionTables",
    "UserModel",
    "LegacySalt",
    "BadForm",
    // The request's own headers.
    "CsrfReason",
    "TokenSource",
    "TokenProblem",
    "CsrfSettings",
    "Scheme",
    "Keep",
    "Level",
    "MessageSettings",
    "MessageStorage",
    // Modes, and paths of certificates.
    "RootCertificates",
    "TlsMode",
    "TlsOptions",
    "UnknownTlsMode",
    "Effort",
    "EndReason",
    "SessionEvent",
    "SessionEventKind",
    "InflateError",
    "NamedTimeZone",
    "StoredExpiry",
    "UnknownCacheFormat",
    "UnknownTimeZone",
    // A name in the source.
    "Key",
    "Algorithm",
    "AtLimit",
    "CacheCompressor",
    "CacheEngine",
    "CacheFormat",
    "CacheSerializer",
    "Check",
    "Cleaned",
    "Columns",
    "Compression",
    "ConcurrentChanges",
    "CookieScope",
    "Count",
    "TableCreation",
    "Decision",
    "Expiry",
    "ExpiryAge",
    "ExpiryError",
    "Failure",
    "InterruptedSession",
    "Kind",
    "ManualClock",
    "MigrationRecord",
    "Mode",
    "Moment",
    "Nonconforming",
    "SessionUse",
    "OpcodeName",
    "PlainText",
    "Pooler",
    "RandomKeys",
    "Rebuilt",
    "SameSite",
    "SecretCheck",
    "SessionKeyFormat",
    "SettingsError",
    "SigningError",
    "StoreErrorKind",
    "Summary",
    "SystemClock",
    "TextFormat",
    "TimeZone",
    "StoreScheme",
    "Transport",
    "UserId",
    // What an application's own function makes of a session, to be written into a column that Django's admin shows.
    "ColumnValue",
    // Outcomes, whose versions are shown below.
    "Created",
    "Rotated",
    "Touched",
    "Updated",
    // Of a layer and of the application's service or body.
    "SessionBody",
    "SessionService",
    "SessionTransformService",
    "CsrfService",
    "CsrfTransformService",
    "MessagesService",
    "MessagesTransformService",
    "AuthService",
    "AuthTransformService",
    "RequireService",
    "RequireTransformService",
    // Names in the source.
    "Grants",
    "Requirement",
];

/// The public types that have a `Debug`, as the source has them, and their files.
fn public_types() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    for folder in ["src", "formats/src"] {
        rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    let (mut public, mut with_debug) = (BTreeMap::new(), Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut attributes = String::new();
        for line in text.lines().map(str::trim_start) {
            let name = |rest: &str| rest.split(|end: char| !end.is_alphanumeric()).next().unwrap().to_owned();
            if let Some(rest) = line.strip_prefix("pub struct ").or(line.strip_prefix("pub enum ")) {
                public.insert(name(rest), file.display().to_string());
                let derives = attributes.split("derive(").skip(1).map(|rest| rest.split(')').next().unwrap());
                if derives.flat_map(|names| names.split(',')).any(|derived| derived.trim() == "Debug") {
                    with_debug.push(name(rest));
                }
            } else if let Some((_, rest)) = line.split_once("Debug for ").filter(|_| line.starts_with("impl"))
            {
                with_debug.push(name(rest));
            }
            match line {
                line if line.starts_with("#[") => attributes.push_str(line),
                line if line.starts_with("//") => {}
                _ => attributes.clear(),
            }
        }
    }
    public.retain(|name, _| with_debug.contains(name));
    public
}

struct Shown(BTreeMap<&'static str, String>);

impl Shown {
    fn add(&mut self, name: &'static str, value: &dyn std::fmt::Debug) {
        self.0.entry(name).or_default().push_str(&format!("{value:?} {value:#?}\n"));
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new(SECRET);
    settings.secret_key_fallbacks = vec![format!("older-{SECRET}").into()];
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn no_public_type_shows_a_secret() {
    let (mut shown, settings, folder) = (Shown(BTreeMap::new()), settings(), tempfile::tempdir().unwrap());
    stores(&mut shown, &settings, folder.path()).await;
    sessions(&mut shown, &settings).await;
    errors(&mut shown);
    messages(&mut shown, &settings).await;
    users(&mut shown, &settings).await;
    shown.add("Settings", &settings);
    let secret = SecretKey::from(SECRET);
    shown.add("SecretKey", &secret);
    shown.add("Signer", &Signer::with_salt(&secret, "salt"));
    shown.add("TimestampSigner", &TimestampSigner::from(Signer::with_salt(&secret, "salt")));
    shown.add("SessionCodec", &SessionCodec::new(&settings));
    shown.add("SessionCodecConfig", &cloakroom::SessionCodecConfig::from(&settings));

    let types = public_types();
    assert!(types.len() > 80, "{} found", types.len());
    let looked_at = |name: &str| shown.0.contains_key(name) || HOLD_NOTHING.contains(&name);
    let missing: Vec<_> = types.iter().filter(|(name, _)| !looked_at(name)).collect();
    assert!(missing.is_empty(), "add them here: {missing:?}");
    let gone: Vec<&str> =
        shown.0.keys().copied().chain(HOLD_NOTHING).filter(|name| !types.contains_key(*name)).collect();
    assert!(gone.is_empty(), "no such types: {gone:?}");
    let passwords = [servers::postgres::PASSWORD, servers::redis::PASSWORD];
    for (name, text) in &shown.0 {
        assert!(!text.trim().is_empty());
        for hidden in [KEY, SECRET, PASSWORD, CONTENT].into_iter().chain(passwords) {
            assert!(!text.contains(hidden), "{name} shows {hidden}: {text}");
        }
    }
}

async fn stores(shown: &mut Shown, settings: &Settings, folder: &Path) {
    let mut options = SqliteStore::at(folder.join("db.sqlite3"));
    options.extra_columns.push(ExtraColumn::new("content", |_| ColumnValue::from(CONTENT)));
    shown.add("SqliteOptions", &options);
    shown.add("ExtraColumn", &options.extra_columns[0]);
    options.extra_columns.clear();
    options.create_table(Default::default()).await.unwrap();
    shown.add("SqliteStore", &options.open(settings).await.unwrap());

    let options = FileStore::at(folder);
    shown.add("FileOptions", &options);
    shown.add("FileStore", &options.open(settings).await.unwrap());
    shown.add("SignedCookieStore", &SignedCookieStore::new(settings));

    let source = PasswordSource::new(|| async { Ok::<_, String>(PASSWORD) });
    shown.add("PasswordSource", &source);
    for url in [
        "postgres://ann:hunter2@db/site",
        "postgres://ann:p@hunter2@db/site",
        "postgres://db/site?user=ann&password=hunter2",
        "host=db user=ann password=hunter2",
    ] {
        shown.add("PostgresOptions", &PostgresStore::options(url).unwrap());
        shown.add("StoreUrl", &StoreUrl::from(url));
        let two = StoreUrl::from(format!("cached_db:{url}|memory:"));
        shown.add("StoreUrlParts", &two.parts().unwrap());
    }
    for url in ["mysql://ann:hunter2@db/site", "mysql://ann:1/hunter2@db/site"] {
        shown.add("MysqlOptions", &MysqlStore::options(url).unwrap());
    }
    for url in [
        "redis://:hunter2@cache",
        "redis://:p?hunter2@cache",
        "redis://cache?password=hunter2",
        "redis://:hunter2",
    ] {
        match RedisStore::options(url) {
            Ok(options) => shown.add("RedisOptions", &options),
            Err(error) => shown.add("StoreError", &error),
        }
    }
    let url = "redis+sentinel://:hunter2@one/site?sentinel_username=ann&sentinel_password=hunter2";
    let options = RedisStore::options(url).unwrap();
    shown.add("SentinelOptions", &options.sentinel);
    shown.add("RedisOptions", &options);
    shown.add("MemcachedOptions", &MemcachedStore::at(["ann:hunter2@cache"]));
    shown.add("KeyFunction", &KeyFunction::new(|key, _, _| format!("{PASSWORD}{key}")));

    let postgres = PostgresStore::options(&servers::postgres::database().await).unwrap();
    postgres.create_table(Default::default()).await.unwrap();
    shown.add("PostgresStore", &postgres.open(settings).await.unwrap());
    let mysql = MysqlStore::options(&servers::mariadb::database().await).unwrap();
    mysql.create_table(Default::default()).await.unwrap();
    shown.add("MysqlStore", &mysql.open(settings).await.unwrap());
    let url = servers::mariadb::database().await;
    let mut connection = servers::mariadb::connection(&url).await;
    for sql in [
        "CREATE TABLE auth_user (id int PRIMARY KEY, password varchar(128), username varchar(9), email varchar(9))",
        "INSERT INTO auth_user VALUES (7, 'hunter2', 'hunter2', 'c0ntent')",
    ] {
        mysql_async::prelude::Queryable::query_drop(&mut connection, sql).await.unwrap();
    }
    shown.add("UserTable", &auth::UserTable::open(&url, "auth_user").await.unwrap());
    let mut model = auth::UserModel::default();
    (model.is_active, model.is_staff, model.is_superuser, model.last_login) = (None, None, None, None);
    model.extra = vec!["email".to_owned()];
    let users = auth::DjangoUsers::open(&url, model).await.unwrap();
    shown.add("DjangoUsers", &users);
    shown.add("DjangoUser", &auth::UserSource::find(&users, "7").await.unwrap().unwrap());
    let redis = RedisStore::open(&servers::redis::url().await, settings).await.unwrap();
    shown.add("RedisStore", &redis);
    let memcached = MemcachedStore::open(&servers::memcached::url().await, settings).await.unwrap();
    shown.add("MemcachedStore", &memcached);
    let options = CachedDbStore::options(Arc::new(MemoryStore::new()), Arc::new(redis));
    shown.add("CachedDbOptions", &options);
    let cached_db = Arc::new(options.build().unwrap());
    shown.add("CachedDbStore", &cached_db);
    let moving = MovingStore::new(cached_db, Arc::new(MemoryStore::new())).unwrap();
    shown.add("MovingStore", &moving);
    shown.add("Moved", &cloakroom::store::moving::Moved::default());
}

async fn sessions(shown: &mut Shown, settings: &Settings) {
    let (store, key, now) = (Arc::new(MemoryStore::new()), SessionKey::from_trusted(KEY), Utc::now());
    let data =
        SessionData::from_json(&format!(r#"{{"_auth_user_id":"7","{CONTENT}":"{CONTENT}"}}"#)).unwrap();
    let record = Record { data: &data, expire_date: now + TimeDelta::hours(1), now };
    store.create(&key, record).await.unwrap();
    shown.add("SessionKey", &key);
    shown.add("SessionData", &data);
    shown.add("Record", &record);
    shown.add("Value", &Value::serialize(CONTENT).unwrap());
    shown.add("Version", &Version::from_bytes(*b"c0ntent"));
    let loaded = store.load(&key, now).await.unwrap().unwrap();
    shown.add("Content", &loaded.content);
    shown.add("Loaded", &loaded);
    let mut pages = Pages::<_, Listed>::of(&*store);
    shown.add("Listed", &pages.next_page(1, now).await.unwrap());
    shown.add("Pages", &pages);
    shown.add("MemoryStore", &store);
    shown.add("User", &auth::User { id: "7", password: PASSWORD, backend: auth::MODEL_BACKEND });

    let session = Session::open(store.clone(), settings.clone(), key.clone()).await.unwrap();
    session.set(CONTENT, CONTENT).unwrap();
    shown.add("Session", &session);
    let user_sessions = UserSessions::connect("memory:", settings).await.unwrap();
    shown.add("UserSessions", &user_sessions);
    shown.add("Entry", &Entry::new("7", key.clone(), now, Client::default()));
    shown.add("UserSessionId", &UserSessionId::of(&key));
    shown.add("Client", &Client::new(Some("192.0.2.7"), Some("curl")));

    let site = TestSite::on(store.clone(), settings.clone()).unwrap();
    shown.add("TestSite", &site);
    let user = auth::User { id: "7", password: PASSWORD, backend: auth::MODEL_BACKEND };
    let begun = site.session().login(user).set("cart", CONTENT);
    shown.add("NewSession", &begun);
    let stored = begun.save().await.unwrap();
    shown.add("TestSession", &stored);
    let effect = stored.effect_of(&http::HeaderMap::new()).await.unwrap();
    shown.add("Effect", &effect);
    let new_key = stored.session_key().unwrap().as_str();
    assert!(!format!("{site:?}{stored:?}{effect:?}").contains(new_key), "{stored:?}");

    let middleware = SessionMiddleware::new(user_sessions.store(), settings.clone()).unwrap();
    let middleware = middleware.with_user_sessions(user_sessions.clone());
    let lazy = middleware.begin([KEY.as_bytes()]);
    shown.add("LazySession", &lazy);
    let session = lazy.load().await.unwrap();
    auth::login(&session, auth::User { id: "7", password: PASSWORD, backend: auth::MODEL_BACKEND })
        .await
        .unwrap();
    let finished = middleware.finish(&lazy, 200).await.unwrap();
    let cookie = finished.set_cookie.clone().unwrap();
    let new_key = cookie.split(['=', ';']).nth(1).unwrap();
    assert!(new_key.len() == 32 && !format!("{finished:?}").contains(new_key), "{finished:?}");
    shown.add("Finished", &finished);
    let mut by_header = finished;
    by_header.set_header = Some(("X-Session-Token".to_owned(), KEY.to_owned()));
    assert!(format!("{by_header:?}").contains("X-Session-Token"), "which header is shown");
    shown.add("Finished", &by_header);
    let listed = user_sessions.list("7").await.unwrap();
    assert!(!listed.is_empty() && !format!("{listed:?}").contains(new_key), "{listed:?}");
    shown.add("UserSession", &listed);

    shown.add("Site", &cloakroom::Site::new(user_sessions.store(), settings.clone()).unwrap());
    let given = cloakroom::GivenSettings::from_variables([
        ("SECRET_KEY", SECRET),
        ("CLOAKROOM_STORE", "redis://:hunter2@cache"),
    ]);
    shown.add("GivenSettings", &given.unwrap());
    let text = format!("secret_key = ['{SECRET}']");
    let error = cloakroom::GivenSettings::from_toml(&text, Path::new("")).unwrap_err();
    shown.add("SettingsFileError", &error);
    let key = cloakroom::store::EncryptionKey::from_bytes(KEY.as_bytes().try_into().unwrap());
    shown.add("EncryptionKey", &key);
    let keys = cloakroom::store::EncryptionKeys::new([key]).unwrap();
    shown.add("EncryptionKeys", &keys);
    shown.add("EncryptedStore", &cloakroom::EncryptedStore::new(user_sessions.store(), keys));
    shown.add("SettingsDigest", &cloakroom::SettingsDigest::of_signed_text(settings));

    shown.add("SessionMiddleware", &middleware);
    shown.add("SessionTransform", &SessionTransform::from(middleware.clone()));
    let layer = SessionLayer::from(middleware.clone());
    shown.add("SessionLayer", &layer);
    let inner = tower::service_fn(async |_request: http::Request<()>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let mut service = tower::Layer::layer(&layer, inner);
    let request = http::Request::builder().header("cookie", format!("sessionid={KEY}")).body(()).unwrap();
    shown.add("SessionFuture", &tower::Service::call(&mut service, request));
    let cleaner =
        spawn_cleaner(store, Arc::new(SystemClock) as Arc<dyn Clock>, std::time::Duration::from_secs(60));
    shown.add("Cleaner", &cleaner);
    let watcher = spawn_watcher(&middleware, cloakroom::WATCH_INTERVAL).unwrap();
    shown.add("SessionEnd", &watcher.watch(&session));
    shown.add("SessionWatcher", &watcher);
}

struct Headers(http::HeaderMap);

impl RequestHeaders for Headers {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(http::HeaderValue::as_bytes)
    }
}

async fn messages(shown: &mut Shown, settings: &Settings) {
    let message = Message::new(Level::INFO, CONTENT);
    shown.add("Message", &message);
    let list: MessageList = [message.clone()].into_iter().collect();
    shown.add("MessageList", &list);
    shown.add("MessageList", &MessageList::from_json(&format!(r#"["{CONTENT}", {{"{CONTENT}": 1}}]"#)));
    let signer = MessageSigner::new(&settings.secret_key, &settings.secret_key_fallbacks);
    shown.add("MessageSigner", &signer);
    let cookie = signer.pack(&list, Utc::now(), 2_048, Keep::Newest).cookie.unwrap();
    shown.add("Decoded", &signer.unpack(&cookie).unwrap());
    let middleware = MessagesMiddleware::new(settings, MessageSettings::default());
    let lazy = middleware.begin([format!("messages={cookie}").as_bytes()], None);
    shown.add("LazyMessages", &lazy);
    let messages = lazy.load().await.unwrap();
    messages.add(message);
    assert_eq!(messages.len(), 2);
    shown.add("Messages", &messages);
    shown.add("MessagesMiddleware", &middleware);
    shown.add("MessagesLayer", &MessagesLayer::from(middleware.clone()));
    shown.add("MessagesTransform", &MessagesTransform::from(middleware));

    let secret = KEY;
    shown.add("Secret", &secret.parse::<Secret>().unwrap());
    let middleware = CsrfMiddleware::new(settings, CsrfSettings::default()).unwrap();
    let lazy = middleware.begin([format!("csrftoken={secret}").as_bytes()], None).unwrap();
    assert!(lazy.load().await.unwrap().token().unwrap().parse::<Secret>().unwrap().as_str() == secret);
    shown.add("LazyCsrf", &lazy);
    shown.add("Csrf", &lazy.load().await.unwrap());
    let mut headers = http::HeaderMap::new();
    headers.insert("cookie", KEY.parse().unwrap());
    headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    let headers = Headers(headers);
    let request = CsrfRequest { method: "POST", path: KEY, is_secure: false, port: None, headers: &headers };
    shown.add("CsrfRequest", &request);
    let mut step = middleware.examine(&lazy, &request).await.unwrap();
    let CsrfStep::Read(form) = &mut step else { panic!("{step:?}") };
    form.push(format!("csrfmiddlewaretoken={KEY}&{CONTENT}").as_bytes()).unwrap();
    shown.add("FormReader", form);
    shown.add("CsrfStep", &step);
    shown.add("CsrfMiddleware", &middleware);
    shown.add("CsrfLayer", &CsrfLayer::from(middleware.clone()));
    shown.add("CsrfTransform", &CsrfTransform::from(middleware));
    let target = format!("/reset/{KEY}?token={SECRET}");
    shown.add("RequestHead", &RequestHead::new("POST", &target, &headers));
    shown.add("Next", &Next::new(&target));
}

#[derive(Clone)]
struct Member;

impl AuthUser for Member {
    fn id(&self) -> Cow<'_, str> {
        "7".into()
    }

    fn password(&self) -> &str {
        PASSWORD
    }
}

/// Its name is a secret too.
struct Members(&'static str);

#[cloakroom::async_trait]
impl UserSource for Members {
    type User = Member;

    async fn find(&self, _: &str) -> Result<Option<Member>, StoreError> {
        assert_eq!(self.0, SECRET);
        Ok(Some(Member))
    }
}

async fn users(shown: &mut Shown, settings: &Settings) {
    let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), settings.clone()).unwrap();
    let session = middleware.begin([]);
    auth::login_user(&session.load().await.unwrap(), &Member).await.unwrap();
    let user = LazyUser::new(Arc::new(Members(SECRET)), Some(session));
    shown.add("CurrentUser", &user.load().await.unwrap().unwrap());
    shown.add("LazyUser", &user);
    shown.add("AuthLayer", &AuthLayer::new(Members(SECRET)));
    shown.add("AuthTransform", &AuthTransform::new(Members(SECRET)));
    shown.add("RequireLayer", &RequireLayer::login());
    shown.add("RequireTransform", &RequireTransform::login());
    shown.add("LoginRedirect", &LoginRedirect::to("/login"));
}

#[derive(Debug, serde::Deserialize)]
enum OneOf {
    This,
    That,
}

fn errors(shown: &mut Shown) {
    let text = Value::serialize(CONTENT).unwrap();
    let mismatch = text.deserialize::<u32>().unwrap_err();
    shown.add("ValueError", &mismatch);
    shown.add("ValueError", &text.deserialize::<OneOf>().unwrap_err());
    shown.add("ValueError", &Value::from_json(&format!("[\"{CONTENT}\", nonsense]")).unwrap_err());
    shown.add("Error", &Error::Value { key: "theme".to_owned(), source: mismatch });
    let json = SessionData::from_pickle(format!("\u{80}\u{4}{CONTENT}").as_bytes(), 1_000).unwrap_err();
    shown.add("PickleError", &json);
    shown.add("PickleError", &PickleError::TooDeep);
    let codec = SessionCodec::new(&settings());
    let list =
        codec.encode_json(&Value::from_json(&format!("[\"{CONTENT}\"]")).unwrap(), DateTime::UNIX_EPOCH);
    let unreadable: DecodeError = codec.decode(&list.unwrap()).unwrap_err();
    shown.add(
        "StoreError",
        &StoreError::new("shelf", StoreErrorKind::Unreadable, "no").with_source(unreadable.clone()),
    );
    shown.add("DecodeError", &unreadable);
}
