//! Who the user of a request is: Django's `get_user`.

use super::*;
use crate::support::watched_store::WatchedStore;

on_every_adapter!(
    the_user_is_looked_up_once_and_only_if_needed,
    a_changed_password_ends_the_login,
    who_is_not_active_or_gone_is_nobody_and_keeps_the_session,
    another_back_end_counts_if_the_source_accepts_it,
    a_fallback_secret_renews_the_hash_and_the_key,
    odd_values_in_the_session_are_nobody,
    a_login_or_logout_in_the_request_counts_at_once,
    logging_in_again_can_change_the_key,
);

async fn logged_in(site: &Running) -> Browser {
    let mut browser = Browser::new();
    browser.get(site.url("/login?id=7")).await.ok();
    browser
}

async fn who(browser: &mut Browser, site: &Running) -> String {
    let reply = browser.get(site.url("/maybe")).await.ok();
    assert_eq!(browser.get(site.url("/option")).await.ok().body, reply.body);
    let status = browser.get(site.url("/whoami")).await.status;
    assert_eq!(status, if reply.body == "nobody" { 401 } else { 200 });
    reply.body
}

async fn the_user_is_looked_up_once_and_only_if_needed(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Default).await;
    assert_eq!(who(&mut Browser::new(), &site).await, "nobody");
    assert_eq!(members.calls(), [""; 0], "nobody is looked for without a login");
    let mut browser = logged_in(&site).await;
    browser.get(site.url("/visit")).await.ok();
    assert_eq!(browser.get(site.url("/scope/open")).await.ok().body, "open");
    assert_eq!(members.calls(), [""; 0], "a page that does not ask costs nothing");
    assert_eq!(browser.get(site.url("/often")).await.ok().body, "Ada Ada Ada");
    assert_eq!(members.calls(), ["find"]);
    assert_eq!(who(&mut browser, &site).await, "Ada");
}

async fn a_changed_password_ends_the_login(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let parts = Parts {
        store: store.clone(),
        settings: Settings::new("secret"),
        members: Arc::clone(&members),
        hook: Hook::Default,
    };
    let site = parts.serve(on).await;
    for path in ["/maybe", "/whoami", "/guarded"] {
        members.change("7", |member| "pbkdf2_sha256$one".clone_into(&mut member.password));
        let mut browser = logged_in(&site).await;
        members.change("7", |member| "pbkdf2_sha256$two".clone_into(&mut member.password));
        let mut stolen = browser.clone();
        let key = browser.session_key().unwrap().to_owned();
        let reply = browser.get(site.url(path)).await;
        assert_eq!(reply.status, if path == "/maybe" { 200 } else { 401 });
        assert!(reply.set_cookies()[0].starts_with("sessionid=\"\";"), "{path}: {:?}", reply.set_cookies());
        assert_eq!(
            (browser.session_key(), store.has(&key).await),
            (None, false),
            "{path}: the session is gone"
        );
        assert_eq!(who(&mut stolen, &site).await, "nobody");
    }
}

async fn who_is_not_active_or_gone_is_nobody_and_keeps_the_session(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Default).await;
    let mut browser = logged_in(&site).await;
    let key = browser.session_key().unwrap().to_owned();
    members.change("7", |member| member.is_inactive = true);
    assert_eq!(who(&mut browser, &site).await, "nobody");
    assert_eq!(browser.get(site.url("/guarded")).await.status, 401);
    members.change("7", |member| "another".clone_into(&mut member.password));
    assert_eq!(who(&mut browser, &site).await, "nobody", "the password does not matter then");
    members.change("7", |member| {
        "pbkdf2_sha256$one".clone_into(&mut member.password);
        member.is_inactive = false;
    });
    assert_eq!(who(&mut browser, &site).await, "Ada", "as in Django, nothing was flushed");
    let ada = members.users.lock().unwrap().remove("7").unwrap();
    assert_eq!(who(&mut browser, &site).await, "nobody");
    members.users.lock().unwrap().insert("7".to_owned(), ada);
    assert_eq!(who(&mut browser, &site).await, "Ada");
    assert_eq!(browser.session_key(), Some(key.as_str()));
}

async fn another_back_end_counts_if_the_source_accepts_it(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Default).await;
    for (backend, name) in [("shop.backends.Token", "Ada"), ("shop.backends.Other", "nobody"), ("", "nobody")]
    {
        let mut browser = Browser::new();
        browser.get(site.url(&format!("/login?id=7&backend={backend}"))).await.ok();
        members.calls();
        assert_eq!(who(&mut browser, &site).await, name, "{backend}");
        assert_eq!(members.calls().is_empty(), name == "nobody", "{backend}");
        assert!(browser.session_key().is_some());
    }
}

async fn a_fallback_secret_renews_the_hash_and_the_key(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let parts = |settings| Parts {
        store: Arc::clone(&store),
        settings,
        members: Arc::clone(&members),
        hook: Hook::Default,
    };
    let before = parts(Settings::new("before")).serve(on).await;
    let mut browser = logged_in(&before).await;
    let key = browser.session_key().unwrap().to_owned();

    let mut settings = Settings::new("after");
    settings.secret_key_fallbacks = vec!["before".into()];
    let between = parts(settings).serve(on).await;
    members.calls();
    assert_eq!(browser.get(between.url("/often")).await.ok().body, "Ada Ada Ada");
    assert_eq!(members.calls(), ["find"], "a renewed hash is the same login");
    assert_ne!(browser.session_key(), Some(key.as_str()));
    assert_eq!(who(&mut Browser::with_session(&key), &between).await, "nobody");

    let after = parts(Settings::new("after")).serve(on).await;
    assert_eq!(who(&mut browser, &after).await, "Ada", "the fallback is no longer needed");
}

/// What only a bug or another program can have written: what Django takes for nobody, and an id that is an error.
async fn odd_values_in_the_session_are_nobody(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let site = memory(on, &members, Hook::Default).await;
    for (key, json) in [
        ("_auth_user_backend", "5"),
        ("_auth_user_backend", "null"),
        ("_auth_user_backend", "[]"),
        ("_auth_user_hash", "5"),
        ("_auth_user_hash", "null"),
        ("_auth_user_hash", r#""""#),
        ("_auth_user_hash", r#""é""#),
        ("_auth_user_id", "null"),
        ("_auth_user_id", r#""8""#),
        ("_auth_user_id", r#""7 OR 1=1""#),
    ] {
        let mut browser = logged_in(&site).await;
        let json: String = json.bytes().map(|byte| format!("%{byte:02X}")).collect();
        browser.get(site.url(&format!("/put?{key}={json}"))).await.ok();
        assert_eq!(who(&mut browser, &site).await, "nobody", "{key}: {json}");
        assert_eq!(browser.session_key().is_none(), key == "_auth_user_hash", "{key}: {json}");
    }
    let mut browser = logged_in(&site).await;
    browser.get(site.url("/put?_auth_user_id=[7]")).await.ok();
    for path in ["/maybe", "/option", "/whoami", "/guarded"] {
        assert_eq!(browser.get(site.url(path)).await.status, 500, "{path}: nobody can tell whose it is");
    }
    let mut browser = logged_in(&site).await;
    browser.get(site.url("/put?_auth_user_id=7")).await.ok();
    assert_eq!(who(&mut browser, &site).await, "Ada", "a number is an id");
}

async fn a_login_or_logout_in_the_request_counts_at_once(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    members.add("8", "Grace", |_| {});
    let site = memory(on, &members, Hook::Default).await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(site.url("/relogin?id=7")).await.ok().body, "nobody Ada nobody");
    let mut browser = logged_in(&site).await;
    assert_eq!(browser.get(site.url("/relogin?id=8")).await.ok().body, "Ada Grace nobody");
    assert_eq!(browser.session_key(), None);
}

async fn logging_in_again_can_change_the_key(on: Adapter) {
    let members = Arc::new(Members::with_ada());
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let parts = Parts {
        store: store.clone(),
        settings: Settings::new("secret"),
        members: Arc::clone(&members),
        hook: Hook::Default,
    };
    let site = parts.serve(on).await;
    let mut browser = logged_in(&site).await;
    browser.get(site.url("/visit")).await.ok();
    let key = browser.session_key().unwrap().to_owned();
    browser.get(site.url("/login?id=7")).await.ok();
    assert_eq!(browser.session_key(), Some(key.as_str()), "as in Django");
    store.calls();
    browser.get(site.url("/login?id=7&new_key=1")).await.ok();
    assert_eq!(store.calls(), ["load", "rotate"]);
    assert_ne!(browser.session_key(), Some(key.as_str()));
    assert_eq!(who(&mut browser, &site).await, "Ada");
    assert_eq!(who(&mut Browser::with_session(&key), &site).await, "nobody", "the former key is dead");
}
