//! Forged requests over HTTP/2, where the shipped configuration speaks it without TLS; with as much of HTTP/2 as one
//! request needs.

use std::io::{Read, Write};

use super::assertion::Verifier;
use super::back_end::BackEnd;
use super::client::connect;
use super::corpus::{FORGED, check};
use super::proxy::{self, HOST, Kind};
use super::site::{CLIENTS, Client, Site};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACKNOWLEDGED: u8 = 1;

/// Sends one request without a body, and waits until the proxy has answered or refused it. What it answered is of no
/// interest here: the back end knows what arrived.
fn send(port: u16, headers: &[(&str, &str)]) {
    let mut block = Vec::new();
    for (name, value) in headers {
        // A literal that is not indexed, with a literal name; <https://httpwg.org/specs/rfc7541.html#literal.header.representation>.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let mut stream = connect(port);
    let request =
        [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)].concat();
    stream.write_all(&request).unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            return;
        }
        match head[3] {
            SETTINGS if head[4] & ACKNOWLEDGED == 0 => {
                let _ = stream.write_all(&frame(SETTINGS, ACKNOWLEDGED, 0, &[]));
            }
            RESET | GO_AWAY => return,
            HEADERS | DATA if head[4] & END_STREAM != 0 => return,
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PATHS: [&str; 5] = ["/public/x", "/app/x", "/staff/x", "/public/..%2fapp", "/public/../staff"];

/// Headers that any client may send.
const LAWFUL: [(&str, &str); 7] = [
    ("x-harmless", FORGED),
    ("x-user-id", FORGED),
    ("x_user_id", FORGED),
    ("x.user.id", FORGED),
    ("x-forwarded-uri", "/public/forged"),
    ("forwarded", "host=forged"),
    ("x-http-method-override", FORGED),
];

/// Headers that HTTP/2 forbids. Envoy closes the connection a second later.
const UNLAWFUL: [(&str, &str); 8] = [
    ("X-User-Id", FORGED),
    ("x-user-id\r\nx-user-id", FORGED),
    ("x-harmless", "a\r\nX-User-Id: forged"),
    ("connection", "x-user-id"),
    ("host", "forged.example"),
    (":path", "/public/forged"),
    ("te", "trailers, forged"),
    ("transfer-encoding", "chunked"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_forgery_arrives_over_http_2() {
    let site = Site::shared().await;
    for kind in [Kind::Traefik, Kind::EnvoyHttp, Kind::HaProxy] {
        let back_end = BackEnd::start();
        let proxy = proxy::start(kind, site.around(&back_end)).await;
        let verifier = Verifier::of(site.gate.port);
        let ask = |client: Client, path: &str, forged: (&str, &str)| {
            let cookie = site.cookie(client);
            let cookie = cookie.trim_start_matches("Cookie: ").trim_end();
            let mut headers =
                vec![(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path)];
            headers.extend((!cookie.is_empty()).then_some(("cookie", cookie)));
            headers.push(forged);
            send(proxy.port, &headers);
            let arrived = back_end.arrived();
            for got in &arrived {
                let checked = check(got, &[client, Client::Nobody], &verifier);
                assert_eq!(checked, Ok(()), "{kind:?} {client:?} {headers:?} {got:?}");
            }
            arrived.len()
        };
        let mut arrived = 0;
        for client in CLIENTS {
            for path in PATHS {
                arrived += LAWFUL.into_iter().map(|forged| ask(client, path, forged)).sum::<usize>();
            }
        }
        for forged in UNLAWFUL {
            ask(Client::Ada, "/app/x", forged);
        }
        assert!(arrived >= 6 * LAWFUL.len(), "{kind:?}: {arrived} arrived: this test shows nothing");
    }
}
