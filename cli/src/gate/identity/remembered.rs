//! The users of some seconds ago. A logout, or a changed user, takes as long to be seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloakroom::SessionKey;
use sha2::{Digest, Sha256};

use super::Identity;

/// The most users of one generation; there are two.
const MOST: usize = 10_000;

/// Users by their sessions. Neither errors nor sessions without a user are remembered, so that a login counts at once.
pub(super) struct Remembered {
    lifetime: Duration,
    generations: Mutex<Generations>,
}

/// The younger generation becomes the older one when it is full or old enough. Then the older one is forgotten.
struct Generations {
    young: HashMap<Name, Entry>,
    old: HashMap<Name, Entry>,
    since: Instant,
}

/// The whole hash of a session key, so that no key lies in memory. The key's public id is too short: for a known one,
/// another key could be found.
type Name = [u8; 32];

struct Entry {
    identity: Arc<Identity>,
    until: Instant,
}

impl Remembered {
    pub(super) fn new(lifetime: Duration, now: Instant) -> Remembered {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), since: now };
        Remembered { lifetime, generations: Mutex::new(generations) }
    }

    pub(super) fn get(&self, session_key: &SessionKey, now: Instant) -> Option<Arc<Identity>> {
        let name = name(session_key);
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = generations.young.get(&name).or_else(|| generations.old.get(&name))?;
        (now < entry.until).then(|| Arc::clone(&entry.identity))
    }

    /// Remembers a user who was looked up from this moment on.
    pub(super) fn put(&self, session_key: &SessionKey, identity: &Arc<Identity>, asked: Instant) {
        let entry = Entry { identity: Arc::clone(identity), until: asked + self.lifetime };
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = asked.saturating_duration_since(generations.since) >= self.lifetime;
        if is_old || generations.young.len() >= MOST {
            generations.old = std::mem::take(&mut generations.young);
            generations.since = asked;
        }
        generations.young.insert(name(session_key), entry);
    }
}

fn name(session_key: &SessionKey) -> Name {
    Sha256::digest(session_key.as_str()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: usize) -> SessionKey {
        SessionKey::from_trusted(format!("{number:032}"))
    }

    fn user(id: &str) -> Arc<Identity> {
        Arc::new(Identity { id: id.to_owned(), ..Identity::default() })
    }

    #[test]
    fn a_user_is_remembered_for_as_long_as_was_said() {
        let start = Instant::now();
        let remembered = Remembered::new(2 * SECOND, start);
        remembered.put(&key(1), &user("1"), start);
        remembered.put(&key(2), &user("2"), start + SECOND);
        let id = |number, now| remembered.get(&key(number), now).map(|user| user.id.clone());
        assert_eq!(id(1, start + SECOND).as_deref(), Some("1"));
        assert_eq!(id(1, start + 2 * SECOND), None);
        assert_eq!(id(2, start + 2 * SECOND).as_deref(), Some("2"));
        assert_eq!(id(3, start), None);
        // The next generation still knows the last one's.
        remembered.put(&key(3), &user("3"), start + 2 * SECOND);
        assert_eq!(id(2, start + 2 * SECOND).as_deref(), Some("2"));
        assert_eq!(id(2, start + 3 * SECOND), None);
        remembered.put(&key(3), &user("4"), start + 2 * SECOND);
        assert_eq!(id(3, start + 3 * SECOND).as_deref(), Some("4"), "the younger one counts");
    }

    #[test]
    fn the_number_of_users_is_bounded() {
        let start = Instant::now();
        let remembered = Remembered::new(SECOND, start);
        for number in 0..3 * MOST {
            remembered.put(&key(number), &user("1"), start);
        }
        let generations = remembered.generations.lock().unwrap();
        assert!(generations.young.len() <= MOST && generations.old.len() <= MOST);
    }
}
