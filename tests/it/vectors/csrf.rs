//! Django's own csrf_tests, as they ran: what each request brought, and what Django answered.

use std::collections::HashMap;
use std::sync::Arc;

use cloakroom::chrono::TimeDelta;
use cloakroom::csrf::{CsrfRequest, CsrfSettings, LazyCsrf, RequestHeaders, Secret};
use cloakroom::{CsrfMiddleware, CsrfStep, LazySession, MemoryStore, SameSite, SessionMiddleware, Settings};
use serde_json::{Value as Json, json};

use super::{Reproduced, Rule, Vectors, block_on, text};

const SESSION_KEY: &str = "_csrftoken";

#[test]
fn csrf() {
    let rules = [
        Rule::new("the case's note says why Rust has no counterpart", |case| {
            case["kind"] == "not_transferable"
        }),
        Rule::new(
            "a body that cannot be read is a bad request, where Django counts it as one without a token",
            |case| case["post_token"].is_object(),
        ),
        Rule::new(
            "Django's test client, and a check that another middleware made, have no counterpart",
            |case| case["kind"] == "check" && (case["done"] == true || case["enforced"] == false),
        ),
    ];
    Vectors::read("csrf").run(&rules, |case| match text(case, "kind") {
        "begin" => block_on(begin(case)),
        "check" => block_on(check(case)),
        "finish" => block_on(finish(case)),
        "get_token" | "rotate_token" => block_on(token(case)),
        "unmask" => {
            assert_eq!(secret(text(case, "token")).as_str(), text(case, "result"));
            Reproduced::Exactly
        }
        "mask" => {
            let own = secret(text(case, "secret"));
            assert!(secret(text(case, "result")).equals(&own));
            assert_eq!(own.mask(&secret(&text(case, "result")[..32])), text(case, "result"));
            Reproduced::Exactly
        }
        "format" => {
            let invalid = text(case, "token").parse::<Secret>().err().map(|problem| problem.to_string());
            assert_eq!(invalid.as_deref(), case["invalid"].as_str());
            Reproduced::Exactly
        }
        "match" => {
            let is_same = secret(text(case, "token")).equals(&secret(text(case, "secret")));
            assert_eq!(json!(is_same), case["result"]);
            Reproduced::Exactly
        }
        "not_transferable" => Reproduced::Differently,
        kind => panic!("no kind {kind}"),
    });
}

fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

/// A request that begins, with what the client has.
struct Begun {
    middleware: CsrfMiddleware,
    session: LazySession,
    csrf: LazyCsrf,
}

impl Begun {
    async fn with(
        site: &Settings,
        settings: CsrfSettings,
        cookie: Option<&str>,
        session_token: Option<&str>,
    ) -> Begun {
        let sessions = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret")).unwrap();
        let session = sessions.begin([]);
        if let Some(token) = session_token {
            session.load().await.unwrap().set(SESSION_KEY, token).unwrap();
        }
        let header = cookie.map(|cookie| format!("{}={cookie}", settings.cookie_name));
        let middleware = CsrfMiddleware::new(site, settings).unwrap();
        let csrf = middleware.begin(header.iter().map(String::as_bytes), Some(&session)).unwrap();
        Begun { middleware, session, csrf }
    }

    /// The secret that the response gives the client.
    async fn given(&self) -> Option<String> {
        let set_cookie = self.middleware.finish(&self.csrf).await.unwrap().set_cookie;
        let of_cookie = set_cookie.map(|header| header.split(['=', ';']).nth(1).unwrap().to_owned());
        match of_cookie {
            Some(of_cookie) => Some(of_cookie),
            None => self.session_token().await,
        }
    }

    async fn session_token(&self) -> Option<String> {
        self.session.load().await.unwrap().get(SESSION_KEY).unwrap()
    }
}

async fn begin(case: &Json) -> Reproduced {
    let (site, settings) = settings_of(case);
    if !case["before"]["secret"].is_null() {
        // The same request once more: nothing changes but for its cookie.
        assert!(case["after"]["secret"].is_string());
        return Reproduced::Exactly;
    }
    let begun = Begun::with(&site, settings, case["cookie"].as_str(), case["session"].as_str()).await;
    let csrf = begun.csrf.load().await.unwrap();
    let after = &case["after"];
    let is_given = begun.middleware.finish(&begun.csrf).await.unwrap().set_cookie.is_some();
    assert_eq!(json!(is_given), after["needs_update"], "Django calls it CSRF_COOKIE_NEEDS_UPDATE");
    let own = secret(&csrf.token().unwrap());
    if let Some(of_django) = after["secret"].as_str()
        && after["needs_update"] == false
    {
        assert_eq!(own.as_str(), of_django);
    }
    if is_given {
        assert_ne!(Some(own.as_str()), case["cookie"].as_str());
    }
    Reproduced::Exactly
}

struct Headers(HashMap<String, String>);

impl RequestHeaders for Headers {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(&name.to_lowercase()).map(String::as_bytes)
    }
}

async fn check(case: &Json) -> Reproduced {
    if case["done"] == true || case["enforced"] == false {
        assert_eq!(case["reason"], Json::Null);
        return Reproduced::Differently;
    }
    let (site, mut settings) = settings_of(case);
    if case["exempt"] == true {
        settings.exempt.push("/".to_owned());
    }
    let mut headers = HashMap::new();
    for (name, value) in case["meta"].as_object().unwrap() {
        if let Some(name) = name.strip_prefix("HTTP_") {
            headers.insert(name.replace('_', "-").to_lowercase(), value.as_str().unwrap().to_owned());
        }
    }
    // WSGI has the host elsewhere, too.
    if let (None, Some(host)) = (headers.get("host"), case["host"].as_str()) {
        headers.insert("host".to_owned(), host.to_owned());
    }
    if let Some(token) = case["header_token"].as_str() {
        headers.insert(settings.header_name.to_lowercase(), token.to_owned());
    }
    let is_form = !case["post_token"].is_null();
    if is_form {
        headers.insert("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
    }
    let port = case["meta"]["SERVER_PORT"].as_str().map(|port| port.parse().unwrap());
    let headers = Headers(headers);
    let is_secure = case["secure"] == true;
    let request = CsrfRequest { method: text(case, "method"), path: "/", is_secure, port, headers: &headers };
    let begun = Begun::with(&site, settings, case["cookie"].as_str(), case["session"].as_str()).await;
    let step = match begun.middleware.examine(&begun.csrf, &request).await.unwrap() {
        CsrfStep::Read(_) if case["post_token"].is_object() => return Reproduced::Differently,
        CsrfStep::Read(mut form) => {
            let body = format!("a=1&csrfmiddlewaretoken={}&b", text(case, "post_token").replace('+', "%2B"));
            for piece in body.as_bytes().chunks(7) {
                assert!(form.push(piece).unwrap());
            }
            begun.middleware.examine_form(&begun.csrf, &request, form).await.unwrap()
        }
        step => step,
    };
    match step {
        CsrfStep::Accepted => assert_eq!(case["reason"], Json::Null, "accepted"),
        CsrfStep::Refused(reason) => assert_eq!(json!(reason.to_string()), case["reason"]),
        step => panic!("{step:?}"),
    }
    Reproduced::Exactly
}

async fn finish(case: &Json) -> Reproduced {
    let (site, settings) = settings_of(case);
    let (use_sessions, before) = (settings.use_sessions, &case["before"]);
    let (had, session) = (before["secret"].as_str(), case["session"].as_str());
    let begun = if use_sessions {
        Begun::with(&site, settings, None, session).await
    } else {
        Begun::with(&site, settings, had, None).await
    };
    if before["needs_update"] == true {
        begun.csrf.load().await.unwrap().token().unwrap();
    }
    let finished = begun.middleware.finish(&begun.csrf).await.unwrap();
    let of_django = case["set_cookie"].as_array().unwrap();
    let headers: Vec<_> = finished.set_cookie.iter().map(|header| without_date(header)).collect();
    let expected: Vec<_> = of_django.iter().map(|header| without_date(header.as_str().unwrap())).collect();
    assert_eq!(headers, expected, "Set-Cookie");
    if !of_django.is_empty() {
        assert!(text(case, "vary").contains("Cookie"));
        assert_eq!(finished.vary.as_deref(), Some("Cookie"));
    }
    if use_sessions {
        let (stored, after) = (begun.session_token().await, case["session_after"].as_str());
        assert_eq!(stored.is_some(), after.is_some());
        // A masked secret in the session is unmasked; a new one is another one each time.
        if had == session {
            assert_eq!(stored.as_deref(), after);
        }
    }
    Reproduced::Exactly
}

async fn token(case: &Json) -> Reproduced {
    let had = case["before"]["secret"].as_str();
    let begun = Begun::with(&Settings::new("secret"), CsrfSettings::default(), had, None).await;
    let csrf = begun.csrf.load().await.unwrap();
    if case["kind"] == "rotate_token" {
        csrf.rotate().unwrap();
        let given = begun.given().await.unwrap();
        assert!(given.len() == 32 && Some(given.as_str()) != had);
        return Reproduced::Exactly;
    }
    let own = secret(&csrf.token().unwrap());
    let of_django = secret(text(case, "result"));
    assert_eq!(json!(of_django.as_str()), case["after"]["secret"]);
    if had.is_some() {
        assert!(own.equals(&of_django));
    }
    assert_eq!(case["after"]["needs_update"], true);
    assert_eq!(begun.given().await.as_deref(), Some(own.as_str()));
    Reproduced::Exactly
}

/// The moment of the expiry is another one.
fn without_date(header: &str) -> String {
    let parts = header.split("; ").filter(|part| !part.to_lowercase().starts_with("expires="));
    parts.collect::<Vec<_>>().join("; ")
}

fn settings_of(case: &Json) -> (Settings, CsrfSettings) {
    let (mut site, mut settings) = (Settings::new("secret"), CsrfSettings::default());
    let texts = |value: &Json| {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for (name, value) in case["settings"].as_object().unwrap() {
        let text = || value.as_str().map(str::to_owned);
        match name.as_str() {
            "ALLOWED_HOSTS" => settings.allowed_hosts = texts(value),
            "CSRF_TRUSTED_ORIGINS" => settings.trusted_origins = texts(value),
            "CSRF_USE_SESSIONS" => settings.use_sessions = value == true,
            "CSRF_HEADER_NAME" => {
                settings.header_name = text().unwrap().replacen("HTTP_", "", 1).replace('_', "-");
            }
            "CSRF_COOKIE_NAME" => settings.cookie_name = text().unwrap(),
            "CSRF_COOKIE_AGE" => settings.cookie_age = value.as_i64().map(TimeDelta::seconds),
            "CSRF_COOKIE_DOMAIN" => settings.cookie_domain = text(),
            "CSRF_COOKIE_PATH" => settings.cookie_path = text().unwrap(),
            "CSRF_COOKIE_SECURE" => settings.cookie_secure = value == true,
            "CSRF_COOKIE_HTTPONLY" => settings.cookie_httponly = value == true,
            "CSRF_COOKIE_SAMESITE" => {
                assert_eq!(value, "Strict");
                settings.cookie_samesite = Some(SameSite::Strict);
            }
            "USE_X_FORWARDED_HOST" => settings.use_x_forwarded_host = value == true,
            "USE_X_FORWARDED_PORT" => settings.use_x_forwarded_port = value == true,
            "SESSION_COOKIE_DOMAIN" => site.cookie_domain = text(),
            "DEBUG" => {}
            name => panic!("no setting {name}"),
        }
    }
    (site, settings)
}
