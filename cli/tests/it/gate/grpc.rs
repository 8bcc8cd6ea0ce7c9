//! Envoy's ext_authz over gRPC, with a real Envoy. Its filter has `failure_mode_allow`, so that an RPC error would let a
//! request pass, and nothing but the gate takes forged headers away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::process::Gate;
use crate::support::documents::root;
use crate::support::servers::{self, Server};

const FORGED: &str = "X-User-Id: 1\r\nX-User-Groups: admin\r\nX-User-Superuser: true\r\nX-USER-STAFF: true\r\n\
    X_User_Id: 1\r\nX.User.Id: 1\r\nx_user-groups: admin\r\nX-User_Superuser: true\r\nX_USER_ASSERTION: a.b.c\r\n\
    X-User: kept\r\nX_User_Ids: kept\r\n";

const IDENTITY: [&str; 7] = [
    "x-user-id",
    "x-user-name",
    "x-user-email",
    "x-user-groups",
    "x-user-staff",
    "x-user-superuser",
    "x-user-assertion",
];

/// An Envoy that asks the gate, and the heads of the requests that reach the back end.
struct Proxy {
    port: u16,
    arrived: Receiver<String>,
    _envoy: Server,
}

impl Proxy {
    async fn before(gate: &Gate) -> Proxy {
        let (sender, arrived) = channel();
        let back_end = TcpListener::bind("127.0.0.1:0").unwrap();
        let back_end_port = back_end.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in back_end.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                // The test may be over.
                let _ = sender.send(head.join("\n"));
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\narrived");
            }
        });
        let port = servers::free_port();
        let folder = servers::folder("envoy", None);
        let config = folder.join("envoy.json");
        std::fs::write(&config, configuration(port, gate.grpc_port, back_end_port).to_string()).unwrap();
        let envoy = servers::program("envoy", &[root().join(".venv/bin").to_str().unwrap()]);
        let command = [
            envoy.into(),
            "--concurrency".into(),
            "1".into(),
            "--use-dynamic-base-id".into(),
            "--log-level".into(),
            "error".into(),
            "-c".into(),
            config.into(),
        ];
        let envoy = Server::start("Envoy", folder, port, None, command);
        envoy
            .wait_until(|| async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() })
            .await;
        let proxy = Proxy { port, arrived, _envoy: envoy };
        // It listens before it has a connection to the gate.
        proxy._envoy.wait_until(|| async { proxy.get("/private", "").starts_with("HTTP/1.1 40") }).await;
        while proxy.arrived.try_recv().is_ok() {}
        proxy
    }

    /// The head and body of the answer.
    fn get(&self, path: &str, headers: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: wiki.example.com\r\nConnection: close\r\n");
        stream.write_all(&[head.as_bytes(), headers.as_ref(), b"\r\n"].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn assert_refused(&self, path: &str, headers: impl AsRef<[u8]>, status: u16) -> String {
        let answer = self.get(path, headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(self.arrived.try_recv().is_err(), "{path}: {answer}");
        answer
    }
}

fn configuration(port: u16, gate: u16, back_end: u16) -> serde_json::Value {
    let address = |port| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let cluster = |name, port, options| {
        let endpoint = json!({ "endpoint": { "address": address(port) } });
        json!({
            "name": name, "connect_timeout": "5s", "typed_extension_protocol_options": options,
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
        })
    };
    let typed = |name: &str, value: serde_json::Value| {
        let mut value = value;
        value["@type"] = format!("type.googleapis.com/envoy.extensions.{name}").into();
        value
    };
    let http2 = json!({ "explicit_http_config": { "http2_protocol_options": {} } });
    let http2 = typed("upstreams.http.v3.HttpProtocolOptions", http2);
    let authorization = json!({
        "transport_api_version": "V3", "failure_mode_allow": true,
        "grpc_service": { "envoy_grpc": { "cluster_name": "gate" }, "timeout": "10s" },
    });
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "back_end" } });
    let manager = json!({
        "stat_prefix": "web",
        "http_filters": [
            { "name": "ext_authz", "typed_config": typed("filters.http.ext_authz.v3.ExtAuthz", authorization) },
            { "name": "router", "typed_config": typed("filters.http.router.v3.Router", json!({})) },
        ],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    });
    let name = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filter = json!({ "name": "http", "typed_config": typed(name, manager) });
    json!({ "static_resources": {
        "listeners": [{ "name": "web", "address": address(port), "filter_chains": [{ "filters": [filter] }] }],
        "clusters": [
            cluster("back_end", back_end, json!({})),
            cluster("gate", gate, json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2 })),
        ],
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_header_and_no_alias_reaches_the_back_end() {
    let gate = Gate::prepare().start("", "");
    let proxy = Proxy::before(&gate).await;
    let answer = proxy.get("/public/page?q=1", FORGED);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("arrived"), "{answer}");
    let arrived = proxy.arrived.recv_timeout(Duration::from_secs(10)).unwrap().to_ascii_lowercase();
    let headers: Vec<(&str, &str)> = arrived
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let of_user: Vec<_> =
        headers.iter().filter(|(name, _)| name.replace(['_', '.'], "-").starts_with("x-user")).collect();
    for name in IDENTITY {
        assert!(of_user.contains(&&(name, "")), "{name} is there and empty: {arrived}");
    }
    assert_eq!(of_user.len(), IDENTITY.len() + 2, "{of_user:?}");
    assert!(!headers.iter().any(|(name, _)| *name == "cache-control"), "{arrived}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_without_a_login() {
    let gate = Gate::prepare().start("login_url = \"https://www.example.com/login/\"", "");
    let proxy = Proxy::before(&gate).await;
    proxy.assert_refused("/private", FORGED, 401);
    // Of which a message with texts would make an RPC error.
    proxy.assert_refused("/private", b"X-Odd: \xff\xfe\r\n", 401);
    let answer = proxy.assert_refused("/private?q=1", "Accept: text/html\r\n", 302);
    let location = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    assert!(location.starts_with("https://www.example.com/login/?next="), "{location}");
    assert!(location.contains("wiki.example.com/private"), "{location}");
    assert!(answer.to_ascii_lowercase().contains("cache-control: no-store"), "{answer}");
    for path in ["/public/..%2fprivate", "/public/%00", "/public/%zz", "/public;/../private"] {
        proxy.assert_refused(path, "", 403);
    }
}

/// A logged-in user passes, and an open connection of Envoy's delays no stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_passes_as_that_user() {
    let mut gate = Gate::prepare().start("", "");
    let proxy = Proxy::before(&gate).await;
    let answer = proxy.get("/private", format!("Cookie: {}\r\n{FORGED}", gate.cookie()));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let arrived = proxy.arrived.recv_timeout(Duration::from_secs(10)).unwrap();
    let values = |name: &str| -> Vec<&str> {
        let headers = arrived.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    };
    assert_eq!(
        [values("x-user-id"), values("x-user-name"), values("x-user-groups")],
        [["7"], ["ada"], ["editors"]]
    );
    assert_eq!([values("x-user-staff"), values("x-user-superuser")], [["false"], ["false"]]);
    let assertion = values("x-user-assertion");
    assert!(assertion.len() == 1 && assertion[0].split('.').count() == 3, "{assertion:?}");
    let begin = Instant::now();
    assert_eq!(gate.stop(), 0);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_is_503_and_no_rpc_error() {
    let gate = Gate::prepare().start("", "");
    let proxy = Proxy::before(&gate).await;
    let database = rusqlite::Connection::open(gate.database()).unwrap();
    database.execute_batch("DROP TABLE django_session").unwrap();
    let cookie = "Cookie: sessionid=abcdefghijklmnopqrstuvwxyz012345\r\n";
    proxy.assert_refused("/private", cookie, 503);
    // With identity headers that nobody could look up, not even a public page is served.
    proxy.assert_refused("/public", cookie, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_trusted_lets_nobody_pass() {
    let gate = Gate::prepare().start("trusted_proxies = [\"192.0.2.1\"]", "");
    let proxy = Proxy::before(&gate).await;
    proxy.assert_refused("/public", "", 403);
}
