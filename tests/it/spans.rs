//! The spans of loads, saves and deletes, as a subscriber gets them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use cloakroom::{
    ConcurrentChanges, Error, MemoryStore, Session, SessionKey, SessionMiddleware, Settings, StoreErrorKind,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::support::watched_store::WatchedStore;

/// A span's name and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

/// Keeps the library's spans when they end.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        assert_eq!(self.fields.insert(field.name(), format!("{value:?}")), None, "{field} is set once");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut span = Span { name: attributes.metadata().name(), fields: BTreeMap::new() };
        attributes.record(&mut span);
        assert_eq!(*attributes.metadata().level(), Level::DEBUG);
        context.span(id).unwrap().extensions_mut().insert(span);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        values.record(context.span(id).unwrap().extensions_mut().get_mut::<Span>().unwrap());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap().extensions_mut().remove::<Span>().unwrap();
        self.0.lock().unwrap().push(span);
    }
}

impl Spans {
    /// Each as one line, since the last look.
    fn take(&self) -> Vec<String> {
        let line = |span: Span| {
            let fields = span.fields.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", span.name, fields.collect::<String>())
        };
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().map(line).collect()
    }
}

#[tokio::test]
async fn each_load_save_and_delete_has_a_span_that_tells_what_came_of_it() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(spans.clone()));
    let store = WatchedStore::new(Arc::new(MemoryStore::new()));
    let settings = Settings::new("secret");
    let open = |session_key: &SessionKey| {
        Session::open(Arc::clone(&store) as _, Settings::new("secret"), session_key.clone())
    };

    let session = Session::new(Arc::clone(&store) as _, settings.clone());
    session.set("a", 1).unwrap();
    session.save().await.unwrap();
    let key = session.session_key().unwrap();
    let id = key.public_id();
    assert_eq!(spans.take(), [format!("session.save attempts=1 outcome=created session={id} store=watched")]);

    let (first, second) = (open(&key).await.unwrap(), open(&key).await.unwrap());
    let found = format!("session.load outcome=found session={id} store=watched");
    assert_eq!(spans.take(), [found.clone(), found.clone()]);
    for (session, attempts) in [(&first, 1), (&second, 2)] {
        session.modify::<u32>("a", |a| a.unwrap_or(0) + 1).unwrap();
        session.save().await.unwrap();
        let expected = format!("session.save attempts={attempts} outcome=updated session={id} store=watched");
        assert_eq!(spans.take(), [expected]);
    }

    let mut rejecting = settings.clone();
    rejecting.concurrent_changes = ConcurrentChanges::Reject;
    let refused = Session::open(Arc::clone(&store) as _, rejecting, key.clone()).await.unwrap();
    first.set("b", 1).unwrap();
    first.save().await.unwrap();
    refused.set("b", 2).unwrap();
    spans.take();
    assert!(matches!(refused.save().await, Err(Error::Conflict { .. })));
    assert_eq!(spans.take(), [format!("session.save attempts=1 outcome=changed session={id} store=watched")]);

    let late = open(&key).await.unwrap();
    first.cycle_key().unwrap();
    first.save().await.unwrap();
    let now = first.session_key().unwrap().public_id();
    first.flush().await.unwrap();
    late.set("late", 1).unwrap();
    assert!(matches!(late.save().await, Err(Error::Interrupted)));
    assert!(open(&key).await.unwrap().is_empty());
    assert_eq!(
        spans.take(),
        [
            found,
            format!(
                "session.save attempts=1 outcome=rotated session={now} session_before={id} store=watched"
            ),
            format!("session.delete outcome=deleted session={now} store=watched"),
            format!("session.save attempts=1 outcome=missing session={id} store=watched"),
            format!("session.load outcome=absent session={id} store=watched"),
        ]
    );

    store.fail(Some(("load", StoreErrorKind::Unavailable)));
    open(&key).await.unwrap_err();
    let lines = spans.take();
    assert_eq!(lines, [format!("session.load outcome=unavailable session={id} store=watched")]);
    assert!(!lines.concat().contains(key.as_str()));
}

#[tokio::test]
async fn a_request_that_leaves_its_session_alone_has_none() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(spans.clone()));
    let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret")).unwrap();
    let session = middleware.begin([b"sessionid=abcdefgh12345678abcdefgh12345678".as_slice()]);
    middleware.finish(&session, 200).await.unwrap();
    assert!(spans.take().is_empty());
}

#[test]
fn a_public_id_is_the_beginning_of_the_keys_sha256() {
    let session_key = SessionKey::random().unwrap();
    let mut sha256sum = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    sha256sum.stdin.take().unwrap().write_all(session_key.as_str().as_bytes()).unwrap();
    let sum = String::from_utf8(sha256sum.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(session_key.public_id(), sum[..12]);
}
