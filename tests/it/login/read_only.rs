//! A read-only user: the same answers, and the session's row stays byte for byte.

use std::path::PathBuf;

use cloakroom::auth::{self, LazyUser, User};
use cloakroom::store::create_table;
use cloakroom::{SessionMiddleware, connect};

use super::*;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::support::raw_database::{Kind, Raw};

const PASSWORD: &str = "pbkdf2_sha256$one";

/// Reads the whole table twice, before and after each look-up.
async fn nothing_is_written(url: &str, rows: &mut dyn AsyncRows) {
    create_table(url, Default::default()).await.unwrap();
    let members = Arc::new(Members::with_ada());
    let open = async |secret: &str, fallback: Option<&str>| {
        let mut settings = Settings::new(secret);
        settings.secret_key_fallbacks.extend(fallback.map(Into::into));
        let store = connect(url, &settings).await.unwrap();
        SessionMiddleware::new(store, settings).unwrap()
    };
    let before = open("before", None).await;
    let lazy = before.begin([]);
    let user = User { id: "7", password: PASSWORD, backend: auth::MODEL_BACKEND };
    auth::login(&lazy.load().await.unwrap(), user).await.unwrap();
    before.finish(&lazy, 200).await.unwrap();
    let cookie = format!("sessionid={}", lazy.session_key().unwrap().as_str());
    let after = open("after", Some("before")).await;
    let stored = rows.all().await;
    assert_eq!(stored.len(), 1);

    // The password, whether the user is inactive, and who is logged in then.
    let steps = [
        (PASSWORD, false, Some("Ada")),
        ("pbkdf2_sha256$two", false, None),
        (PASSWORD, true, None),
        (PASSWORD, false, Some("Ada")),
    ];
    for site in [&before, &after] {
        for (password, is_inactive, expected) in steps {
            members.change("7", |member| {
                password.clone_into(&mut member.password);
                member.is_inactive = is_inactive;
            });
            let lazy = site.begin([cookie.as_bytes()]);
            let user = LazyUser::new(members.clone(), Some(lazy.clone())).read_only();
            let name = user.load().await.unwrap().map(|user| user.name.clone());
            assert_eq!(name.as_deref(), expected, "{password} {is_inactive}");
            assert!(!lazy.modified());
            let finished = site.finish(&lazy, 200).await.unwrap();
            assert_eq!(finished.set_cookie, None, "{password} {is_inactive}");
            assert_eq!(rows.all().await, stored, "{password} {is_inactive}");
        }
    }
    // Without `read_only` the same look-up renews the hash, under a new key.
    let lazy = after.begin([cookie.as_bytes()]);
    assert!(LazyUser::new(members, Some(lazy.clone())).load().await.unwrap().is_some());
    after.finish(&lazy, 200).await.unwrap();
    assert_ne!(rows.all().await, stored);
}

/// All rows of the session table.
#[cloakroom::async_trait]
trait AsyncRows: Send {
    async fn all(&mut self) -> Vec<Vec<String>>;
}

struct File(PathBuf);

#[cloakroom::async_trait]
impl AsyncRows for File {
    async fn all(&mut self) -> Vec<Vec<String>> {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        let sql = "SELECT session_key, session_data, CAST(expire_date AS TEXT) FROM django_session";
        let mut statement = connection.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| (0..3).map(|column| row.get(column)).collect();
        statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
#[cloakroom::async_trait]
impl AsyncRows for Raw {
    async fn all(&mut self) -> Vec<Vec<String>> {
        self.rows("SELECT session_key, session_data, expire_date FROM django_session").await
    }
}

#[tokio::test]
async fn nothing_is_written_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    nothing_is_written(&format!("sqlite:{}", path.display()), &mut File(path)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_postgres() {
    let url = Raw::database(Kind::Postgres).await;
    let mut raw = Raw::new(Kind::Postgres, &url).await;
    nothing_is_written(&url, &mut raw).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_mariadb() {
    let url = Raw::database(Kind::Mariadb).await;
    let mut raw = Raw::new(Kind::Mariadb, &url).await;
    nothing_is_written(&url, &mut raw).await;
}
