//! nginx as a cache that all users of a site share.

use super::{Server, folder, free_port, is_root, program};

/// A cache in front of the site on this port of this machine. It keeps what the site's headers let it keep, and
/// says in `X-Cache` whether it had the page.
pub(crate) async fn before(port_of_site: u16) -> Server {
    with_site(&format!(
        "location / {{
            proxy_pass http://127.0.0.1:{port_of_site};
            proxy_cache site;
            add_header X-Cache $upstream_cache_status;
        }}"
    ))
    .await
}

/// A server with these locations.
pub(crate) async fn with_site(locations: &str) -> Server {
    let (nginx, folder, port) = (program("nginx", &["/usr/sbin"]), folder("nginx", None), free_port());
    let path = folder.display();
    let user = if is_root() { "user root;" } else { "" };
    let configuration = format!(
        "daemon off; master_process off; {user} pid {path}/pid; error_log stderr;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
            uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
            proxy_cache_path {path}/cache keys_zone=site:1m;
            server {{
                listen 127.0.0.1:{port};
                {locations}
            }}
        }}"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let command = [nginx.into(), "-c".into(), file.into(), "-p".into(), (&folder).into()];
    let server = Server::start("nginx", folder, port, None, command);
    server.wait_until(|| async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    server
}
