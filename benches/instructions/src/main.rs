//! Does one thing so often, for `scripts/instructions` to count: `cloakroom-instructions CASE CALLS`.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "../../common/sessions.rs"]
mod sessions;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cloakroom::chrono::DateTime;
use cloakroom::signing::{Compression, SecretKey, Signer};
use cloakroom::{MemoryStore, SessionCodec, SessionData, SessionLayer, Settings};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

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
        "bare" => repeat(&mut || request(&mut Answers)),
        "untouched" => {
            let layer = SessionLayer::new(Arc::new(MemoryStore::new()), settings).expect("valid settings");
            let mut service = layer.layer(Answers);
            repeat(&mut || request(&mut service));
        }
        _ => panic!("no case {case}"),
    }
}

/// A request with a cookie to a service that is ready at once.
fn request<B, S: Service<Request<()>, Response = Response<B>, Error = Infallible>>(service: &mut S) {
    let cookie = "theme=dark; csrftoken=q1w2e3r4t5z6; sessionid=abcdefgh12345678abcdefgh12345678";
    let request = Request::builder().header("cookie", cookie).body(()).expect("a request");
    let mut answer = std::pin::pin!(service.call(request));
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => assert!(response.headers().is_empty()),
        Poll::Pending => panic!("nothing to wait for"),
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
