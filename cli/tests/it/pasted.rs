//! The programs of the README and of docs/from-django.md, pasted into a new project as a reader does it, built, and run.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::documents::root;
use crate::support::pasted::Pasted;
use crate::support::servers::free_port;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a page answers; gives its text and its cookie.
fn get(port: u16, cookie: Option<&str>) -> (String, Option<String>) {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let start = Instant::now();
    loop {
        let mut request = agent.get(format!("http://127.0.0.1:{port}/"));
        if let Some(cookie) = cookie {
            request = request.header("Cookie", cookie);
        }
        match request.call() {
            Ok(mut response) => {
                let cookie = response
                    .headers()
                    .get("set-cookie")
                    .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
                return (response.body_mut().read_to_string().unwrap(), cookie);
            }
            Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// In an empty folder, with nothing prepared: the table is made, the visits are counted, and without a secret the program
/// says what to do.
#[test]
fn the_quick_start_of_the_readme() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let port = free_port();
    let text = text.replacen("127.0.0.1:3000", &format!("127.0.0.1:{port}"), 1);
    let pasted = Pasted::build(&text, "visits");
    let said = pasted.fails(&[]);
    assert!(said.contains("SECRET_KEY") && !said.contains("NotPresent"), "{said}");
    let log = std::fs::File::create(pasted.folder.path().join("log")).unwrap();
    let mut command = pasted.command();
    command.env("SECRET_KEY", "a long, random secret").stdout(log).stderr(Stdio::inherit());
    let _running = Running(command.spawn().unwrap());
    let (first, cookie) = get(port, None);
    let (second, _) = get(port, cookie.as_deref());
    assert_eq!((first.trim(), second.trim()), ("visit 1", "visit 2"));
}
