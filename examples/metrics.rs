//! Serves the session layer's metrics in Prometheus' text form:
//!
//!     cargo run --example metrics --features metrics
//!     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/metrics

use std::sync::Arc;
use std::time::Duration;

use axum::{Router, routing::get};
use cloakroom::spawn_cleaner;
use cloakroom::{
    MemoryStore, Session, SessionLayer, SessionStore, Settings, SettingsError, SystemClock, telemetry,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

async fn visit(session: Session) -> Result<String, cloakroom::Error> {
    let visits = session.edit("visits", |visits: &mut u32| *visits += 1)?;
    Ok(format!("visit {visits}"))
}

pub(crate) fn site(
    store: Arc<dyn SessionStore>,
    prometheus: PrometheusHandle,
) -> Result<Router, SettingsError> {
    let router = Router::new()
        .route("/", get(visit))
        .layer(SessionLayer::new(store, Settings::new("the site's SECRET_KEY"))?)
        // Outside of the layer: it has no session. Keep it from the public.
        .route("/metrics", get(move || std::future::ready(prometheus.render())));
    Ok(router)
}

pub(crate) fn prometheus() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let buckets = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];
    PrometheusBuilder::new().set_buckets_for_metric(seconds, &buckets)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = prometheus()?.install_recorder()?;
    telemetry::describe();

    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    let _cleaner = spawn_cleaner(Arc::clone(&store), Arc::new(SystemClock), Duration::from_secs(3600));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, site(store, prometheus)?).await?)
}
