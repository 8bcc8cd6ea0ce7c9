//! The feature `testing`, on the handlers of an example and on a login.

use std::time::Duration;

use actix_web::http::header::COOKIE;
use actix_web::{App, test, web};
use cloakroom::testing::{Effect, TestSession, TestSite};
use cloakroom::{
    Error, Expiry, Key, SESSION_STARTED_KEY, Session, SessionTransform, Settings, SignedCookieStore,
    Transport, auth,
};

#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/actix.rs"]
mod example;

const VISITS: Key<u32> = Key::new("visits");
const USER: auth::User<'_> = auth::User { id: "7", password: "pbkdf2", backend: auth::MODEL_BACKEND };

async fn look(session: Session) -> Result<String, Error> {
    Ok(session.get_or_default(VISITS)?.to_string())
}

async fn login(session: Session) -> Result<&'static str, Error> {
    auth::login(&session, USER).await.map(|()| "welcome")
}

async fn logout(session: Session) -> Result<&'static str, Error> {
    auth::logout(&session).await.map(|()| "goodbye")
}

/// What a page of the site does to this browser's session.
async fn effect(site: &TestSite, browser: &TestSession, path: &str) -> Effect {
    let app = App::new()
        .wrap(SessionTransform::from(site.middleware()))
        .route("/", web::get().to(example::visit))
        .route("/look", web::get().to(look))
        .route("/login", web::get().to(login))
        .route("/logout", web::get().to(logout));
    let app = test::init_service(app).await;
    let header = match &site.middleware().settings().transport {
        Transport::Header(name) => name.clone(),
        _ => COOKIE.to_string(),
    };
    let mut request = test::TestRequest::get().uri(path);
    if browser.session_key().is_some() {
        request = request.insert_header((header, browser.cookie()));
    }
    let response = test::call_service(&app, request.to_request()).await;
    assert_eq!(response.status(), 200);
    browser.effect_of(response.headers()).await.unwrap()
}

/// The sites whose sessions travel and are kept in other ways.
fn sites() -> Vec<TestSite> {
    let mut with_header = Settings::new("secret");
    with_header.transport = Transport::Header("X-Session-Token".to_owned());
    vec![
        TestSite::new(Settings::new("secret")).unwrap(),
        TestSite::new(Settings::hardened("secret")).unwrap(),
        TestSite::new(with_header).unwrap(),
    ]
}

#[actix_web::test]
async fn the_example_counts_visits() {
    for site in sites() {
        let begun = effect(&site, &site.visitor(), "/").await;
        assert!(begun.has_begun() && !begun.has_new_key() && !begun.is_nothing(), "{begun:?}");
        assert_eq!(begun.session().get(VISITS).unwrap(), Some(1));
        let again = effect(&site, begun.browser(), "/").await;
        assert_eq!(again.changed_keys(), ["visits"]);
        assert_eq!(again.session().get(VISITS).unwrap(), Some(2));
        assert!(!again.has_begun() && !again.has_ended() && !again.deletes_cookie(), "{again:?}");
        assert!(effect(&site, again.browser(), "/look").await.is_nothing());
        assert!(effect(&site, &site.visitor(), "/look").await.is_nothing());
    }
}

#[actix_web::test]
async fn a_login_and_a_logout_are_seen() {
    for site in sites() {
        let session = site.session().set(VISITS, 3).save().await.unwrap();
        let login = effect(&site, &session, "/login").await;
        assert!(login.has_new_key() && !login.has_ended(), "{login:?}");
        let mut changed = login.changed_keys();
        changed.retain(|key| key != SESSION_STARTED_KEY);
        assert_eq!(changed, [auth::USER_ID_KEY, auth::BACKEND_SESSION_KEY, auth::HASH_SESSION_KEY]);
        assert_eq!(login.session().get(VISITS).unwrap(), Some(3));
        assert!(!session.is_live().await.unwrap(), "the former key opens nothing");
        let logout = effect(&site, login.browser(), "/logout").await;
        assert!(logout.has_ended() && logout.deletes_cookie() && !logout.has_new_key(), "{logout:?}");
        assert_eq!(logout.browser().cookie(), "");
        // A cookie that the browser still sends.
        let late = effect(&site, login.browser(), "/look").await;
        assert!(late.has_ended() && late.deletes_cookie(), "{late:?}");
        assert!(!format!("{login:?}{session:?}{site:?}").contains(session.session_key().unwrap().as_str()));
    }
}

#[actix_web::test]
async fn a_session_in_one_line_is_that_of_its_user_until_its_time() {
    let site = TestSite::new(Settings::new("secret")).unwrap();
    let expiry = Expiry::fixed(Duration::from_secs(60));
    let session = site.session().login(USER).set("cart", [3, 5]).expiry(expiry).save().await.unwrap();
    let loaded = session.load().await.unwrap();
    assert!(auth::verify_user(&loaded, USER).await.unwrap());
    assert_eq!(loaded.get::<Vec<u64>>("cart").unwrap(), Some(vec![3, 5]));
    assert_eq!(
        auth::user_id(&site.session().user(7).save().await.unwrap().load().await.unwrap())
            .unwrap()
            .as_deref(),
        Some("7")
    );
    site.advance(Duration::from_secs(59));
    assert!(session.is_live().await.unwrap());
    site.advance(Duration::from_secs(1));
    assert!(!session.is_live().await.unwrap());
    assert!(effect(&site, &session, "/look").await.has_ended());
    let error = site.session().set("odd", std::collections::BTreeMap::from([(vec![1], 1)])).save().await;
    assert!(matches!(error, Err(Error::Value { key, .. }) if key == "odd"));

    let settings = Settings::new("secret");
    let site = TestSite::on(SignedCookieStore::new(&settings), settings).unwrap();
    let session = site.session().set(VISITS, 3).save().await.unwrap();
    let effect = effect(&site, &session, "/").await;
    assert_eq!(effect.session().get(VISITS).unwrap(), Some(4));
}
