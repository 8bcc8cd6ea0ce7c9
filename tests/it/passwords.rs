//! Passwords without a Django: what a login costs, whom it starves, and what changes meanwhile.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloakroom::auth::{self, AuthUser, CredentialSource, PasswordAlgorithm, PasswordHasher, UserSource};
use cloakroom::{StoreError, StoreErrorKind, async_trait};

use crate::support::log::Log;

fn pbkdf2(iterations: u32) -> PasswordHasher {
    PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations }).unwrap()
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    password: String,
    is_active: bool,
}

impl AuthUser for Member {
    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn password(&self) -> &str {
        &self.password
    }

    fn is_active(&self) -> bool {
        self.is_active
    }
}

/// What happens between reading a field and replacing it.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    /// Somebody else sets this field.
    Set(&'static str),
    Deleted,
    Down,
}

/// Members in memory, by their names.
struct Members {
    members: Mutex<HashMap<String, Member>>,
    meanwhile: Meanwhile,
}

impl Members {
    fn of(password: &str, is_active: bool, meanwhile: Meanwhile) -> Members {
        let (name, password) = ("ada".to_owned(), password.to_owned());
        let members = HashMap::from([(name.clone(), Member { name, password, is_active })]);
        Members { members: Mutex::new(members), meanwhile }
    }

    fn field(&self) -> String {
        self.members.lock().unwrap()["ada"].password.clone()
    }
}

#[async_trait]
impl UserSource for Members {
    type User = Member;

    async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
        Ok(self.members.lock().unwrap().get(id).cloned())
    }
}

#[async_trait]
impl CredentialSource for Members {
    async fn find_by_username(&self, username: &str) -> Result<Option<Member>, StoreError> {
        self.find(username).await
    }

    async fn set_password(&self, user: &Member, encoded: &str) -> Result<Option<Member>, StoreError> {
        let mut members = self.members.lock().unwrap();
        match self.meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Set(field) => members.get_mut("ada").unwrap().password = field.to_owned(),
            Meanwhile::Deleted => members.clear(),
            Meanwhile::Down => return Err(StoreError::new("test", StoreErrorKind::Unavailable, "down")),
        }
        let Some(member) = members.get_mut(&user.name) else { return Ok(None) };
        if member.password != user.password {
            return Ok(None);
        }
        member.password = encoded.to_owned();
        Ok(Some(member.clone()))
    }
}

/// In Django: `make_password("secret", "a" * 22)` with 1 and with 2 iterations, and of "changed".
async fn fields() -> [String; 2] {
    [pbkdf2(1).encode("secret").await.unwrap(), pbkdf2(2).encode("changed").await.unwrap()]
}

#[tokio::test]
async fn a_login_upgrades_an_old_field_and_returns_the_new_one() {
    let [old, _] = fields().await;
    let (members, hasher) = (Members::of(&old, true, Meanwhile::Nothing), pbkdf2(2));
    assert!(auth::authenticate(&members, &hasher, "ada", "wrong").await.unwrap().is_none());
    assert_eq!(members.field(), old, "a wrong password upgrades nothing");
    let user = auth::authenticate(&members, &hasher, "ada", "secret").await.unwrap().unwrap();
    assert!(user.password.starts_with("pbkdf2_sha256$2$"), "{user:?}");
    assert_eq!(user.password, members.field());
    let again = auth::authenticate(&members, &hasher, "ada", "secret").await.unwrap().unwrap();
    assert_eq!(again.password, user.password, "once is enough");
    let other = pbkdf2(3).without_upgrades();
    assert!(auth::authenticate(&members, &other, "ada", "secret").await.unwrap().is_some());
    assert_eq!(members.field(), user.password);
}

#[tokio::test]
async fn a_password_that_changes_meanwhile_is_not_overwritten_and_the_old_one_is_wrong() {
    let [old, changed] = fields().await;
    let changed: &'static str = changed.leak();
    let members = Members::of(&old, true, Meanwhile::Set(changed));
    assert!(auth::authenticate(&members, &pbkdf2(2), "ada", "secret").await.unwrap().is_none());
    assert_eq!(members.field(), changed);

    // Another login upgraded it meanwhile.
    let upgraded: &'static str = pbkdf2(2).encode("secret").await.unwrap().leak();
    let members = Members::of(&old, true, Meanwhile::Set(upgraded));
    let user = auth::authenticate(&members, &pbkdf2(2), "ada", "secret").await.unwrap().unwrap();
    assert_eq!((user.password.as_str(), members.field().as_str()), (upgraded, upgraded));

    let members = Members::of(&old, true, Meanwhile::Deleted);
    assert!(auth::authenticate(&members, &pbkdf2(2), "ada", "secret").await.unwrap().is_none());
}

/// A field that never is what was read: the last one read must still be compared.
#[tokio::test]
async fn a_field_that_keeps_changing_is_compared_each_time() {
    struct Restless(Members, AtomicUsize, [String; 4]);
    #[async_trait]
    impl UserSource for Restless {
        type User = Member;
        async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
            let count = self.1.fetch_add(1, Ordering::Relaxed);
            let member = self.0.find(id).await?;
            Ok(member.map(|member| Member { password: self.2[count.min(3)].clone(), ..member }))
        }
    }
    #[async_trait]
    impl CredentialSource for Restless {
        async fn find_by_username(&self, username: &str) -> Result<Option<Member>, StoreError> {
            self.find(username).await
        }
        async fn set_password(&self, _: &Member, _: &str) -> Result<Option<Member>, StoreError> {
            Ok(None)
        }
    }
    let [old, changed] = fields().await;
    for (last, is_in) in [(&changed, false), (&old, true)] {
        for changes in 1..=2 {
            let fields =
                std::array::from_fn(|count| if count < changes { old.clone() } else { last.clone() });
            let source = Restless(Members::of(&old, true, Meanwhile::Nothing), AtomicUsize::new(0), fields);
            let found = auth::authenticate(&source, &pbkdf2(3), "ada", "secret").await.unwrap();
            assert_eq!(found.is_some(), is_in);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_upgrade_is_logged_and_the_login_goes_on() {
    let [old, _] = fields().await;
    let log = Log::start();
    let members = Members::of(&old, true, Meanwhile::Down);
    let user = auth::authenticate(&members, &pbkdf2(2), "ada", "secret").await.unwrap().unwrap();
    assert_eq!((&user.password, &members.field()), (&old, &old));
    let lines = log.lines().join("\n");
    assert!(lines.contains("a password field was not upgraded") && lines.contains("down"), "{lines}");
    assert!(!lines.contains("pbkdf2") && !lines.contains("secret"), "{lines}");
}

#[tokio::test(flavor = "current_thread")]
async fn fields_without_a_password_match_nothing_and_are_logged_once_without_their_content() {
    let log = Log::start();
    let hasher = pbkdf2(2);
    for field in ["", "!", "!unusable"] {
        let members = Members::of(field, true, Meanwhile::Nothing);
        for password in ["", "!", "unusable", field] {
            assert!(auth::authenticate(&members, &hasher, "ada", password).await.unwrap().is_none());
        }
    }
    assert!(log.lines().is_empty(), "unusable is usual: {:?}", log.lines());
    for field in ["hunter2", "hunter2$x", "md5$salt$hash", "pbkdf2_sha256$x$y$z", "pbkdf2_sha256$0$y$z"] {
        let members = Members::of(field, true, Meanwhile::Nothing);
        for password in ["", "hunter2", "x", field] {
            assert!(auth::authenticate(&members, &hasher, "ada", password).await.unwrap().is_none());
        }
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("a password field is malformed") && !lines[0].contains("hunter2"), "{lines:?}");
}

#[tokio::test]
async fn odd_passwords_are_passwords() {
    let long = "x".repeat(1_000_000);
    for password in ["", "a\0b", "\0", " ", "pässwörd 🦀", &long] {
        let members = Members::of(&pbkdf2(2).encode(password).await.unwrap(), true, Meanwhile::Nothing);
        let mut found = auth::authenticate(&members, &pbkdf2(2), "ada", password).await.unwrap();
        assert_eq!(found.take().map(|user| user.name).as_deref(), Some("ada"));
        // HMAC takes a key of up to 64 bytes as the same with further NULs, in Django too.
        for other in [format!("\0{password}y"), format!("{password} "), "y".to_owned()] {
            assert!(auth::authenticate(&members, &pbkdf2(2), "ada", &other).await.unwrap().is_none());
        }
    }
}

/// The shortest of some times: the machine does other things too.
async fn shortest(members: &Members, hasher: &PasswordHasher, username: &str) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        assert!(auth::authenticate(members, hasher, username, "wrong").await.unwrap().is_none());
        shortest = shortest.min(begin.elapsed());
    }
    shortest
}

/// A wrong password, an unknown name, an unusable field, a cheap old field.
#[tokio::test]
async fn the_time_of_a_failed_login_tells_nothing() {
    let hasher = pbkdf2(400_000);
    let usual = hasher.encode("secret").await.unwrap();
    let wrong = shortest(&Members::of(&usual, true, Meanwhile::Nothing), &hasher, "ada").await;
    let cheap = pbkdf2(1).encode("secret").await.unwrap();
    for (field, username) in [(&*usual, "bob"), ("!unusable", "ada"), ("hunter2", "ada"), (&*cheap, "ada")] {
        let took = shortest(&Members::of(field, true, Meanwhile::Nothing), &hasher, username).await;
        assert!(
            took > wrong / 3 && took < wrong * 3,
            "{username}: {took:?}, and {wrong:?} for a wrong password"
        );
    }
    let inactive = Members::of(&usual, false, Meanwhile::Nothing);
    assert!(auth::authenticate(&inactive, &hasher, "ada", "secret").await.unwrap().is_none());
}

/// Fifty logins at once, on a runtime with one thread for requests.
#[test]
fn logins_do_not_keep_other_requests_waiting_and_take_no_more_threads_than_there_are_processors() {
    let threads = Arc::new(AtomicUsize::new(0));
    let started = Arc::clone(&threads);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_start(move || {
            started.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let hasher = pbkdf2(100_000);
        let logins: Vec<_> = (0..50)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.encode("secret").await.unwrap() })
            })
            .collect();
        let mut turns = 0;
        while !logins.iter().all(|login| login.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns += 1;
        }
        assert!(turns > 50, "other requests had {turns} turns");
        // Cancelled logins give their place back.
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), hasher.encode("secret"));
            let _ = given_up.await;
        }
        assert!(hasher.encode("secret").await.is_ok());
    });
    let processors = std::thread::available_parallelism().unwrap().get();
    let threads = threads.load(Ordering::Relaxed);
    // A thread may begin while another is just about to be free.
    assert!((1..=2 * processors).contains(&threads), "{threads} threads on {processors} processors");
}

#[test]
fn impossible_costs_are_refused() {
    for algorithm in [
        PasswordAlgorithm::Pbkdf2Sha256 { iterations: 0 },
        PasswordAlgorithm::Pbkdf2Sha1 { iterations: 0 },
        PasswordAlgorithm::Argon2 { time_cost: 0, memory_cost: 64, parallelism: 1 },
        PasswordAlgorithm::Argon2 { time_cost: 1, memory_cost: u32::MAX, parallelism: 1 },
        PasswordAlgorithm::BcryptSha256 { rounds: 3 },
        PasswordAlgorithm::BcryptSha256 { rounds: 32 },
        PasswordAlgorithm::Scrypt { work_factor: 1_000, block_size: 8, parallelism: 1 },
        PasswordAlgorithm::Scrypt { work_factor: 1 << 20, block_size: 8, parallelism: 1 },
    ] {
        let error = PasswordHasher::new(algorithm).unwrap_err();
        assert!(error.to_string().contains("no password can be hashed at these costs"), "{error}");
    }
}
