//! At most so many sessions for each user, on every store with an index.

use std::sync::Arc;

use cloakroom::user_sessions::{AtLimit, UserSessions};
use cloakroom::{Error, ManualClock, Session, SessionKey, SessionMiddleware, auth};

use super::{Site, settings, user};

/// Whether 50 logins of one user at the same moment leave so many sessions, this often.
const ROUNDS: usize = 20;
const LOGINS: usize = 50;

pub(super) async fn run(site: &Arc<Site>) {
    the_oldest_ends(site).await;
    the_new_one_is_refused(site).await;
    what_is_over_does_not_count_and_what_moves_counts_once(site).await;
    a_login_of_djangos_counts_once_it_is_seen(site).await;
    for at_limit in [AtLimit::EndOldest, AtLimit::RefuseNew] {
        exactly_the_limit_is_left(site, at_limit).await;
    }
}

impl Site {
    /// The same site with a limit, as another process has it: nothing in memory is shared but the store.
    fn limited(&self, sessions: usize, at_limit: AtLimit) -> Arc<Site> {
        let user_sessions = self.user_sessions.clone().with_limit(sessions, at_limit);
        Arc::new(Site::at(user_sessions, Arc::clone(&self.clock)))
    }

    fn at(user_sessions: UserSessions, clock: Arc<ManualClock>) -> Site {
        let middleware = SessionMiddleware::new(user_sessions.store(), settings())
            .unwrap()
            .with_clock(Arc::clone(&clock) as _)
            .with_user_sessions(user_sessions.clone());
        Site { user_sessions, middleware, clock }
    }

    async fn count(&self, user_id: &str) -> usize {
        self.user_sessions.list(user_id).await.unwrap().len()
    }
}

async fn the_oldest_ends(site: &Site) {
    let site = site.limited(2, AtLimit::EndOldest);
    let mut keys = Vec::new();
    for _ in 0..4 {
        site.advance(1);
        keys.push(site.log_in("oldest").await);
    }
    let others = site.log_in("oldest, another").await;
    let mut lives = Vec::new();
    for key in &keys {
        lives.push(site.lives(key).await);
    }
    assert_eq!(lives, [false, false, true, true]);
    assert!(site.lives(&others).await, "another user's");
    // Logging in again in the same session is no further session.
    site.advance(1);
    let again = async |session: Session| auth::login(&session, user("oldest")).await;
    site.request(Some(&keys[2]), again).await.unwrap();
    assert!(site.lives(&keys[2]).await && site.lives(&keys[3]).await);
}

async fn the_new_one_is_refused(site: &Site) {
    let site = site.limited(1, AtLimit::RefuseNew);
    let first = site.log_in("refused").await;
    let put = async |session: Session| session.set("cart", [3, 5]);
    let anonymous = site.request(None, put).await.unwrap().unwrap();

    // Saved by the handler, which shows a page.
    let log_in = async |session: Session| {
        auth::login(&session, user("refused")).await?;
        session.set("cart", [7])?;
        let refused = session.save().await.unwrap_err();
        assert!(matches!(refused, Error::TooManySessions { limit: 1 }), "{refused}");
        assert_eq!((refused.status(), session.session_key().as_ref()), (403, Some(&anonymous)));
        assert_eq!(auth::user_id(&session)?, None);
        assert_eq!(session.get::<Vec<u32>>("cart")?, Some(vec![3, 5]));
        assert!(!session.modified());
        Ok(())
    };
    assert_eq!(site.request(Some(&anonymous), log_in).await.unwrap().as_ref(), Some(&anonymous));
    // Saved by the middleware, which answers.
    let log_in = async |session: Session| auth::login(&session, user("refused")).await;
    for key in [Some(&anonymous), None] {
        let refused = site.request(key, log_in).await.unwrap_err();
        assert!(matches!(refused, Error::TooManySessions { limit: 1 }), "{refused}");
    }
    assert!(site.lives(&anonymous).await && site.lives(&first).await);
    assert_eq!(site.count("refused").await, 1);

    // Without the first, there is room.
    let log_out = async |session: Session| auth::logout(&session).await;
    site.request(Some(&first), log_out).await.unwrap();
    let key = site.request(Some(&anonymous), log_in).await.unwrap().unwrap();
    assert_eq!(site.visit(&key).await.as_deref(), Some("refused"));
    assert!(!site.lives(&anonymous).await, "the key changed, as at every login");
}

async fn what_is_over_does_not_count_and_what_moves_counts_once(site: &Site) {
    let site = site.limited(2, AtLimit::RefuseNew);
    let (one, two) = (site.log_in("over").await, site.log_in("over").await);
    // As Django's logout or `clearsessions` does: the entry stays.
    assert!(site.user_sessions.store().delete(&one).await.unwrap());
    let three = site.log_in("over").await;
    let move_on = async |session: Session| session.cycle_key();
    let moved = site.request(Some(&two), move_on).await.unwrap().unwrap();
    assert!(site.lives(&moved).await && site.lives(&three).await);
    let log_in = async |session: Session| auth::login(&session, user("over")).await;
    assert!(site.request(None, log_in).await.is_err());
    assert!(site.user_sessions.revoke("over", &id(&three)).await.unwrap());
    site.log_in("over").await;
    assert!(site.lives(&moved).await);
}

async fn a_login_of_djangos_counts_once_it_is_seen(site: &Site) {
    let site = site.limited(1, AtLimit::RefuseNew);
    let djangos = site.log_in_elsewhere("seen").await;
    let log_in = async |session: Session| auth::login(&session, user("seen")).await;
    assert_eq!(site.visit(&djangos).await.as_deref(), Some("seen"));
    assert!(site.request(None, log_in).await.is_err());
}

/// Through two processes at once. Nobody whose session is among those that stay was ended by anybody.
async fn exactly_the_limit_is_left(site: &Arc<Site>, at_limit: AtLimit) {
    const LIMIT: usize = 3;
    for round in 0..ROUNDS {
        let name: &'static str = format!("crowd {at_limit:?} {round}").leak();
        let processes = [site.limited(LIMIT, at_limit), site.limited(LIMIT, at_limit)];
        let logins = (0..LOGINS).map(|login| {
            let process = Arc::clone(&processes[login % 2]);
            tokio::spawn(async move {
                let log_in = async |session: Session| auth::login(&session, user(name)).await;
                process.request(None, log_in).await
            })
        });
        let logins: Vec<_> = logins.collect();
        let mut refused = 0;
        for login in logins {
            match login.await.unwrap() {
                Ok(_) => {}
                Err(Error::TooManySessions { limit: LIMIT }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(site.count(name).await, LIMIT, "{name}");
        // Of two processes, one may end what the other has just accepted.
        let at_most = if at_limit == AtLimit::RefuseNew { LOGINS - LIMIT } else { 0 };
        assert!(refused <= at_most, "{name}: {refused} refused");
    }
}

fn id(session_key: &SessionKey) -> String {
    cloakroom::user_sessions::UserSessionId::of(session_key).to_string()
}
