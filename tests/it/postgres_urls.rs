//! URLs of PostgreSQL as people and providers write them, with the parameters of libpq.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloakroom::store::postgres::Pooler;
use cloakroom::store::{PasswordSource, TlsMode};
use cloakroom::{PostgresStore, SessionStore, Settings, StoreErrorKind, conformance};

use crate::sql_stores::{assert_error, create};
use crate::support::records::now;
use crate::support::servers::free_port;
use crate::support::servers::pgbouncer::{self, Pool};
use crate::support::servers::postgres::{self, PASSWORD, USER, client, database};

fn settings() -> Settings {
    Settings::new("secret")
}

/// Makes the table, and a session in it. Returns where the store says that it is.
async fn works(url: &str) -> String {
    let options = PostgresStore::options(url).unwrap();
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&settings()).await.unwrap();
    let session = create(&store).await;
    assert!(store.load(&session.0, now()).await.unwrap().is_some(), "{url}");
    format!("{store:?}")
}

#[test]
fn parameters_mean_what_they_mean_for_libpq() {
    let shown = |url: &str| {
        let text = format!("{:?}", PostgresStore::options(url).unwrap());
        text.split('"').nth(1).unwrap().to_owned()
    };
    for (url, place) in [
        ("postgres://ann:x@db/site", "database site at db:5432"),
        ("postgresql://ann@db:7/site", "database site at db:7"),
        ("postgres://a:1,b:2/site", "database site at a:1,b:2"),
        ("postgres://a,b/site?port=7", "database site at a:7,b:7"),
        ("postgres:///site?host=a,b&port=1,2", "database site at a:1,b:2"),
        ("postgres:///site?host=a,b&port=1,", "database site at a:1,b:5432"),
        ("postgres://db:7/site?host=a", "database site at a:7"),
        ("postgres:///site?hostaddr=192.0.2.1", "database site at 192.0.2.1:5432"),
        ("postgres://[::1]:7/site", "database site at ::1:7"),
        ("postgres:///site?host=/run/postgresql", "database site at /run/postgresql:5432"),
        ("postgres://%2Frun%2Fpostgresql/site", "database site at /run/postgresql:5432"),
        ("postgres://db?dbname=site&user=ann%40server", "database site at db:5432"),
        ("postgres://ann@db", "database ann at db:5432"),
        ("postgres://ann:a?b&c=@db/site?port=7", "database site at db:7"),
        ("postgres://ann:a/b@db/site", "database site at db:5432"),
        ("postgres://db/site?user=ann@server", "database site at db:5432"),
        ("host=db port=7 dbname=site user=ann", "database site at db:7"),
    ] {
        assert_eq!(shown(url), place, "{url}");
    }
    let options = |query: &str| PostgresStore::options(&format!("postgres://db/site?{query}")).unwrap();
    for query in [
        "application_name=shop&connect_timeout=10&keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3",
        "tcp_user_timeout=5000&load_balance_hosts=random&target_session_attrs=read-write&gssencmode=disable",
        "target_session_attrs=primary&client_encoding=UTF8&sslcompression=0&connect_timeout=0&fallback_application_name=x",
        "options=-csearch_path%3Dshop&channel_binding=prefer",
    ] {
        options(query);
    }
    assert_eq!(options("").tls.mode, TlsMode::Prefer);
    assert_eq!(options("sslrootcert=system").tls.mode, TlsMode::VerifyFull);
    assert_eq!(options("pgbouncer=true").pooler, Pooler::Yes);
    assert_eq!(options("pgbouncer=false").pooler, Pooler::Detect);
    assert_eq!(options("pooler=no").pooler, Pooler::No);
    let named = options("schema=shop&table=shop_session&user_session_table=logins");
    assert_eq!((named.schema.as_deref(), &*named.table), (Some("shop"), "shop_session"));
    assert_eq!(named.user_session_table, "logins");
}

#[test]
fn each_refused_parameter_is_named_with_what_is_allowed() {
    for (query, words) in [
        ("sslmod=require", &["`sslmod`", "sslmode"][..]),
        ("sslmode=verify", &["`sslmode`", "verify-full"]),
        ("sslmode=require&sslrootcert=system", &["`sslmode`", "verify-full"]),
        ("sslmode=require&sslmode=disable", &["`sslmode`", "twice"]),
        ("sslkey=/x", &["`sslkey`", "`sslcert`"]),
        ("sslcrl=/x", &["`sslcrl`", "not checked"]),
        ("sslpassword=open-sesame", &["`sslpassword`", "not encrypted"]),
        ("channel_binding=yes", &["`channel_binding`", "require"]),
        ("service=shop", &["`service`", "host, port, dbname and user"]),
        ("passfile=/x", &["`passfile`", "PostgresOptions::password"]),
        ("target_session_attrs=standby", &["`target_session_attrs`", "read-write"]),
        ("target_session_attrs=prefer-standby", &["`target_session_attrs`", "read-write"]),
        ("target_session_attrs=write", &["`target_session_attrs`", "read-write"]),
        ("connect_timeout=soon", &["`connect_timeout`", "number of seconds"]),
        ("host=a,b&port=1,2,3", &["`port`", "3 ports for 2 hosts"]),
        ("host=a,,b", &["`host`", "empty"]),
        ("host=@socket", &["`host`", "abstract"]),
        ("port=70000", &["`port`", "65535"]),
        ("hostaddr=db", &["`hostaddr`", "IP address"]),
        ("hostaddr=192.0.2.1,192.0.2.2&host=a", &["`hostaddr`", "one for each host"]),
        ("client_encoding=latin1", &["`client_encoding`", "utf8"]),
        ("gssencmode=require", &["`gssencmode`", "disable"]),
        ("keepalives=yes", &["`keepalives`", "1 or 0"]),
        ("pooler=transaction", &["`pooler`", "yes or no"]),
        ("pooler=yes&pgbouncer=true", &["`pgbouncer`", "`pooler`"]),
        ("connection_limit=1", &["`connection_limit`", "Prisma"]),
        ("table=", &["`table`", "a name"]),
        ("conn_max_age=600", &["`conn_max_age`"]),
    ] {
        let url = format!("postgres://ann:{PASSWORD}@db/site?{query}");
        let error = PostgresStore::options(&url).err().unwrap_or_else(|| panic!("{query} was taken"));
        assert_error(&error, StoreErrorKind::Misconfigured, words);
        assert!(!error.to_string().contains("not a PostgreSQL URL"), "{query}: {error}");
    }
    let error = PostgresStore::options("postgres:///site").unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["`host`", "?host=/run/postgresql"]);
    let error = PostgresStore::options("postgres://ann:open-sesame?x@db/site?open=sesame").unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["parameter `open`"]);
}

/// The first server refuses, does not answer, or is not what the URL asks for.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_is_tried() {
    let direct = database().await;
    let (before, rest) = direct.rsplit_once('@').unwrap();
    let (place, name) = rest.split_once('/').unwrap();
    let port = place.rsplit_once(':').unwrap().1;
    let closed = free_port();
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address.port())).unwrap();
    for first in [closed, silent.1] {
        works(&format!("{before}@127.0.0.1:{first},127.0.0.1:{port}/{name}")).await;
        works(&format!("{before}@/{name}?host=127.0.0.1,localhost&port={first},{port}")).await;
    }
    let start = Instant::now();
    let url = format!("{before}@127.0.0.1:{},127.0.0.1:{port}/{name}?connect_timeout=1", silent.1);
    works(&url).await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    // A refused login is final, as with libpq.
    let wrong = before.replace(PASSWORD, "open-sesame-wrong");
    let url = format!("{wrong}@127.0.0.1:{port},127.0.0.1:{closed}/{name}");
    let error = PostgresStore::open(&url, &settings()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["check user and password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_can_write_is_found() {
    let (reader, writer) = (postgres::start().await, postgres::start().await);
    for server in [&reader, &writer] {
        PostgresStore::options(&postgres::url(server, "postgres"))
            .unwrap()
            .create_table(Default::default())
            .await
            .unwrap();
    }
    let to_reader = client(&postgres::url(&reader, "postgres")).await;
    to_reader.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    to_reader.batch_execute("SELECT pg_reload_conf(), pg_sleep(0.3)").await.unwrap();
    let url = |attributes: &str| {
        let (reader, writer) = (reader.port, writer.port);
        let hosts = format!("127.0.0.1:{reader},127.0.0.1:{writer}");
        format!("postgres://{USER}:{PASSWORD}@{hosts}/postgres?target_session_attrs={attributes}")
    };
    for attributes in ["read-write", "primary"] {
        let store = PostgresStore::open(&url(attributes), &settings()).await.unwrap();
        create(&store).await;
    }
    let store = PostgresStore::open(&url("read-only"), &settings()).await.unwrap();
    let count = store.count(now()).await.unwrap();
    assert_eq!(count.live + count.expired, 0, "it is the other server");
    let alone = format!("{}?target_session_attrs=read-write", postgres::url(&reader, "postgres"));
    let error = PostgresStore::open(&alone, &settings()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["target_session_attrs=read-write"]);
}

/// Two tenants, each with its own tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_has_its_own_tables() {
    let direct = database().await;
    let raw = client(&direct).await;
    let missing = PostgresStore::options(&format!("{direct}?schema=shop")).unwrap();
    let error = missing.create_table(Default::default()).await.unwrap_err();
    assert_error(
        &error,
        StoreErrorKind::Misconfigured,
        &["no schema for shop.django_session", "CREATE SCHEMA"],
    );
    let error = missing.clone().open(&settings()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no schema for shop.django_session"]);
    raw.batch_execute("CREATE SCHEMA shop; CREATE SCHEMA \"O'Hara \"\"x\"\"\"").await.unwrap();
    let error = missing.open(&settings()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["no table shop.django_session"]);

    let odd = "O%27Hara%20%22x%22";
    for url in [format!("{direct}?schema=shop"), format!("{direct}?schema={odd}"), direct.clone()] {
        let options = PostgresStore::options(&url).unwrap();
        options.create_table(Default::default()).await.unwrap();
        crate::user_sessions::conforms(&url).await;
        let store: Arc<dyn SessionStore> = Arc::new(options.open(&settings()).await.unwrap());
        println!("{url}: {}", conformance::run(&store, &[]).await.unwrap());
    }
    let schemas = "SELECT count(DISTINCT schemaname), count(*) FROM pg_tables \
                   WHERE tablename IN ('django_session', 'cloakroom_user_session')";
    let row = raw.query_one(schemas, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 6));

    let of_shop = PostgresStore::open(&format!("{direct}?schema=shop"), &settings()).await.unwrap();
    let session = create(&of_shop).await;
    // The same table, by the search path and by the name that Django's models use.
    let mut by_name = PostgresStore::options(&direct).unwrap();
    by_name.table = "shop\".\"django_session".to_owned();
    let by_path = format!("{direct}?options=-csearch_path%3Dshop");
    let by_path = PostgresStore::options(&by_path).unwrap();
    for (options, is_there) in
        [(by_name, true), (by_path, true), (PostgresStore::options(&direct).unwrap(), false)]
    {
        let store = options.open(&settings()).await.unwrap();
        assert_eq!(store.load(&session.0, now()).await.unwrap().is_some(), is_there, "{store:?}");
    }
    // Beside the site's own migrations, which are in the other schema.
    works(&format!("{direct}?schema=shop&table=other_session")).await;
}

/// Django's own connection is by a socket where no host is given. There is nothing to encrypt.
#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_used() {
    let server = postgres::start().await;
    let folder = server.folder.display();
    for query in ["", "&sslmode=verify-full", "&sslmode=require&channel_binding=prefer"] {
        let port = server.port;
        works(&format!("postgres://{USER}:{PASSWORD}@/postgres?host={folder}&port={port}{query}")).await;
    }
}

/// As an IAM token or a password of Vault: the old one is refused once it was changed.
#[tokio::test(flavor = "multi_thread")]
async fn each_connection_asks_for_the_password() {
    let direct = database().await;
    let raw = client(&direct).await;
    let role = format!("expiring_{}", std::process::id());
    raw.batch_execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'first-open-sesame'"))
        .await
        .unwrap();
    let url = direct.replace(&format!("{USER}:{PASSWORD}@"), &format!("{role}:open-sesame-old@"));
    let next = Arc::new(Mutex::new(Ok("first-open-sesame".to_owned())));
    let mut options = PostgresStore::options(&url).unwrap();
    options.password = Some(PasswordSource::new({
        let next = Arc::clone(&next);
        move || {
            let next: Result<String, &str> = next.lock().unwrap().clone();
            async move { next }
        }
    }));
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&settings()).await.unwrap();
    let session = create(&store).await;
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    raw.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'second-open-sesame'; {cut}")).await.unwrap();
    *next.lock().unwrap() = Err("the vault is sealed");
    let error = store.load(&session.0, now()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["no password", "the vault is sealed"]);
    *next.lock().unwrap() = Ok("second-open-sesame".to_owned());
    let start = Instant::now();
    while store.load(&session.0, now()).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5), "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(store);
    raw.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drivers_configuration_is_taken() {
    let direct = database().await;
    client(&direct).await.batch_execute("CREATE SCHEMA shop").await.unwrap();
    let mut config: tokio_postgres::Config = direct.parse().unwrap();
    config.options("-c search_path=shop").application_name("shop");
    let options = PostgresStore::from_config(config);
    options.create_table(Default::default()).await.unwrap();
    let store = options.open(&settings()).await.unwrap();
    create(&store).await;
    let found = "SELECT (SELECT count(*) FROM shop.django_session), \
                 (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop')";
    let row = client(&direct).await.query_one(found, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 2));
}

/// URLs as the consoles of providers show them, at local servers of that shape.
#[cfg(feature = "postgres-tls")]
#[tokio::test(flavor = "multi_thread")]
async fn urls_of_providers_work() {
    let server = postgres::start_with_tls().await;
    let direct = postgres::url(&server, "postgres");
    let folder = server.folder.display();
    let tls = format!(
        "client_tls_sslmode = require\nclient_tls_cert_file = {folder}/server.pem\n\
         client_tls_key_file = {folder}/server.key\n"
    );
    let ignoring = Pool { ignored: "extra_float_digits,options", ..Pool::TRANSACTION };
    let (_encrypted, pool) = pgbouncer::start_with(&direct, Pool::TRANSACTION, &tls).await;
    let (_ignoring, neon) = pgbouncer::start_with(&direct, ignoring, &tls).await;
    let (_plain, supabase) = pgbouncer::start(&direct, Pool::TRANSACTION).await;
    for (provider, url) in [
        ("RDS", format!("{direct}?sslmode=verify-full&sslrootcert={folder}/ca.pem")),
        ("Neon", format!("{direct}?sslmode=require&channel_binding=require")),
        ("Neon, pooled", format!("{neon}?sslmode=require&options=endpoint%3Dep-cool-darkness-123456")),
        ("Supabase, direct", format!("{direct}?sslmode=require")),
        ("Supabase, pooled", format!("{supabase}?pgbouncer=true")),
        ("Supabase, pooled, without a word", supabase.clone()),
        ("Heroku", format!("{direct}?sslmode=require")),
        ("DigitalOcean", direct.replace("postgres://", "postgresql://") + "?sslmode=require"),
        ("DigitalOcean, pooled", format!("{pool}?sslmode=require")),
        ("RDS Proxy", format!("{pool}?sslmode=verify-full&sslrootcert={folder}/ca.pem&pooler=yes")),
    ] {
        works(&url).await;
        println!("{provider}: works");
    }
    pgbouncer::assert_nothing_is_left(&direct, &supabase, Pool::TRANSACTION).await;
}
