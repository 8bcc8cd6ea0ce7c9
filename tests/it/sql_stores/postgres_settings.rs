//! The settings of a connection to PostgreSQL itself. [`poolers`](crate::poolers) has the connections to a pooler.

use cloakroom::{PostgresStore, Settings};

use super::*;
use crate::support::servers::postgres::{client, database};

/// The store's own settings hold on its connections, whatever the URL's `options` say.
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
