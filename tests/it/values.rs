//! The short forms for values: typed keys, editing in place, defaults, values of an older type.

#![expect(clippy::needless_borrows_for_generic_args, reason = "references are what is tested")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::{Error, Expiry, Key, MemoryStore, Session, Settings, StoredFrom};

use crate::support::log::Log;

const NAME: Key<String> = Key::new("name");
const CART: Key<Vec<u64>> = Key::new("cart");
const VISITS: Key<u32> = Key::new("visits");
const NICK: Key<Option<String>> = Key::new("nick");

fn session() -> Session {
    Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"))
}

/// Two requests of one stored session.
async fn two() -> (Session, Session) {
    let store = Arc::new(MemoryStore::new());
    let settings = Settings::new("secret");
    let first = Session::new(store.clone(), settings.clone());
    first.set("start", true).unwrap();
    first.save().await.unwrap();
    let second = Session::open(store, settings, first.session_key().unwrap()).await.unwrap();
    (first, second)
}

#[test]
fn a_typed_key_takes_each_form_of_its_type() {
    let session = session();
    let cart = vec![3, 5];
    let sets: [&dyn Fn() -> Result<(), Error>; 5] = [
        &|| session.set(CART, vec![3, 5]),
        &|| session.set(CART, &cart),
        &|| session.set(&CART, &cart[..]),
        &|| session.set(CART, [3, 5]),
        &|| session.set(CART, &[3, 5]),
    ];
    for set in sets {
        set().unwrap();
        assert_eq!(session.pop(CART).unwrap().as_ref(), Some(&cart));
    }
    session.set(CART, Vec::new()).unwrap();
    assert_eq!(session.pop(CART).unwrap(), Some(vec![]));
    session.set(NAME, "Ada").unwrap();
    session.set(NAME, &"Ada".to_owned()).unwrap();
    session.set(&NAME, "Ada".to_owned()).unwrap();
    session.set(VISITS, 7).unwrap();
    session.set(VISITS, &8).unwrap();
    assert_eq!(session.set_default(&VISITS, 9).unwrap(), 8);
    session.set(NICK, None).unwrap();
    assert_eq!(session.get(NICK).unwrap(), Some(None));
    session.set(NICK, "ada".to_owned()).unwrap();
    assert_eq!(session.get(NICK).unwrap(), Some(Some("ada".to_owned())));
    assert_eq!(session.get_value(NAME).unwrap().json(), "\"Ada\"");
    session.set_value(VISITS, session.get_value(&VISITS).unwrap());
    session.update([(VISITS, 1)]).unwrap();
    assert!(session.contains_key(VISITS) && session.contains_key(&VISITS));
    assert!(session.remove(&VISITS) && !session.remove(VISITS));
}

/// A form that is not in the list of the library's.
impl StoredFrom<&[(&str, u32)]> for Counts {}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Counts(BTreeMap<String, u32>);

#[test]
fn keys_that_are_texts_take_any_value() {
    let (session, name) = (session(), "name".to_owned());
    session.set("n", 7).unwrap();
    session.set(&name, "Ada").unwrap();
    session.set(name.as_str(), vec!["Ada"]).unwrap();
    session.set("nothing", ()).unwrap();
    session.set("default", u8::default()).unwrap();
    for key in ["n", "name"].iter() {
        assert!(session.contains_key(key) && session.remove(key));
    }
    assert!(session.contains_key(&std::borrow::Cow::from("nothing")));
    const COUNTS: Key<Counts> = Key::new("counts");
    session.set(COUNTS, &[("a", 1)][..]).unwrap();
    assert!(session.get(COUNTS).is_err(), "whoever says `StoredFrom` answers for the form");
}

#[test]
fn a_null_counts_as_the_default() {
    let session = session();
    session.set("visits", None::<u32>).unwrap();
    let visits: Option<u32> = session.get("visits").unwrap();
    assert_eq!(visits, None);
    assert_eq!(session.get_or_default(VISITS).unwrap(), 0);
    assert_eq!(session.get_or_discard(VISITS), None);
    assert!(session.contains_key(VISITS), "it is of the type, as no value");
    assert_eq!(session.edit(VISITS, |visits| *visits += 1).unwrap(), 1);
    session.set("visits", "many").unwrap();
    assert!(matches!(session.get_or_default(VISITS), Err(Error::Value { .. })));
    assert!(matches!(session.edit(VISITS, |visits| *visits += 1), Err(Error::Value { .. })));
    assert!(matches!(session.try_edit(VISITS, |_| Err(())), Err(Error::Value { .. })));
    assert_eq!(session.get_value(VISITS).unwrap().json(), "\"many\"");
}

#[tokio::test]
async fn edits_of_two_requests_are_both_kept() {
    let (first, second) = two().await;
    first.edit(CART, |cart| cart.push(3)).unwrap();
    let push = |cart: &mut Vec<u64>| {
        cart.push(5);
        Ok::<(), ()>(())
    };
    second.try_edit(CART, push).unwrap().unwrap();
    first.save().await.unwrap();
    second.save().await.unwrap();
    assert_eq!(second.get(CART).unwrap(), Some(vec![3, 5]));
}

#[tokio::test]
async fn an_edit_that_no_longer_applies_is_a_conflict() {
    let (first, second) = two().await;
    let add = |session: &Session, item: u64| {
        session.try_edit(CART, move |cart| {
            cart.push(item);
            if cart.len() > 1 { Err("full") } else { Ok(()) }
        })
    };
    assert_eq!(add(&first, 3).unwrap(), Ok(vec![3]));
    assert_eq!(add(&first, 4).unwrap(), Err("full"));
    assert_eq!(first.get(CART).unwrap(), Some(vec![3]), "the refused edit changed nothing");
    assert_eq!(add(&second, 5).unwrap(), Ok(vec![5]));
    first.save().await.unwrap();
    let error = second.save().await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(error.status(), 409);
    let stored = {
        first.set("again", true).unwrap();
        first.save().await.unwrap();
        first.get(CART).unwrap()
    };
    assert_eq!(stored, Some(vec![3]));
}

#[tokio::test]
async fn a_value_of_an_older_type_is_told_and_dropped() {
    let log = Log::start();
    let (first, second) = two().await;
    first.set("cart", "a cart with a secret in it").unwrap();
    first.save().await.unwrap();
    second.set("other", 1).unwrap();
    second.save().await.unwrap();
    assert_eq!(second.get_or_discard(CART), None);
    assert!(!second.contains_key(CART) && second.modified());
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("key=\"cart\"") && lines[0].contains("Vec<u64>"), "{lines:?}");
    assert!(!lines[0].contains("secret"), "{lines:?}");

    // Another request replaces it meanwhile: its value stays.
    first.set(CART, [7]).unwrap();
    first.save().await.unwrap();
    second.save().await.unwrap();
    assert_eq!(second.get_or_discard(CART), Some(vec![7]));
    assert_eq!(second.get_or_discard(NAME), None);
    assert_eq!(log.lines().iter().filter(|line| line.contains("WARN")).count(), 1);
}

#[test]
fn a_sliding_expiry_is_never_that_of_the_browser() {
    let session = session();
    for (timeout, seconds) in [(0, -1.0), (1, 1.0), (86_400, 86_400.0)] {
        session.set_expiry(Expiry::sliding(Duration::from_secs(timeout))).unwrap();
        assert!(!session.get_expire_at_browser_close());
        assert!((session.get_expiry_age().unwrap().seconds() - seconds).abs() < 1e-9);
    }
    session.set_expiry(Expiry::sliding(chrono::TimeDelta::milliseconds(-1_500))).unwrap();
    assert!((session.get_expiry_age().unwrap().seconds() + 1.5).abs() < 1e-9);
    session.set_expiry(Expiry::sliding(Duration::MAX)).unwrap();
    assert!(matches!(session.expires_at(), Err(Error::Expiry(_))));
    assert!(matches!(session.set_expiry(Duration::MAX), Err(Error::Expiry(_))));
    session.set_expiry(Duration::from_secs(60)).unwrap();
    assert!(session.expires_at().unwrap() <= chrono::Utc::now() + chrono::TimeDelta::seconds(60));
}
