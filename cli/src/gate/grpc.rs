//! Envoy's questions over gRPC: `envoy.service.auth.v3.Authorization/Check`, the filter `ext_authz` with `grpc_service`.
//!
//! Every question gets an answer, also a malformed one and one that the store could not answer. An RPC error would let
//! the request pass where the filter has `failure_mode_allow`.

mod messages;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use cloakroom::RequestHead;
use http::header::{ACCEPT, COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use self::messages::{
    AppendAction, CheckRequest, CheckResponse, DeniedHttpResponse, Header, HeaderValueOption, HttpRequest,
    HttpResponse, HttpStatus, OkHttpResponse, Status,
};
use super::answer::{Answer, IDENTITY_HEADERS};
use super::asked::Asked;
use super::kind::Kind;
use super::questions;
use super::service::Gate;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Envoy takes at most 8 MiB of headers.
const MAX_MESSAGE: usize = 16 << 20;

/// `PERMISSION_DENIED` of `google.rpc.Code`.
const PERMISSION_DENIED: i32 = 7;

/// Answers the questions of one connection, each by the gate of that moment.
pub(crate) async fn serve<S>(
    stream: S,
    peer: Option<IpAddr>,
    watcher: Watcher,
    gate: impl Fn() -> Arc<Gate> + Send + 'static,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = move |question| {
        let gate = gate();
        async move { Ok::<_, Infallible>(answer(gate, peer, question).await) }
    };
    let builder = http2::Builder::new(TokioExecutor::new());
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service_fn(answer))).await
}

async fn answer(
    gate: Arc<Gate>,
    peer: Option<IpAddr>,
    question: http::Request<Incoming>,
) -> http::Response<Body> {
    if question.uri().path() != CHECK {
        return tonic::Status::unimplemented("there is envoy.service.auth.v3.Authorization/Check alone")
            .into_http();
    }
    let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
    let check = Check { is_trusted: gate.trusts(peer), gate };
    Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE).unary(check, question).await
}

struct Check {
    gate: Arc<Gate>,
    is_trusted: bool,
}

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<CheckResponse>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let (gate, is_trusted) = (Arc::clone(&self.gate), self.is_trusted);
        Box::pin(async move {
            let question = request.into_inner();
            let http =
                question.attributes.and_then(|attributes| attributes.request?.http).unwrap_or_default();
            let answer = if is_trusted { of_gate(&gate, &http).await } else { Answer::forbidden() };
            Ok(tonic::Response::new(response(&http, &answer)))
        })
    }
}

async fn of_gate(gate: &Gate, http: &HttpRequest) -> Answer {
    let headers = needed_headers(http);
    let cookies = headers.as_ref().and_then(questions::cookies_of);
    let asked =
        headers.as_ref().zip(cookies.as_ref()).and_then(|(headers, cookies)| read(http, headers, cookies));
    gate.answer(Kind::EnvoyGrpc, asked.as_ref()).await
}

/// Reads a question; `None` if what it needs is no text.
fn read<'a>(http: &'a HttpRequest, headers: &HeaderMap, cookies: &'a [&'a [u8]]) -> Option<Asked<'a>> {
    let text = |bytes| str::from_utf8(bytes).ok();
    let (method, target) = (text(&http.method)?, text(&http.path)?);
    let wants_page =
        matches!(method, "GET" | "HEAD") && RequestHead::new(method, target, headers).accepts_html();
    Some(Asked { method, host: text(&http.host)?, target, cookies, wants_page })
}

/// The headers that a decision needs; `None` if one holds what a header cannot.
fn needed_headers(http: &HttpRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in all_headers(http) {
        for name in [ACCEPT, COOKIE] {
            if header.key.eq_ignore_ascii_case(name.as_str().as_bytes()) {
                let value = if header.raw_value.is_empty() { &header.value } else { &header.raw_value };
                headers.append(name, HeaderValue::from_bytes(value).ok()?);
            }
        }
    }
    Some(headers)
}

fn all_headers(http: &HttpRequest) -> impl Iterator<Item = &Header> {
    http.headers.iter().chain(http.header_map.iter().flat_map(|map| &map.headers))
}

/// The names of the request's headers that a back end may take for an identity header: CGI, WSGI and others read `_`
/// and `.` as `-`. Envoy overwrites the headers themselves.
fn aliases(http: &HttpRequest) -> Vec<String> {
    let names = all_headers(http).filter_map(|header| str::from_utf8(&header.key).ok());
    names.filter(|name| is_alias(name)).map(str::to_owned).collect()
}

fn is_alias(name: &str) -> bool {
    let canonical = name.to_ascii_lowercase().replace(['_', '.'], "-");
    canonical != name.to_ascii_lowercase()
        && IDENTITY_HEADERS.iter().any(|header| canonical == header.as_str())
}

fn response(http: &HttpRequest, answer: &Answer) -> CheckResponse {
    let option = |(name, value): &(http::HeaderName, HeaderValue)| HeaderValueOption {
        header: Some(Header {
            key: name.as_str().as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
            raw_value: Vec::new(),
        }),
        append_action: AppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
    };
    let (code, http_response) = if answer.status == StatusCode::OK {
        // The others are for the client, whose response the back end makes.
        let identity = answer.headers.iter().filter(|(name, _)| IDENTITY_HEADERS.contains(name));
        let ok = OkHttpResponse { headers: identity.map(option).collect(), headers_to_remove: aliases(http) };
        (0, HttpResponse::Ok(ok))
    } else {
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: answer.status.as_u16().into() }),
            headers: answer.headers.iter().map(option).collect(),
            body: answer.body.to_owned(),
        };
        (PERMISSION_DENIED, HttpResponse::Denied(denied))
    };
    CheckResponse { status: Some(Status { code }), http_response: Some(http_response) }
}

#[cfg(test)]
mod tests;
