//! Serves the session layer's metrics in Prometheus' text form:
//!
//!     cargo run --example metrics --features metrics
//!     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/metrics

use std::sync::Arc;

use axum::{Router, routing::get};
use cloakroom::{MemoryStore, Session, SessionLayer, Settings, observe};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

async fn visit(session: Session) -> Result<String, cloakroom::Error> {
    let visits = session.modify::<u32>("visits", |visits| visits.unwrap_or(0) + 1)?;
    Ok(format!("visit {visits}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let buckets = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];
    let prometheus =
        PrometheusBuilder::new().set_buckets_for_metric(seconds, &buckets)?.install_recorder()?;
    observe::describe();

    let settings = Settings::new("the site's SECRET_KEY");
    let site = Router::new()
        .route("/", get(visit))
        .layer(SessionLayer::new(Arc::new(MemoryStore::new()), settings)?)
        // Outside of the layer: it has no session. Keep it from the public.
        .route("/metrics", get(move || std::future::ready(prometheus.render())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, site).await?)
}
