//! A browser for tests: it keeps its cookies where a test sees them, and follows no redirect.

use std::collections::BTreeMap;

use axum::Router;
use http::{HeaderMap, HeaderValue};

/// Serves a router on a free port of this machine for as long as the test runs; gives its address.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// One browser. All sites of a test are one host to it, as ports are to real ones.
#[derive(Clone)]
pub(crate) struct Browser {
    client: reqwest::Client,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new() -> Browser {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Browser { client: client.build().unwrap(), cookies: BTreeMap::new() }
    }

    /// A browser that has this session cookie.
    pub(crate) fn with_session(session_key: &str) -> Browser {
        let mut browser = Browser::new();
        browser.cookies.insert("sessionid".to_owned(), session_key.to_owned());
        browser
    }

    pub(crate) fn session_key(&self) -> Option<&str> {
        self.cookies.get("sessionid").map(String::as_str)
    }

    pub(crate) async fn get(&mut self, url: impl AsRef<str>) -> Reply {
        let request = self.client.get(url.as_ref());
        self.send(request).await
    }

    pub(crate) async fn request(&mut self, method: &str, url: impl AsRef<str>) -> Reply {
        let request = self.client.request(method.parse().unwrap(), url.as_ref());
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, url: impl AsRef<str>, body: impl ToString) -> Reply {
        let request = self.client.post(url.as_ref()).body(body.to_string());
        self.send(request).await
    }

    pub(crate) async fn post_form(&mut self, url: impl AsRef<str>, form: &str) -> Reply {
        let request = self.client.post(url.as_ref()).body(form.to_owned());
        self.send(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    pub(crate) async fn call(
        &mut self,
        method: &str,
        url: impl AsRef<str>,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        let mut request = self.client.request(method.parse().unwrap(), url.as_ref()).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder) -> Reply {
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", pairs.join("; "));
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        for cookie in reply.set_cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }
}

/// What a site answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn of(response: reqwest::Response) -> Reply {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, body: response.text().await.unwrap() }
    }

    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().map(text).collect()
    }

    /// The only `Vary` header, if there is one.
    pub(crate) fn vary(&self) -> Option<&str> {
        let all: Vec<_> = self.headers.get_all("vary").iter().map(text).collect();
        assert!(all.len() <= 1, "{all:?}");
        all.first().copied()
    }

    /// The body of a reply that must be 200.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Reply {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap()
}
