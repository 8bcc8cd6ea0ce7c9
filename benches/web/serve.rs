//! How every axum site here is served.

use axum::Router;

/// Serves the site until the process is killed: `PROGRAM CONTENDER PORT STORE`.
pub(crate) fn serve(site: impl AsyncFnOnce(&str, &str) -> Router) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [contender, port, store] = arguments.as_slice() else { panic!("usage: CONTENDER PORT STORE") };
    let port: u16 = port.parse().expect("a port");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let site = site(contender, store).await;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        axum::serve(listener, site).await.expect("axum serves");
    });
}
