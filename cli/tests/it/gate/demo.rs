//! `scripts/gate-demo`, as a reader starts it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::documents::root;
use crate::support::project;

/// A running demo; it ends with this.
pub(super) struct Demo {
    /// Of nginx.
    pub(super) address: String,
    folder: PathBuf,
    passwords: [String; 2],
    child: Child,
    // Kept open: the demo may say something at its end, too.
    _stdout: BufReader<ChildStdout>,
}

impl Demo {
    pub(super) fn start() -> Demo {
        // A test that is killed takes the demo along, which then ends what it started.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(root().join("scripts/gate-demo"))
            .env("CLOAKROOM", env!("CARGO_BIN_EXE_cloakroom"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "the demo ended: {said}");
        }
        let after = |words: &str| said.split(words).nth(1).unwrap().lines().next().unwrap().to_owned();
        Demo {
            address: after("The gate's demo: ").trim_end_matches("/app/").to_owned(),
            folder: after("all files are in ").into(),
            passwords: [after("ada, who may log in: password "), after("grace, who is staff: password ")],
            child,
            _stdout: stdout,
        }
    }

    pub(super) fn password(&self, name: &str) -> &str {
        &self.passwords[usize::from(name == "grace")]
    }

    /// Runs this in Django's shell, with the user of this name as `user`.
    pub(super) fn change(&self, name: &str, code: &str) {
        let code = format!(
            "from django.contrib.auth.models import User\nuser = User.objects.get(username={name:?})\n{code}\nuser.save()"
        );
        let status = Command::new(project::python())
            .args(["manage.py", "shell", "--verbosity", "0", "-c", &code])
            .current_dir(&self.folder)
            .status();
        assert!(status.unwrap().success(), "{code}");
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(&mut self) -> std::process::ExitStatus {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.interrupt();
        }
    }
}

/// As much of a browser as curl is with a file of cookies.
struct Curl<'a> {
    demo: &'a Demo,
    cookies: Vec<(String, String)>,
}

struct Page {
    status: u16,
    location: String,
    body: String,
}

impl Curl<'_> {
    fn get(&mut self, path: &str, accept: &str) -> Page {
        let request = agent().get(format!("{}{path}", self.demo.address)).header("Accept", accept);
        let answer = request.header("Cookie", self.cookie()).call().unwrap();
        self.take(answer)
    }

    fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let token = self.cookies.iter().find(|(name, _)| name == "csrftoken").unwrap().1.clone();
        let form = [form, &[("csrfmiddlewaretoken", &token)]].concat();
        let request = agent().post(format!("{}{path}", self.demo.address)).header("Cookie", self.cookie());
        let answer = request.send_form(form).unwrap();
        self.take(answer)
    }

    fn cookie(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn take(&mut self, mut answer: ureq::http::Response<ureq::Body>) -> Page {
        for set in answer.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        let location = answer.headers().get("location").map_or("", |location| location.to_str().unwrap());
        let (status, location) = (answer.status().as_u16(), location.to_owned());
        Page { status, location, body: answer.body_mut().read_to_string().unwrap() }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build().into()
}

#[test]
fn the_demo_starts_and_logs_in_and_stops() {
    let mut demo = Demo::start();
    let mut curl = Curl { demo: &demo, cookies: Vec::new() };
    assert!(curl.get("/public/", "*/*").body.contains("nobody is logged in"));
    assert_eq!(curl.get("/app/", "application/json").status, 401);
    let page = curl.get("/app/?q=1", "text/html");
    assert_eq!((page.status, page.location.as_str()), (302, "/accounts/login/?next=/app/%3Fq%3D1"));
    let login = page.location;
    assert_eq!(curl.get(&login, "text/html").status, 200);
    let form = [("username", "ada"), ("password", demo.password("ada")), ("next", "/app/?q=1")];
    let page = curl.post(&login, &form);
    assert_eq!((page.status, page.location.as_str()), (302, "/app/?q=1"));
    let page = curl.get("/app/?q=1", "text/html");
    assert_eq!(page.status, 200);
    for part in ["verified: ada", "X-User-Groups: editors", "X-User-Email: ada@example.com", "GET /app/?q=1"]
    {
        assert!(page.body.contains(part), "{part} is not in {}", page.body);
    }
    assert_eq!(curl.get("/staff/", "text/html").status, 403);
    assert_eq!(curl.get("/elsewhere", "text/html").status, 403);
    assert_eq!(curl.post("/accounts/logout/", &[]).location, "/public/");
    assert_eq!(curl.get("/app/", "*/*").status, 401);

    assert!(demo.interrupt().success());
    assert!(!demo.folder.exists(), "its folder is there");
    let port: u16 = demo.address.rsplit(':').next().unwrap().parse().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "nginx is there");
}
