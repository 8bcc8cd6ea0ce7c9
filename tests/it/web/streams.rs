//! Bodies that are under way while the session is saved, in both directions.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use tokio::sync::mpsc;

use super::*;

on_every_adapter!(
    a_stream_is_sent_after_the_session_was_saved,
    the_session_is_saved_while_both_bodies_are_under_way
);

async fn a_stream_is_sent_after_the_session_was_saved(on: Adapter) {
    let (pieces, receive) = mpsc::channel(1);
    let receive = Arc::new(std::sync::Mutex::new(Some(receive)));
    let late = Arc::new(tokio::sync::Mutex::new(None));
    let session_of = Arc::clone(&late);
    let stream = loaded(move |session: Session, _| {
        let (receive, session_of) = (receive.lock().unwrap().take().unwrap(), Arc::clone(&session_of));
        async move {
            visit(session.clone()).await?;
            *session_of.lock().await = Some(session);
            Ok(Answer::stream(receive))
        }
    });
    let site = Site::start(on, pages().page("/stream", stream)).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(site.url("/stream")).send().await.unwrap();
    assert_eq!(site.store.calls(), ["create"], "the body has not begun");
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();

    // What the stream puts in has missed its save, as in Django.
    late.lock().await.take().unwrap().set("visits", 100).unwrap();
    pieces.send(b"the ".to_vec()).await.unwrap();
    pieces.send(b"body".to_vec()).await.unwrap();
    drop(pieces);
    assert_eq!(response.text().await.unwrap(), "the body");
    assert_eq!(site.store.calls(), [""; 0]);
    let read = client.get(site.url("/read")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), "1");
}

async fn the_session_is_saved_while_both_bodies_are_under_way(on: Adapter) {
    let echo = loaded(|session, mut call| async move {
        let first = call.body.recv().await.unwrap();
        session.set("first", String::from_utf8(first).unwrap())?;
        Ok(Answer::stream(call.body))
    });
    let first =
        loaded(|session, _| async move { session.get::<String>("first").map(Option::unwrap_or_default) });
    let site = Site::start(on, Pages::new().page("/echo", echo).page("/first", first)).await;
    let mut connection = TcpStream::connect(site.served.address.trim_start_matches("http://")).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write_all(format!("{head}3\r\none\r\n").as_bytes()).await.unwrap();

    let answer = read_until(&mut connection, "\r\n\r\n").await;
    let cookie = answer.lines().find(|line| line.to_lowercase().starts_with("set-cookie")).unwrap();
    let cookie = cookie.split([' ', ';']).nth(1).unwrap();
    assert_eq!(site.store.calls(), ["create"], "half of the request's body is still to come");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let first = client.get(site.url("/first")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(first.text().await.unwrap(), "one");

    for piece in ["two", "six"] {
        connection.write_all(format!("3\r\n{piece}\r\n").as_bytes()).await.unwrap();
        read_until(&mut connection, piece).await;
    }
    connection.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut connection, "0\r\n\r\n").await;
    assert_eq!(site.store.calls(), ["load"]);
}

/// What comes in up to this text.
async fn read_until(connection: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        text.push(char::from(connection.read_u8().await.unwrap_or_else(|_| panic!("ended after {text:?}"))));
    }
    text
}
