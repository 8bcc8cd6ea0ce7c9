//! A running gate.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::command::cloakroom;
use crate::support::project::Project;

/// User 7, who is logged in.
const ADA: &str = "
from django.contrib.auth.models import Group, User
from django.test import Client
user = User.objects.create_user('ada', 'ada@example.com', id=7)
user.groups.add(Group.objects.create(name='editors'))
client = Client()
client.force_login(user)
print('key', client.cookies['sessionid'].value)
";

/// A Django project, and a folder for keys in it.
pub(crate) struct Prepared {
    project: Project,
    cookie: String,
}

/// A running gate.
pub(crate) struct Gate {
    pub(crate) url: String,
    pub(crate) grpc_port: u16,
    prepared: Prepared,
    process: Child,
}

impl Gate {
    pub(crate) fn prepare() -> Prepared {
        let project = Project::new("");
        let printed = project.manage(&["shell", "-c", ADA]);
        let key = printed.lines().find_map(|line| line.strip_prefix("key ")).unwrap();
        let prepared = Prepared { cookie: format!("sessionid={key}"), project };
        let keys = prepared.keys();
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        prepared
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.prepared.keys()
    }

    /// The database, in which the sessions are.
    pub(crate) fn database(&self) -> PathBuf {
        self.prepared.database()
    }

    /// The `Cookie` header of user 7.
    pub(crate) fn cookie(&self) -> &str {
        &self.prepared.cookie
    }

    /// The assertion about user 7, for the wiki.
    pub(crate) fn assertion(&self) -> String {
        let question = ureq::get(format!("{}/auth/nginx", self.url))
            .header("X-Original-Method", "GET")
            .header("X-Original-Host", "wiki.example.com")
            .header("X-Original-URI", "/page")
            .header("Cookie", self.cookie());
        let answer = question.call().unwrap();
        answer.headers()["x-user-assertion"].to_str().unwrap().to_owned()
    }

    /// Asks it to stop, and waits for the end.
    pub(crate) fn stop(&mut self) -> i32 {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        self.process.wait().unwrap().code().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        ureq::get(format!("{}{path}", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    pub(crate) fn reload(&self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// The log up to now, when it says this.
    pub(crate) fn wait_for_log(&self, word: &str) -> String {
        let begin = Instant::now();
        loop {
            let log = self.prepared.log();
            if log.contains(word) {
                return log;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{word} is not in the log: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The exit code and the log of a second start that fails.
    pub(crate) fn stop_and_start_again(&mut self) -> (i32, String) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let status = self.prepared.command().stdout(Stdio::null()).status().unwrap();
        (status.code().unwrap(), self.prepared.log())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prepared {
    pub(crate) fn keys(&self) -> PathBuf {
        self.project.path().join("keys")
    }

    fn database(&self) -> PathBuf {
        self.project.path().join("db.sqlite3")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.project.path().join("log")).unwrap()
    }

    fn command(&self) -> Command {
        let config = self.project.path().join("gate.toml");
        let mut command = cloakroom(&["gate", "--config", config.to_str().unwrap()]);
        command.args(["--from-django", &self.project.manage_py()]);
        let log = File::create(self.project.path().join("log")).unwrap();
        command.env_remove("STATE_DIRECTORY").stderr(log);
        command
    }

    /// Starts it with these lines, and these in the table `[assertion]`.
    pub(crate) fn start(self, lines: &str, assertion: &str) -> Gate {
        let keys = self.keys();
        let config = format!(
            "listen = \"127.0.0.1:0\"\nlisten_grpc = \"127.0.0.1:0\"\nscheme = \"http\"\n{lines}\n\
             [assertion]\nkeys = {keys:?}\n{assertion}\n\
             [[rule]]\nhost = \"wiki.example.com\"\npath = \"/public\"\nallow = \"anyone\"\n\
             [[rule]]\nhost = \"wiki.example.com\"\nallow = \"login\"\n"
        );
        fs::write(self.project.path().join("gate.toml"), config).unwrap();
        let mut process = self.command().stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |greeting: &str| {
            let Some(Ok(line)) = lines.next() else { panic!("the gate does not start: {}", self.log()) };
            line.strip_prefix(greeting).expect(&line).to_owned()
        };
        let url = format!("http://{}", address("Cloakroom gate: "));
        let grpc_port = address("Cloakroom gate, gRPC: ").rsplit(':').next().unwrap().parse().unwrap();
        // The access log, which nobody reads here.
        std::thread::spawn(move || lines.for_each(drop));
        Gate { url, grpc_port, prepared: self, process }
    }
}
