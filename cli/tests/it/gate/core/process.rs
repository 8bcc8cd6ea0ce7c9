//! The process: start, check, reload, stop, and what an operator sees.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use super::running::{Gate, LONG, Site, eventually, nginx, receive, send};
use crate::support::command::run;

const LOGIN: &str = "[[rule]]\nhost = 'wiki.example.com'\nallow = 'login'\n";
const STAFF: &str = "[[rule]]\nhost = 'wiki.example.com'\nallow = 'staff'\n";

#[test]
fn the_configuration_is_read_again() {
    let site = Site::shared();
    let gate = Gate::start(site, LOGIN);
    let cookie = site.cookie("ada");
    let ask = || gate.ask("/", &[cookie]).status;
    // A connection that is there before.
    let mut before = gate.connect();
    let mut ask_before = || {
        send(
            &mut before,
            "GET",
            "/auth/nginx",
            &[&nginx("GET", "wiki.example.com", "/")[..], &[cookie]].concat(),
        );
        receive(&mut before).unwrap().status
    };
    assert_eq!((ask(), ask_before()), (200, 200));
    let keys = gate.get("/.well-known/jwks.json", &[""; 0]).body;

    let listen = "listen = '127.0.0.1:0'\n";
    gate.reload(&format!("{listen}{STAFF}"));
    eventually("the new rule counts", || ask() == 403);
    assert_eq!(ask_before(), 403);
    assert_eq!(gate.get("/.well-known/jwks.json", &[""; 0]).body, keys, "keys in memory stay");

    for (wrong, said) in [
        (format!("{listen}{LOGIN}alow = 'anyone'"), "line 5: unknown field `alow`"),
        (format!("listen = '127.0.0.1:1'\n{LOGIN}"), "listen cannot change while the gate runs"),
        (format!("{listen}cache = 3\n{LOGIN}"), "cache cannot change"),
        (format!("{listen}[assertion]\nlifetime = 0\n{LOGIN}"), "assertion.lifetime"),
        (listen.to_owned(), "there is no [[rule]]"),
    ] {
        gate.reload(&wrong);
        eventually(said, || gate.said().contains(said));
        assert!(gate.said().contains("the old one stays"));
        assert_eq!(ask(), 403, "{said}");
    }
    gate.reload(&format!("{listen}{LOGIN}"));
    eventually("the old rule counts again", || ask() == 200);
}

#[test]
fn a_check_opens_nothing() {
    let site = Site::shared();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.toml");
    let socket = folder.path().join("gate.sock");
    let keys = folder.path().join("keys");
    let good = format!("listen = 'unix:{}'\n[assertion]\nkeys = 'keys'\n{LOGIN}", socket.display());
    std::fs::write(&path, &good).unwrap();
    let ran = run(site.command(&path, &["--check"]), b"");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.contains("is right"), "{ran:?}");
    assert!(!socket.exists() && !keys.exists());
    std::fs::write(&path, good.replace("allow", "alow")).unwrap();
    let ran = run(site.command(&path, &["--check"]), b"");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("gate.toml, line 6: unknown field `alow`"), "{ran:?}");
    let ran = run(site.command(&folder.path().join("none.toml"), &[]), b"");
    assert!(ran.code == 2 && ran.stderr.contains("none.toml"), "{ran:?}");
}

#[test]
fn a_unix_socket_has_its_place() {
    let site = Site::shared();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gate.sock");
    let config = format!("listen = 'unix:{}'\n{LOGIN}", socket.display());
    // Of a gate that was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut gate = Gate::start(site, &config);
    assert_eq!(gate.address, format!("unix:{}", socket.display()));
    let metadata = std::fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let headers = [&nginx("GET", "wiki.example.com", "/")[..], &[site.cookie("ada")]].concat();
    send(&mut stream, "GET", "/auth/nginx", &headers);
    assert_eq!(receive(&mut stream).unwrap().header("x-user-name"), Some("ada"));

    let path = gate.folder.path().join("gate.toml");
    let ran = run(site.command(&path, &[]), b"");
    assert!(ran.code == 1 && ran.stderr.contains("in use by another program"), "{ran:?}");
    gate.signal("-TERM");
    assert_eq!(gate.ended(), Some(0), "{}", gate.said());
    assert!(!socket.exists());

    std::fs::write(&socket, "not a socket").unwrap();
    let ran = run(site.command(&path, &[]), b"");
    assert!(ran.code == 2 && ran.stderr.contains("no socket"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "not a socket");
}

#[test]
fn a_taken_port_is_explained() {
    let site = Site::shared();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.toml");
    std::fs::write(&path, format!("listen = '{}'\n{LOGIN}", taken.local_addr().unwrap())).unwrap();
    let ran = run(site.command(&path, &[]), b"");
    assert!(ran.code == 1 && ran.stderr.contains("in use by another program"), "{ran:?}");
}

#[test]
fn it_stops_cleanly() {
    for signal in ["-INT", "-TERM"] {
        let mut gate = Gate::start(Site::shared(), LOGIN);
        let mut idle = gate.connect();
        send(&mut idle, "GET", "/health/live", &[""; 0]);
        assert_eq!(receive(&mut idle).unwrap().status, 200);
        gate.signal(signal);
        assert_eq!(gate.ended(), Some(0), "{signal}: {}", gate.said());
        assert!(receive(&mut idle).is_none());
    }
}

#[test]
fn the_access_log_and_the_metrics_show_no_secrets() {
    let site = Site::shared();
    let mut gate = Gate::start(site, LOGIN);
    let cookie = site.cookie("ada");
    assert_eq!(
        gate.ask("/page?token=secret-token", &[cookie, "Authorization: Bearer secret-bearer"]).status,
        200
    );
    assert_eq!(gate.ask("/%1b[31m", &[cookie]).status, 403);
    assert_eq!(gate.ask("/other", &[]).status, 401);
    assert_eq!(gate.get("/auth/caddy", &[cookie]).status, 403);
    let metrics = gate.get("/metrics", &[""; 0]).body;
    for (kind, outcome) in
        [("nginx", "allowed"), ("nginx", "malformed"), ("nginx", "login"), ("caddy", "malformed")]
    {
        let line = format!("cloakroom_gate_decisions_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} 1\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    assert!(
        metrics.contains("cloakroom_gate_answer_duration_seconds_bucket{kind=\"nginx\",le=\"0.003\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("cloakroom_gate_answer_duration_seconds_count{kind=\"nginx\"} 3\n"),
        "{metrics}"
    );
    gate.signal("-TERM");
    assert_eq!(gate.ended(), Some(0));
    eventually("four lines", || gate.logged().lines().count() == 4);
    let logged = gate.logged();
    let lines: Vec<_> = logged.lines().map(|line| line.split_once(" ms=").unwrap()).collect();
    assert!(lines.iter().all(|(_, ms)| ms.parse::<f64>().unwrap() < 2_000.0));
    let lines: Vec<&str> = lines.into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        lines,
        [
            "kind=nginx method=GET host=wiki.example.com path=/page outcome=allowed status=200 rule=1 user=1",
            "kind=nginx method=GET host=wiki.example.com path=/%1b[31m outcome=malformed status=403 rule=- user=-",
            "kind=nginx method=GET host=wiki.example.com path=/other outcome=login status=401 rule=1 user=-",
            "kind=caddy method=- host=- path=- outcome=malformed status=403 rule=- user=-",
        ]
    );
    for secret in [site.key("ada"), "secret-token", "secret-bearer", "eyJ"] {
        assert!(![&logged, &metrics, &gate.said()].iter().any(|shown| shown.contains(secret)), "{secret}");
    }
}

#[test]
fn the_access_log_can_be_off() {
    let site = Site::shared();
    let mut gate = Gate::start(site, &format!("access_log = false\n{LOGIN}"));
    assert_eq!(gate.ask("/", &[site.cookie("ada")]).status, 200);
    gate.signal("-TERM");
    assert_eq!(gate.ended(), Some(0));
    assert_eq!(gate.logged(), "");
}

#[test]
fn systemd_is_told() {
    let site = Site::shared();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let config = folder.path().join("gate.toml");
    std::fs::write(&config, format!("listen = '127.0.0.1:0'\n{LOGIN}")).unwrap();
    let mut child = site
        .command(&config, &[])
        .env("NOTIFY_SOCKET", &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    assert_eq!(heard(), "READY=1");
    std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
