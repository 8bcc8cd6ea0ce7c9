//! The table that this library makes is Django's own.

use cloakroom::SqliteStore;
use cloakroom::store::sqlite::{MigrationRecord, TableCreation};

use super::*;

#[tokio::test]
async fn a_table_made_here_is_taken_over_by_django() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("db.sqlite3");
    let project = Project::new(&database);
    let options = SqliteStore::at(&database);
    assert_eq!(options.create_table(MigrationRecord::Always).await.unwrap(), TableCreation::Created);
    let axum = axum_site::start(&database, Settings::new(SECRET)).await;
    let mut browser = Browser::new();
    browser.post(format!("{axum}/put"), r#"{"before":"Django came"}"#).await.ok();

    project.manage(&["migrate"]);
    project.manage(&["create-user", USERNAME, PASSWORD]);
    let django = project.serve();

    let before = r#"{"before":"Django came"}"#;
    assert_eq!(whoami(&mut browser, format!("{}/whoami", django.address)).await, (None, before.into()));
    browser.post(format!("{}/login", django.address), credentials()).await.ok();
    assert_eq!(
        whoami(&mut browser, format!("{axum}/whoami")).await,
        (Some(USERNAME.into()), before.to_owned())
    );
    assert_eq!(options.create_table(MigrationRecord::Always).await.unwrap(), TableCreation::AlreadyThere);
}

#[tokio::test]
async fn the_table_is_letter_for_letter_what_django_migrates() {
    let folder = tempfile::tempdir().unwrap();
    let (of_django, of_ours) = (folder.path().join("django.sqlite3"), folder.path().join("ours.sqlite3"));
    Project::new(&of_django).manage(&["migrate"]);
    SqliteStore::at(&of_ours).create_table(MigrationRecord::Always).await.unwrap();

    let schema = |path| -> Vec<(String, String, Option<String>)> {
        let connection = Connection::open(path).unwrap();
        let sql = "SELECT type, name, sql FROM sqlite_master \
                   WHERE tbl_name IN ('django_session', 'django_migrations') ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let expected = schema(&of_django);
    assert_eq!(expected.len(), 4, "two tables, the index on expire_date and that of the primary key");
    assert_eq!(schema(&of_ours), expected);

    let records = |path| -> u32 {
        let sql = "SELECT count(*) FROM django_migrations WHERE app = 'sessions' AND name = '0001_initial'";
        Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((records(&of_django), records(&of_ours)), (1, 1));
}
