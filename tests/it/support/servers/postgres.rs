//! PostgreSQL: one server for all tests, and a database for each.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use super::{Server, folder, free_port, is_root, program, run};

/// The role of the tests, who may do everything.
pub(crate) const USER: &str = "cloakroom";
/// Looked for in error messages and debug output, where it must not be.
pub(crate) const PASSWORD: &str = "open-sesame-8731";

static SHARED: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database on the shared server.
pub(crate) async fn database() -> String {
    let server = SHARED.get_or_init(start).await;
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    client(&url(server, "postgres")).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    url(server, &name)
}

/// The URL of a database on this server.
pub(crate) fn url(server: &Server, database: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", server.port)
}

/// A connection of the tests' own.
pub(crate) async fn client(url: &str) -> Client {
    try_client(url).await.unwrap()
}

async fn try_client(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A server of one test's own.
pub(crate) async fn start() -> Server {
    start_with(|_, _| Vec::new()).await
}

/// A server of one test's own that counts statements.
pub(crate) async fn start_counting() -> Server {
    let settings = ["shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_utility=off"];
    start_with(|_, _| settings.iter().flat_map(|setting| ["-c", setting]).map(str::to_owned).collect()).await
}

/// A server that offers TLS with a certificate for 127.0.0.1, signed by `ca.pem` in its folder. It trusts clients with
/// a certificate of that authority, such as `client.pem`, which is the user's. `stranger.pem` is of `other_ca.pem`, and
/// `expired.pem` is the server's until it expired.
#[cfg(feature = "postgres-tls")]
pub(crate) async fn start_with_tls() -> Server {
    start_with(|folder, user| {
        super::make_certificates(folder, user);
        make_further_certificates(folder, user);
        let file = |name: &str| folder.join(name).display().to_string();
        let settings = [
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
            format!("ssl_ca_file={}", file("ca.pem")),
        ];
        settings
            .into_iter()
            .chain(["ssl=on".to_owned()])
            .flat_map(|setting| ["-c".to_owned(), setting])
            .collect()
    })
    .await
}

#[cfg(feature = "postgres-tls")]
fn make_further_certificates(folder: &Path, user: Option<&str>) {
    let openssl = |arguments: &str| {
        let words = arguments.split(' ').map(OsString::from);
        run(user, std::iter::once(program("openssl", &[]).into()).chain(words), folder);
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=others -keyout other_ca.key -out other_ca.pem"));
    for (name, subject, authority) in [("client", USER, "ca"), ("stranger", USER, "other_ca")] {
        openssl(&format!("req {key} -subj /CN={subject} -keyout {name}.key -out {name}.csr"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
        ));
    }
    let authority = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nserial=serial.txt\nnew_certs_dir=.\n\
                     default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n";
    for (name, text) in [("ca.cnf", authority), ("index.txt", ""), ("serial.txt", "77\n")] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        run(None, ["chmod".into(), "a+rw".into(), path.into()], folder);
    }
    openssl(
        "ca -batch -config ca.cnf -in server.csr -cert ca.pem -keyfile ca.key -startdate 20200101000000Z \
         -enddate 20200201000000Z -extfile names -out expired.pem",
    );
}

/// `options` makes what the server's command line needs besides, in its folder and as its user.
async fn start_with(options: impl FnOnce(&Path, Option<&str>) -> Vec<String>) -> Server {
    let hidden: Vec<String> =
        (13..=20).rev().map(|version| format!("/usr/lib/postgresql/{version}/bin")).collect();
    let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
    let (initdb, postgres) = (program("initdb", &hidden), program("postgres", &hidden));
    // PostgreSQL refuses to run as root; the Debian package brings this user.
    let user = is_root().then_some("postgres");
    let folder = folder("postgres", user);
    let data = folder.join("data");
    let password_file = folder.join("password");
    std::fs::write(&password_file, PASSWORD).unwrap();
    let mut command: Vec<OsString> = vec![initdb.into(), "-D".into(), (&data).into()];
    command.extend(
        ["--no-sync", "-A", "scram-sha-256", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8"].map(Into::into),
    );
    command.extend(["--pwfile".into(), password_file.into()]);
    run(user, command, &folder);
    let port = free_port();
    let mut command: Vec<OsString> = vec![postgres.into(), "-D".into(), data.into()];
    command.extend(["-h", "127.0.0.1", "-c", "max_connections=200", "-p"].map(Into::into));
    command.extend([port.to_string().into(), "-k".into(), (&folder).into()]);
    command.extend(options(&folder, user).into_iter().map(OsString::from));
    let server = Server::start("PostgreSQL", folder, port, user, command);
    server.wait_until(async || try_client(&url(&server, "postgres")).await.is_ok()).await;
    server
}
