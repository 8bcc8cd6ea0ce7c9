//! `Site`: a layer that does not fit its store is refused, and several apps of one process.

use cloakroom::store::{create_table, create_user_session_table};
use cloakroom::{FileStore, MovingStore, SessionKey, SignedCookieStore, UserSessions};

use super::*;
use crate::support::log::Log;
use crate::support::{servers, stores};

on_every_adapter!(apps_with_one_store_take_each_others_keys_and_a_place_each_keeps_them_apart);

async fn served(on: Adapter, site: &cloakroom::Site) -> Served {
    on.serve(pages().layer(site.middleware())).await
}

/// The danger, in one table and in one cache, and the cure: a table or a prefix each.
async fn apps_with_one_store_take_each_others_keys_and_a_place_each_keeps_them_apart(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = |query: &str| format!("sqlite:{}{query}", folder.path().join("db.sqlite3").display());
    #[allow(unused_mut)]
    let mut urls = vec![
        (sqlite(""), sqlite(""), true),
        (sqlite("?table=shop_session"), sqlite("?table=admin_session"), false),
    ];
    #[cfg(feature = "redis")]
    {
        // Each has a key prefix of its own.
        let [shop, admin] = [servers::redis::url().await, servers::redis::url().await];
        urls.extend([(shop.clone(), shop.clone(), true), (shop, admin, false)]);
    }
    for (shop_url, admin_url, is_shared) in urls {
        let site = async |url: &str| {
            cloakroom::Site::connect_or_create(url, Settings::new("the secret of both")).await.unwrap()
        };
        let (shop, admin) = (site(&shop_url).await, site(&admin_url).await);
        let (at_shop, at_admin) = (served(on, &shop).await, served(on, &admin).await);
        let mut visitor = Browser::new();
        visitor.get(at_shop.url("/visit")).await.ok();
        visitor.get(at_shop.url("/login")).await.ok();
        // The two apps are on hosts of their own, and somebody carries the cookie over.
        let mut carried = Browser::with_session(visitor.session_key().unwrap());
        let reply = carried.get(at_admin.url("/read")).await.ok();
        assert_eq!(reply.body, if is_shared { "1" } else { "none" }, "{on:?} {shop_url}");
        let session_key = SessionKey::from_trusted(visitor.session_key().unwrap());
        let found = admin.session(session_key.clone()).await.unwrap();
        let user = found.map(|session| auth::user_id(&session).unwrap());
        assert_eq!(user, is_shared.then(|| Some("7".to_owned())), "{on:?} {shop_url}");
        assert_eq!(visitor.get(at_shop.url("/read")).await.ok().body, "1", "{on:?} {shop_url}");
    }
}

/// Every store that signs knows with what it was opened, also behind others.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_refused_if_its_store_was_opened_with_other_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new("secret");
    let mut signing: Vec<(String, Arc<dyn SessionStore>)> = Vec::new();
    for (name, url) in stores::shared_by_processes(folder.path()).await {
        if url.starts_with("sqlite") || url.starts_with("cached_db") {
            create_table(&url, Default::default()).await.unwrap();
        }
        if ["postgres", "mysql"].iter().any(|scheme| url.starts_with(scheme)) {
            create_table(&url, Default::default()).await.unwrap();
        }
        let store = cloakroom::connect(&url, &settings).await.unwrap();
        let signs = !matches!(name, "redis" | "redis cluster" | "memcached" | "filecache");
        assert_eq!(store.opened_with().is_some(), signs, "{name}");
        if signs {
            signing.push((name.to_owned(), store));
        }
    }
    let new = Arc::clone(&signing[0].1);
    let old = FileStore::open(&format!("file:{}", folder.path().display()), &Settings::new("former")).await;
    signing.push(("moving".to_owned(), Arc::new(MovingStore::new(Arc::new(old.unwrap()), new).unwrap())));
    signing.push(("cookies".to_owned(), Arc::new(SignedCookieStore::new(&settings))));
    assert!(signing.len() > 5);

    for (name, store) in signing {
        assert!(SessionMiddleware::new(Arc::clone(&store), settings.clone()).is_ok(), "{name}");
        let mut of_the_cookie = settings.clone();
        // Several layers on one store have names of their own.
        (of_the_cookie.cookie_secure, of_the_cookie.cookie_name) = (true, "other".to_owned());
        assert!(SessionMiddleware::new(Arc::clone(&store), of_the_cookie).is_ok(), "{name}");
        for error in [
            SessionMiddleware::new(Arc::clone(&store), Settings::new("an0ther")).map(drop).unwrap_err(),
            cloakroom::SessionLayer::new(Arc::clone(&store), Settings::new("an0ther")).map(drop).unwrap_err(),
            cloakroom::Site::new(Arc::clone(&store), Settings::new("an0ther")).map(drop).unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert_eq!(error.setting(), "secret_key", "{name}");
            assert!(text.contains("the store was opened with another `secret_key`"), "{name}: {text}");
            assert!(!text.contains("an0ther"), "{name}: {text}");
        }
        let mut several = settings.clone();
        several.session_class = "CustomStore".to_owned();
        several.secret_key_fallbacks = vec!["older".into()];
        let error = SessionMiddleware::new(store, several).map(drop).unwrap_err().to_string();
        assert!(error.contains("another `secret_key_fallbacks`, another `session_class`"), "{name}: {error}");
    }
}

/// An index of another store would end no session of this one.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_must_be_of_the_site_s_own_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    for name in ["one.sqlite3", "other.sqlite3"] {
        create_table(&url(name), Default::default()).await.unwrap();
        create_user_session_table(&url(name)).await.unwrap();
    }
    let settings = Settings::new("secret");
    let site = cloakroom::Site::connect(&url("one.sqlite3"), settings.clone()).await.unwrap();
    let other = UserSessions::connect(&url("other.sqlite3"), &settings).await.unwrap();
    let error = site.clone().with_user_sessions(other.clone()).unwrap_err();
    assert_eq!(error.setting(), "user_sessions");

    let log = Log::start();
    drop(site.middleware().with_user_sessions(other));
    let lines = log.lines();
    assert!(lines.iter().any(|line| line.contains("ERROR") && line.contains("another store")), "{lines:?}");
    drop(log);

    let site = site.index_user_sessions().await.unwrap();
    let session = site.new_session();
    auth::login(&session, USER).await.unwrap();
    session.save().await.unwrap();
    assert_eq!(site.user_sessions().unwrap().revoke_all("7").await.unwrap(), 1);
    assert!(site.session(session.session_key().unwrap()).await.unwrap().is_none());
}
