//! Messages in requests: each adapter alone, and beside real Djangos.

use super::*;

on_every_adapter!(
    a_message_is_shown_once,
    parallel_requests_lose_no_message_of_the_session,
    a_cookie_that_is_not_genuine_counts_as_none,
    a_handler_without_the_layer_is_told_so,
);

fn memory(storage: MessageStorage) -> Parts {
    Parts::new(Arc::new(MemoryStore::new()), Settings::new(SECRET), settings(storage))
}

fn settings(storage: MessageStorage) -> MessageSettings {
    let mut settings = MessageSettings::default();
    settings.storage = storage;
    settings
}

const STORAGES: [MessageStorage; 3] =
    [MessageStorage::Fallback, MessageStorage::Cookie, MessageStorage::Session];

async fn get(browser: &mut Browser, url: String) -> Json {
    browser.get(url).await.json()
}

async fn a_message_is_shown_once(on: Adapter) {
    for storage in STORAGES {
        let site = memory(storage).serve(on).await;
        let mut browser = Browser::new();
        assert_eq!(get(&mut browser, site.url("/messages?do=read")).await, json!([]), "{storage:?}");
        assert!(browser.cookies.is_empty(), "{storage:?}: nothing was stored: {:?}", browser.cookies);
        browser.get(site.url("/messages?text=Saved.&tags=wide")).await.ok();
        browser.get(site.url("/messages?text=for+developers&level=10")).await.ok();
        let saved = json!([["wide success", "Saved.", false]]);
        assert_eq!(get(&mut browser, site.url("/messages?do=peek")).await, saved, "{storage:?}");
        // Added after it read: for the next page.
        let reply = browser.get(site.url("/messages?do=read&text=Next.&safe=1")).await;
        assert_eq!((reply.json(), reply.vary()), (saved, Some("Cookie")), "{storage:?}");
        let next = json!([["success", "Next.", true]]);
        assert_eq!(get(&mut browser, site.url("/messages?do=read")).await, next, "{storage:?}");
        assert_eq!(get(&mut browser, site.url("/messages?do=read")).await, json!([]), "{storage:?}");
        assert!(!browser.cookies.contains_key("messages"), "{storage:?}");
    }
}

/// Eight requests load the session before any of them saves it; one of them reads.
async fn parallel_requests_lose_no_message_of_the_session(on: Adapter) {
    let mut parts = memory(MessageStorage::Session);
    let first = parts.clone().serve(on).await;
    let mut browser = Browser::new();
    browser.get(first.url("/messages?text=old")).await.ok();
    parts.gate = Arc::new(tokio::sync::Barrier::new(8));
    let parallel = parts.serve(on).await;
    let requests = (0..8).map(|number| {
        let (mut browser, does) = (browser.clone(), if number == 0 { "read" } else { "add" });
        let url = parallel.url(&format!("/messages?do={does}&text=new{number}"));
        tokio::spawn(async move { get(&mut browser, url).await })
    });
    let requests: Vec<_> = requests.collect();
    for (number, request) in requests.into_iter().enumerate() {
        let expected = if number == 0 { json!([["success", "old", false]]) } else { json!([]) };
        assert_eq!(request.await.unwrap(), expected, "{number}");
    }
    let shown = get(&mut browser, first.url("/messages?do=read")).await;
    let mut texts: Vec<_> = shown.as_array().unwrap().iter().map(|message| message[1].clone()).collect();
    texts.sort_by_key(Json::to_string);
    let expected: Vec<_> = (0..8).map(|number| json!(format!("new{number}"))).collect();
    assert_eq!(texts, expected, "each once, and what was read is gone");
}

/// As Django: `CookieStorage` deletes it, `FallbackStorage` leaves it, and both go on.
async fn a_cookie_that_is_not_genuine_counts_as_none(on: Adapter) {
    let others = Settings::new("another secret");
    for storage in STORAGES {
        let other =
            Parts::new(Arc::new(MemoryStore::new()), others.clone(), settings(MessageStorage::Cookie));
        let (other, site) = (other.serve(on).await, memory(storage).serve(on).await);
        let mut stranger = Browser::new();
        stranger.get(other.url("/messages?text=foreign")).await.ok();
        let genuine = stranger.cookies["messages"].clone();
        let megabyte = "x".repeat(20_000);
        for cookie in ["", "x", "a:b:c", ":::", ".:1:x", "é", "\"\\\"\"", &megabyte, &genuine] {
            let mut browser = Browser::new();
            browser.cookies.insert("messages".to_owned(), cookie.to_owned());
            let shown = get(&mut browser, site.url("/messages?do=read")).await;
            assert_eq!(shown, json!([]), "{storage:?} {cookie:.20}");
            let is_left = browser.cookies.contains_key("messages");
            assert_eq!(is_left, storage != MessageStorage::Cookie, "{storage:?} {cookie:.20}");
            browser.get(site.url("/messages?text=mine")).await.ok();
            let shown = get(&mut browser, site.url("/messages?do=read")).await;
            assert_eq!(shown, json!([["success", "mine", false]]), "{storage:?} {cookie:.20}");
        }
    }
}

async fn a_handler_without_the_layer_is_told_so(on: Adapter) {
    let site = memory(MessageStorage::Fallback).serve(on).await;
    let reply = Browser::new().get(site.url("/outside")).await;
    assert_eq!(reply.status, 500);
    assert!(reply.body.starts_with("no Messages on this request; put `MessagesLayer`"), "{}", reply.body);
    assert_eq!(Browser::new().get(site.url("/outside/silent")).await.ok().body, "no messages here");
    let advice = Error::LayerMissing { argument: "Messages", layer: "MessagesLayer" }.to_string();
    assert_eq!(
        advice,
        "no Messages on this request; put `MessagesLayer` around this handler, inside the session layer"
    );
}

/// Messages go from either site to the other, with each storage and each Django, through each adapter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_to_django_and_back() {
    let djangos = Django::installed();
    for django in &djangos {
        for storage in STORAGES {
            exchange(*django, storage).await;
        }
    }
    println!("messages: {}", Django::count_of(&djangos));
}

async fn exchange(django: Django, storage: MessageStorage) {
    let of = format!("{django:?} {storage:?}");
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("db.sqlite3");
    let mut project = Project::with_user(django, &database);
    project.variables.push(("SITE_MESSAGE_STORAGE", format!("{storage:?}").to_lowercase()));
    let django = project.serve();
    let django = |path: &str| format!("{}{path}", django.address);
    for on in [Adapter::Axum, Adapter::Actix] {
        let store = Arc::new(SqliteStore::at(&database).open(&Settings::new(SECRET)).await.unwrap());
        let site = Parts::new(store, Settings::new(SECRET), settings(storage)).serve(on).await;
        let rust = |path: &str| site.url(path);
        let of = format!("{of} {on:?}");
        let read = "/messages?do=read";

        let mut browser = Browser::new();
        browser.get(rust("/messages?text=Zo%C3%AB+%26+%3Cb%3E%F0%9F%A7%A5&level=40&tags=a+b")).await.ok();
        browser.get(rust("/messages?text=%3Cb%3EHTML%3C%2Fb%3E&safe=1")).await.ok();
        let both = json!([["a b error", "Zoë & <b>🧥", false], ["success", "<b>HTML</b>", true]]);
        assert_eq!(get(&mut browser, django(read)).await, both, "{of}: from Rust to Django");
        assert_eq!(get(&mut browser, rust(read)).await, json!([]), "{of}: Django took them away");

        browser.get(django("/messages?text=Zo%C3%AB+%26+%3Cb%3E%F0%9F%A7%A5&level=40&tags=a+b")).await.ok();
        browser.get(django("/messages?text=%3Cb%3EHTML%3C%2Fb%3E&safe=1")).await.ok();
        assert_eq!(get(&mut browser, rust(read)).await, both, "{of}: from Django to Rust");
        assert_eq!(get(&mut browser, django(read)).await, json!([]), "{of}: Rust took them away");

        // More than a cookie holds, from both sides in turns.
        for number in 0..6_u32 {
            let mut text = format!("{number} ");
            let mut random = 7_919_u32.wrapping_mul(number + 1);
            while text.len() < 430 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(&format!("{:x}", random >> 8));
            }
            let path = format!("/messages?text={text}");
            browser.get(if number % 2 == 0 { rust(&path) } else { django(&path) }).await.ok();
            assert!(browser.cookies.get("messages").is_none_or(|cookie| cookie.len() <= 2_048), "{of}");
        }
        let peeked = get(&mut browser, rust("/messages?do=peek")).await;
        assert_eq!(get(&mut browser.clone(), django("/messages?do=peek")).await, peeked, "{of}");
        let read_by_rust = get(&mut browser.clone(), rust(read)).await;
        assert_eq!(read_by_rust, peeked, "{of}");
        let count = peeked.as_array().unwrap().len();
        let expected = if storage == MessageStorage::Cookie { 1..6 } else { 6..7 };
        assert!(expected.contains(&count), "{of}: {count} of them");

        let mut admin = Browser::new();
        admin.post(django("/login"), credentials()).await.ok();
        admin.get(rust("/messages?text=Told+by+Rust.&level=30")).await.ok();
        let page = admin.get(django("/admin/")).await.ok().body;
        assert!(page.contains(r#"<li class="warning">Told by Rust.</li>"#), "{of}: {page}");
    }
}
