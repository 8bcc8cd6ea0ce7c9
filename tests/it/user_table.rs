//! The password fields of users, in each database and with each kind of id.

use cloakroom::StoreErrorKind;
use cloakroom::auth::UserTable;

use crate::support::servers;

const UUID: &str = "9f1c0a52-7d3e-4b61-8c2f-0123456789ab";

/// A statement for each kind of id; of UUIDs as Django keeps them in this database.
fn statements(uuid: &str, kept: &str) -> Vec<String> {
    let mut statements = Vec::new();
    for (table, id, value) in [
        ("auth_user", "bigint", "7"),
        ("of_uuids", uuid, &*format!("'{kept}'")),
        ("of_names", "varchar(40)", "'O''Hara'"),
    ] {
        statements
            .push(format!("CREATE TABLE {table} (id {id} NOT NULL PRIMARY KEY, password varchar(128))"));
        statements.push(format!("INSERT INTO {table} (id, password) VALUES ({value}, 'pbkdf2$of {table}')"));
    }
    statements.push("INSERT INTO auth_user (id, password) VALUES (8, NULL)".to_owned());
    statements.push("CREATE TABLE shelves (id int, books int)".to_owned());
    statements
}

async fn each_kind_of_id(url: &str) {
    // What is no id is nobody's, and no error: a session may hold anything there.
    let nobody = ["9", "x", "", "007.5", "7' OR 1=1 --", "99999999999999999999999", "\0", "é"];
    for (table, id) in [("auth_user", "7"), ("of_uuids", UUID), ("of_names", "O'Hara")] {
        let users = UserTable::open(url, table).await.unwrap();
        let asked = [&[id], &nobody[..]].concat();
        let found = users.passwords(&asked).await.unwrap();
        assert_eq!(found.len(), 1, "{table}: {:?}", found.keys());
        assert_eq!(found[id], format!("pbkdf2$of {table}"));
        assert!(users.passwords(&nobody).await.unwrap().is_empty(), "{table}");
        assert!(users.passwords(&[]).await.unwrap().is_empty());
    }
    let users = UserTable::open(url, UserTable::DJANGO_TABLE).await.unwrap();
    assert_eq!(users.passwords(&["8"]).await.unwrap()["8"], "", "no password is none");
    let many: Vec<String> = (1..3_000).map(|id: u32| id.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(users.passwords(&many).await.unwrap().len(), 2);
    for table in ["nowhere", "shelves", "a\"b`c", "auth_user; DROP TABLE auth_user"] {
        let error = UserTable::open(url, table).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
        assert!(
            error.to_string().contains(&format!("no table {table} with the columns id and password")),
            "{error}"
        );
    }
}

/// `direct` leads to the server itself, and `url` to the same database.
#[cfg(feature = "postgres")]
pub(crate) async fn each_kind_of_id_in_postgres(direct: &str, url: &str) {
    let client = servers::postgres::client(direct).await;
    for statement in statements("uuid", UUID) {
        client.batch_execute(&statement).await.unwrap();
    }
    each_kind_of_id(url).await;
}

#[tokio::test]
async fn users_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let connection = rusqlite::Connection::open(&path).unwrap();
    for statement in statements("char(32)", &UUID.replace('-', "")) {
        connection.execute_batch(&statement).unwrap();
    }
    let url = format!("sqlite:{}", path.display());
    each_kind_of_id(&url).await;
    each_kind_of_id(&format!("{url}?mode=ro")).await;
    let error = UserTable::open("redis://cache.example/1", "auth_user").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_in_postgres() {
    let url = servers::postgres::database().await;
    each_kind_of_id_in_postgres(&url, &url).await;
    let client = servers::postgres::client(&url).await;
    client.batch_execute("CREATE SCHEMA shop; ALTER TABLE of_names SET SCHEMA shop").await.unwrap();
    let users = UserTable::open(&url, "shop.of_names").await.unwrap();
    assert_eq!(users.passwords(&["O'Hara"]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_in_mariadb() {
    use mysql_async::prelude::Queryable;
    for (uuid, kept) in [("char(32)", UUID.replace('-', "")), ("uuid", UUID.to_owned())] {
        let url = servers::mariadb::database().await;
        let mut connection = servers::mariadb::connection(&url).await;
        for statement in statements(uuid, &kept) {
            connection.query_drop(statement).await.unwrap();
        }
        each_kind_of_id(&url).await;
        // Characters of up to three bytes: an id with others hides nobody.
        connection.query_drop("ALTER TABLE of_names CONVERT TO CHARACTER SET utf8mb3").await.unwrap();
        let users = UserTable::open(&url, "of_names").await.unwrap();
        let found = users.passwords(&["🦀", "x", "O'Hara", "y🦀"]).await.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["O'Hara"]);
    }
}
