//! The tables of docs/stores.md, "what you have, and what you write here": each row runs against a real server of that
//! shape, and once more against one that its column "verified" must refuse, or accept.
//!
//! Of a row's URL the login, the hosts, the database and the paths become those of a local server. Each parameter stays as
//! it is written. The servers take no connection that is not encrypted where the row has TLS.

use std::path::{Path, PathBuf};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::command::{Ran, SECRET, cloakroom, run};
use crate::support::documents::document;
use crate::support::project::{self, Project, python};
use crate::support::servers::pgbouncer::{self, Pool};
use crate::support::servers::{self, Server, mariadb, memcached, postgres, redis};

/// The password of all servers.
const PASSWORD: &str = postgres::PASSWORD;
/// The user of the databases.
const USER: &str = postgres::USER;

/// The cells of a table's rows, by the heading above it.
fn rows<const COLUMNS: usize>(heading: &str) -> Vec<[String; COLUMNS]> {
    let text = document("stores.md");
    let (_, section) = text.split_once(&format!("\n{heading}\n")).expect("the heading is there");
    let lines = section.lines().take_while(|line| !line.starts_with('#'));
    let table: Vec<&str> = lines.filter(|line| line.starts_with('|')).skip(2).collect();
    let cells = |line: &str| {
        let line = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).unwrap();
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("{COLUMNS} columns: {cells:?}"))
    };
    table.into_iter().map(cells).collect()
}

/// The text between the first backticks of a cell.
fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_else(|| panic!("no code: {cell}"))
}

/// The column "verified".
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verified {
    AuthorityAndHost,
    Authority,
    Nothing,
    NotEncrypted,
}

impl Verified {
    fn of(cell: &str) -> Verified {
        match cell {
            "yes" => Verified::AuthorityAndHost,
            "authority" => Verified::Authority,
            "no" => Verified::Nothing,
            "–" => Verified::NotEncrypted,
            other => panic!("what is verified? {other}"),
        }
    }
}

/// The parts of a URL in the table.
#[derive(Clone, Debug)]
struct Url {
    scheme: String,
    login: Option<String>,
    hosts: Vec<String>,
    path: String,
    query: Vec<(String, String)>,
}

impl Url {
    fn of(url: &str) -> Url {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = address.split_once("://").unwrap();
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let parameter = |part: &str| {
            let (name, value) = part.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Url {
            scheme: scheme.to_owned(),
            login: login.map(str::to_owned),
            hosts: hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect(),
            path: path.to_owned(),
            query: query.split('&').filter(|part| !part.is_empty()).map(parameter).collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.query.iter().any(|(parameter, _)| parameter == name)
    }

    fn is_database(&self) -> bool {
        matches!(&*self.scheme, "postgres" | "postgresql" | "mysql")
    }

    /// The same for a local server.
    fn at(&self, here: &Here) -> String {
        assert_eq!(self.hosts.len(), here.ports.len(), "{self:?}");
        let hosts: Vec<String> = here.ports.iter().map(|port| format!("{}:{port}", here.host)).collect();
        let login = self.login.as_ref().map_or(String::new(), |login| {
            let (user, password) = login.split_once(':').expect("a user and a password");
            assert!(!password.is_empty());
            let user = match user {
                "" | "default" => user,
                _ if self.is_database() => USER,
                user => panic!("{user} is no user of Redis here"),
            };
            format!("{user}:{PASSWORD}@")
        });
        let path = match &*self.scheme {
            _ if self.is_database() => format!("/{}", here.database),
            "unix" => here.socket.clone(),
            "memcached" if self.hosts.is_empty() => here.socket.clone(),
            _ => self.path.clone(),
        };
        let value = |name: &str, value: &str| match name {
            "sslrootcert" if value == "system" => value.to_owned(),
            "sslrootcert" | "ssl-ca" | "ssl_ca_certs" => {
                assert!(value.starts_with("/srv/"), "{value}");
                here.authority.display().to_string()
            }
            "host" | "unix_socket" => here.socket.clone(),
            _ => value.to_owned(),
        };
        let query: Vec<String> =
            self.query.iter().map(|(name, of)| format!("{name}={}", value(name, of))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("{}://{login}{}{path}{query}", self.scheme, hosts.join(","))
    }
}

/// A local server, or several.
#[derive(Clone)]
struct Here {
    host: &'static str,
    ports: Vec<u16>,
    database: String,
    /// A socket, or its folder.
    socket: String,
    /// The file of the authority that signed the server's certificate.
    authority: PathBuf,
    /// The file of another.
    other_authority: PathBuf,
}

impl Here {
    /// Servers at these ports, whose certificates are in the first one's folder.
    fn of(servers: &[&Server]) -> Here {
        let file = |name: &str| servers.first().map(|server| server.folder.join(name)).unwrap_or_default();
        Here {
            host: "127.0.0.1",
            ports: servers.iter().map(|server| server.port).collect(),
            database: String::new(),
            socket: String::new(),
            authority: file("ca.pem"),
            other_authority: file("stranger.pem"),
        }
    }

    fn with_database(mut self, database: &str) -> Here {
        self.database = database.to_owned();
        self
    }

    fn at_socket(mut self, socket: &Path) -> Here {
        (self.socket, self.ports) = (socket.display().to_string(), Vec::new());
        self
    }
}

/// The databases' servers, which take no connection over TCP that is not encrypted.
struct Databases {
    postgres: Server,
    mariadb: Server,
    /// Opened before.
    to_mariadb: Conn,
    count: usize,
}

/// Demands encryption from now on, but not at the socket.
async fn demand_encryption(server: &Server) {
    let rules = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.folder.join("data/pg_hba.conf"), rules).unwrap();
    admin(server).await.batch_execute("SELECT pg_reload_conf(), pg_sleep(0.2)").await.unwrap();
}

/// A connection at the socket.
async fn admin(server: &Server) -> tokio_postgres::Client {
    let (folder, port) = (server.folder.display(), server.port);
    postgres::client(&format!("postgres://{USER}:{PASSWORD}@/postgres?host={folder}&port={port}")).await
}

impl Databases {
    async fn start() -> Databases {
        let (postgres, mariadb) = tokio::join!(postgres::start_with_tls(), mariadb::start_with_tls(&[]));
        demand_encryption(&postgres).await;
        let mut to_mariadb = mariadb::connection(&mariadb::url(&mariadb, "mysql")).await;
        to_mariadb.query_drop("SET GLOBAL require_secure_transport = ON").await.unwrap();
        Databases { postgres, mariadb, to_mariadb, count: 0 }
    }

    /// A new database in PostgreSQL.
    async fn in_postgres(&mut self) -> Here {
        self.count += 1;
        let name = format!("row_{}", self.count);
        admin(&self.postgres).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let mut here = Here::of(&[&self.postgres]).with_database(&name);
        here.other_authority = self.postgres.folder.join("other_ca.pem");
        here
    }

    async fn in_mariadb(&mut self) -> Here {
        self.count += 1;
        let name = format!("row_{}", self.count);
        self.to_mariadb.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
        Here::of(&[&self.mariadb]).with_database(&name)
    }

    /// A PgBouncer in transaction mode, and a new database behind it.
    async fn behind_a_pooler(&mut self, is_encrypted: bool) -> (Here, Server) {
        let mut here = self.in_postgres().await;
        let file = |name: &str| self.postgres.folder.join(name).display().to_string();
        let mut further = "server_tls_sslmode = require\n".to_owned();
        if is_encrypted {
            further += &format!(
                "client_tls_sslmode = require\nclient_tls_cert_file = {}\nclient_tls_key_file = {}\n",
                file("server.pem"),
                file("server.key")
            );
        }
        let direct = postgres::url(&self.postgres, &here.database);
        let (pooler, _) = pgbouncer::start_with(&direct, Pool::TRANSACTION, &further).await;
        here.ports = vec![pooler.port];
        (here, pooler)
    }

    /// A proxy before a pooler, with the certificate of PostgreSQL.
    async fn log_in_before(&self, pooler: &Server) -> Server {
        let (folder, port) = (servers::folder("proxy", None), servers::free_port());
        let script = folder.join("login_proxy.py");
        std::fs::write(&script, include_str!("login_proxy.py")).unwrap();
        let file = |name: &str| self.postgres.folder.join(name).into_os_string();
        let ports = [port, pooler.port].map(|port| port.to_string().into());
        let mut command = vec![python().into_os_string(), script.into_os_string()];
        command.extend(ports);
        command.extend([file("server.pem"), file("server.key"), PASSWORD.into()]);
        let proxy = Server::start("the proxy", folder, port, None, command);
        proxy
            .wait_until(|| async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() })
            .await;
        proxy
    }
}

/// The resources that a row's servers run on.
#[derive(Default)]
struct Kept {
    servers: Vec<Server>,
    folder: Option<tempfile::TempDir>,
}

impl Kept {
    fn server(server: Server) -> Kept {
        Kept { servers: vec![server], folder: None }
    }

    /// Gives a socket another name, in a folder of its own.
    fn link(&mut self, socket: &Path, name: &str) -> PathBuf {
        let folder = self.folder.insert(tempfile::tempdir().unwrap());
        let link = folder.path().join(name);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(socket, &link).unwrap();
        link
    }
}

/// A server of the shape that a provider's is.
async fn at_provider(name: &str, url: &Url, databases: &mut Databases) -> (Here, Kept) {
    let mut kept = Kept::default();
    match name {
        "Amazon RDS and Aurora, PostgreSQL"
        | "Azure Database for PostgreSQL"
        | "DigitalOcean, PostgreSQL"
        | "Heroku Postgres"
        | "Neon"
        | "Supabase" => (databases.in_postgres().await, kept),
        "Amazon RDS Proxy"
        | "Azure Database for PostgreSQL, its PgBouncer"
        | "DigitalOcean, PostgreSQL pool"
        | "Supabase, transaction pooler"
        | "Supabase, for Prisma" => {
            let (here, pooler) = databases.behind_a_pooler(true).await;
            (here, Kept::server(pooler))
        }
        // PgBouncer does not know the channel binding; Neon's own proxy before it does.
        "Neon, pooled" => {
            let (mut here, pooler) = databases.behind_a_pooler(false).await;
            let proxy = databases.log_in_before(&pooler).await;
            here.ports = vec![proxy.port];
            kept.servers.extend([proxy, pooler]);
            (here, kept)
        }
        "Google Cloud SQL, PostgreSQL" => {
            let here = databases.in_postgres().await;
            let server = &databases.postgres;
            let socket = server.folder.join(format!(".s.PGSQL.{}", server.port));
            let link = kept.link(&socket, "project:region:site/.s.PGSQL.5432");
            (here.at_socket(link.parent().unwrap()), kept)
        }
        "Amazon RDS and Aurora, MySQL" | "DigitalOcean, MySQL" | "PlanetScale" | "PlanetScale, for Node" => {
            (databases.in_mariadb().await, kept)
        }
        "Google Cloud SQL, MySQL" => {
            let here = databases.in_mariadb().await;
            let link = kept.link(&databases.mariadb.folder.join("socket"), "project:region:site");
            (here.at_socket(&link), kept)
        }
        "Amazon ElastiCache"
        | "Azure Cache for Redis"
        | "DigitalOcean, Valkey and Redis"
        | "Upstash"
        | "Aiven for Valkey" => {
            let server = redis::start_with_certificate("server", &[]).await;
            (Here::of(&[&server]), Kept::server(server))
        }
        "Heroku Key-Value Store" => {
            let server = redis::start_with_certificate("alone", &[]).await;
            (Here::of(&[&server]), Kept::server(server))
        }
        "Amazon ElastiCache in cluster mode, MemoryDB" => {
            kept.servers = redis::start_cluster_with_tls("server", false).await;
            (Here::of(&[&kept.servers[0]]), kept)
        }
        "Amazon ElastiCache for memcached" => {
            for _ in &url.hosts {
                kept.servers.push(memcached::start_with_tls("server", &[]).await);
            }
            let here = Here::of(&kept.servers.iter().collect::<Vec<_>>());
            // Each server of memcached has an authority of its own: one file with all of them.
            let all: Vec<Vec<u8>> = kept
                .servers
                .iter()
                .map(|server| std::fs::read(server.folder.join("ca.pem")).unwrap())
                .collect();
            std::fs::write(&here.authority, all.concat()).unwrap();
            (here, kept)
        }
        other => panic!("the table has a provider of an unknown shape: {other}"),
    }
}

/// Runs the command, whose system trusts these authorities.
fn command(arguments: &[&str], url: &str, authorities: &Path, secret: &str) -> Ran {
    let mut command = cloakroom(&[arguments, &["--store", url]].concat());
    command.env("CLOAKROOM_SECRET_KEY", secret).env("SSL_CERT_FILE", authorities);
    let ran = run(command, b"");
    assert!(!format!("{ran:?}").contains(PASSWORD), "the password is shown: {ran:?}");
    ran
}

/// Asks servers with a certificate of another authority, and for another host. Returns how many were refused.
fn is_verified_as_said(row: &str, url: &Url, here: &Here, verified: Verified, secret: &str) -> usize {
    let count = |here: &Here| command(&["count"], &url.at(here), &here.authority, secret);
    let is_refused = |ran: &Ran| {
        assert!(ran.code != 0 && ran.stderr.contains("certificate"), "{row}: {ran:?}");
        1
    };
    let is_accepted = |ran: &Ran| {
        assert_eq!(ran.code, 0, "{row}: {ran:?}");
        0
    };
    let other_authority = count(&Here { authority: here.other_authority.clone(), ..here.clone() });
    let other_host = count(&Here { host: "localhost", ..here.clone() });
    match verified {
        Verified::AuthorityAndHost => is_refused(&other_authority) + is_refused(&other_host),
        Verified::Authority => is_refused(&other_authority) + is_accepted(&other_host),
        Verified::Nothing => is_accepted(&other_authority) + is_accepted(&other_host),
        Verified::NotEncrypted => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_providers_url_works() {
    let mut databases = Databases::start().await;
    let (mut count, mut refused) = (0, 0);
    for [name, shown, written, verified, _] in rows::<5>("### Providers") {
        let url = Url::of(code(if written == "as shown" { &shown } else { &written }));
        if shown.contains("://") && written != "as shown" {
            let shown = Url::of(code(&shown));
            assert!(shown.query.len() <= url.query.len() && shown.hosts == url.hosts, "{name}: {shown:?}");
        }
        let (here, _kept) = at_provider(&name, &url, &mut databases).await;
        let local = url.at(&here);
        if url.is_database() {
            let made = command(&["create-table"], &local, &here.authority, SECRET);
            assert!(made.code == 0 && made.stdout.contains("made the table"), "{name}: {made:?}");
        }
        let counted = command(&["count"], &local, &here.authority, SECRET);
        assert_eq!((counted.code, &*counted.stdout), (0, "0 live, 0 expired\n"), "{name}: {counted:?}");
        refused += is_verified_as_said(&name, &url, &here, Verified::of(&verified), SECRET);
        count += 1;
    }
    println!("{count} URLs of providers work; {refused} servers with another certificate were refused");
    assert!(count >= 26 && refused >= 30, "{count} {refused}");
}

/// Servers as a row's settings mean them, and what stands there in place of the row's words.
async fn for_django(cell: &str, url: &Url, databases: &mut Databases) -> (Here, Kept, Vec<(String, String)>) {
    let mut kept = Kept::default();
    let mut words = Vec::new();
    let here = match (&*url.scheme, url.hosts.len()) {
        ("postgres", 0) => {
            let here = databases.in_postgres().await;
            let server = &databases.postgres;
            let socket = server.folder.join(format!(".s.PGSQL.{}", server.port));
            let link = kept.link(&socket, ".s.PGSQL.5432");
            here.at_socket(link.parent().unwrap())
        }
        ("postgres", 1) if url.hosts[0].starts_with("pool.") => {
            let (here, pooler) = databases.behind_a_pooler(false).await;
            kept.servers.push(pooler);
            here
        }
        ("postgres", 1) => {
            let here = databases.in_postgres().await;
            if url.has("schema") {
                let (folder, port) = (databases.postgres.folder.display(), databases.postgres.port);
                let place =
                    format!("postgres://{USER}:{PASSWORD}@/{}?host={folder}&port={port}", here.database);
                postgres::client(&place).await.batch_execute("CREATE SCHEMA shop").await.unwrap();
            }
            here
        }
        ("postgres", 2) => {
            // The first one only reads.
            let mut here = databases.in_postgres().await;
            let reader = postgres::start_with_tls().await;
            let to_reader = admin(&reader).await;
            to_reader.batch_execute(&format!("CREATE DATABASE {}", here.database)).await.unwrap();
            to_reader.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
            demand_encryption(&reader).await;
            here.ports = vec![reader.port, databases.postgres.port];
            kept.servers.push(reader);
            here
        }
        ("mysql", 0) => {
            let here = databases.in_mariadb().await;
            here.at_socket(&databases.mariadb.folder.join("socket"))
        }
        ("mysql", 1) => databases.in_mariadb().await,
        ("redis", 1) => {
            let server = redis::start().await;
            let here = Here::of(&[&server]);
            if cell.contains("two.example") {
                let primary = format!("127.0.0.1 {}", server.port);
                let replica = redis::start_with(&["--replicaof", &primary, "--masterauth", PASSWORD]).await;
                words.push((":6380".to_owned(), format!(":{}", replica.port)));
                kept.servers.push(replica);
            }
            kept.servers.push(server);
            here
        }
        ("unix", 0) => {
            let folder = kept.folder.insert(tempfile::tempdir().unwrap());
            let socket = folder.path().join("redis.sock");
            let server = redis::start_with(&["--unixsocket", socket.to_str().unwrap()]).await;
            kept.servers.push(server);
            Here::of(&[]).at_socket(&socket)
        }
        ("rediss", 1) => {
            let server = redis::start_with_certificate("server", &[]).await;
            let here = Here::of(&[&server]);
            kept.servers.push(server);
            here
        }
        ("redis+sentinel", 3) => {
            let watched = redis::start_watched().await;
            let here = Here::of(&watched.sentinels.iter().collect::<Vec<_>>());
            kept.servers.extend(watched.sentinels);
            kept.servers.extend([watched.primary, watched.replica]);
            here
        }
        ("redis+cluster", 2) => {
            kept.servers = redis::start_cluster().await.0;
            Here::of(&[&kept.servers[0], &kept.servers[1]])
        }
        ("memcached", 2) => {
            for _ in 0..2 {
                kept.servers.push(memcached::start().await);
            }
            Here::of(&[&kept.servers[0], &kept.servers[1]])
        }
        ("memcached", 0) => {
            let (server, socket) = memcached::start_on_a_socket().await;
            kept.servers.push(server);
            Here::of(&[]).at_socket(&socket)
        }
        _ => panic!("the table has settings of an unknown shape: {url:?}"),
    };
    for (host, port) in url.hosts.iter().zip(&here.ports) {
        let (name, documented) = host.split_once(':').unwrap();
        words.push((name.to_owned(), "127.0.0.1".to_owned()));
        words.push((documented.to_owned(), port.to_string()));
    }
    words.extend([
        ("two.example".to_owned(), "127.0.0.1".to_owned()),
        ("/srv/ca.pem".to_owned(), here.authority.display().to_string()),
        ("/run/postgresql".to_owned(), here.socket.clone()),
        ("/run/mysqld/mysqld.sock".to_owned(), here.socket.clone()),
        ("/run/redis.sock".to_owned(), here.socket.clone()),
        ("/run/memcached.sock".to_owned(), here.socket.clone()),
        (":password@".to_owned(), format!(":{PASSWORD}@")),
        (": 'password'".to_owned(), format!(": '{PASSWORD}'")),
    ]);
    (here, kept, words)
}

/// Replaces each word in one pass, so that no replacement is replaced again.
fn replaced(text: &str, words: &[(String, String)]) -> String {
    let mut marked = text.to_owned();
    for (number, (word, _)) in words.iter().enumerate() {
        marked = marked.replace(word, &format!("\u{1}{}\u{2}", char::from(b'a' + number as u8)));
    }
    for (number, (_, here)) in words.iter().enumerate() {
        marked = marked.replace(&format!("\u{1}{}\u{2}", char::from(b'a' + number as u8)), here);
    }
    assert!(
        !marked.contains(".example") && !marked.contains("/srv/") && !marked.contains("/run/"),
        "{marked}"
    );
    marked
}

/// The settings of a site whose `DATABASES` or `CACHES` has this.
fn settings(part: &str, url: &Url, here: &Here) -> String {
    let cache = |backend: &str| {
        format!(
            "SESSION_ENGINE = 'django.contrib.sessions.backends.cache'\n\
             CACHES = {{'default': {{'BACKEND': '{backend}', {part}}}}}"
        )
    };
    let database = |engine: &str, part: &str| {
        format!(
            "import pymysql\npymysql.version_info = (2, 2, 7, 'final', 0)\npymysql.install_as_MySQLdb()\n\
             DATABASES = {{'default': {{'ENGINE': 'django.db.backends.{engine}', 'NAME': '{}', 'USER': '{USER}',\n\
             'PASSWORD': '{PASSWORD}', {part}}}}}\n",
            here.database
        )
    };
    match &*url.scheme {
        "postgres" if url.has("cache_table") => {
            let server = format!("'HOST': '127.0.0.1', 'PORT': {}", here.ports[0]);
            database("postgresql", &server) + &cache("a class that the row names")
        }
        "postgres" => database("postgresql", part),
        "mysql" => database("mysql", part),
        "memcached" => cache("django.core.cache.backends.memcached.PyMemcacheCache"),
        // A backend of the row's own comes later, and counts.
        _ => cache("django.core.cache.backends.redis.RedisCache"),
    }
}

/// How a site uses redis-py's client of a cluster with django-redis.
const CLUSTER_CLIENT: &str = "from redis.cluster import RedisCluster as Client\n\n\n\
    class RedisCluster(Client):\n\
    \x20   def __init__(self, connection_pool, **kwargs):\n\
    \x20       node = connection_pool.connection_kwargs\n\
    \x20       super().__init__(host=node['host'], port=node['port'], **kwargs)\n";

/// The session model of the row about one, in an application of its own.
fn add_session_model(project: &Project) {
    let folder = project.path().join("shop");
    std::fs::create_dir_all(&folder).unwrap();
    let model = "from django.contrib.sessions.base_session import AbstractBaseSession\n\
        class ShopSession(AbstractBaseSession):\n\
        \x20   @classmethod\n\
        \x20   def get_session_store_class(cls):\n\
        \x20       from shop.sessions import SessionStore\n\
        \x20       return SessionStore\n\
        \x20   class Meta:\n\
        \x20       db_table = 'shop_session'\n";
    let engine = "from django.contrib.sessions.backends.db import SessionStore as Base\n\
        class SessionStore(Base):\n\
        \x20   @classmethod\n\
        \x20   def get_model_class(cls):\n\
        \x20       from shop.models import ShopSession\n\
        \x20       return ShopSession\n";
    for (name, text) in [("__init__.py", ""), ("models.py", model), ("sessions.py", engine)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let path = project.path().join("mysite/settings.py");
    let settings = std::fs::read_to_string(&path).unwrap();
    let added = "INSTALLED_APPS += ['shop']\nSESSION_ENGINE = 'shop.sessions'\n";
    std::fs::write(path, format!("{settings}\n{added}")).unwrap();
}

/// Django saves a session; the URL finds it, and so does `--from-django`.
fn finds_djangos_session(row: &str, project: &Project, url: &str, authorities: &Path) {
    let key = project.create_session();
    let manage_py = project.manage_py();
    for place in [["--store", url], ["--from-django", &manage_py]] {
        let ask = |arguments: &[&str]| {
            let mut command = cloakroom(&[arguments, &place].concat());
            if place[0] == "--store" {
                command.env("CLOAKROOM_SECRET_KEY", project::SECRET);
            }
            command.env("SSL_CERT_FILE", authorities);
            run(command, b"")
        };
        let shown = ask(&["show", "--json", &key]);
        assert_eq!((shown.code, &shown.json()["user"]), (0, &"7".into()), "{row}: {shown:?}");
        // A folder of FileBasedCache tells no keys.
        if !url.starts_with("filecache:") {
            let counted = ask(&["count"]);
            assert_eq!((counted.code, &*counted.stdout), (0, "1 live, 0 expired\n"), "{row}: {counted:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_djangos_settings_has_its_url() {
    let mut databases = Databases::start().await;
    let (mut count, mut refused) = (0, 0);
    for [cell, written, verified, _] in rows::<4>("### Django's settings") {
        count += 1;
        if let Some((scheme, path)) = code(&written).split_once(":/srv/site/") {
            let folder = tempfile::tempdir().unwrap();
            let (path, query) = path.split_once('?').map_or((path, ""), |(path, query)| (path, query));
            let place = folder.path().join(path);
            let part = code(&cell).replace(&format!("/srv/site/{path}"), place.to_str().unwrap());
            let project = match scheme {
                "sqlite" => Project::new(&format!("DATABASES['default'].update({{{part}}})")),
                "file" => {
                    std::fs::create_dir(&place).unwrap();
                    let engine = "SESSION_ENGINE = 'django.contrib.sessions.backends.file'";
                    Project::unmigrated(python(), &format!("{engine}\n{part}"))
                }
                "filecache" => {
                    let engine = "SESSION_ENGINE = 'django.contrib.sessions.backends.cache'";
                    Project::unmigrated(python(), &format!("{engine}\nCACHES = {{'default': {{{part}}}}}"))
                }
                other => panic!("the table has settings of an unknown shape: {other}"),
            };
            let url = format!("{scheme}:{}?{query}", place.display());
            finds_djangos_session(&cell, &project, url.trim_end_matches('?'), Path::new(""));
            continue;
        }
        let url = Url::of(code(&written));
        let (here, _kept, words) = for_django(&cell, &url, &mut databases).await;
        let has_model = cell.starts_with("a session model");
        let part = if has_model { "'HOST': 'db.example', 'PORT': '5432'" } else { code(&cell) };
        let project = Project::unmigrated(python(), &settings(&replaced(part, &words), &url, &here));
        if cell.contains("'mysite.cluster.RedisCluster'") {
            std::fs::write(project.path().join("mysite/cluster.py"), CLUSTER_CLIENT).unwrap();
        }
        if url.has("cache_table") {
            project.manage(&["createcachetable"]);
        } else if has_model {
            add_session_model(&project);
            project.manage(&["migrate", "--run-syncdb", "--verbosity", "0"]);
        } else if url.is_database() {
            project.manage(&["migrate", "sessions", "--verbosity", "0"]);
        }
        if url.is_database() {
            // Django's migration made it, and the command knows it by its name.
            let made = command(&["create-table"], &url.at(&here), &here.authority, project::SECRET);
            let named = url.query.iter().find(|(name, _)| name == "table" || name == "cache_table");
            let table = named.map_or("django_session", |(_, table)| table);
            let said = format!("the table {table} is there already");
            assert!(made.code == 0 && made.stdout.contains(&said), "{cell}: {made:?}");
        }
        finds_djangos_session(&cell, &project, &url.at(&here), &here.authority);
        refused += is_verified_as_said(&cell, &url, &here, Verified::of(&verified), project::SECRET);
    }
    println!(
        "{count} settings of Django have their URL; {refused} servers with another certificate were refused"
    );
    assert!(count >= 25 && refused >= 7, "{count} {refused}");
}
