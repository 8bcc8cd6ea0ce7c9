//! A running gate of a Django project, and raw questions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::support::command::cloakroom;
use crate::support::project::Project;

/// Longer than anything takes here.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// A project with sessions of its users.
pub(super) struct Site {
    project: Project,
    /// By user name.
    keys: BTreeMap<String, String>,
}

const PEOPLE: &str = "
from django.contrib.auth.models import Group, User
from django.test import Client
group = Group.objects.create(name='editors, chief')
for name, flags in [('ada', {}), ('grace', {'is_staff': True}), ('root', {'is_staff': True, 'is_superuser': True})]:
    user = User.objects.create_user(name, f'{name}@example.com', **flags)
    user.groups.add(group) if name == 'ada' else None
    client = Client()
    client.force_login(user)
    print('key', name, client.cookies['sessionid'].value)
";

impl Site {
    pub(super) fn new() -> Site {
        let project = Project::new("");
        let printed = project.manage(&["shell", "-c", PEOPLE]);
        let words = printed.lines().filter_map(|line| line.strip_prefix("key ")?.split_once(' '));
        let keys = words.map(|(name, key)| (name.to_owned(), key.to_owned())).collect();
        Site { project, keys }
    }

    /// One that no test changes.
    pub(super) fn shared() -> &'static Site {
        static SHARED: OnceLock<Site> = OnceLock::new();
        SHARED.get_or_init(Site::new)
    }

    /// The value of the cookie of this user.
    pub(super) fn key(&self, name: &str) -> &str {
        &self.keys[name]
    }

    pub(super) fn cookie(&self, name: &str) -> &'static str {
        format!("Cookie: sessionid={}", self.key(name)).leak()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.project.path().join("db.sqlite3")
    }

    /// The command with this configuration.
    pub(super) fn command(&self, config: &std::path::Path, more: &[&str]) -> Command {
        let mut command = cloakroom(&["gate", "--config", config.to_str().unwrap()]);
        command.args(["--from-django", &self.project.manage_py()]).args(more);
        command
    }
}

/// A running gate.
pub(super) struct Gate {
    pub(super) child: Child,
    /// Where it says that it listens.
    pub(super) address: String,
    pub(super) folder: tempfile::TempDir,
    said: Arc<Mutex<String>>,
    logged: Arc<Mutex<String>>,
}

impl Gate {
    /// Starts a gate with this configuration; without `listen`, on a free port.
    pub(super) fn start(site: &Site, config: &str) -> Gate {
        let folder = tempfile::tempdir().unwrap();
        let listen = if config.contains("listen =") { "" } else { "listen = '127.0.0.1:0'\n" };
        let path = folder.path().join("gate.toml");
        std::fs::write(&path, format!("{listen}{config}")).unwrap();
        let mut command = site.command(&path, &[]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().unwrap(), Arc::clone(&said));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        output.read_line(&mut greeting).unwrap();
        let address = greeting.trim_end().strip_prefix("Cloakroom gate: ");
        let address = address.unwrap_or_else(|| panic!("{greeting:?} {}", said.lock().unwrap())).to_owned();
        let logged = Arc::new(Mutex::new(String::new()));
        collect(output, Arc::clone(&logged));
        Gate { child, address, folder, said, logged }
    }

    /// Writes another configuration, and has it read.
    pub(super) fn reload(&self, config: &str) {
        std::fs::write(self.folder.path().join("gate.toml"), config).unwrap();
        self.signal("-HUP");
    }

    pub(super) fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Its standard error.
    pub(super) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The access log.
    pub(super) fn logged(&self) -> String {
        self.logged.lock().unwrap().clone()
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.parse::<SocketAddr>().unwrap()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Asks as nginx does.
    pub(super) fn ask(&self, target: &str, more: &[&str]) -> Answer {
        self.get("/auth/nginx", &[&nginx("GET", "wiki.example.com", target), more].concat())
    }

    pub(super) fn get(&self, path: &str, headers: &[impl AsRef<str>]) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, "GET", path, headers);
        receive(&mut stream).unwrap_or_else(|| panic!("no answer to {path}; {}", self.said()))
    }

    /// Waits for the end; gives the exit code.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < LONG, "the gate does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this is so.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}

/// The headers that nginx sets.
pub(super) fn nginx<'a>(method: &str, host: &str, target: &str) -> [&'a str; 3] {
    let header = |name: &str, value: &str| -> &'a str { format!("{name}: {value}").leak() };
    [header("X-Original-Method", method), header("X-Original-Host", host), header("X-Original-URI", target)]
}

/// The headers that Traefik and Caddy set.
pub(super) fn forwarded<'a>(method: &str, host: &str, target: &str) -> [&'a str; 3] {
    let header = |name: &str, value: &str| -> &'a str { format!("{name}: {value}").leak() };
    [
        header("X-Forwarded-Method", method),
        header("X-Forwarded-Host", host),
        header("X-Forwarded-Uri", target),
    ]
}

/// Sends a question. Without a `Host` among the headers, it is the gate's.
pub(super) fn send(stream: &mut impl Write, method: &str, path: &str, headers: &[impl AsRef<str>]) {
    let mut question = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|header| header.as_ref().to_ascii_lowercase().starts_with("host:")) {
        question.push_str("Host: gate\r\n");
    }
    for header in headers {
        question.push_str(header.as_ref());
        question.push_str("\r\n");
    }
    // A gate that refuses it may have closed the connection.
    let _ = stream.write_all(format!("{question}\r\n").as_bytes());
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "two headers {name}: {self:?}");
        value
    }
}

/// Reads an answer; `None` if the connection ends without one.
pub(super) fn receive(stream: &mut impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers: Vec<_> = lines.map(header).collect();
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    answer.body = String::from_utf8(body).unwrap();
    Some(answer)
}
