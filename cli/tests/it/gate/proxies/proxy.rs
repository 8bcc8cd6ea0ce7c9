//! Real proxies, each with its shipped configuration, in which only addresses are changed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::client;
use crate::support::documents::root;
use crate::support::servers::{Server, folder, free_port, is_root, program};

/// The host that the shipped configurations protect.
pub(super) const HOST: &str = "wiki.example.com";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Traefik,
    Caddy,
    EnvoyHttp,
    EnvoyGrpc,
    HaProxy,
}

pub(super) const KINDS: [Kind; 6] =
    [Kind::Nginx, Kind::Traefik, Kind::Caddy, Kind::EnvoyHttp, Kind::EnvoyGrpc, Kind::HaProxy];

impl Kind {
    /// The shipped files.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Kind::Nginx => &["nginx.conf"],
            Kind::Traefik => &["traefik.yml", "traefik-dynamic.yml"],
            Kind::Caddy => &["Caddyfile"],
            Kind::EnvoyHttp => &["envoy-http.yaml"],
            Kind::EnvoyGrpc => &["envoy-grpc.yaml"],
            Kind::HaProxy => &["haproxy.cfg", "haproxy-gate.lua"],
        }
    }

    /// The files' texts, by their names.
    fn addresses(self) -> &'static [(&'static str, Address)] {
        const BACK_END: (&str, Address) = ("127.0.0.1:3000", Address::BackEnd);
        const GATE: (&str, Address) = ("127.0.0.1:9180", Address::Gate);
        const LISTEN: (&str, Address) = ("127.0.0.1:8080", Address::Listen);
        match self {
            Kind::Nginx | Kind::Traefik | Kind::HaProxy => &[BACK_END, GATE, LISTEN],
            Kind::Caddy => &[BACK_END, GATE, (":8080", Address::Listen)],
            Kind::EnvoyHttp => &[
                ("port_value: 3000", Address::BackEnd),
                ("port_value: 9180", Address::Gate),
                ("port_value: 8080", Address::Listen),
            ],
            Kind::EnvoyGrpc => &[
                ("port_value: 3000", Address::BackEnd),
                ("port_value: 9181", Address::GateGrpc),
                ("port_value: 8080", Address::Listen),
            ],
        }
    }
}

#[derive(Clone, Copy)]
enum Address {
    BackEnd,
    Gate,
    GateGrpc,
    Listen,
}

/// Where the others are.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub(super) back_end: u16,
    pub(super) gate: u16,
    pub(super) gate_grpc: u16,
}

/// Starts it with the shipped configuration.
pub(super) async fn start(kind: Kind, around: Around) -> Server {
    start_changed(kind, around, &[]).await
}

/// Starts it with the shipped configuration, in which these texts are replaced.
pub(super) async fn start_changed(kind: Kind, around: Around, changes: &[(&str, &str)]) -> Server {
    let (folder, port) = (folder("proxy", None), free_port());
    let mut texts: Vec<(&str, String)> = kind.files().iter().map(|name| (*name, shipped(name))).collect();
    for &(there, address) in kind.addresses() {
        let number = match address {
            Address::BackEnd => around.back_end,
            Address::Gate => around.gate,
            Address::GateGrpc => around.gate_grpc,
            Address::Listen => port,
        };
        let digits = there.rfind(|letter: char| !letter.is_ascii_digit()).unwrap() + 1;
        replace(&mut texts, there, &format!("{}{number}", &there[..digits]));
    }
    for (there, here) in changes {
        replace(&mut texts, there, here);
    }
    let path = |name: &str| folder.join(name);
    match kind {
        Kind::Traefik => {
            let dynamic = path("traefik-dynamic.yml");
            replace(&mut texts, "/etc/traefik/traefik-dynamic.yml", dynamic.to_str().unwrap());
        }
        Kind::HaProxy => {
            let lua = path("haproxy-gate.lua");
            replace(&mut texts, "/etc/haproxy/haproxy-gate.lua", lua.to_str().unwrap());
        }
        _ => {}
    }
    for (name, text) in &texts {
        std::fs::write(path(name), text).unwrap();
    }
    let server = Server::start("proxy", folder.clone(), port, None, command(kind, &folder));
    server.wait_until(|| async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    // Traefik listens before it has read its routers, and Envoy before it has its clusters.
    let ask = format!("GET /nothing HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    server.wait_until(|| async { client::send(port, ask.as_bytes()).status == 403 }).await;
    server
}

/// A shipped file.
pub(super) fn shipped(name: &str) -> String {
    std::fs::read_to_string(root().join("contrib/gate").join(name)).unwrap()
}

/// Fails if none of the texts has it: then the test would try another configuration than it says.
fn replace(texts: &mut [(&str, String)], there: &str, here: &str) {
    let mut found = false;
    for (_, text) in texts.iter_mut() {
        found |= text.contains(there);
        *text = text.replace(there, here);
    }
    assert!(found, "{there:?} is in none of the files");
}

fn command(kind: Kind, folder: &Path) -> Vec<OsString> {
    let file = |name: &str| folder.join(name).into_os_string();
    match kind {
        Kind::Nginx => {
            // The shipped file is a part of nginx' `http`.
            let path = folder.display();
            let user = if is_root() { "user root;" } else { "" };
            let whole = format!(
                "daemon off; master_process off; {user} pid {path}/pid; error_log stderr;\nevents {{}}\n\
                 http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; \
                 fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi; \
                 include {path}/nginx.conf; }}"
            );
            std::fs::write(folder.join("whole.conf"), whole).unwrap();
            let nginx = program("nginx", &["/usr/sbin"]);
            vec![nginx.into(), "-c".into(), file("whole.conf"), "-p".into(), folder.into()]
        }
        Kind::Traefik => vec![of_python("traefik").into(), "--configFile".into(), file("traefik.yml")],
        Kind::Caddy => {
            // It has its control and its state in places of their own.
            let path = folder.display();
            vec![
                "env".into(),
                format!("CADDY_ADMIN=unix/{path}/admin").into(),
                format!("XDG_CONFIG_HOME={path}").into(),
                format!("XDG_DATA_HOME={path}").into(),
                of_python("caddy").into(),
                "run".into(),
                "--adapter".into(),
                "caddyfile".into(),
                "--config".into(),
                file("Caddyfile"),
            ]
        }
        Kind::EnvoyHttp | Kind::EnvoyGrpc => {
            let envoy = of_python("envoy").into();
            let one: [OsString; 4] =
                ["--concurrency".into(), "1".into(), "--use-dynamic-base-id".into(), "-c".into()];
            std::iter::once(envoy).chain(one).chain([file(kind.files()[0])]).collect()
        }
        Kind::HaProxy => {
            vec![program("haproxy", &["/usr/sbin"]).into(), "-db".into(), "-f".into(), file("haproxy.cfg")]
        }
    }
}

/// A program that a package of tests/requirements.txt brings.
fn of_python(name: &str) -> PathBuf {
    program(name, &[root().join(".venv/bin").to_str().unwrap()])
}
