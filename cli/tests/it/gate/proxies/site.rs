//! A Django project with users who are logged in, and the gate of its sessions.

use std::path::Path;
use std::sync::OnceLock;

use super::back_end::BackEnd;
use super::proxy::{Around, HOST};
use crate::support::project::Project;
use crate::support::servers::{Server, folder, free_port};

/// Anyone at /public, who is logged in at /app, staff at /staff, and nothing else.
const RULES: [(&str, &str); 3] = [("/public", "anyone"), ("/app", "login"), ("/staff", "staff")];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Nobody,
    /// Logged in.
    Ada,
    /// Logged in, and staff.
    Grace,
}

pub(super) const CLIENTS: [Client; 3] = [Client::Nobody, Client::Ada, Client::Grace];

impl Client {
    /// Whether the rules let this client read what is served at this path.
    pub(super) fn may_read(self, path: &str) -> bool {
        let below = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let allowed = match self {
            Client::Nobody => 1,
            Client::Ada => 2,
            Client::Grace => 3,
        };
        RULES[..allowed].iter().any(|(prefix, _)| below(prefix))
    }

    /// The message to the back end: the values of the headers, of which the assertion is missing here.
    pub(super) fn identity(self) -> [(&'static str, &'static str); 6] {
        let [id, name, email, groups, staff, superuser] = match self {
            Client::Nobody => [""; 6],
            Client::Ada => ["1", "ada", "ada@example.com", "caf%C3%A9,wiki%2C editors", "false", "false"],
            Client::Grace => ["2", "grace", "grace@example.com", "", "true", "false"],
        };
        [
            ("X-User-Id", id),
            ("X-User-Name", name),
            ("X-User-Email", email),
            ("X-User-Groups", groups),
            ("X-User-Staff", staff),
            ("X-User-Superuser", superuser),
        ]
    }
}

/// A running gate.
pub(super) struct Site {
    pub(super) gate: Server,
    pub(super) grpc: u16,
    /// Of Ada and of Grace.
    keys: [String; 2],
}

impl Site {
    /// One that no test harms.
    pub(super) async fn shared() -> &'static Site {
        // Not behind an async lock: each test has a runtime of its own, which the gate's process outlives.
        static SHARED: OnceLock<Site> = OnceLock::new();
        if SHARED.get().is_none() {
            let made = tokio::task::spawn_blocking(|| SHARED.get_or_init(Site::make));
            made.await.unwrap();
        }
        let site = SHARED.get().unwrap();
        site.wait().await;
        site
    }

    /// One of the caller's own.
    pub(super) async fn new() -> Site {
        let site = tokio::task::spawn_blocking(Site::make).await.unwrap();
        site.wait().await;
        site
    }

    fn make() -> Site {
        let project = Project::new("");
        let code = "from django.contrib.auth.models import Group, User\n\
            from django.test import Client\n\
            for name in ['ada', 'grace']:\n\
            \x20   user = User.objects.create_user(name, f'{name}@example.com', is_staff=name == 'grace')\n\
            \x20   client = Client()\n\
            \x20   client.force_login(user)\n\
            \x20   print('key', client.cookies['sessionid'].value)\n\
            for name in ['café', 'wiki, editors']:\n\
            \x20   User.objects.get(username='ada').groups.add(Group.objects.create(name=name))";
        let printed = project.manage(&["shell", "-c", code]);
        let mut keys = printed.lines().filter_map(|line| line.strip_prefix("key ").map(str::to_owned));
        let keys = [keys.next().unwrap(), keys.next().unwrap()];
        let place = folder("gate", None);
        // Its folder ends with the gate's process, also when nobody drops it.
        std::fs::rename(project.folder.keep(), &place).unwrap();
        let (port, grpc) = (free_port(), free_port());
        std::fs::write(place.join("gate.toml"), configuration(port, grpc)).unwrap();
        let gate = Server::start("gate", place.clone(), port, None, command(&place));
        Site { gate, grpc, keys }
    }

    pub(super) async fn wait(&self) {
        let address = ("127.0.0.1", self.gate.port);
        self.gate.wait_until(|| async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;
    }

    /// The `Cookie` header of this client, as a line.
    pub(super) fn cookie(&self, client: Client) -> String {
        match client {
            Client::Nobody => String::new(),
            Client::Ada => format!("Cookie: sessionid={}\r\n", self.keys[0]),
            Client::Grace => format!("Cookie: sessionid={}\r\n", self.keys[1]),
        }
    }

    pub(super) fn around(&self, back_end: &BackEnd) -> Around {
        Around { back_end: back_end.port, gate: self.gate.port, gate_grpc: self.grpc }
    }
}

fn configuration(port: u16, grpc: u16) -> String {
    let mut text =
        format!("listen = \"127.0.0.1:{port}\"\nlisten_grpc = \"127.0.0.1:{grpc}\"\nscheme = \"http\"\n");
    for (path, allow) in RULES {
        text += &format!("\n[[rule]]\nhost = {HOST:?}\npath = {path:?}\nallow = {allow:?}\n");
    }
    text
}

fn command(place: &Path) -> Vec<std::ffi::OsString> {
    let file = |name: &str| place.join(name).into_os_string();
    let mut command = vec![env!("CARGO_BIN_EXE_cloakroom").into(), "gate".into()];
    command.extend(["--from-django".into(), file("manage.py"), "--config".into(), file("gate.toml")]);
    command
}
