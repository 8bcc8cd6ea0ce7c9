//! Encrypted sessions over HTTP: pages work as before, and a server without the key harms no session.

use cloakroom::store::{EncryptionKey, EncryptionKeys};
use cloakroom::{EncryptedStore, SignedCookieStore};

use super::*;
use crate::support::stores;

on_every_adapter!(
    visits_and_logins_are_as_without_encryption,
    a_server_without_the_key_answers_with_an_error_and_ends_no_session,
    an_encrypted_cookie_is_kept_and_not_read,
);

fn keys(bytes: &[u8]) -> EncryptionKeys {
    EncryptionKeys::new(bytes.iter().map(|byte| EncryptionKey::from_bytes([*byte; 32]))).unwrap()
}

/// A server of the site with these keys, on one of its stores.
async fn server(on: Adapter, store: &Arc<dyn SessionStore>, bytes: &[u8], plain: bool) -> Site {
    let keys = if plain { keys(bytes).accepting_plain() } else { keys(bytes) };
    let store = Arc::new(EncryptedStore::new(Arc::clone(store), keys));
    Site::start_on(on, store, pages(), Settings::new("secret")).await
}

async fn visits_and_logins_are_as_without_encryption(on: Adapter) {
    for (name, store, _folder) in stores::all().await {
        // It began before encryption was turned on.
        let plain = Site::start_on(on, Arc::clone(&store), pages(), Settings::new("secret")).await;
        let mut browser = plain.visitor().await;
        let site = server(on, &store, &[1], true).await;
        for visits in ["2", "3"] {
            assert_eq!(browser.get(site.url("/visit")).await.ok().body, visits, "{name}");
        }
        browser.get(site.url("/login")).await.ok();
        let strict = server(on, &store, &[2, 1], false).await;
        assert_eq!(browser.get(strict.url("/visit")).await.ok().body, "4", "{name}");
        browser.get(strict.url("/logout")).await.ok();
        assert_eq!(browser.session_key(), None, "{name}");
    }
}

async fn a_server_without_the_key_answers_with_an_error_and_ends_no_session(on: Adapter) {
    for (name, store, _folder) in stores::all().await {
        let right = server(on, &store, &[1], false).await;
        let wrong = server(on, &store, &[9], true).await;
        let mut browser = right.visitor().await;
        for path in ["/read", "/visit", "/login", "/logout"] {
            let reply = browser.get(wrong.url(path)).await;
            assert_eq!((reply.status, reply.set_cookies().len()), (500, 0), "{name} {path}");
        }
        assert!(!wrong.store.calls().iter().any(|call| *call != "load"), "{name}");
        assert_eq!(browser.get(wrong.url("/untouched")).await.status, 200, "{name}");
        assert_eq!(browser.get(right.url("/visit")).await.ok().body, "2", "{name}");
    }
}

async fn an_encrypted_cookie_is_kept_and_not_read(on: Adapter) {
    let store: Arc<dyn SessionStore> = Arc::new(SignedCookieStore::new(&Settings::new("secret")));
    let right = server(on, &store, &[1], false).await;
    let mut browser = right.visitor().await;
    assert_eq!(browser.get(right.url("/visit")).await.ok().body, "2");
    let kept = browser.session_key().unwrap().to_owned();
    let wrong = server(on, &store, &[9], true).await;
    let reply = browser.get(wrong.url("/visit")).await;
    assert_eq!((reply.status, reply.set_cookies().len()), (500, 0));
    assert_eq!(browser.session_key(), Some(kept.as_str()));
    assert_eq!(browser.get(right.url("/visit")).await.ok().body, "3");
}
