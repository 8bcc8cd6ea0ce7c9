//! A real Chromium, driven by chromedriver: what a visitor would see and click.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::servers::{Server, folder, free_port, program};

/// Headless, also as root and in containers; quiet, and asking nothing of the network. The pipe in place of a port
/// ends the browser with its driver, however that ends.
const ARGUMENTS: [&str; 14] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--force-device-scale-factor=1",
    "--disable-lcd-text",
];

/// What elements are called in answers; <https://www.w3.org/TR/webdriver2/#elements>.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with a profile of its own, which is empty at first.
pub(crate) struct Chromium {
    driver: Server,
    /// The address of the browser that runs now.
    session: String,
}

/// A cookie as the browser keeps it.
#[derive(Debug)]
pub(crate) struct Cookie {
    pub(crate) value: String,
    /// Without a dot before it: for this host alone.
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) http_only: bool,
    pub(crate) secure: bool,
    pub(crate) same_site: String,
    /// In seconds since 1970; none for one that ends with the browser.
    pub(crate) expiry: Option<i64>,
}

impl Chromium {
    pub(crate) fn start() -> Chromium {
        let (folder, port) = (folder("chromium", None), free_port());
        let command =
            [program("chromedriver", &["/usr/lib/chromium"]).into(), format!("--port={port}").into()];
        let driver = Server::start("chromedriver", folder, port, None, command);
        let status = format!("http://127.0.0.1:{port}/status");
        wait_for(|| agent().get(&status).call().is_ok().then_some(()), "chromedriver does not answer");
        let session = open(&driver);
        Chromium { driver, session }
    }

    /// Closes the browser and starts it again with the same profile.
    pub(crate) fn restart(&mut self) {
        self.close();
        self.session = open(&self.driver);
    }

    fn close(&self) {
        value(agent().delete(&self.session).call());
    }

    pub(crate) fn go(&self, address: &str) {
        self.post("url", json!({ "url": address }));
    }

    pub(crate) fn back(&self) {
        self.post("back", json!({}));
    }

    /// Clicks what a visitor would: waits for it first.
    pub(crate) fn click(&self, css: &str) {
        let element = wait_for(|| self.find(css), &format!("no {css}"));
        self.post(&format!("element/{element}/click"), json!({}));
    }

    pub(crate) fn fill(&self, css: &str, text: &str) {
        let element = wait_for(|| self.find(css), &format!("no {css}"));
        self.post(&format!("element/{element}/value"), json!({ "text": text }));
    }

    pub(crate) fn wait_until_finds(&self, css: &str) {
        wait_for(|| self.find(css), &format!("no {css}"));
    }

    /// Waits until an element says this; fails with what the page says in its place.
    pub(crate) fn wait_until_says(&self, css: &str, text: &str) {
        let says = || self.text(css).filter(|said| said.contains(text)).map(drop);
        let start = Instant::now();
        while says().is_none() {
            assert!(start.elapsed() < PATIENCE, "{css} does not say {text:?}, but {:?}", self.text(css));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What an element says, as a visitor reads it.
    pub(crate) fn text(&self, css: &str) -> Option<String> {
        let text = self.run(&format!("return document.querySelector({})?.innerText ?? null", json!(css)));
        text.as_str().map(str::to_owned)
    }

    /// The value of a script's `return`.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": [] }))
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<Cookie> {
        let cookies = self.get("cookie");
        let cookie = cookies.as_array().unwrap().iter().find(|cookie| cookie["name"] == name)?;
        let text = |field: &str| cookie[field].as_str().unwrap().to_owned();
        Some(Cookie {
            value: text("value"),
            domain: text("domain"),
            path: text("path"),
            http_only: cookie["httpOnly"].as_bool().unwrap(),
            secure: cookie["secure"].as_bool().unwrap(),
            same_site: text("sameSite"),
            expiry: cookie.get("expiry").and_then(Value::as_i64),
        })
    }

    /// How many cookies of this name the page is sent.
    pub(crate) fn count_of(&self, name: &str) -> usize {
        self.get("cookie").as_array().unwrap().iter().filter(|cookie| cookie["name"] == name).count()
    }

    /// Takes away the cookies of all sites.
    pub(crate) fn forget_cookies(&self) {
        self.developer_tools("Network.clearBrowserCookies", json!({}));
    }

    /// Opens one more tab and goes on in it; gives its name, and that of the tab before.
    pub(crate) fn new_tab(&self) -> (String, String) {
        let before = self.get("window").as_str().unwrap().to_owned();
        let tab = self.post("window/new", json!({ "type": "tab" }));
        let tab = tab["handle"].as_str().unwrap().to_owned();
        self.go_to_tab(&tab);
        (tab, before)
    }

    pub(crate) fn go_to_tab(&self, tab: &str) {
        self.post("window", json!({ "handle": tab }));
    }

    /// How large the page is shown, and in which colours: `light` or `dark`.
    pub(crate) fn look(&self, width: u32, height: u32, colours: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.developer_tools("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{ "name": "prefers-color-scheme", "value": colours }]);
        self.developer_tools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// A picture of what is shown, as PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let picture = self.get("screenshot");
        STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    fn developer_tools(&self, command: &str, parameters: Value) {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters }));
    }

    fn find(&self, css: &str) -> Option<String> {
        let script = format!("return document.querySelector({})", json!(css));
        self.run(&script)[ELEMENT].as_str().map(str::to_owned)
    }

    fn get(&self, what: &str) -> Value {
        value(agent().get(format!("{}/{what}", self.session)).call())
    }

    fn post(&self, what: &str, parameters: Value) -> Value {
        post(&format!("{}/{what}", self.session), &parameters)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The profile's folder goes with the driver, and the browser must not write to it then.
        let _ = agent().delete(&self.session).call();
    }
}

/// Starts the browser; gives the address under which the driver has it.
fn open(driver: &Server) -> String {
    let profile = format!("--user-data-dir={}", driver.folder.join("profile").display());
    let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([profile.as_str()]).collect();
    let options = json!({ "binary": program("chromium", &[]), "args": arguments });
    let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options });
    let sessions = format!("http://127.0.0.1:{}/session", driver.port);
    let session = post(&sessions, &json!({ "capabilities": { "alwaysMatch": wanted } }));
    format!("{sessions}/{}", session["sessionId"].as_str().unwrap())
}

fn post(address: &str, parameters: &Value) -> Value {
    let request = agent().post(address).header("Content-Type", "application/json");
    value(request.send(parameters.to_string()))
}

/// What the driver answers; fails with what it says went wrong.
fn value(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let mut response = response.unwrap();
    let body = response.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
    let mut answer: Value = serde_json::from_str(&body).unwrap();
    assert!(response.status().is_success(), "{}", answer["value"]["message"]);
    answer["value"].take()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

fn wait_for<T>(found: impl Fn() -> Option<T>, otherwise: &str) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
