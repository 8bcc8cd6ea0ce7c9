//! What must hold on every store.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::chrono::{DateTime, Utc};
use cloakroom::user_sessions::{Client, UserSessionId};
use cloakroom::{Clock, Error, Expiry, Session, SessionKey, auth};

use super::{Site, settings, user};

pub(super) async fn run(site: Site) {
    let site = Arc::new(site);
    lists_the_last_seen_first(&site).await;
    revokes_one_others_and_all(&site).await;
    follows_a_change_of_key(&site).await;
    forgets_at_logout_and_when_another_logs_in(&site).await;
    notes_a_session_again_after_the_interval(&site).await;
    notes_a_login_of_djangos_when_it_comes_by(&site).await;
    rebuilds_from_the_sessions(&site).await;
    finds_ids_that_are_no_text(&site).await;
    forgets_what_expired(&site).await;
    cleans_what_is_gone(&site).await;
    an_entry_brings_no_session_back(&site).await;
    the_session_says_whose_it_is(&site).await;
    takes_any_user_and_client(&site).await;
    no_login_is_missing_whatever_runs_at_once(&site).await;
    nobody_escapes_by_changing_keys(&site).await;
    super::limit::run(&site).await;
}

fn id(session_key: &SessionKey) -> String {
    UserSessionId::of(session_key).to_string()
}

async fn lists_the_last_seen_first(site: &Site) {
    let start = site.clock.now();
    let one = site.log_in("list").await;
    site.advance(10);
    let two = site.log_in("list").await;
    site.log_in("list another").await;
    assert_eq!(site.ids("list").await, [id(&two), id(&one)]);
    site.advance(400);
    assert_eq!(site.visit(&one).await.as_deref(), Some("list"));
    assert_eq!(site.ids("list").await, [id(&one), id(&two)]);

    let listed = site.user_sessions.list("list").await.unwrap();
    let [first, second] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((first.user_id(), first.address()), ("list", Some("192.0.2.7")));
    assert_eq!(first.user_agent(), Some("Browser/1.0"));
    let since = |time: DateTime<Utc>| (time - start).num_microseconds().unwrap();
    assert_eq!((since(first.first_seen()), since(first.last_seen())), (0, 410_000_000));
    assert_eq!((since(second.first_seen()), since(second.last_seen())), (10_000_000, 10_000_000));
    let shown = format!("{listed:?}");
    assert!(!shown.contains(one.as_str()) && !shown.contains(two.as_str()), "no key is shown");
}

async fn revokes_one_others_and_all(site: &Site) {
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(site.log_in("revoke").await);
    }
    let of_another = site.log_in("revoke another").await;
    let [current, one, ..] = keys.as_slice() else { unreachable!() };

    assert!(!site.user_sessions.revoke("revoke", &id(&of_another)).await.unwrap(), "another user's");
    assert!(!site.user_sessions.revoke("revoke", "no id").await.unwrap());
    assert!(site.user_sessions.revoke("revoke", &id(one)).await.unwrap());
    assert!(!site.user_sessions.revoke("revoke", &id(one)).await.unwrap(), "once");
    assert_eq!(site.visit(one).await, None);

    let others = async |session: Session| {
        assert_eq!(session.user_sessions().unwrap().revoke_others("revoke", &session).await?, 2);
        let listed = site.user_sessions.list("revoke").await?;
        assert!(matches!(listed.as_slice(), [only] if only.is_current(&session)));
        Ok(())
    };
    site.request(Some(current), others).await.unwrap();
    assert!(site.lives(current).await && !site.lives(&keys[2]).await && !site.lives(&keys[3]).await);

    assert_eq!(site.user_sessions.revoke_all("revoke").await.unwrap(), 1);
    assert_eq!(site.user_sessions.revoke_all("revoke").await.unwrap(), 0);
    assert!(!site.lives(current).await && site.lives(&of_another).await);
    assert_eq!(site.ids("revoke").await, [""; 0]);
}

/// After a change of password, in one request: a new key, and the others out.
async fn follows_a_change_of_key(site: &Site) {
    let old = site.log_in("rotate").await;
    let other = site.log_in("rotate").await;
    let first_seen = site.user_sessions.list("rotate").await.unwrap()[0].first_seen();
    site.advance(100);
    let change = async |session: Session| {
        auth::update_session_auth_hash(&session, user("rotate"))?;
        assert_eq!(site.user_sessions.revoke_others("rotate", &session).await?, 1);
        Ok(())
    };
    let new = site.request(Some(&old), change).await.unwrap().unwrap();
    assert!(new != old && !site.lives(&old).await && !site.lives(&other).await);
    let listed = site.user_sessions.list("rotate").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id().as_str(), id(&new));
    assert_eq!(listed[0].first_seen(), first_seen, "it goes on");
}

async fn forgets_at_logout_and_when_another_logs_in(site: &Site) {
    let key = site.log_in("logout").await;
    site.request(Some(&key), async |session| auth::logout(&session).await).await.unwrap();
    assert_eq!(site.ids("logout").await, [""; 0]);
    let key = site.log_in("logout").await;
    let other = async |session: Session| auth::login(&session, user("logout other")).await;
    let new = site.request(Some(&key), other).await.unwrap().unwrap();
    assert_eq!(site.ids("logout").await, [""; 0]);
    assert_eq!(site.ids("logout other").await, [id(&new)]);
}

async fn notes_a_session_again_after_the_interval(site: &Site) {
    let key = site.log_in("interval").await;
    let last_seen = async || site.user_sessions.list("interval").await.unwrap()[0].last_seen();
    let noted = last_seen().await;
    site.advance(299);
    site.visit(&key).await;
    assert_eq!(last_seen().await, noted, "not yet");
    site.advance(1);
    site.visit(&key).await;
    assert_eq!((last_seen().await - noted).num_seconds(), 300);
}

async fn notes_a_login_of_djangos_when_it_comes_by(site: &Site) {
    let key = site.log_in_elsewhere("comes by").await;
    assert_eq!(site.ids("comes by").await, [""; 0]);
    site.visit(&key).await;
    assert_eq!(site.ids("comes by").await, [id(&key)]);
}

async fn rebuilds_from_the_sessions(site: &Site) {
    let key = site.log_in("rebuild").await;
    let known = site.user_sessions.list("rebuild").await.unwrap()[0].first_seen();
    let others = [site.log_in_elsewhere("rebuild").await, site.log_in_elsewhere("rebuild").await];
    site.advance(50);
    let mut told = 0;
    let mut progress = |sessions| {
        told = sessions;
        ControlFlow::Continue(())
    };
    for _ in 0..2 {
        let rebuilt = site.user_sessions.rebuild(&settings(), &mut progress).await.unwrap();
        assert!(rebuilt.logged_in >= 3 && rebuilt.sessions >= rebuilt.logged_in, "{rebuilt:?}");
    }
    assert!(told >= 3);
    let listed = site.user_sessions.list("rebuild").await.unwrap();
    let ids: BTreeSet<String> = listed.iter().map(|session| session.id().to_string()).collect();
    assert_eq!(ids, [&key, &others[0], &others[1]].map(id).into());
    let of_key = listed.iter().find(|session| session.id().as_str() == id(&key)).unwrap();
    assert_eq!((of_key.first_seen(), of_key.address()), (known, Some("192.0.2.7")), "what was known stays");
    assert_eq!(site.user_sessions.revoke_all("rebuild").await.unwrap(), 3);
}

/// Sites that put `user.pk` into the session themselves have a number there.
async fn finds_ids_that_are_no_text(site: &Site) {
    let leave = async |id: serde_json::Value| {
        let session = Session::new(site.user_sessions.store(), settings());
        session.set(auth::USER_ID_KEY, id).unwrap();
        session.save().await.unwrap();
        session.session_key().unwrap()
    };
    let ids = ["4711".into(), 4711.into(), 4711.0.into()];
    let mut keys = Vec::new();
    for id in ids {
        keys.push(leave(id).await);
    }
    // The first is noted when it comes by, the others by a rebuild.
    assert_eq!(site.visit(&keys[1]).await.as_deref(), Some("4711"));
    assert_eq!(site.ids("4711").await, [id(&keys[1])]);
    let rebuild = async || {
        site.user_sessions.rebuild(&settings(), &mut |_| ControlFlow::Continue(())).await.unwrap().unread
    };
    let before = rebuild().await;
    assert_eq!(site.ids("4711").await.len(), 3);
    for key in &keys {
        assert_eq!(site.visit(key).await.as_deref(), Some("4711"));
    }
    assert_eq!(site.user_sessions.revoke_all("4711").await.unwrap(), 3);

    // Nobody can tell whose this is, and the rebuild says that it missed one.
    let nobodys = leave(true.into()).await;
    assert_eq!(rebuild().await, before + 1);
    site.user_sessions.store().delete(&nobodys).await.unwrap();
    // Of one that was the user's, the entry says whose it is.
    let key = site.log_in("odd").await;
    let spoil = async |session: Session| session.set(auth::USER_ID_KEY, true);
    site.request(Some(&key), spoil).await.unwrap();
    site.advance(100);
    assert_eq!(site.ids("odd").await, [id(&key)]);
    assert_eq!(site.user_sessions.revoke_all("odd").await.unwrap(), 1);
}

async fn forgets_what_expired(site: &Site) {
    let brief = async |session: Session| {
        auth::login(&session, user("expire")).await?;
        session.set_expiry(Expiry::At((site.clock.now() + Duration::from_millis(300)).fixed_offset()))
    };
    let key = site.request(None, brief).await.unwrap().unwrap();
    site.advance(200);
    // A server expires it by its own clock.
    while site.lives(&key).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(site.ids("expire").await, [""; 0]);
    assert_eq!(site.user_sessions.revoke_all("expire").await.unwrap(), 0);
}

async fn cleans_what_is_gone(site: &Site) {
    let (gone, lives) = (site.log_in("clean").await, site.log_in("clean").await);
    // Django's logout: the index hears nothing of it.
    site.user_sessions.store().delete(&gone).await.unwrap();
    let mut progress = |_| ControlFlow::Continue(());
    let early = site.user_sessions.clean(&mut progress).await.unwrap();
    site.advance(61);
    let late = site.user_sessions.clean(&mut progress).await.unwrap();
    assert!(early.removed == 0 || early.entries > early.removed, "{early:?}");
    assert!(late.removed >= 1 && late.entries > late.removed, "{late:?}");
    assert_eq!(site.user_sessions.clean(&mut progress).await.unwrap().removed, 0);
    assert_eq!(site.ids("clean").await, [id(&lives)]);
}

/// A request that was under way when its session was revoked writes neither the session nor a living entry.
async fn an_entry_brings_no_session_back(site: &Site) {
    let key = site.log_in("under way").await;
    site.advance(400);
    let slow = async |session: Session| {
        assert_eq!(site.user_sessions.revoke_all("under way").await?, 1);
        session.set("late", true)
    };
    let saved = site.request(Some(&key), slow).await;
    assert!(matches!(saved, Err(Error::Interrupted)), "{saved:?}");
    assert!(!site.lives(&key).await);
    assert_eq!(site.ids("under way").await, [""; 0]);
    assert_eq!(site.visit(&key).await, None);
}

/// Another's session under a key of one's own entry is not listed, nor ended.
async fn the_session_says_whose_it_is(site: &Site) {
    let key = site.log_in("whose").await;
    let hands_over = async |session: Session| session.set(auth::USER_ID_KEY, "another");
    site.request(Some(&key), hands_over).await.unwrap();
    assert_eq!(site.ids("whose").await, [""; 0]);
    assert!(!site.user_sessions.revoke("whose", &id(&key)).await.unwrap());
    assert_eq!(site.user_sessions.revoke_all("whose").await.unwrap(), 0);
    assert_eq!(site.visit(&key).await.as_deref(), Some("another"));
}

async fn takes_any_user_and_client(site: &Site) {
    for user_id in ["O'Brien\\%_{}*?[a]", "ä 🧥", "Ä 🧥", "0190b4c2-3f0e-7cc0-98c4-dc0c0c07398f"] {
        let log_in = async |session: Session| {
            session.set_client(Client::new(Some("[2001:db8::1]"), Some(&"🧥\0\n'\"\\".repeat(500))));
            auth::login(&session, user(user_id)).await
        };
        let key = site.request(None, log_in).await.unwrap().unwrap();
        let listed = site.user_sessions.list(user_id).await.unwrap();
        assert_eq!(listed.len(), 1, "{user_id}");
        assert_eq!((listed[0].id().as_str(), listed[0].user_id()), (id(&key).as_str(), user_id));
        assert_eq!(listed[0].user_agent().unwrap().chars().count(), 255);
        assert_eq!(site.user_sessions.revoke_all(user_id).await.unwrap(), 1);
    }
    let long = "x".repeat(256);
    let refused = site.request(None, async |session| auth::login(&session, user(&long)).await).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
}

/// The keys of all live sessions of a user, as a walk through the store finds them.
async fn keys_of(site: &Site, user_id: &str) -> BTreeSet<String> {
    let (mut keys, now) = (BTreeSet::new(), site.clock.now());
    let store = site.user_sessions.store();
    let mut listing = store.list().unwrap();
    while let Some(page) = listing.next_page(100, now).await.unwrap() {
        for listed in page {
            let data = &listed.session.as_ref().unwrap().data().unwrap().clone();
            if !listed.is_expired(now)
                && data.read::<String>(auth::USER_ID_KEY).unwrap().as_deref() == Some(user_id)
            {
                keys.insert(id(&listed.session_key));
            }
        }
    }
    keys
}

async fn no_login_is_missing_whatever_runs_at_once(site: &Arc<Site>) {
    let revoking = Arc::clone(site);
    let revoking = tokio::spawn(async move {
        for _ in 0..10 {
            let revoked = revoking.user_sessions.revoke_all("at once").await;
            assert!(matches!(revoked, Ok(_) | Err(Error::Conflict { .. })), "{revoked:?}");
            revoking.user_sessions.list("at once").await.unwrap();
        }
    });
    let log_ins = [(); 4].map(|()| {
        let site = Arc::clone(site);
        tokio::spawn(async move {
            for _ in 0..10 {
                site.log_in("at once").await;
            }
        })
    });
    for task in log_ins {
        task.await.unwrap();
    }
    revoking.await.unwrap();
    let last = site.log_in("at once").await;
    let listed: BTreeSet<String> = site.ids("at once").await.into_iter().collect();
    assert_eq!(listed, keys_of(site, "at once").await, "the index knows each that lives, and no other");
    assert!(listed.contains(&id(&last)));
    site.user_sessions.revoke_all("at once").await.unwrap();
    assert_eq!(keys_of(site, "at once").await, BTreeSet::new());
}

/// Sessions that move to new keys all the time are followed, and dead when the call returns.
async fn nobody_escapes_by_changing_keys(site: &Arc<Site>) {
    for round in 0..5 {
        let user_id = format!("moving {round}");
        let mut moving = Vec::new();
        for _ in 0..3 {
            let (site, mut key) = (Arc::clone(site), site.log_in(&user_id).await);
            moving.push(tokio::spawn(async move {
                loop {
                    // A request waits for its socket; in memory nothing else would let the revocation run.
                    tokio::task::yield_now().await;
                    match site.request(Some(&key), async |session| session.cycle_key()).await {
                        Ok(Some(new)) if auth_is_there(&site, &new).await => key = new,
                        Ok(_) | Err(Error::Interrupted) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        site.user_sessions.revoke_all(&user_id).await.unwrap();
        assert_eq!(keys_of(site, &user_id).await, BTreeSet::new(), "round {round}");
        for task in moving {
            task.await.unwrap();
        }
    }
}

async fn auth_is_there(site: &Site, session_key: &SessionKey) -> bool {
    site.visit(session_key).await.is_some()
}
