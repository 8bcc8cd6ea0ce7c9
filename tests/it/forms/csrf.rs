//! Tokens against forged requests: each adapter alone, and beside real Djangos.

use std::time::Duration;

use cloakroom::csrf::{CsrfSettings, FormReader, Scheme, Secret};

use super::*;
use crate::support::browser::Reply;
use crate::support::limited::processor_time;
use crate::support::log::Log;

on_every_adapter!(
    a_form_needs_its_token,
    a_login_changes_the_secret,
    where_a_request_comes_from_is_checked,
    bad_input_is_answered_as_django_does,
    an_upload_goes_on_behind_its_token,
    exempt_paths_and_safe_methods_pass,
    only_an_allowed_host_is_the_sites_own,
);

const FORM: &str = "application/x-www-form-urlencoded";

fn parts(change: impl FnOnce(&mut CsrfSettings)) -> Parts {
    let mut settings = CsrfSettings::default();
    change(&mut settings);
    let mut parts =
        Parts::new(Arc::new(MemoryStore::new()), Settings::new(SECRET), MessageSettings::default());
    parts.csrf = Some(settings);
    parts
}

async fn token(browser: &mut Browser, url: String) -> String {
    browser.get(url).await.ok().body
}

async fn post(browser: &mut Browser, url: String, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    browser.call("POST", url, &[("content-type", content_type)], body).await
}

async fn post_token(browser: &mut Browser, url: String, token: &str) -> u16 {
    post(browser, url, FORM, format!("tea=1&csrfmiddlewaretoken={token}")).await.status
}

/// The same token with another last character.
fn tampered(token: &str) -> String {
    let last = if token.ends_with('a') { 'b' } else { 'a' };
    format!("{}{last}", &token[..token.len() - 1])
}

async fn a_form_needs_its_token(on: Adapter) {
    for use_sessions in [false, true] {
        let site = parts(|settings| settings.use_sessions = use_sessions).serve(on).await;
        let url = || site.url("/csrf");
        let mut browser = Browser::new();
        assert_eq!(post_token(&mut browser, url(), &"a".repeat(64)).await, 403, "it has no secret");
        let page = browser.get(url()).await.ok();
        assert_eq!(page.vary(), Some("Cookie"));
        let one = page.body;
        let cookie = browser.cookies.get("csrftoken").cloned();
        assert_eq!((cookie.is_some(), browser.session_key().is_some()), (!use_sessions, use_sessions));
        let other = token(&mut browser, url()).await;
        assert!(one != other && one.len() == 64 && other.len() == 64);
        let mut stranger = Browser::new();
        let foreign = token(&mut stranger, url()).await;
        let bare: Secret = one.parse().unwrap();
        for (token, status) in [
            (one.as_str(), 200),
            (&other, 200),
            (bare.as_str(), 200),
            (&tampered(&one), 403),
            (&foreign, 403),
            ("", 403),
            (&one[1..], 403),
            (&"é".repeat(64), 403),
            (&"%00".repeat(64), 403),
        ] {
            assert_eq!(post_token(&mut browser, url(), token).await, status, "{token}");
            if token.is_ascii() {
                let reply = browser.call("PUT", url(), &[("x-csrftoken", token)], "").await;
                assert_eq!(reply.status, status, "{token} in the header");
            }
        }
        let reply = post(&mut browser, url(), FORM, format!("a=1&csrfmiddlewaretoken={one}&b=2")).await.ok();
        assert_eq!(reply.body, format!("a=1&csrfmiddlewaretoken={one}&b=2"), "the handler reads it again");
        // The last field counts, and an empty one leaves it to the header, as in Django.
        let twice = format!("csrfmiddlewaretoken=x&csrfmiddlewaretoken={one}");
        assert_eq!(post(&mut browser, url(), FORM, twice).await.status, 200);
        let headers = [("content-type", FORM), ("x-csrftoken", one.as_str())];
        assert_eq!(browser.call("POST", url(), &headers, "csrfmiddlewaretoken=").await.status, 200);
        assert_eq!(browser.call("POST", url(), &headers, "csrfmiddlewaretoken=x").await.status, 403);
        assert_eq!(browser.call("POST", url(), &[("x-csrftoken", &one)], "{}").await.ok().body, "{}");
    }
}

async fn a_login_changes_the_secret(on: Adapter) {
    for use_sessions in [false, true] {
        let site = parts(|settings| settings.use_sessions = use_sessions).serve(on).await;
        let mut browser = Browser::new();
        let before = token(&mut browser, site.url("/csrf")).await;
        let mut thief = browser.clone();
        let page =
            post(&mut browser, site.url("/csrf/login"), FORM, format!("csrfmiddlewaretoken={before}")).await;
        // The page of the login itself has the new one.
        let after = page.ok().body;
        assert!(!after.parse::<Secret>().unwrap().equals(&before.parse().unwrap()));
        assert_eq!(post_token(&mut browser, site.url("/csrf"), &before).await, 403, "{use_sessions}");
        assert_eq!(post_token(&mut browser, site.url("/csrf"), &after).await, 200, "{use_sessions}");
        assert_eq!(post_token(&mut thief, site.url("/csrf"), &after).await, 403, "{use_sessions}");
        let reply =
            post(&mut browser, site.url("/csrf/logout"), FORM, format!("csrfmiddlewaretoken={after}")).await;
        assert_eq!(reply.status, 200);
        let status = post_token(&mut browser, site.url("/csrf"), &after).await;
        assert_eq!(status, if use_sessions { 403 } else { 200 }, "a logout keeps the cookie, as in Django");
    }
}

async fn where_a_request_comes_from_is_checked(on: Adapter) {
    let site = parts(|settings| {
        settings.trusted_origins = vec!["https://pay.example".to_owned(), "https://*.example.com".to_owned()];
        settings.scheme = Scheme::OfHeader("X-Forwarded-Proto".to_owned(), "https".to_owned());
        settings.check_sec_fetch_site = true;
    });
    let site = site.serve(on).await;
    let mut browser = Browser::new();
    let token = token(&mut browser, site.url("/csrf")).await;
    let host = site.url("")["http://".len()..].to_owned();
    let (own, secure) = (format!("http://{host}"), format!("https://{host}"));
    let page = format!("https://{host}/page?next=1");
    let https = ("x-forwarded-proto", "https");
    for (headers, status) in [
        (vec![], 200),
        (vec![("origin", own.as_str())], 200),
        (vec![("origin", secure.as_str())], 403),
        (vec![("origin", secure.as_str()), https], 200),
        (vec![("origin", "null")], 403),
        (vec![("origin", "https://[")], 403),
        (vec![("origin", "https://pay.example")], 200),
        (vec![("origin", "http://pay.example")], 403),
        (vec![("origin", "https://a.b.example.com")], 200),
        (vec![("origin", "https://evilexample.com")], 403),
        (vec![https], 403),
        (vec![https, ("referer", page.as_str())], 200),
        (vec![https, ("referer", "http://pay.example/")], 403),
        (vec![https, ("referer", "https://pay.example/")], 200),
        (vec![https, ("referer", "https://evil.example/")], 403),
        (vec![https, ("referer", "https://[::1")], 403),
        (vec![https, ("referer", "")], 403),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("sec-fetch-site", "nonsense")], 403),
        (vec![("sec-fetch-site", "cross-site"), ("origin", "https://pay.example")], 200),
    ] {
        let all: Vec<_> = headers.iter().copied().chain([("x-csrftoken", token.as_str())]).collect();
        let reply = browser.call("POST", site.url("/csrf"), &all, "").await;
        assert_eq!(reply.status, status, "{headers:?}: {}", reply.body);
        let body = if status == 403 { "CSRF verification failed. Request aborted." } else { "" };
        assert_eq!(reply.body, body);
    }
}

async fn only_an_allowed_host_is_the_sites_own(on: Adapter) {
    let hosts = ["shop.example", ".wool.example", "[::1]"].map(str::to_owned);
    let site = parts(|settings| settings.allowed_hosts = hosts.to_vec()).serve(on).await;
    let mut browser = Browser::new();
    let token = token(&mut browser, site.url("/csrf")).await;
    for (host, status) in [
        ("shop.example", 200),
        ("shop.example:8000", 200),
        ("SHOP.example.", 200),
        ("a.wool.example", 200),
        ("wool.example", 200),
        ("[::1]:8000", 200),
        ("a.shop.example", 403),
        ("evil.example", 403),
        ("evilwool.example", 403),
        ("shop.example:x", 403),
        ("shop.example:", 403),
    ] {
        let origin = format!("http://{host}");
        let headers = [("host", host), ("origin", &origin), ("x-csrftoken", &token)];
        let reply = browser.call("POST", site.url("/csrf"), &headers, "").await;
        assert_eq!(reply.status, status, "{host}: {}", reply.body);
    }
}

/// Never a 500.
async fn bad_input_is_answered_as_django_does(on: Adapter) {
    let site = parts(|settings| settings.max_body_bytes = 2_000).serve(on).await;
    let mut browser = Browser::new();
    let token = token(&mut browser, site.url("/csrf")).await;
    let field = format!("csrfmiddlewaretoken={token}");
    let multipart = |boundary: &str| format!("multipart/form-data; boundary={boundary}");
    let part = format!(
        "--b\r\nContent-Disposition: form-data; name=\"csrfmiddlewaretoken\"\r\n\r\n{token}\r\n--b--\r\n"
    );
    let file = format!(
        "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n{}\r\n",
        "x".repeat(3_000)
    );
    let as_file = part.replace("\"\r\n\r\n", "\"; filename=\"x\"\r\n\r\n");
    for (content_type, body, status) in [
        (FORM, format!("{field}&a={}", "x".repeat(1_900)), 200),
        (FORM, format!("{field}&a={}", "x".repeat(2_000)), 400),
        (FORM, format!("{field}{}", "&".repeat(999)), 200),
        (FORM, format!("{field}{}", "&".repeat(1_000)), 400),
        ("application/x-www-form-urlencoded; charset=UTF-8", field.clone(), 200),
        ("application/x-www-form-urlencoded; charset=utf-16", field.clone(), 400),
        ("application/x-www-form-urlencoded; charset=nonsense", field.clone(), 200),
        ("Application/X-WWW-Form-Urlencoded", field.clone(), 200),
        (FORM, "%csrfmiddlewaretoken=%%%&=&&=%".to_owned(), 403),
        (FORM, field.replace("csrf", "%63srf"), 200),
        (FORM, String::new(), 403),
        ("text/plain", field.clone(), 403),
        ("", field.clone(), 403),
        ("multipart/form-data", part.clone(), 400),
        (&multipart(""), part.clone(), 400),
        (&multipart("b"), part.clone(), 200),
        (&multipart("\"b\""), part.clone(), 200),
        (&multipart("other"), part.clone(), 403),
        (&multipart("b"), part[..40].to_owned(), 403),
        (&multipart("b"), as_file, 403),
        (&multipart("b"), format!("{file}{part}"), 400),
        (&multipart("b"), "--b--".to_owned(), 403),
    ] {
        let reply = post(&mut browser, site.url("/csrf"), content_type, body.clone()).await;
        assert_eq!(reply.status, status, "{content_type:?} {body:.60}: {}", reply.body);
        if status == 200 {
            assert_eq!(reply.body, body);
        }
    }
    for cookie in ["", "x", "\"", "\"\\\"\"", "é", &"*".repeat(64), &"x".repeat(20_000)] {
        let mut odd = Browser::new();
        odd.cookies.insert("csrftoken".to_owned(), cookie.to_owned());
        let reply = post(&mut odd, site.url("/csrf"), FORM, field.clone()).await;
        assert_eq!(reply.status, 403, "{cookie:.10}");
        assert!(odd.cookies["csrftoken"].len() == 32, "{cookie:.10}: it is replaced, as in Django");
    }
    // What a session can hold.
    let site = parts(|settings| settings.use_sessions = true).serve(on).await;
    for stored in ["", "null", "7", "[]", "{}", "\"\"", "\"x\"", "\"\\ud800\""] {
        let mut odd = Browser::new();
        odd.call("PUT", site.url("/outside/put"), &[], stored).await.ok();
        let reply = post(&mut odd, site.url("/csrf"), FORM, field.clone()).await;
        assert_eq!(reply.status, 403, "{stored}");
        let token = self::token(&mut odd, site.url("/csrf")).await;
        assert_eq!(post_token(&mut odd, site.url("/csrf"), &token).await, 200, "{stored}");
    }
}

async fn an_upload_goes_on_behind_its_token(on: Adapter) {
    let site = parts(|settings| settings.max_body_bytes = 10_000).serve(on).await;
    let mut browser = Browser::new();
    let token = token(&mut browser, site.url("/csrf")).await;
    let file: String = (0..400_000).map(|number: u32| char::from(b'a' + (number % 26) as u8)).collect();
    let body = format!(
        "preamble\r\n--b\r\ncontent-disposition: form-data; name=csrfmiddlewaretoken\r\n\r\n{token}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{file}\r\n--b--\r\n"
    );
    let reply =
        post(&mut browser, site.url("/csrf"), "multipart/form-data; boundary=b", body.clone()).await.ok();
    assert!(reply.body == body, "the handler gets all of it");
    // With the files first, the token must be in the header.
    let last = body.replace("csrfmiddlewaretoken", "other");
    let content_type = ("content-type", "multipart/form-data; boundary=b");
    let headers = [content_type, ("x-csrftoken", token.as_str())];
    assert!(browser.call("POST", site.url("/csrf"), &headers, last.clone()).await.ok().body == last);
    let (begin, tampered) = (&last[..12_000], tampered(&token));
    for headers in [vec![content_type], vec![content_type, ("x-csrftoken", &tampered)]] {
        assert_eq!(browser.call("POST", site.url("/csrf"), &headers, begin).await.status, 400);
    }
}

async fn exempt_paths_and_safe_methods_pass(on: Adapter) {
    let site =
        parts(|settings| settings.exempt = vec!["/csrf".to_owned(), "/csrf/log*".to_owned()]).serve(on).await;
    let mut browser = Browser::new();
    assert_eq!(post(&mut browser, site.url("/csrf"), "text/plain", "hook").await.ok().body, "hook");
    assert!(browser.cookies.is_empty(), "it asked for no token");
    assert_eq!(post(&mut browser, site.url("/csrf/login"), "text/plain", "").await.status, 200);
    assert_eq!(post(&mut browser, site.url("/csrf/other"), "text/plain", "").await.status, 403);
    for method in ["HEAD", "OPTIONS", "TRACE"] {
        assert_ne!(browser.request(method, site.url("/csrf/other")).await.status, 403, "{method}");
    }
    for method in ["PUT", "PATCH", "DELETE", "NONSENSE"] {
        assert_eq!(browser.request(method, site.url("/csrf/other")).await.status, 403, "{method}");
    }
}

/// A refusal is logged by its name, without what the client sent.
#[tokio::test(flavor = "current_thread")]
async fn a_refusal_is_logged_without_tokens_and_urls() {
    let log = Log::with(|builder| builder.with_env_filter(tracing_subscriber::EnvFilter::new("info")));
    let site = parts(|_| {}).serve(Adapter::Axum).await;
    let mut browser = Browser::new();
    let token = token(&mut browser, site.url("/csrf")).await;
    let headers = [("origin", "https://evil.example"), ("x-csrftoken", token.as_str())];
    assert_eq!(browser.call("POST", site.url("/csrf?private=1"), &headers, "").await.status, 403);
    let lines = log.lines();
    let refusals: Vec<_> =
        lines.iter().filter(|line| line.contains("refused by the CSRF protection")).collect();
    assert_eq!(refusals.len(), 1, "{lines:?}");
    assert!(refusals[0].contains("WARN") && refusals[0].contains("reason=\"origin\""), "{refusals:?}");
    for hidden in [token.as_str(), &browser.cookies["csrftoken"], "private", "evil"] {
        assert!(!refusals[0].contains(hidden), "{refusals:?}");
    }
}

/// Tokens go from either site to the other, with the secret in the cookie and in the session, before and after a login
/// on each side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_go_to_django_and_back() {
    let djangos = Django::installed();
    for django in &djangos {
        for use_sessions in [false, true] {
            exchange(*django, use_sessions).await;
        }
    }
    println!("tokens: {}", Django::count_of(&djangos));
}

async fn exchange(django: Django, use_sessions: bool) {
    let of = format!("{django:?}, CSRF_USE_SESSIONS={use_sessions}");
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("db.sqlite3");
    let mut project = Project::with_user(django, &database);
    project.variables.push(("SITE_CSRF", if use_sessions { "session" } else { "cookie" }.to_owned()));
    let django = project.serve();
    let django = |path: &str| format!("{}{path}", django.address);
    for on in [Adapter::Axum, Adapter::Actix] {
        let mut parts = parts(|settings| settings.use_sessions = use_sessions);
        parts.store = Arc::new(SqliteStore::at(&database).open(&parts.settings).await.unwrap());
        let site = parts.serve(on).await;
        let rust = |path: &str| site.url(path);
        let of = format!("{of} {on:?}");

        let mut browser = Browser::new();
        let of_django = token(&mut browser, django("/csrf")).await;
        let of_rust = token(&mut browser, rust("/csrf")).await;
        // After a login on either side, the tokens of before are worthless on both, and the new ones good.
        let mut worthless = Vec::new();
        let mut good = vec![of_django, of_rust];
        for login in ["none", "Rust", "Django"] {
            let old = good[0].clone();
            match login {
                "Rust" => {
                    _ = post(&mut browser, rust("/csrf/login"), FORM, format!("csrfmiddlewaretoken={old}"))
                        .await
                        .ok()
                }
                "Django" => {
                    let headers = [("x-csrftoken", old.as_str())];
                    let credentials = credentials().to_string();
                    browser.call("POST", django("/login"), &headers, credentials).await.ok();
                }
                _ => {}
            }
            if login != "none" {
                worthless.append(&mut good);
                good = vec![
                    token(&mut browser, rust("/csrf")).await,
                    token(&mut browser, django("/csrf")).await,
                ];
            }
            let bad = worthless.iter().cloned().chain([tampered(&good[0]), "x".repeat(64)]);
            for (token, status) in
                good.iter().cloned().map(|token| (token, 200)).chain(bad.map(|token| (token, 403)))
            {
                for url in [rust("/csrf"), django("/csrf")] {
                    assert_eq!(
                        post_token(&mut browser, url.clone(), &token).await,
                        status,
                        "{of} after {login}: {url}"
                    );
                    let headers = [("x-csrftoken", token.as_str())];
                    let reply = browser.call("PUT", url.clone(), &headers, "").await;
                    assert_eq!(reply.status, status, "{of} after {login}, in the header: {url}");
                }
            }
        }
    }
}

/// Whatever the pieces in which a body comes, and whatever is in it.
#[test]
fn forms_are_read_alike_in_any_pieces() {
    let mut settings = CsrfSettings::default();
    settings.max_body_bytes = 300;
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let token = part("csrfmiddlewaretoken", "--\r\n-token--");
    let bodies = [
        (FORM, "a=1&csrfmiddlewaretoken=to%6ben&b=%".to_owned()),
        ("multipart/form-data; boundary=b", format!("-{}{token}--b--", part("a", "--"))),
        ("multipart/form-data; boundary=b", format!("{}{token}--b--", part("a", &"-".repeat(200)))),
        ("multipart/form-data; boundary=b", format!("--{}", part("csrfmiddlewaretoken", ""))),
    ];
    let read = |content_type: &str, body: &[u8], size: usize| {
        let mut form = FormReader::of(content_type, &settings)?.unwrap();
        for piece in body.chunks(size) {
            if !form.push(piece)? {
                break;
            }
        }
        form.token()
    };
    let mut random = 7_u32;
    let (mut compared, mut found) = (0, 0);
    for (content_type, body) in bodies {
        for round in 0..300 {
            let mut body = body.clone().into_bytes();
            if round > 0 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let position = (random >> 8) as usize % body.len();
                body[position] = b"-\r\nb:;=\"%&\xff"[(random >> 4) as usize % 11];
            }
            let whole = read(content_type, &body, usize::MAX);
            found += u32::from(matches!(&whole, Ok(Some(_))));
            for size in [1, 2, 3, 7, 64] {
                assert_eq!(read(content_type, &body, size), whole, "{content_type} {size}: {body:?}");
                compared += 1;
            }
        }
    }
    assert!(compared == 6_000 && found > 200, "{compared} {found}");
}

/// A client may send its body byte by byte.
#[test]
fn a_form_takes_time_in_proportion_to_its_length() {
    let part = "--b\r\nContent-Disposition: form-data; name=";
    let shapes = [
        ("no delimiter", String::new(), "-"),
        ("headers without an end", part.to_owned(), "a:b\r\n"),
        ("a token without an end", format!("{part}\"csrfmiddlewaretoken\"\r\n\r\n"), "-"),
        ("a file", format!("{part}\"file\"\r\n\r\n"), "\r"),
        ("many parts", String::new(), "--b\r\n\r\n"),
    ];
    let settings = CsrfSettings::default();
    for (name, start, repeated) in shapes {
        // As many bytes each time, in short forms or in long ones.
        let time = |length: usize| {
            let body = start.clone() + &repeated.repeat(length / repeated.len());
            let started = processor_time();
            for _ in 0..640_000 / length {
                let mut form = FormReader::of("multipart/form-data; boundary=b", &settings).unwrap().unwrap();
                for byte in body.as_bytes() {
                    form.push(std::slice::from_ref(byte)).unwrap();
                }
            }
            processor_time() - started
        };
        let (short, long) = (time(40_000), time(320_000));
        // Were it the square of the length, it would be 8 times the time.
        let limit = short * 3 + Duration::from_millis(40);
        assert!(long < limit, "{name}: 640 kB take {short:?} in forms of 40 kB, {long:?} of 320 kB");
    }
}
