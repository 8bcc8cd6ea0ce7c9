//! WebSockets and event streams, over TCP against both adapters, on the database of a live Django.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::web::{Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use cloakroom::{
    EndReason, Expiry, Session, SessionEnd, SessionLayer, SessionMiddleware, SessionTransform,
    SessionWatcher, Settings, auth, spawn_watcher,
};
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::browser::Browser;
use crate::support::django::{Django, Project, SECRET, credentials};
use crate::support::web::{Adapter, on_every_adapter};

on_every_adapter!(streams_end_with_their_session);

const INTERVAL: Duration = Duration::from_millis(500);
/// Beyond the interval, on a machine that others use too.
const SLACK: Duration = Duration::from_secs(5);

async fn streams_end_with_their_session(on: Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite3");
    let django = Project::with_user(Django::V5_2, &file).serve();
    let middleware = middleware(&file).await;
    let site = serve(on, &middleware).await;
    let log_in = async || {
        let mut browser = Browser::new();
        browser.post(format!("{}/login", django.address), credentials()).await.ok();
        browser
    };

    let mut browser = log_in().await;
    let streams = Streams::open(&site, &browser).await;
    browser.get(format!("{}/logout", django.address)).await.ok();
    streams.end(EndReason::Gone, INTERVAL).await;

    // Through a connection of its own, as another process has.
    let browser = log_in().await;
    let streams = Streams::open(&site, &browser).await;
    let elsewhere = self::middleware(&file).await;
    auth::logout(&session_of(&elsewhere, &browser).await).await.unwrap();
    streams.end(EndReason::Gone, INTERVAL).await;

    let browser = log_in().await;
    let streams = Streams::open(&site, &browser).await;
    auth::logout(&session_of(&middleware, &browser).await).await.unwrap();
    streams.end(EndReason::LoggedOut, Duration::ZERO).await;

    let browser = log_in().await;
    let session = session_of(&elsewhere, &browser).await;
    session.set_expiry(Expiry::Seconds(2)).unwrap();
    session.save().await.unwrap();
    let streams = Streams::open(&site, &browser).await;
    streams.end(EndReason::Expired, Duration::from_secs(2) + INTERVAL).await;

    let browser = log_in().await;
    let streams = Streams::open(&site, &browser).await;
    tokio::time::sleep(INTERVAL * 3).await;
    streams.go_on();
}

async fn middleware(file: &Path) -> SessionMiddleware {
    let settings = Settings::new(SECRET);
    let store = cloakroom::connect(&format!("sqlite:{}", file.display()), &settings).await.unwrap();
    SessionMiddleware::new(store, settings).unwrap()
}

async fn session_of(middleware: &SessionMiddleware, browser: &Browser) -> Session {
    let cookie = format!("sessionid={}", browser.session_key().unwrap());
    middleware.begin([cookie.as_bytes()]).load().await.unwrap()
}

async fn serve(on: Adapter, middleware: &SessionMiddleware) -> String {
    let watcher = spawn_watcher(middleware, INTERVAL).unwrap();
    match on {
        Adapter::Axum => {
            let router = axum::Router::new()
                .route("/socket", get(axum_socket))
                .route("/events", get(axum_events))
                .layer(SessionLayer::from(middleware.clone()))
                .with_state(watcher);
            crate::support::browser::serve(router).await.strip_prefix("http://").unwrap().to_owned()
        }
        Adapter::Actix => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let middleware = middleware.clone();
            std::thread::spawn(move || {
                let application = move || {
                    App::new()
                        .app_data(Data::new(watcher.clone()))
                        .route("/socket", actix_web::web::get().to(actix_socket))
                        .route("/events", actix_web::web::get().to(actix_events))
                        .wrap(SessionTransform::from(middleware.clone()))
                };
                let server = HttpServer::new(application).workers(1).disable_signals();
                actix_web::rt::System::new().block_on(server.listen(listener).unwrap().run()).unwrap();
            });
            address
        }
    }
}

async fn axum_socket(
    session: Session,
    State(watcher): State<SessionWatcher>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mut end = watcher.watch(&session);
    upgrade.on_upgrade(async move |mut socket| {
        socket.send("open".into()).await.unwrap();
        loop {
            tokio::select! {
                reason = &mut end => {
                    let frame = CloseFrame { code: 1008, reason: format!("{reason:?}").into() };
                    return drop(socket.send(Message::Close(Some(frame))).await);
                }
                message = socket.recv() => if message.is_none() { return },
            }
        }
    })
}

async fn actix_socket(
    session: Session,
    watcher: Data<SessionWatcher>,
    request: HttpRequest,
    body: Payload,
) -> actix_web::Result<HttpResponse> {
    let (response, mut socket, mut messages) = actix_ws::handle(&request, body)?;
    let mut end = watcher.watch(&session);
    actix_web::rt::spawn(async move {
        socket.text("open").await.unwrap();
        loop {
            tokio::select! {
                reason = &mut end => {
                    let code = actix_ws::CloseCode::Policy;
                    let frame = actix_ws::CloseReason { code, description: Some(format!("{reason:?}")) };
                    return drop(socket.close(Some(frame)).await);
                }
                message = messages.next() => if message.is_none() { return },
            }
        }
    });
    Ok(response)
}

async fn axum_events(session: Session, State(watcher): State<SessionWatcher>) -> axum::body::Body {
    axum::body::Body::from_stream(events(watcher.watch(&session)))
}

async fn actix_events(session: Session, watcher: Data<SessionWatcher>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/event-stream").streaming(events(watcher.watch(&session)))
}

fn events(end: SessionEnd) -> impl Stream<Item = std::io::Result<axum::body::Bytes>> {
    let event = |text: String| Ok(format!("data: {text}\n\n").into());
    let open = stream::once(async move { event("open".to_owned()) });
    Box::pin(open.chain(stream::once(async move { event(format!("{:?}", end.await)) })))
}

/// A WebSocket and an event stream of one session.
struct Streams {
    socket: TcpStream,
    events: reqwest::Response,
}

impl Streams {
    async fn open(site: &str, browser: &Browser) -> Streams {
        let cookie = format!("sessionid={}", browser.session_key().unwrap());
        let mut socket = TcpStream::connect(site).await.unwrap();
        let head = format!(
            "GET /socket HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {cookie}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(char::from(socket.read_u8().await.unwrap()));
        }
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert_eq!(frame(&mut socket).await, (0x81, b"open".to_vec()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let events = client.get(format!("http://{site}/events")).header("cookie", cookie);
        let mut events = events.send().await.unwrap();
        assert_eq!(events.chunk().await.unwrap().unwrap(), "data: open\n\n");
        Streams { socket, events }
    }

    /// Both are closed for this reason, after at most so long.
    async fn end(mut self, reason: EndReason, within: Duration) {
        let start = Instant::now();
        let ended = timeout(within + SLACK, async {
            let close = frame(&mut self.socket).await;
            let mut rest = String::new();
            while let Some(piece) = self.events.chunk().await.unwrap() {
                rest.push_str(std::str::from_utf8(&piece).unwrap());
            }
            (close, rest)
        });
        let (close, rest) = ended.await.unwrap_or_else(|_| panic!("{reason:?}: still open"));
        println!("{reason:?}: closed after {:?}", start.elapsed());
        let told = [&1008_u16.to_be_bytes(), format!("{reason:?}").as_bytes()].concat();
        assert_eq!(close, (0x88, told), "the close frame");
        assert_eq!(rest, format!("data: {reason:?}\n\n"));
    }

    /// Nothing has come on the socket since it was opened.
    fn go_on(self) {
        let read = self.socket.try_read(&mut [0]);
        assert!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
}

/// The first byte and the content of the next frame, which is short.
async fn frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let (first, length) = (socket.read_u8().await.unwrap(), socket.read_u8().await.unwrap());
    assert!(length < 126, "a server's frame has no mask, and this one is short");
    let mut content = vec![0; usize::from(length)];
    socket.read_exact(&mut content).await.unwrap();
    (first, content)
}
