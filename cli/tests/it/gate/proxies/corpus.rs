//! One table of forged and odd requests, sent by each client through each proxy. What arrives must be what the rules
//! let this client have, however the back end reads it.

use std::collections::BTreeSet;

use super::assertion::Verifier;
use super::back_end::{Arrived, BackEnd, alike};
use super::client::{Answer, send};
use super::proxy::{self, HOST, KINDS, Kind};
use super::site::{CLIENTS, Client, Site};

/// The mark in each forged value.
pub(super) const FORGED: &str = "forged";

/// A request. `COOKIE` is the line of the client's cookie.
struct Case {
    request: String,
    /// The path that arrives if the client may read it. Without one, a refusal is as good.
    meant: Option<&'static str>,
}

fn odd(request: String) -> Case {
    Case { request, meant: None }
}

fn get(target: &str) -> Case {
    odd(with(target, ""))
}

fn with(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE{lines}\r\n")
}

fn meant(path: &'static str, lines: &str) -> Case {
    Case { request: with(path, lines), meant: Some(path) }
}

const PATHS: [&str; 58] = [
    "/public/..%2fapp",
    "/public/..%2Fstaff",
    "/public%2f..%2fapp",
    "/public/%2e%2e/app",
    "/public/%2E%2e/staff",
    "/public/.%2e/app",
    "/public/%2e%2e%2fapp",
    "/public/%252e%252e/app",
    "/public/..%252fapp",
    "/public/..%25252fapp",
    "/public/../app",
    "/public/x/../../app",
    "/public/../../app",
    "/public/..",
    "/public/../",
    "/app/../public",
    "/app/..%2fpublic",
    "/staff/../public/x",
    "/public/./app",
    "/public/.",
    "/./app",
    "/.//app",
    "/public//app",
    "//public/app",
    "//app",
    "///staff",
    "//wiki.example.com/app",
    "//evil.example/public",
    "/public;x/app",
    "/public;x",
    "/public;/../app",
    "/public/..;/app",
    "/public/..;x=1/staff",
    "/app;x",
    "/public%3bx/app",
    "/public\\..\\app",
    "/public/..\\app",
    "\\app",
    "/public%5c..%5capp",
    "/public/..%5capp",
    "/PUBLIC",
    "/Public/x",
    "/public/../APP",
    "/APP",
    "/%70ublic",
    "/%61pp",
    "/public%00",
    "/public%00/../app",
    "/public%0a/../app",
    "/public%20/../app",
    "/publicity",
    "/public?/../app",
    "/public%3f/../app",
    "/public/%zz",
    "/public/\u{e9}",
    "/public/x#/../app",
    "/",
    "*",
];

/// Headers that frameworks and proxies read as another path, host, method, scheme or user.
const OVERRIDES: [&str; 30] = [
    "X-Forwarded-Uri",
    "X-Forwarded-Host",
    "X-Forwarded-Method",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Path",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Protocol",
    "X-Forwarded-Ssl",
    "X-Forwarded-For",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "Forwarded",
    "X-Real-IP",
    "X-Script-Name",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X_Forwarded_Uri",
    "X_Original.URL",
];

const IDENTITY: [&str; 7] = [
    "X-User-Id",
    "X-User-Name",
    "X-User-Email",
    "X-User-Groups",
    "X-User-Staff",
    "X-User-Superuser",
    "X-User-Assertion",
];

/// All of it. A target has no CRLF in it, so that each request is one.
fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["/public", "/public/x", "/app", "/app/x", "/staff", "/staff/x", "/nothing"] {
        cases.push(meant(path, ""));
        cases.push(meant(path, "X-Harmless: forged\r\n"));
    }
    cases.extend(PATHS.map(get));
    // Identity in each alias, with another letter case, and twice.
    for first in ["-", "_", ".", "!", "~", "+", "'"] {
        for second in ["-", "_", ".", "!", "~", "+", "'"] {
            let alias = |name: &str| name.replacen('-', first, 1).replacen('-', second, 1);
            let plain = IDENTITY.map(|name| format!("{}: {FORGED}\r\n", alias(name))).concat();
            let small = IDENTITY.map(|name| format!("{}: {FORGED}\r\n", alias(name).to_lowercase())).concat();
            let large = IDENTITY.map(|name| format!("{}:{FORGED}\r\n", alias(name).to_uppercase())).concat();
            // Some proxies refuse some of these characters, and so would this.
            cases.push(odd(with("/public/x", &[plain.as_str(), &small, &large].concat())));
            cases.push(odd(with("/app/x", &plain)));
        }
    }
    for lines in
        ["X-User-Id: forged\r\n", "x-user-id: forged\r\nX-USER-ID: forged\r\n", "X-User-Staff: true\r\n"]
    {
        for path in ["/public/x", "/app/x", "/staff/x"] {
            cases.push(meant(path, lines));
        }
    }
    cases.push(odd(with("/public/x", "X-User-Id : forged\r\n")));
    cases.push(odd(with("/public/x", " X-User-Id: forged\r\n")));
    cases.push(odd(with("/public/x", "X-Harmless: a\r\n\tX-User-Id: forged\r\n")));
    cases.push(odd(with("/public/x", "X-Harmless: a\nX-User-Id: forged\r\n")));
    cases.push(odd(with("/public/x", "X-Harmless: a\rX-User-Id: forged\r\n")));
    cases.push(odd(with("/public/x", "X-User-Id\u{0}: forged\r\n")));
    for name in OVERRIDES {
        for path in ["/public/x", "/app/x", "/staff/x"] {
            let lines = format!("{name}: /public/{FORGED}\r\n{}: {FORGED}\r\n", name.to_lowercase());
            cases.push(odd(with(path, &lines)));
        }
    }
    cases.extend(connections());
    cases.extend(hosts());
    cases.extend(methods());
    cases.extend(sizes());
    cases
}

/// Hop-by-hop headers, bodies and upgrades.
fn connections() -> Vec<Case> {
    let mut cases = Vec::new();
    let names = IDENTITY.join(", ");
    for target in ["/public/x", "/app/x", "/staff/x"] {
        for named in [
            &names,
            "X-Original-URI, X-Original-Host, X-Original-Method",
            "X-Forwarded-Uri, X-Forwarded-Host",
            "Host",
            "Cookie",
        ] {
            cases.push(odd(with(target, &format!("Connection: close, {named}\r\n"))));
            cases.push(odd(with(target, &format!("Connection: {named}\r\nX-User-Id: {FORGED}\r\n"))));
        }
        let socket = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        cases.push(odd(with(target, &format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{socket}"))));
        cases.push(odd(with(
            target,
            &format!("Connection: Upgrade, X-User-Id\r\nUpgrade: WebSocket\r\n{socket}"),
        )));
        let settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
        cases.push(odd(with(
            target,
            &format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{settings}"),
        )));
        cases.push(odd(with(
            target,
            &format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{settings}"),
        )));
        for body in [
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "Content-Length: +3\r\n\r\nabc",
            // A request in the body of another: it must not be served by itself.
            "Content-Length: 44\r\n\r\nGET /staff/x HTTP/1.1\r\nX-User-Id: forged\r\n\r\n",
        ] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE");
            cases.push(odd(format!("{head}{body}")));
        }
    }
    cases
}

/// Unknown hosts, several, with ports, and in the target.
fn hosts() -> Vec<Case> {
    let line = |target: &str, hosts: &str| odd(format!("GET {target} HTTP/1.1\r\n{hosts}COOKIE\r\n"));
    let mut cases = Vec::new();
    for target in ["/public/x", "/app/x", "/staff/x"] {
        for host in [
            "evil.example",
            "wiki.example.com.evil.example",
            "evil.example:80",
            "",
            " ",
            "localhost",
            "127.0.0.1",
            "wiki.example.com:123",
            "wiki.example.com:",
            "wiki.example.com.",
            "WIKI.example.com",
            "evil@wiki.example.com",
            "wiki.example.com@evil",
            "wiki.example.com/x",
            "wiki.example.com evil",
            "wiki.example.com, evil",
        ] {
            cases.push(line(target, &format!("Host: {host}\r\n")));
        }
        cases.push(line(target, ""));
        cases.push(line(target, &format!("Host: {HOST}\r\nHost: {FORGED}.example\r\n")));
        cases.push(line(target, &format!("Host: {FORGED}.example\r\nHost: {HOST}\r\n")));
        cases.push(line(target, &format!("Host: {HOST}\r\nHost: {HOST}\r\n")));
        for absolute in [
            format!("http://{HOST}{target}"),
            format!("https://{HOST}{target}"),
            format!("http://{HOST}:80{target}"),
            format!("HTTP://{HOST}{target}"),
            format!("http://evil.example{target}"),
            format!("http://{HOST}?{target}"),
            format!("http://{HOST}\\{target}"),
            format!("http://evil.example@{HOST}{target}"),
            format!("ftp://{HOST}{target}"),
        ] {
            cases.push(line(&absolute, &format!("Host: {HOST}\r\n")));
            cases.push(line(&absolute, "Host: evil.example\r\n"));
        }
        cases.push(odd(format!("GET {target} HTTP/1.0\r\nHost: {HOST}\r\nCOOKIE\r\n")));
        cases.push(odd(format!("GET {target} HTTP/1.0\r\nCOOKIE\r\n")));
    }
    cases
}

fn methods() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in ["/public/x", "/app/x", "/staff/x"] {
        for method in
            ["get", "HEAD", "PROPFIND", "BREW", "TRACE", "CONNECT", "OPTIONS", "PATCH", "GET,POST", "G\u{0}T"]
        {
            cases.push(odd(format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE\r\n")));
        }
        for last in ["HTTP/1.2", "HTTP/3.0", "HTTP/1.1 HTTP/1.1", "http/1.1"] {
            cases.push(odd(format!("GET {target} {last}\r\nHost: {HOST}\r\nCOOKIE\r\n")));
        }
        cases.push(odd(format!("GET\t{target} HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE\r\n")));
        cases.push(odd(format!("GET  {target} HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE\r\n")));
        cases.push(odd(format!("GET {target} x HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE\r\n")));
    }
    cases.push(odd(format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\nCOOKIE\r\n")));
    cases.push(odd(format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\nCOOKIE\r\n")));
    cases
}

fn sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in ["/public/x", "/app/x", "/staff/x"] {
        for length in [5_000, 9_000, 40_000, 200_000] {
            let long = "a".repeat(length);
            cases.push(odd(with(target, &format!("X-Harmless: {long}\r\n"))));
            cases.push(odd(with(target, &format!("Cookie: x={long}\r\n"))));
            cases.push(odd(with(target, &format!("X-User-Id: {long}{FORGED}\r\n"))));
            cases.push(odd(with(&format!("{target}/{long}"), "")));
            cases.push(odd(with(&format!("{target}?{long}"), "")));
        }
        cases.push(odd(with(target, &format!("X-User-Id: {FORGED}\r\n").repeat(90))));
        cases.push(odd(with(target, "Cookie: \r\n")));
        cases.push(odd(with(target, "Cookie: sessionid=\r\n")));
        cases.push(odd(with(target, "Cookie: sessionid=\u{e9}\"; x=\\\r\n")));
    }
    cases
}

/// The paths that back ends may take this one for.
fn readings(path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([path.to_owned()]);
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let parameters =
            path.split('/').map(|part| part.split(';').next().unwrap()).collect::<Vec<_>>().join("/");
        let merged = path.split("//").collect::<Vec<_>>().join("/");
        let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
        for read in
            [decoded, merged, without_dots(&path), parameters, path.replace('\\', "/"), path.to_lowercase()]
        {
            if found.insert(read.clone()) {
                left.push(read);
            }
        }
        assert!(found.len() < 500, "{path}");
    }
    found
}

fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether a back end that gets this gives nobody more than one of these clients may have.
pub(super) fn check(arrived: &Arrived, clients: &[Client], verifier: &Verifier) -> Result<(), String> {
    let path = arrived.target.split(['?', '#']).next().unwrap();
    if !path.starts_with('/') {
        return Err("the target is no path".to_owned());
    }
    let hosts = arrived.read_as("Host");
    let host = hosts.first().copied().unwrap_or_default().to_lowercase();
    let without_port = host.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == ':');
    // With a dot at its end, it is the same host.
    if hosts.len() != 1 || without_port.trim_end_matches('.') != HOST {
        return Err(format!("the hosts are {hosts:?}"));
    }
    for (name, value) in &arrived.headers {
        if alike(name).starts_with("x_user_")
            && !IDENTITY.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            return Err(format!("{name} is read as another name"));
        }
        // A folded line belongs to the header before it, which is nobody's identity.
        if value.contains(FORGED) && !["x-harmless", "cookie"].contains(&&*name.to_lowercase()) {
            return Err(format!("{name} is forged"));
        }
    }
    let upgrades = arrived.read_as("Upgrade");
    if !upgrades.iter().all(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return Err(format!("the protocol could become {upgrades:?}"));
    }
    // All of it is of one client, who may read the path however it is read.
    let is_whole = |client: &Client| {
        let is_said = |(name, value): (&str, &str)| {
            let said = arrived.read_as(name);
            if value.is_empty() { said.is_empty() || said == [""] } else { said == [value] }
        };
        let assertions = arrived.read_as("X-User-Assertion");
        let is_asserted = match assertions[..] {
            [] | [""] => *client == Client::Nobody,
            [assertion] => verifier.subject(assertion).as_deref() == Ok(client.identity()[0].1),
            _ => false,
        };
        client.identity().into_iter().all(is_said) && is_asserted
    };
    let Some(client) = clients.iter().find(|client| is_whole(client)) else {
        return Err(format!("none of {clients:?} is told whole and alone"));
    };
    match readings(path).into_iter().find(|reading| !client.may_read(reading)) {
        Some(reading) => Err(format!("{client:?} may not read {reading:?}")),
        None => Ok(()),
    }
}

/// Sends the whole corpus through one proxy.
async fn through(kind: Kind) {
    let (site, back_end) = (Site::shared().await, BackEnd::start());
    let proxy = proxy::start(kind, site.around(&back_end)).await;
    let verifier = Verifier::of(site.gate.port);
    let (mut sent, mut arrived, mut wrong) = (0, 0, Vec::new());
    for case in corpus() {
        for client in CLIENTS {
            let request = case.request.replace("COOKIE", &site.cookie(client));
            let answer = send(proxy.port, request.as_bytes());
            let got = back_end.arrived();
            sent += 1;
            arrived += got.len();
            // A client may always be taken for nobody, as it could have sent no cookie.
            let mut reasons: Vec<String> =
                got.iter().filter_map(|got| check(got, &[client, Client::Nobody], &verifier).err()).collect();
            // Go's server answers this by itself.
            if !request.starts_with("OPTIONS * ") {
                reasons.extend(of_answer(&answer, &got, case.meant.map(|path| client.may_read(path))));
            }
            if !reasons.is_empty() {
                let request: String = request.chars().take(300).collect();
                wrong.push(format!("{client:?} {request:?}\n  {reasons:?}\n  {} {got:?}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{kind:?}: {} of {sent}:\n{}", wrong.len(), wrong.join("\n"));
    println!("{kind:?}: {sent} requests, of which {arrived} arrived, each as the rules have it");
}

/// The faults of the answer, and of the number of requests that arrived.
fn of_answer(answer: &Answer, got: &[Arrived], should: Option<bool>) -> Option<String> {
    match (got.len(), should) {
        (0, Some(true)) => Some("it should have arrived".to_owned()),
        (1.., Some(false)) => Some("it should have been refused".to_owned()),
        (2.., _) => Some("it arrived twice".to_owned()),
        (0, _) if (1..300).contains(&answer.status) => Some("an answer without the back end".to_owned()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_nginx() {
    through(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_traefik() {
    through(Kind::Traefik).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_caddy() {
    through(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_envoy_over_http() {
    through(Kind::EnvoyHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_envoy_over_grpc() {
    through(Kind::EnvoyGrpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_haproxy() {
    through(Kind::HaProxy).await;
}

/// Of two cookies of the name, a client is one of both users or nobody, but never parts of them.
#[tokio::test(flavor = "multi_thread")]
async fn two_session_cookies() {
    let site = Site::shared().await;
    let [ada, grace] = [Client::Ada, Client::Grace].map(|client| site.cookie(client));
    let pair = |line: &str| line.trim_start_matches("Cookie: ").trim_end().to_owned();
    let sent = [
        format!("{ada}{grace}"),
        format!("{grace}{ada}"),
        format!("Cookie: {}; {}\r\n", pair(&ada), pair(&grace)),
        format!("Cookie: {}; {}\r\n", pair(&grace), pair(&ada)),
        format!("Cookie: {}, {}\r\n", pair(&grace), pair(&ada)),
        format!("Cookie: x=1\r\n{ada}"),
    ];
    for kind in KINDS {
        let back_end = BackEnd::start();
        let proxy = proxy::start(kind, site.around(&back_end)).await;
        let verifier = Verifier::of(site.gate.port);
        for cookies in &sent {
            for path in ["/public/x", "/app/x", "/staff/x"] {
                send(proxy.port, with(path, "").replace("COOKIE", cookies).as_bytes());
                for got in back_end.arrived() {
                    let checked = check(&got, &CLIENTS, &verifier);
                    assert_eq!(checked, Ok(()), "{kind:?} {cookies:?} {path} {got:?}");
                }
            }
        }
    }
}
