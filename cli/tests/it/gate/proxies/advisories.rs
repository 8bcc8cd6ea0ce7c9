//! The advisories of other gates and of the proxies, each as a test: the forgery of the advisory does not arrive through
//! any shipped configuration, and arrives where the line against it is taken away.

use super::assertion::Verifier;
use super::back_end::{Arrived, BackEnd};
use super::client::{Answer, send};
use super::corpus::{FORGED, check};
use super::proxy::{self, HOST, KINDS, Kind};
use super::site::{Client, Site};

/// A change of the shipped files: the texts to replace, and what by.
type Change = &'static [(&'static str, &'static str)];

/// Sends one request of nobody through each proxy; the answers, and what arrived.
async fn through_all(target: &str, lines: &str) -> Vec<(Kind, Answer, Vec<Arrived>)> {
    let mut all = Vec::new();
    for kind in KINDS {
        let (answer, arrived) = through(kind, &[], target, lines).await;
        all.push((kind, answer, arrived));
    }
    all
}

async fn through(kind: Kind, changes: Change, target: &str, lines: &str) -> (Answer, Vec<Arrived>) {
    let (site, back_end) = (Site::shared().await, BackEnd::start());
    let proxy = proxy::start_changed(kind, site.around(&back_end), changes).await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    let answer = send(proxy.port, request.as_bytes());
    (answer, back_end.arrived())
}

/// Through each shipped configuration this arrives, and the forgery does not. Through the changed ones it does, so that
/// it is seen what the lines are for.
async fn is_removed(lines: &str, name: &str, changed: &[(Kind, Change)]) {
    let verifier = Verifier::of(Site::shared().await.gate.port);
    for (kind, _, arrived) in through_all("/public/x", lines).await {
        // HAProxy and others refuse some forgeries as a whole.
        for got in &arrived {
            assert_eq!(check(got, &[Client::Nobody], &verifier), Ok(()), "{kind:?} {got:?}");
            assert!(got.read_as(name).iter().all(|value| !value.contains(FORGED)), "{kind:?} {got:?}");
        }
        assert_eq!(arrived.len(), 1, "{kind:?}");
    }
    for &(kind, changes) in changed {
        let (_, arrived) = through(kind, changes, "/public/x", lines).await;
        let [got] = &arrived[..] else { panic!("{kind:?} without {changes:?}: {arrived:?}") };
        let values = got.read_as(name);
        assert!(values.iter().any(|value| value.contains(FORGED)), "{kind:?} without {changes:?}: {got:?}");
    }
}

/// oauth2-proxy took the path from the client's `X-Forwarded-Uri`.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_40575_x_forwarded_uri_is_not_believed() {
    for target in ["/app/x", "/staff/x", "/nothing"] {
        let lines = "X-Forwarded-Uri: /public\r\nX-Original-URI: /public\r\nX-Original-URL: /public\r\n";
        for (kind, answer, arrived) in through_all(target, lines).await {
            assert!(
                arrived.is_empty() && [401, 403].contains(&answer.status),
                "{kind:?} {answer:?} {arrived:?}"
            );
        }
    }
    // What the lines are for.
    let believed: Change =
        &[("proxy_pass_request_headers off;", ""), ("proxy_set_header X-Original-URI $request_uri;", "")];
    let lines = "X-Original-URI: /public\r\n";
    let (_, arrived) = through(Kind::Nginx, believed, "/app/x", lines).await;
    assert_eq!(arrived.len(), 1, "without its lines nginx lets the client say the path");
    let believed: Change =
        &[("insecure: false", "insecure: true"), ("trustForwardHeader: false", "trustForwardHeader: true")];
    let (_, arrived) = through(Kind::Traefik, believed, "/app/x", "X-Forwarded-Uri: /public\r\n").await;
    assert_eq!(arrived.len(), 1, "without its lines Traefik lets the client say the path");
}

/// oauth2-proxy passed `X_Forwarded_User` on, which WSGI and PHP read as `X-Forwarded-User`.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_64484_underscores_are_no_identity() {
    let lines = "X_User_Id: forged\r\nX-User_Id: forged\r\nX_User-Id: forged\r\nx_user_id: forged\r\n";
    is_removed(
        lines,
        "X-User-Id",
        &[
            (Kind::Nginx, &[("underscores_in_headers off;", "underscores_in_headers on;")]),
            (Kind::HaProxy, &[("option http-restrict-req-hdr-names delete", ""), ("^x.user.", "^x-user-")]),
            (
                Kind::EnvoyHttp,
                &[
                    ("headers_with_underscores_action: DROP_HEADER", ""),
                    ("x[^a-z0-9]user[^a-z0-9].*", "x-user-.*"),
                    ("common_http_protocol_options:", ""),
                ],
            ),
        ],
    )
    .await;
}

/// Traefik passed `X-Forwarded-Prefix` of clients on.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_35051_x_forwarded_prefix_is_removed() {
    is_removed(
        "X-Forwarded-Prefix: /forged\r\n",
        "X-Forwarded-Prefix",
        &[
            (Kind::Nginx, &[("proxy_set_header X-Forwarded-Prefix \"\";", "")]),
            (Kind::Traefik, &[("insecure: false", "insecure: true")]),
            (Kind::Caddy, &[("request_header -X-Forwarded*", "")]),
            (Kind::EnvoyHttp, &[("(x[^a-z0-9])?forwarded([^a-z0-9].*)?", "none")]),
            (Kind::EnvoyGrpc, &[("(x[^a-z0-9])?forwarded([^a-z0-9].*)?", "none")]),
            (Kind::HaProxy, &[("^(x.)?forwarded", "^none")]),
        ],
    )
    .await;
}

/// Traefik passed headers with underscores on.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_39858_underscores_are_removed_by_traefik() {
    is_removed(
        "X_User_Id: forged\r\nX_Forwarded_Uri: /forged\r\n",
        "X-User-Id",
        &[(
            Kind::Traefik,
            &[
                ("aliasHeadersStrategy: delete", "aliasHeadersStrategy: keep"),
                ("^X[^a-z0-9]User[^a-z0-9]", "^X-User-"),
            ],
        )],
    )
    .await;
}

/// Traefik passed `X-Forwarded-Port` of clients on.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_54764_x_forwarded_port_is_set_anew() {
    is_removed(
        "X-Forwarded-Port: forged\r\n",
        "X-Forwarded-Port",
        &[
            (Kind::Nginx, &[("proxy_set_header X-Forwarded-Port $server_port;", "")]),
            (Kind::Traefik, &[("insecure: false", "insecure: true")]),
        ],
    )
    .await;
}

/// Traefik passed `X.User.Id` on.
#[tokio::test(flavor = "multi_thread")]
async fn the_dot_alias_is_no_identity() {
    is_removed(
        "X.User.Id: forged\r\nX-User.Id: forged\r\nX.User_Id: forged\r\n",
        "X-User-Id",
        &[
            (Kind::Nginx, &[("ignore_invalid_headers on;", "ignore_invalid_headers off;")]),
            (
                Kind::Traefik,
                &[
                    ("aliasHeadersStrategy: delete", "aliasHeadersStrategy: keep"),
                    ("^X[^a-z0-9]User[^a-z0-9]", "^X-User-"),
                ],
            ),
            (Kind::EnvoyHttp, &[("x[^a-z0-9]user[^a-z0-9].*", "x-user-.*")]),
            (Kind::HaProxy, &[("option http-restrict-req-hdr-names delete", ""), ("^x.user.", "^x-user-")]),
        ],
    )
    .await;
}

/// Caddy's `copy_headers` left the client's header where the answer had none.
#[tokio::test(flavor = "multi_thread")]
async fn ghsa_7r4p_vjf4_gxv4_identity_is_removed_also_where_the_answer_has_none() {
    is_removed(
        "X-User-Id: forged\r\nX-User-Groups: forged\r\nx-user-superuser: forged\r\n",
        "X-User-Id",
        &[
            (Kind::Nginx, &[("proxy_set_header X-User-Id $gate_user_id;", "")]),
            (Kind::Traefik, &[("[^a-z0-9](Id|Name", "[^a-z0-9](Nothing|Name")]),
            (
                Kind::HaProxy,
                &[
                    ("^x.user.", "^none"),
                    ("http-request set-header X-User-Id", "http-request set-header X-Nothing"),
                ],
            ),
        ],
    )
    .await;
}

/// Caddy's fix for that left the underscore.
#[tokio::test(flavor = "multi_thread")]
async fn ghsa_f59h_q822_g45g_underscores_are_removed_by_caddy() {
    // Caddy removes all names with `_` or `.` by itself since: no line of the configuration can be seen to do it.
    let lines = "X_User_Id: forged\r\nX_Forwarded_User: forged\r\nX_Harmless: forged\r\n";
    is_removed(lines, "X-User-Id", &[]).await;
}

/// As with the dot and the underscore, CGI and PHP make other characters the same.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_character_makes_an_identity() {
    is_removed(
        "X!User!Id: forged\r\n",
        "X-User-Id",
        &[
            (Kind::Nginx, &[("ignore_invalid_headers on;", "ignore_invalid_headers off;")]),
            (
                Kind::Traefik,
                &[
                    ("aliasHeadersStrategy: delete", "aliasHeadersStrategy: keep"),
                    ("^X[^a-z0-9]User[^a-z0-9]", "^X-User-"),
                ],
            ),
            (Kind::Caddy, &[("request_header -*!*", "")]),
            (Kind::EnvoyHttp, &[("x[^a-z0-9]user[^a-z0-9].*", "x-user-.*")]),
            (Kind::HaProxy, &[("option http-restrict-req-hdr-names delete", ""), ("^x.user.", "^x-user-")]),
        ],
    )
    .await;
}

/// caddy-security went to the client's `X-Forwarded-Host` after the login.
#[tokio::test(flavor = "multi_thread")]
async fn the_login_goes_to_no_host_of_the_clients() {
    let lines = "Accept: text/html\r\nX-Forwarded-Host: forged.example\r\nX-Original-Host: forged.example\r\n\
        Forwarded: host=forged.example\r\nX-Forwarded-Uri: //forged.example\r\n";
    for (kind, answer, arrived) in through_all("/app/x?q=1", lines).await {
        assert!(arrived.is_empty() && answer.status == 302, "{kind:?} {answer:?}");
        let location = answer.header("Location").unwrap();
        assert_eq!(location, "/accounts/login/?next=/app/x%3Fq%3D1", "{kind:?}");
    }
}

/// Traefik passed RFC 7239's `Forwarded` on.
#[tokio::test(flavor = "multi_thread")]
async fn forwarded_of_rfc_7239_is_removed() {
    is_removed(
        "Forwarded: for=forged;host=forged;proto=https\r\nforwarded: for=forged\r\n",
        "Forwarded",
        &[
            (Kind::Nginx, &[("proxy_set_header Forwarded \"\";", "")]),
            (Kind::Traefik, &[("          Forwarded: \"\"\n", "")]),
            (Kind::Caddy, &[("request_header -Forwarded", "")]),
            (Kind::EnvoyHttp, &[("(x[^a-z0-9])?forwarded([^a-z0-9].*)?", "none")]),
            (Kind::EnvoyGrpc, &[("(x[^a-z0-9])?forwarded([^a-z0-9].*)?", "none")]),
            (Kind::HaProxy, &[("^(x.)?forwarded", "^none")]),
        ],
    )
    .await;
}

/// Django took a header with an underscore for the one with the hyphen under ASGI.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_3902_a_hyphen_and_an_underscore_are_not_one_header() {
    let (site, lines) =
        (Site::shared().await, "X_User_Id: forged\r\nX-User_Name: forged\r\nX_User_Assertion: forged\r\n");
    let verifier = Verifier::of(site.gate.port);
    let lines = format!("{}{lines}", site.cookie(Client::Ada));
    for (kind, _, arrived) in through_all("/app/x", &lines).await {
        let [got] = &arrived[..] else { panic!("{kind:?} {arrived:?}") };
        assert_eq!(check(got, &[Client::Ada], &verifier), Ok(()), "{kind:?} {got:?}");
        assert_eq!(got.read_as("X-User-Id"), ["1"], "{kind:?}");
    }
}
