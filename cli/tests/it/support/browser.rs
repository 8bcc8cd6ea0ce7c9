//! A running demo, and a browser with one cookie.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::command::cloakroom;

/// A demo on a port of its own; it ends with this.
pub(crate) struct Demo {
    pub(crate) address: String,
    /// What it said at the start.
    pub(crate) greeting: String,
    pub(crate) child: Child,
    // Kept open: the demo says something at its end, too.
    _stdout: BufReader<ChildStdout>,
}

impl Demo {
    pub(crate) fn start(store: &str, more: &[&str]) -> Demo {
        Demo::run(cloakroom(&[&["demo", "--listen", "127.0.0.1:0", "--store", store], more].concat()))
    }

    /// With the store that it makes unless one is named, in this folder.
    pub(crate) fn start_in(folder: &Path) -> Demo {
        let mut command = cloakroom(&["demo", "--listen", "127.0.0.1:0"]);
        command.current_dir(folder);
        Demo::run(command)
    }

    fn run(mut command: Command) -> Demo {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("Ctrl-C") {
            assert!(stdout.read_line(&mut greeting).unwrap() > 0, "the demo ended: {greeting}");
        }
        let address = greeting.lines().next().unwrap();
        let address = address.strip_prefix("Cloakroom demo: ").unwrap().trim_end_matches('/').to_owned();
        Demo { address, greeting, child, _stdout: stdout }
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { demo: self, cookie: None }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already, as it should in some tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps one cookie, as a browser would, and follows no redirects by itself.
pub(crate) struct Browser<'a> {
    demo: &'a Demo,
    /// `sessionid=…`
    pub(crate) cookie: Option<String>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) set_cookie: Option<String>,
    pub(crate) headers: ureq::http::HeaderMap,
}

impl Browser<'_> {
    pub(crate) fn get(&mut self, path: &str) -> Got {
        let mut request = agent().get(format!("{}{path}", self.demo.address));
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        self.take(request.call().unwrap())
    }

    pub(crate) fn post(&mut self, path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Got {
        let mut request = agent().post(format!("{}{path}", self.demo.address));
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.take(request.send_form(form.iter().copied()).unwrap())
    }

    /// Posts as a script does, and reads the JSON of the answer.
    pub(crate) fn script(&mut self, path: &str, form: &[(&str, &str)]) -> Value {
        let got = self.post(path, form, &[("Accept", "application/json")]);
        assert_eq!(got.status, 200, "{}", got.body);
        serde_json::from_str(&got.body).unwrap()
    }

    pub(crate) fn session(&mut self) -> Value {
        serde_json::from_str(&self.get("/session.json").body).unwrap()
    }

    fn take(&mut self, mut response: ureq::http::Response<ureq::Body>) -> Got {
        let set_cookie = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        if let Some(set_cookie) = &set_cookie {
            let pair = set_cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!set_cookie.contains("Max-Age=0")).then_some(pair);
        }
        let body = response.body_mut().read_to_string().unwrap();
        Got { status: response.status().as_u16(), body, set_cookie, headers: response.headers().clone() }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build().into()
}
