//! PgBouncer between the store and PostgreSQL.

use cloakroom::{PostgresStore, Settings, StoreErrorKind};
use tokio_postgres::SimpleQueryMessage;

use super::*;
use crate::support::servers::pgbouncer::start;
use crate::support::servers::postgres::{client, database};

/// What a client finds on the pooler's connection to the server: the server process, each setting, and the names of the
/// prepared statements.
async fn found_by_a_client(url: &str) -> Vec<[String; 2]> {
    let look = "SELECT 'process', pg_backend_pid()::text \
         UNION ALL SELECT name, setting FROM pg_settings \
         UNION ALL SELECT 'prepared', name FROM pg_prepared_statements ORDER BY 1, 2";
    let messages = client(url).await.simple_query(look).await.unwrap();
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some([0, 1].map(|column| row.get(column).unwrap().to_owned())),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// A pooler does not tell in which mode it pools, and its clients share what one of them sets.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_is_refused_and_nothing_is_left_on_its_connections() {
    let direct = database().await;
    PostgresStore::options(&direct).unwrap().create_table(Default::default()).await.unwrap();
    for (pool_mode, ignored) in [
        ("transaction", "extra_float_digits"),
        ("transaction", "extra_float_digits,options"),
        ("session", "extra_float_digits"),
        ("session", "extra_float_digits,options"),
        ("statement", "options"),
    ] {
        let (_server, url) = start(&direct, pool_mode, ignored).await;
        let before = found_by_a_client(&url).await;
        assert!(before.len() > 300, "{}", before.len());
        let options = PostgresStore::options(&url).unwrap();
        let opened = options.clone().open(&Settings::new("secret")).await;
        let table = options.create_table(Default::default()).await;
        let index = options.create_user_session_table().await;
        // While the store, were it open, holds its connections.
        let after = found_by_a_client(&url).await;
        let changed: Vec<_> = after.iter().filter(|found| !before.contains(found)).collect();
        assert!(changed.is_empty(), "{pool_mode}, ignoring {ignored}: {changed:?}");
        for error in [opened.err(), table.err(), index.err()] {
            let error = error.unwrap_or_else(|| panic!("{pool_mode}, ignoring {ignored}: it was taken"));
            let words = ["pooler", "PgBouncer", "address of PostgreSQL itself"];
            assert_error(&error, StoreErrorKind::Misconfigured, &words);
        }
    }
    let store = PostgresStore::open(&direct, &Settings::new("secret")).await.unwrap();
    let session = create(&store).await;
    assert!(matches!(update(&store, &session).await, Ok(Updated::Updated(_))));
}

/// What the store needs is set on its own connections, whatever the URL's `options` say.
#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_connection_are_its_own() {
    let url = database().await;
    PostgresStore::options(&url).unwrap().create_table(Default::default()).await.unwrap();
    let with_options = format!("{url}?options=-c%20enable_seqscan%3Don%20-c%20work_mem%3D1234");
    let mut options = PostgresStore::options(&with_options).unwrap();
    options.timeout = Duration::from_secs(20);
    // A function that an extra column's type calls would see them; here it is a trigger that writes them down.
    let raw = client(&url).await;
    raw.batch_execute(
        "CREATE TABLE seen (name text, setting text); \
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO seen SELECT name, setting FROM pg_settings; RETURN NEW; END $$; \
         CREATE TRIGGER look BEFORE INSERT ON django_session FOR EACH ROW EXECUTE FUNCTION look()",
    )
    .await
    .unwrap();
    let store = options.open(&Settings::new("secret")).await.unwrap();
    create(&store).await;
    for (name, setting) in [
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        ("default_transaction_isolation", "read committed"),
        ("statement_timeout", "18000"),
        ("work_mem", "1234"),
    ] {
        let rows = raw.query("SELECT setting FROM seen WHERE name = $1", &[&name]).await.unwrap();
        assert_eq!(rows.len(), 1, "{name}");
        assert_eq!(rows[0].get::<_, &str>(0), setting, "{name}");
    }
}
