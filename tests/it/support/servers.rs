//! Real servers for the tests: private ones, each in a temporary folder on a free port. Servers that run
//! already on this machine are never touched.
//!
//! A server ends with its [`Server`], and also when the test process dies in whatever way: a small shell
//! script holds the other end of a pipe, and when that closes it kills the server and removes the folder.

#[cfg(any(feature = "mysql-tls", feature = "redis-tls", feature = "memcached-tls"))]
pub(crate) mod certificates;
#[cfg(feature = "mysql")]
pub(crate) mod mariadb;
#[cfg(feature = "memcached")]
pub(crate) mod memcached;
pub(crate) mod nginx;
#[cfg(feature = "postgres")]
pub(crate) mod pgbouncer;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running server. Dropping it kills the server and removes its folder.
pub(crate) struct Server {
    /// Its files; the log is `log`.
    pub(crate) folder: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    name: &'static str,
    commands: Option<ChildStdin>,
    script: Child,
}

/// Starts the server, obeys `start` and the names of signals on its input, and cleans up when that ends.
/// PostgreSQL serves each connection in a process of its own, so signals go to the server's children too.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
start() { "$@" >>"$folder/log" 2>&1 & server=$!; }
start "$@"
while read -r word; do
    case $word in
        start) start "$@" ;;
        KILL)
            # Once it is stopped it has no more children than are listed.
            kill -STOP $server
            children=$(ps -o pid= --ppid "$server")
            kill -KILL $server $children
            wait $server
            # The next PostgreSQL refuses memory that one of them still holds.
            while ps -o stat= -p "$(echo $children)" 2>/dev/null | grep -qv Z; do sleep 0.02; done ;;
        *) kill -"$word" $server $(ps -o pid= --ppid "$server") ;;
    esac
done
kill -KILL $server; wait $server
rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
"#;

impl Server {
    /// Starts a program whose files are in `folder`, which this removes at the end. `user` is whom to run it
    /// as when the tests run as root, for servers that refuse to be root.
    pub(crate) fn start(
        name: &'static str,
        folder: PathBuf,
        port: u16,
        user: Option<&str>,
        command: impl IntoIterator<Item = OsString>,
    ) -> Server {
        let mut script = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(&folder)
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(user_options(user))
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Server { folder, port, name, commands: script.stdin.take(), script }
    }

    /// Sends a signal: `KILL`, `TERM`, `STOP` or `CONT`; or `start`, to start the server again.
    pub(crate) fn send(&mut self, word: &str) {
        let commands = self.commands.as_mut().expect("the pipe is open until drop");
        writeln!(commands, "{word}").expect("the script reads");
    }

    /// Waits until the server answers; shows its log when it does not within 60 seconds.
    pub(crate) async fn wait_until<F: Future<Output = bool>>(&self, answers: impl Fn() -> F) {
        let start = Instant::now();
        while !answers().await {
            if start.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("{} does not answer on port {}; its log:\n{log}", self.name, self.port);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.script.wait();
    }
}

/// Removes a folder that no server has taken over when the test process dies.
const UNUSED_FOLDER: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
[ -e "$1/log" ] || { sleep 1; rm -rf "$1"; }
"#;

/// A folder for one server, which [`Server`] removes; owned by `user` when the tests run as root.
#[allow(clippy::zombie_processes, reason = "the script outlives this process")]
pub(crate) fn folder(name: &str, user: Option<&str>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(&format!("cloakroom-{name}-")).tempdir().unwrap().keep();
    let mut script = Command::new("sh")
        .args(["-c", UNUSED_FOLDER, "sh"])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    // The pipe closes when this process ends, however it does.
    std::mem::forget(script.stdin.take());
    if let Some(user) = user.filter(|_| is_root()) {
        std::os::unix::fs::chown(&folder, Some(number("-u", user)), Some(number("-g", user))).unwrap();
    }
    folder
}

/// A server that takes connections and says nothing, with its port.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn silent() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody uses now. It is below those that Linux gives to outgoing connections, of which one might take it
/// before its server does.
pub(crate) fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 20_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test processes at once begin apart from each other.
        let number = std::process::id().wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + number % PORTS.len() as u32) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where a program is: on the search path, or in one of the folders where Debian hides it.
pub(crate) fn program(name: &str, also: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(also.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run scripts/install-test-servers"))
}

/// Runs a program to its end, as `user` when the tests run as root.
pub(crate) fn run(user: Option<&str>, command: impl IntoIterator<Item = OsString>, folder: &Path) {
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .args(user_options(user))
        .args(command)
        .current_dir(folder)
        .output()
        .expect("setpriv, of util-linux, starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `server.pem` with its `server.key`, for 127.0.0.1, signed by `ca.pem`.
#[cfg(any(
    feature = "mysql-tls",
    feature = "postgres-tls",
    feature = "redis-tls",
    feature = "memcached-tls"
))]
fn make_certificates(folder: &Path, user: Option<&str>) {
    let openssl = |arguments: &str| {
        let words = arguments.split(' ').map(OsString::from);
        run(user, std::iter::once(program("openssl", &[]).into()).chain(words), folder);
    };
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=tests -keyout ca.key -out ca.pem"));
    openssl(&format!("req {key} -subj /CN=server -keyout server.key -out server.csr"));
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
}

fn user_options(user: Option<&str>) -> Vec<String> {
    match user.filter(|_| is_root()) {
        Some(user) => vec![format!("--reuid={user}"), format!("--regid={user}"), "--init-groups".to_owned()],
        None => Vec::new(),
    }
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    number("-u", "") == 0
}

fn number(option: &str, user: &str) -> u32 {
    let output = Command::new("id").arg(option).args((!user.is_empty()).then_some(user)).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("no user {user}: run scripts/install-test-servers"))
}
