//! Columns that the application fills, as Django's custom session models have them: on each database.

mod database;
mod django;

use cloakroom::store::table::{ColumnValue, Columns, ExtraColumn};
use cloakroom::store::{Created, Rotated, Updated};
use cloakroom::{SessionData, SessionKey, StoreErrorKind, conformance};

use self::database::Database;
use crate::support::records::{data, now, record};

/// The documented `create_model_instance`: `int(data.get("_auth_user_id"))`, or `None`.
fn account_id() -> ExtraColumn {
    ExtraColumn::new("account_id", |data: &SessionData| {
        data.read::<String>("_auth_user_id").ok().flatten().and_then(|id| id.parse::<i64>().ok())
    })
}

const TABLE: &str = "custom_sessions_customsession";

/// What Django makes of the documented `class CustomSession(AbstractBaseSession)` with
/// `account_id = models.IntegerField(null=True, db_index=True)`; `DATETIME` is each database's own.
const DOCUMENTED: &str = "CREATE TABLE custom_sessions_customsession (session_key varchar(40) NOT NULL PRIMARY KEY, \
     session_data text NOT NULL, expire_date DATETIME NOT NULL, account_id integer NULL)";

async fn the_documented_model_is_filled_on_each_save(database: Database) {
    database.execute(DOCUMENTED).await;
    let store = database.open(TABLE, Columns::default(), vec![account_id()]).await.unwrap();
    let stored = async |session_key: &SessionKey| {
        let sql = "SELECT account_id FROM custom_sessions_customsession WHERE session_key = ";
        database.value(sql, session_key).await
    };
    let (nobody, seven, eight) = (ColumnValue::Null, ColumnValue::Integer(7), ColumnValue::Integer(8));

    let (old, new) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
    let Created::Created(version) = store.create(&old, record(&data("{}"))).await.unwrap() else { panic!() };
    assert_eq!(stored(&old).await, nobody, "nobody is logged in");
    let logged_in = data(r#"{"_auth_user_id":"7"}"#);
    let outcome = store.update(&old, Some(&version), record(&logged_in)).await.unwrap();
    let Updated::Updated(current) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stored(&old).await, seven);
    let other = data(r#"{"_auth_user_id":"8"}"#);
    assert_eq!(store.update(&old, Some(&version), record(&other)).await.unwrap(), Updated::Changed);
    assert_eq!(stored(&old).await, seven, "what was not written is not in the column either");
    let outcome = store.rotate(&old, Some(&current), &new, record(&other)).await.unwrap();
    assert!(matches!(outcome, Rotated::Rotated(_)), "{outcome:?}");
    assert_eq!(stored(&new).await, eight);
    store.update(&new, None, record(&data("{}"))).await.unwrap();
    assert_eq!(stored(&new).await, nobody, "logged out");
    let created = SessionKey::random().unwrap();
    store.create(&created, record(&logged_in)).await.unwrap();
    assert_eq!(stored(&created).await, seven);
}

/// Many at once share statements where the database can; each row gets its own value.
async fn saves_at_the_same_time_are_not_mixed_up(database: Database) {
    database.execute(DOCUMENTED).await;
    let store = database.open(TABLE, Columns::default(), vec![account_id()]).await.unwrap();
    let user = |number: i64| data(&format!(r#"{{"_auth_user_id":"{number}"}}"#));
    let saves: Vec<_> = (0..100)
        .map(|number| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let (old, new) = (SessionKey::random().unwrap(), SessionKey::random().unwrap());
                store.create(&old, record(&user(-number))).await.unwrap();
                store.update(&old, None, record(&user(number))).await.unwrap();
                if number % 2 == 0 {
                    return (old, number);
                }
                store.rotate(&old, None, &new, record(&user(number + 1_000))).await.unwrap();
                (new, number + 1_000)
            })
        })
        .collect();
    for save in saves {
        let (session_key, number) = save.await.unwrap();
        let sql = "SELECT account_id FROM custom_sessions_customsession WHERE session_key = ";
        assert_eq!(database.value(sql, &session_key).await, ColumnValue::Integer(number));
    }
}

async fn a_table_with_names_of_its_own_conforms(database: Database) {
    let name = |name: &str| database.quoted(name);
    let (table, key, user) = ("my \"`sessions", "key", "user name");
    let sql = format!(
        "CREATE TABLE {} ({} varchar(40) PRIMARY KEY, {} text NOT NULL, {} DATETIME NOT NULL, \
         {} varchar(50) NULL, visits bigint NOT NULL)",
        name(table),
        name(key),
        name("order"),
        name("ends \"at"),
        name(user)
    );
    database.execute(&sql).await;
    let columns = Columns {
        session_key: key.to_owned(),
        session_data: "order".to_owned(),
        expire_date: "ends \"at".to_owned(),
    };
    let extra_columns = vec![
        ExtraColumn::new(user, |data: &SessionData| data.read::<String>("user").ok().flatten()),
        ExtraColumn::new("visits", |data: &SessionData| i64::try_from(data.len()).unwrap_or(i64::MAX)),
    ];
    let store = database.open(table, columns, extra_columns).await.unwrap();
    let summary = conformance::run(&store, &[]).await.unwrap();
    assert_eq!(summary.passed(), conformance::CHECKS.len());
    let session_key = SessionKey::random().unwrap();
    store.create(&session_key, record(&data(r#"{"user":"Zoë's; DROP","b":1}"#))).await.unwrap();
    let sql = |column: &str| format!("SELECT {} FROM {} WHERE {} = ", name(column), name(table), name(key));
    let text = ColumnValue::Text("Zoë's; DROP".to_owned());
    assert_eq!(database.value(&sql(user), &session_key).await, text);
    assert_eq!(database.value(&sql("visits"), &session_key).await, ColumnValue::Integer(2));
}

async fn a_missing_column_is_told_when_the_store_is_opened(database: Database) {
    database.execute(DOCUMENTED).await;
    let extra_column = ExtraColumn::new("user_id", |_: &SessionData| 1_i64);
    let error = database.open(TABLE, Columns::default(), vec![extra_column]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("has no column user_id"), "{error}");
}

async fn what_a_constraint_refuses_is_an_error_of_each_writing_call(database: Database) {
    for (constraint, refused) in [("NOT NULL", "{}"), ("NULL UNIQUE", r#"{"_auth_user_id":"6"}"#)] {
        database.execute("DROP TABLE IF EXISTS custom_sessions_customsession").await;
        database.execute(&DOCUMENTED.replace("integer NULL", &format!("integer {constraint}"))).await;
        let store = database.open(TABLE, Columns::default(), vec![account_id()]).await.unwrap();
        let keys: Vec<SessionKey> = (0..3).map(|_| SessionKey::random().unwrap()).collect();
        let [taken, other, free] = keys.as_slice() else { unreachable!() };
        store.create(taken, record(&data(r#"{"_auth_user_id":"7"}"#))).await.unwrap();
        store.create(other, record(&data(r#"{"_auth_user_id":"6"}"#))).await.unwrap();
        let refused = data(refused);
        let errors = [
            store.create(free, record(&refused)).await.unwrap_err(),
            store.update(taken, None, record(&refused)).await.unwrap_err(),
            store.rotate(taken, None, free, record(&refused)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{constraint}: {error}");
            assert!(error.to_string().contains("constraint of the table"), "{constraint}: {error}");
        }
        assert!(!store.exists(free, now()).await.unwrap());
        let kept = store.load(taken, now()).await.unwrap().unwrap().data().unwrap().to_json();
        assert_eq!(kept, r#"{"_auth_user_id":"7"}"#, "{constraint}");
        // With a unique column, too, a key that is taken is one.
        let outcome = store.rotate(taken, None, other, record(&data(r#"{"_auth_user_id":"8"}"#))).await;
        assert_eq!(outcome.unwrap(), Rotated::KeyTaken, "{constraint}");
    }
}

/// A text for a number, and a number that is too large: told, without the value, and nothing is written.
async fn a_value_that_the_column_cannot_hold_is_refused(database: Database) {
    database.execute(DOCUMENTED).await;
    let extra_column = ExtraColumn::new("account_id", |data: &SessionData| {
        match data.read::<String>("name").ok().flatten() {
            Some(name) => ColumnValue::Text(name),
            None => ColumnValue::Integer(if data.is_empty() { 1 } else { 1 << 40 }),
        }
    });
    let store = database.open(TABLE, Columns::default(), vec![extra_column]).await.unwrap();
    let session_key = SessionKey::random().unwrap();
    store.create(&session_key, record(&data("{}"))).await.unwrap();
    for json in [r#"{"name":"secret name"}"#, r#"{"large":true}"#] {
        let error = store.update(&session_key, None, record(&data(json))).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(!format!("{error} {error:?}").contains("secret name"), "{error:?}");
        assert_eq!(store.load(&session_key, now()).await.unwrap().unwrap().data().unwrap().to_json(), "{}");
    }
}

macro_rules! on_each_database {
    ($($feature:literal $module:ident: $new:ident $without:tt;)*) => {
        $(#[cfg(feature = $feature)]
        mod $module {
            on_each_database!(@ $new $without
                the_documented_model_is_filled_on_each_save
                saves_at_the_same_time_are_not_mixed_up
                a_table_with_names_of_its_own_conforms
                a_missing_column_is_told_when_the_store_is_opened
                what_a_constraint_refuses_is_an_error_of_each_writing_call
            );
        })*
    };
    (@ $new:ident () $($test:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            super::$test(super::Database::$new().await).await;
        })*
    };
    (@ $new:ident ($more:ident) $($test:ident)*) => {
        on_each_database!(@ $new () $($test)* $more);
    };
}

on_each_database! {
    // SQLite's columns hold whatever they are given.
    "sqlite" sqlite: sqlite ();
    "postgres" postgres: postgres (a_value_that_the_column_cannot_hold_is_refused);
    "mysql" mariadb: mariadb (a_value_that_the_column_cannot_hold_is_refused);
}
