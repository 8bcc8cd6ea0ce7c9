//! Does one thing so often, for `scripts/instructions` to count: `cloakroom-instructions CASE CALLS`.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "../../web/session_data.rs"]
mod session_data;
#[path = "../../common/sessions.rs"]
mod sessions;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cloakroom::chrono::DateTime;
use cloakroom::signing::{Compression, SecretKey, Signer};
use cloakroom::{Key, LazySession, MemoryStore, Session, SessionCodec, SessionData, SessionLayer, Settings};
use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use session_data::{NEW, READ, TEXTS};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().expect("a case");
    let calls: u32 = arguments.next().and_then(|calls| calls.parse().ok()).expect("a number of calls");
    let repeat = |work: &mut dyn FnMut()| (0..calls).for_each(|_| work());

    let mut settings = Settings::new("the secret");
    settings.compression = Compression::Never;
    let codec = SessionCodec::new(&settings);
    let now = DateTime::from_timestamp(1_790_000_000, 0).expect("in range");
    let data = |size| SessionData::from_json(&sessions::session_json(size)).expect("JSON");
    let text = |size| codec.encode(&data(size), now).expect("JSON");

    let (name, size) = case.split_once('-').unwrap_or((&case, "0"));
    let size: usize = size.parse().expect("a size");
    match name {
        "encode" => {
            let data = data(size);
            repeat(&mut || _ = black_box(codec.encode(black_box(&data), now)));
        }
        "decode" => {
            let text = text(size);
            repeat(&mut || _ = black_box(codec.decode(black_box(&text))));
        }
        // What both spend on the signature, whose instructions say little: processors have some of their own for it.
        "sign" => {
            let signed = text(size);
            let (signed, _) = signed.rsplit_once(':').expect("a signature");
            let signer = Signer::new(&SecretKey::from("the secret"));
            repeat(&mut || _ = black_box(signer.signature(black_box(signed))));
        }
        "pickle" => {
            let data = data(size);
            repeat(&mut || _ = black_box(black_box(&data).to_pickle()));
        }
        "unpickle" => {
            let pickle = data(size).to_pickle().expect("a pickle");
            repeat(&mut || _ = black_box(SessionData::from_pickle(black_box(&pickle), 1 << 20)));
        }
        "idle" => repeat(&mut || ()),
        "bare" => repeat(&mut || _ = request(&mut Answers, UNKNOWN)),
        "untouched" => {
            let mut service = layer(settings).layer(Answers);
            repeat(&mut || assert!(request(&mut service, UNKNOWN).is_empty()));
        }
        "read" | "count" | "new" | "login" => {
            let layer = layer(settings);
            let seeded = cookie(&request(&mut layer.layer(Uses(seed)), UNKNOWN)).expect("a new session");
            let uses = [("read", read as fn(&Session)), ("count", count), ("new", new), ("login", login)];
            let (_, uses) = uses.into_iter().find(|(name, _)| *name == case).expect("one of these");
            let mut service = layer.layer(Uses(uses));
            let mut before = if name == "new" { UNKNOWN.to_owned() } else { seeded };
            // With so many sessions, no table of the store grows during the calls that are counted. When one grows
            // depends on the keys, which are random.
            if name == "new" {
                (0..8_900).for_each(|_| _ = request(&mut service, UNKNOWN));
            }
            repeat(&mut || {
                let now = cookie(&request(&mut service, &before));
                assert_eq!(now.is_some(), name != "read", "{name}");
                // A login moves the session to a new key each time, which the next one then uses.
                if name == "login" {
                    before = now.expect("it is checked above");
                }
            });
        }
        _ => panic!("no case {case}"),
    }
}

fn layer(settings: Settings) -> SessionLayer {
    SessionLayer::new(Arc::new(MemoryStore::new()), settings).expect("valid settings")
}

const UNKNOWN: &str = "theme=dark; csrftoken=q1w2e3r4t5z6; sessionid=abcdefgh12345678abcdefgh12345678";

/// A request with this cookie to a service that never waits; returns the headers of the response.
fn request<B, S: Service<Request<()>, Response = Response<B>, Error = Infallible>>(
    service: &mut S,
    cookie: &str,
) -> HeaderMap {
    let request = Request::builder().header("cookie", cookie).body(()).expect("a request");
    let mut answer = std::pin::pin!(service.call(request));
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => {
            assert!(response.status().is_success());
            response.into_parts().0.headers
        }
        Poll::Pending => panic!("nothing to wait for"),
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookie = headers.get("set-cookie")?.to_str().ok()?;
    Some(cookie.split(';').next().unwrap_or_default().to_owned())
}

const COUNT: Key<u64> = Key::new("count");

/// The requests of `scripts/bench web`.
fn seed(session: &Session) {
    for (key, text) in TEXTS {
        session.set(key, text).expect("a text");
    }
    session.set(COUNT, 0).expect("a number");
}

fn read(session: &Session) {
    assert!(session.get::<String>(READ).expect("a text").is_some());
}

fn count(session: &Session) {
    session.modify(COUNT, |count| count.unwrap_or_default() + 1).expect("a number");
}

fn new(session: &Session) {
    for (key, text) in NEW {
        session.set(key, text).expect("a text");
    }
}

fn login(session: &Session) {
    session.cycle_key().expect("a new key");
    session.set("user", "12345").expect("a text");
}

/// A handler that loads its session and does this with it.
struct Uses(fn(&Session));

impl Service<Request<()>> for Uses {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        let session = request.extensions_mut().remove::<LazySession>().expect("the layer put it there");
        let uses = self.0;
        Box::pin(async move {
            uses(&session.load().await.expect("the memory answers"));
            Ok(Response::new(String::new()))
        })
    }
}

struct Answers;

impl Service<Request<()>> for Answers {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}
