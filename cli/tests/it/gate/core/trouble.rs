//! Trouble: a store that does not answer, slow and large questions, and a gate that is killed.

use std::io::Write;
use std::time::{Duration, Instant};

use super::running::{Gate, Site, eventually, nginx, receive, send};

const RULES: &str = "
time_limit = 1.0
[[rule]]
host = 'wiki.example.com'
path = '/public'
allow = 'anyone'
[[rule]]
host = 'wiki.example.com'
allow = 'login'
";

/// Locks the database of a site for readers and writers, until it is dropped.
fn lock(site: &Site) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(site.database()).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    connection
}

#[test]
fn a_store_that_does_not_answer_lets_nobody_in() {
    let site = Site::new();
    let gate = Gate::start(&site, RULES);
    let cookie = site.cookie("ada");
    assert_eq!(gate.ask("/", &[cookie]).status, 200);
    assert_eq!(gate.get("/health/ready", &[""; 0]).status, 200);
    let lock = lock(&site);
    for target in ["/", "/public"] {
        let start = Instant::now();
        let answer = gate.ask(target, &[cookie, "Accept: text/html"]);
        assert_eq!((answer.status, answer.header("x-user-id")), (503, None), "{target}: {answer:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert_eq!(gate.get("/health/ready", &[""; 0]).status, 503);
    // Without a session there is nothing to ask.
    assert_eq!(gate.get("/health/live", &[""; 0]).status, 200);
    assert_eq!(gate.ask("/public", &[]).status, 200);
    assert_eq!(gate.ask("/", &[]).status, 401);
    drop(lock);
    eventually("the store answers again", || gate.ask("/", &[cookie]).status == 200);
    eventually("ready again", || gate.get("/health/ready", &[""; 0]).status == 200);
}

#[test]
fn a_broken_store_lets_nobody_in() {
    let site = Site::new();
    let gate = Gate::start(&site, RULES);
    let cookie = site.cookie("ada");
    assert_eq!(gate.ask("/", &[cookie]).status, 200);
    let connection = rusqlite::Connection::open(site.database()).unwrap();
    for table in ["auth_user", "django_session"] {
        connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO away")).unwrap();
        let answer = gate.ask("/", &[cookie]);
        assert_eq!((answer.status, answer.header("x-user-id")), (503, None), "{table}");
        assert_eq!(gate.get("/health/ready", &[""; 0]).status, 503, "{table}");
        connection.execute_batch(&format!("ALTER TABLE away RENAME TO {table}")).unwrap();
        assert_eq!(gate.ask("/", &[cookie]).status, 200, "{table}");
    }
}

#[test]
fn questions_that_were_asked_are_answered_before_the_end() {
    let site = Site::new();
    let mut gate = Gate::start(&site, &RULES.replace("1.0", "4"));
    let lock = lock(&site);
    let mut asked = gate.connect();
    send(
        &mut asked,
        "GET",
        "/auth/nginx",
        &[&nginx("GET", "wiki.example.com", "/")[..], &[site.cookie("ada")]].concat(),
    );
    std::thread::sleep(Duration::from_millis(300));
    gate.signal("-TERM");
    let address: std::net::SocketAddr = gate.address.parse().unwrap();
    eventually("nobody else is heard", || std::net::TcpStream::connect(address).is_err());
    drop(lock);
    let answer = receive(&mut asked).unwrap();
    assert_eq!((answer.status, answer.header("x-user-name")), (200, Some("ada")));
    assert_eq!(gate.ended(), Some(0), "{}", gate.said());
    eventually("its line is in the log", || gate.logged().contains("outcome=allowed status=200"));
}

#[test]
fn a_killed_gate_lets_nobody_in() {
    let site = Site::new();
    let mut gate = Gate::start(&site, RULES);
    let lock = lock(&site);
    let mut asked = gate.connect();
    send(
        &mut asked,
        "GET",
        "/auth/nginx",
        &[&nginx("GET", "wiki.example.com", "/")[..], &[site.cookie("ada")]].concat(),
    );
    std::thread::sleep(Duration::from_millis(200));
    gate.signal("-KILL");
    assert!(receive(&mut asked).is_none());
    assert_eq!(gate.ended(), None);
    drop(lock);
    // Another one knows all that there is to know.
    let gate = Gate::start(&site, RULES);
    assert_eq!(gate.ask("/", &[site.cookie("ada")]).status, 200);
    assert_eq!(gate.ask("/", &[]).status, 401);
}

#[test]
fn a_question_must_arrive_in_time_and_a_connection_may_wait() {
    let site = Site::shared();
    let gate = Gate::start(site, RULES);
    let headers = nginx("GET", "wiki.example.com", "/public");
    let mut idle = gate.connect();
    let mut used = gate.connect();
    send(&mut used, "GET", "/auth/nginx", &headers);
    assert_eq!(receive(&mut used).unwrap().status, 200);

    // One byte now and then does not help.
    let mut slow = gate.connect();
    let start = Instant::now();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut is_open = true;
    while is_open && start.elapsed() < Duration::from_secs(5) {
        let _ = slow.write_all(b"G");
        let mut byte = [0];
        is_open = !matches!(std::io::Read::read(&mut slow, &mut byte), Ok(0))
            && !matches!(std::io::Read::read(&mut slow, &mut byte), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
    }
    assert!(!is_open && start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());

    // Idle connections of the proxy have waited for longer than the limit by now.
    for stream in [&mut idle, &mut used] {
        send(stream, "GET", "/auth/nginx", &headers);
        assert_eq!(receive(stream).unwrap().status, 200);
    }
}

#[test]
fn large_questions_are_refused() {
    let site = Site::shared();
    let gate = Gate::start(site, RULES);
    let headers = nginx("GET", "wiki.example.com", "/public");
    let cookie = site.cookie("ada");
    for large in [format!("Cookie: x={}", "x".repeat(80_000)), "X-A: b\r\n".repeat(200).trim_end().to_owned()]
    {
        let answer = gate.ask("/", &[cookie, &large]);
        assert_eq!((answer.status, answer.header("x-user-id")), (431, None));
    }
    // nginx takes this from a client.
    let answer = gate.ask("/", &[&format!("{cookie}; x={}", "x".repeat(30_000))]);
    assert_eq!(answer.status, 200);
    let many: Vec<&str> = std::iter::repeat_n("Cookie: a=b", 65).chain([cookie]).collect();
    assert_eq!(gate.ask("/", &many).status, 403);
    let long =
        gate.get("/auth/nginx", &nginx("GET", "wiki.example.com", &format!("/%41{}", "x".repeat(10_000))));
    assert_eq!(long.status, 403);
    // A body is not read.
    let mut stream = gate.connect();
    send(&mut stream, "POST", "/auth/nginx", &[&headers[..], &["Content-Length: 5"]].concat());
    stream.write_all(b"hello").unwrap();
    assert_eq!(receive(&mut stream).unwrap().status, 200);
}
