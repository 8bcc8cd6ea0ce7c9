//! Look-ups of users at the same time share statements, and each gets its own answer.

use std::collections::BTreeSet;
use std::fmt::Write;

use cloakroom::auth::{AuthUser, DjangoUsers, UserModel, UserSource};
use futures_util::future::join_all;

#[cfg(feature = "mysql")]
use crate::support::servers::mariadb;
#[cfg(feature = "postgres")]
use crate::support::servers::postgres;

const USERS: usize = 200;
/// Many for 200 look-ups each of users and of grants, which would be 400 statements alone.
const MOST: i64 = 60;

/// Django's tables, of which each third user is in the group `editors`, each second in `authors`, which has no permissions, and each
/// fifth a superuser. Every user has a permission of its own.
fn tables() -> String {
    let mut sql = "CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY, username varchar(150) NOT NULL, \
         password varchar(128) NOT NULL, is_active bool NOT NULL, is_staff bool NOT NULL, is_superuser bool NOT NULL, \
         last_login varchar(40)); \
         CREATE TABLE auth_group (id integer NOT NULL PRIMARY KEY, name varchar(150) NOT NULL); \
         CREATE TABLE django_content_type (id integer NOT NULL PRIMARY KEY, app_label varchar(100) NOT NULL); \
         CREATE TABLE auth_permission (id integer NOT NULL PRIMARY KEY, content_type_id integer, codename varchar(100)); \
         CREATE TABLE auth_user_groups (user_id integer, group_id integer); \
         CREATE TABLE auth_user_user_permissions (user_id integer, permission_id integer); \
         CREATE TABLE auth_group_permissions (group_id integer, permission_id integer); \
         INSERT INTO auth_group VALUES (1, 'editors'), (2, 'nobody'), (3, 'authors'); \
         INSERT INTO django_content_type VALUES (1, 'shop'); \
         INSERT INTO auth_permission VALUES (1000, 1, 'edit'), (1001, 1, 'drop'); \
         INSERT INTO auth_group_permissions VALUES (1, 1000), (2, 1001); "
        .to_owned();
    for id in 0..USERS {
        let is_superuser = id.is_multiple_of(5);
        write!(
            sql,
            "INSERT INTO auth_user VALUES ({id}, 'user {id}', 'hash {id}', true, false, {is_superuser}, NULL); \
             INSERT INTO auth_permission VALUES ({id}, 1, 'own_{id}'); \
             INSERT INTO auth_user_user_permissions VALUES ({id}, {id}); "
        )
        .unwrap();
        if id.is_multiple_of(3) {
            write!(sql, "INSERT INTO auth_user_groups VALUES ({id}, 1); ").unwrap();
        }
        if id.is_multiple_of(2) {
            write!(sql, "INSERT INTO auth_user_groups VALUES ({id}, 3); ").unwrap();
        }
    }
    sql.push_str(
        "CREATE TABLE named (id varchar(40) NOT NULL PRIMARY KEY, username varchar(150), password varchar(128)); \
         INSERT INTO named VALUES ('ada', 'Ada', 'x'), ('grace', 'Grace', 'x'), ('zoé', 'Zoé', 'x');",
    );
    sql
}

/// Everyone at once, twice; with ids that nobody has.
async fn everyone_is_found(url: &str) {
    let mut model = UserModel::default();
    model.reads_groups = true;
    let users = DjangoUsers::open(url, model).await.unwrap();
    let look_up = async |number: usize| {
        let id = number.to_string();
        let Some(user) = users.find(&id).await.unwrap() else { return assert!(number >= USERS, "{id}") };
        assert_eq!((&*user.id(), user.username()), (&*id, &*format!("user {id}")));
        assert_eq!(
            (user.password(), user.is_superuser()),
            (&*format!("hash {id}"), number.is_multiple_of(5))
        );
        let grants = users.grants(&user).await.unwrap();
        let is_editor = number.is_multiple_of(3);
        let groups = [("authors", number.is_multiple_of(2)), ("editors", is_editor)];
        let groups: Vec<&str> = groups.iter().filter(|(_, is_in)| *is_in).map(|(name, _)| *name).collect();
        let granted: BTreeSet<&str> = grants.groups.iter().map(String::as_str).collect();
        assert_eq!(Vec::from_iter(granted), groups, "{id}");
        assert_eq!(user.groups(), groups);
        let mut permissions = BTreeSet::from([format!("shop.own_{id}")]);
        permissions.extend(is_editor.then(|| "shop.edit".to_owned()));
        match user.is_superuser() {
            true => assert_eq!(grants.permissions.len(), USERS + 2, "{id}"),
            false => assert_eq!(grants.permissions.into_iter().collect::<BTreeSet<_>>(), permissions, "{id}"),
        }
    };
    join_all((0..USERS).chain(0..USERS + 5).map(look_up)).await;
    users.ping().await.unwrap();
}

/// Text ids; the first of each pair is asked for, and the second is found.
async fn texts_are_compared_as_the_database_does(url: &str, pairs: &[(&str, Option<&str>)]) {
    let mut model = UserModel::new("named");
    (model.is_active, model.is_staff, model.is_superuser) = (None, None, None);
    (model.last_login, model.permissions) = (None, None);
    let users = DjangoUsers::open(url, model).await.unwrap();
    let look_up = async |(id, found): &(&str, Option<&str>)| {
        let user = users.find(id).await.unwrap();
        assert_eq!(user.as_ref().map(AuthUser::id).as_deref(), *found, "{id}");
        assert_eq!(
            users.find(id).await.unwrap().as_ref().map(AuthUser::id).as_deref(),
            *found,
            "alone: {id}"
        );
    };
    join_all(pairs.iter().chain(pairs).map(look_up)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    rusqlite::Connection::open(&path).unwrap().execute_batch(&tables()).unwrap();
    let url = format!("sqlite:{}", path.display());
    everyone_is_found(&url).await;
    let pairs =
        [("ada", Some("ada")), ("ADA", None), ("zoé", Some("zoé")), ("\0", None), ("grace", Some("grace"))];
    texts_are_compared_as_the_database_does(&url, &pairs).await;
}

/// By `pg_stat_statements`, which counts each execution.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn in_postgres() {
    let server = postgres::start_counting().await;
    let url = postgres::url(&server, "postgres");
    let client = postgres::client(&url).await;
    client.batch_execute(&tables()).await.unwrap();
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    everyone_is_found(&url).await;
    let count = "SELECT sum(calls)::bigint FROM pg_stat_statements \
                 WHERE query LIKE 'SELECT%' AND (query LIKE '%FROM \"auth_user\"%' OR query LIKE '%auth_group%')";
    let count: i64 = client.query_one(count, &[]).await.unwrap().get(0);
    println!("{count} statements in PostgreSQL");
    assert!((3..=MOST).contains(&count), "{count}");

    // An encoding without a crab: whoever asks for one hides nobody else.
    client
        .batch_execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        .await
        .unwrap();
    let url = postgres::url(&server, "latin");
    postgres::client(&url).await.batch_execute(&tables()).await.unwrap();
    let pairs =
        [("ada", Some("ada")), ("🦀", None), ("zoé", Some("zoé")), ("ADA", None), ("grace", Some("grace"))];
    texts_are_compared_as_the_database_does(&url, &pairs).await;
}

/// By `Com_stmt_execute`, which counts each execution on the server.
#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn in_mariadb() {
    use mysql_async::prelude::Queryable;

    let server = mariadb::start().await;
    let admin = mariadb::url(&server, "mysql");
    let mut connection = mariadb::connection(&admin).await;
    connection.query_drop("CREATE DATABASE shared CHARACTER SET utf8mb4").await.unwrap();
    let url = mariadb::url(&server, "shared");
    let mut connection = mariadb::connection(&url).await;
    for sql in tables().split_terminator(';') {
        connection.query_drop(sql).await.unwrap();
    }
    let count = "SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'";
    let before: (String, i64) = connection.query_first(count).await.unwrap().unwrap();
    everyone_is_found(&url).await;
    let after: (String, i64) = connection.query_first(count).await.unwrap().unwrap();
    let count = after.1 - before.1;
    println!("{count} statements in MariaDB");
    assert!((3..=MOST).contains(&count), "{count}");

    connection.query_drop("ALTER TABLE named CONVERT TO CHARACTER SET utf8mb3").await.unwrap();
    let pairs = [
        ("ada", Some("ada")),
        ("🦀", None),
        ("ADA", Some("ada")),
        ("zoe", Some("zoé")),
        ("ada ", Some("ada")),
        ("grace", Some("grace")),
        ("nobody", None),
    ];
    texts_are_compared_as_the_database_does(&url, &pairs).await;
}
