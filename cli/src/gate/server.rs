//! The HTTP server of the questions, of the gate's health, metrics and keys.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "gate-grpc")]
use super::grpc;
use super::listener::{Listener, Stream};
use super::patience::Patient;
use super::questions;
use super::service::Gate;

/// The most bytes of a question's head. nginx takes 32 KiB from a client by default.
const LARGEST_HEAD: usize = 64 << 10;

/// How long questions may take to be answered when the gate is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, as without free file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How a listener's proxies ask.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Http,
    #[cfg(feature = "gate-grpc")]
    Grpc,
}

/// The state that all connections share.
pub(crate) struct Server {
    /// Replaced when the configuration is read again.
    gate: RwLock<Arc<Gate>>,
    metrics: PrometheusHandle,
    is_stopping: AtomicBool,
}

impl Server {
    pub(crate) fn new(gate: Gate, metrics: PrometheusHandle) -> Server {
        Server { gate: RwLock::new(Arc::new(gate)), metrics, is_stopping: AtomicBool::new(false) }
    }

    /// The gate of the last configuration that was read.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        // A gate is replaced as a whole, so that no panic leaves half of one.
        Arc::clone(&self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace_gate(&self, gate: Gate) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(gate);
    }

    /// Answers questions until it is stopped, and then those that were asked.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: Listener,
        protocol: Protocol,
        stopped: impl Future<Output = ()>,
    ) {
        let graceful = GracefulShutdown::new();
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => break,
                accepted = listener.accept() => accepted,
            };
            let (server, watcher) = (Arc::clone(&self), graceful.watcher());
            match accepted {
                Ok(Stream::Tcp(stream, peer)) => {
                    drop(tokio::spawn(server.connected(stream, protocol, Some(peer), watcher)))
                }
                Ok(Stream::Unix(stream)) => {
                    drop(tokio::spawn(server.connected(stream, protocol, None, watcher)))
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.is_stopping.store(true, Ordering::Relaxed);
        drop(listener);
        if tokio::time::timeout(PATIENCE, graceful.shutdown()).await.is_err() {
            tracing::warn!("some questions were not answered within {} s of the stop", PATIENCE.as_secs());
        }
    }

    async fn connected<S>(
        self: Arc<Self>,
        stream: S,
        protocol: Protocol,
        peer: Option<IpAddr>,
        watcher: Watcher,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ended = match protocol {
            Protocol::Http => self.http(stream, peer, watcher).await,
            #[cfg(feature = "gate-grpc")]
            Protocol::Grpc => grpc::serve(stream, peer, watcher, move || self.gate()).await,
        };
        // A proxy closes connections as it likes, also in the middle of a question.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection failed");
        }
    }

    async fn http<S>(&self, stream: S, peer: Option<IpAddr>, watcher: Watcher) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let gate = self.gate();
        let stream = Patient::new(stream, gate.config.time_limit, gate.trusts(peer));
        drop(gate);
        let idle = stream.idle();
        let answer = |question: Request<Incoming>| {
            idle.begin();
            self.answer(question, peer)
        };
        let mut builder = http1::Builder::new();
        // The time limit is `Patient`'s.
        builder.max_buf_size(LARGEST_HEAD).max_header_size(LARGEST_HEAD).header_read_timeout(None);
        watcher.watch(builder.serve_connection(TokioIo::new(stream), service_fn(answer))).await
    }

    async fn answer(
        &self,
        question: Request<Incoming>,
        peer: Option<IpAddr>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let gate = self.gate();
        let uri = question.uri();
        // An absolute URI names another host, and no endpoint.
        let path = if uri.authority().is_none() { uri.path() } else { "" };
        let kind = questions::kind_of(path);
        // A health check of this machine asks nothing about anybody.
        let may_ask = gate.trusts(peer) || kind.is_none() && peer.is_some_and(|peer| peer.is_loopback());
        if !may_ask {
            let mut refused =
                plain(StatusCode::FORBIDDEN, "This address is none of the gate's trusted_proxies.\n");
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(refused);
        }
        if let Some(kind) = kind {
            let cookies = questions::cookies_of(question.headers());
            let asked = cookies.as_deref().and_then(|cookies| {
                questions::read(kind, question.method(), uri, question.headers(), cookies)
            });
            let answer = gate.answer(kind, asked.as_ref()).await;
            let mut response = Response::new(Full::from(answer.body));
            *response.status_mut() = answer.status;
            let headers = response.headers_mut();
            headers.reserve(answer.headers.len() + 1);
            headers.extend(answer.headers);
            if !answer.body.is_empty() {
                headers.insert(CONTENT_TYPE, TEXT);
            }
            return Ok(response);
        }
        Ok(self.own(question.method(), path, &gate).await)
    }

    /// The endpoints about the gate itself.
    async fn own(&self, method: &Method, path: &str, gate: &Gate) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return plain(StatusCode::NOT_FOUND, "There is no such endpoint.\n");
        }
        match path {
            "/health/live" => plain(StatusCode::OK, "live\n"),
            "/health/ready" => {
                if self.is_stopping.load(Ordering::Relaxed) {
                    plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
                } else if gate.is_ready().await {
                    plain(StatusCode::OK, "ready\n")
                } else {
                    plain(StatusCode::SERVICE_UNAVAILABLE, "the store or the users do not answer\n")
                }
            }
            "/metrics" => plain(StatusCode::OK, self.metrics.render()),
            "/.well-known/jwks.json" => {
                let mut response = plain(StatusCode::OK, gate.assertions.public_keys());
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "There is no such endpoint.\n"),
        }
    }
}

fn plain(status: StatusCode, body: impl Into<Full<Bytes>>) -> Response<Full<Bytes>> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
