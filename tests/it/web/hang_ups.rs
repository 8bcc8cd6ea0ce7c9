//! Clients that are gone before their response is made.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;
use crate::support::watched_store::Hold;

on_every_adapter!(
    a_client_that_hangs_up_while_the_handler_runs_leaves_a_whole_session,
    a_client_that_hangs_up_during_a_save_leaves_a_whole_session,
);

/// Two values that are changed together.
fn both_pages() -> Pages {
    pages().page(
        "/whole",
        loaded(|session, _| async move {
            let twin = session.get::<u32>("twin")?;
            Ok(format!("{:?} {:?}", session.get::<u32>("visits")?, twin))
        }),
    )
}

fn change_both(session: &Session) -> Result<(), Error> {
    session.set("visits", 100)?;
    session.set("twin", 100)
}

/// Sends a request and gives the connection, which the test closes.
async fn request(site: &Site, path: &str, session_key: &str) -> TcpStream {
    let mut connection = TcpStream::connect(site.served.address.trim_start_matches("http://")).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: site\r\nCookie: sessionid={session_key}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

/// Closes the connection at once, unread data or not.
fn hang_up(connection: TcpStream) {
    connection.set_zero_linger().unwrap();
    drop(connection);
}

const WHOLE: [&str; 2] = ["Some(1) None", "Some(100) Some(100)"];

/// hyper drops the handler; actix-web may let it end. Either is right, nothing between is.
async fn a_client_that_hangs_up_while_the_handler_runs_leaves_a_whole_session(on: Adapter) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enters, waits) = (Arc::clone(&entered), Arc::clone(&release));
    let page = loaded(move |session: Session, _| {
        let (enters, waits) = (Arc::clone(&enters), Arc::clone(&waits));
        async move {
            session.set("visits", 100)?;
            enters.notify_one();
            waits.notified().await;
            session.set("twin", 100)
        }
    });
    let site = Site::start(on, both_pages().page("/slow", page)).await;
    let mut browser = site.visitor().await;
    let connection = request(&site, "/slow", browser.session_key().unwrap()).await;
    entered.notified().await;
    hang_up(connection);
    release.notify_one();
    let seen = browser.get(site.url("/whole")).await.ok().body;
    assert!(WHOLE.contains(&seen.as_str()), "{seen}");
    browser.get(site.url("/visit")).await.ok();
}

async fn a_client_that_hangs_up_during_a_save_leaves_a_whole_session(on: Adapter) {
    for call in ["update", "rotate"] {
        for hold in [Hold::before(call), Hold::after(call)] {
            let page = loaded(move |session, _| async move {
                change_both(&session)?;
                if call == "rotate" { session.cycle_key() } else { Ok(()) }
            });
            let memory = Arc::new(MemoryStore::new());
            let pages = both_pages().page("/change", page);
            let site = Site::start_on(on, Arc::clone(&memory) as _, pages, Settings::new("secret")).await;
            let browser = site.visitor().await;
            site.store.hold(Some(hold.clone()));
            let connection = request(&site, "/change", browser.session_key().unwrap()).await;
            hold.reached().await;
            hang_up(connection);
            // Time for the server to see it; the outcome is right either way.
            tokio::time::sleep(Duration::from_millis(20)).await;
            hold.release();
            site.store.hold(None);

            let mut again = browser.clone();
            let seen = again.get(site.url("/whole")).await.ok().body;
            let moved = call == "rotate" && seen == "None None";
            assert!(moved || WHOLE.contains(&seen.as_str()), "{call}: {seen}");
            let now = cloakroom::chrono::DateTime::UNIX_EPOCH;
            assert_eq!(memory.count(now).await.unwrap().live, 1, "{call}: one session, under one key");
        }
    }
}
