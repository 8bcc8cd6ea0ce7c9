//! The axum extractors: a handler with a [`Session`] argument gets it loaded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::forms::csrf::{Csrf, LazyCsrf};
use crate::forms::messages::{LazyMessages, Messages};
use crate::login::auth::{AuthUser, CurrentUser, LazyUser, UserId};
use crate::login::current_user::AnyUser;
use crate::session::{LazySession, Session};
use crate::site::error::Error;
use crate::web::middleware::log_and_describe;
use crate::web::tower::FormBody;

impl<S: Send + Sync> FromRequestParts<S> for LazySession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        parts.extensions.get::<LazySession>().cloned().ok_or(Error::NoLayer)
    }
}

/// `None` when the request did not pass through a session layer.
impl<S: Send + Sync> OptionalFromRequestParts<S> for LazySession {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<LazySession>().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let lazy = <LazySession as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        lazy.load().await
    }
}

/// `None` when the request did not pass through a session layer; a failing store is an error.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Error> {
        match parts.extensions.get::<LazySession>().cloned() {
            Some(lazy) => lazy.load().await.map(Some),
            None => Ok(None),
        }
    }
}

/// The error names the layer when the request did not pass through a `MessagesLayer`.
impl<S: Send + Sync> FromRequestParts<S> for Messages {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let lazy = parts.extensions.get::<LazyMessages>().cloned();
        lazy.ok_or(LazyMessages::MISSING)?.load().await
    }
}

/// `None` when the request did not pass through a `MessagesLayer`; a failing store is an error.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Messages {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Error> {
        match parts.extensions.get::<LazyMessages>().cloned() {
            Some(lazy) => lazy.load().await.map(Some),
            None => Ok(None),
        }
    }
}

/// The error names the layer when the request did not pass through a `CsrfLayer`.
impl<S: Send + Sync> FromRequestParts<S> for Csrf {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        parts.extensions.get::<LazyCsrf>().cloned().ok_or(LazyCsrf::MISSING)?.load().await
    }
}

impl FormBody for Body {
    fn replay(read: Vec<Bytes>, rest: Body) -> Body {
        Body::new(Replayed { read: read.into(), rest })
    }
}

/// A body of which a part was read.
struct Replayed {
    read: VecDeque<Bytes>,
    rest: Body,
}

impl HttpBody for Replayed {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        match self.read.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}

/// The error names the layer when the request did not pass through an `AuthLayer` of such users.
impl<U: AuthUser, S: Send + Sync> FromRequestParts<S> for LazyUser<U> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        parts.extensions.get::<LazyUser<U>>().cloned().ok_or(AnyUser::MISSING)
    }
}

/// 401 when nobody is logged in.
impl<U: AuthUser, S: Send + Sync> FromRequestParts<S> for CurrentUser<U> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        LazyUser::from_request_parts(parts, state).await?.load().await?.ok_or(Error::NotLoggedIn)
    }
}

/// `None` when nobody is logged in; a failing source is an error.
impl<U: AuthUser, S: Send + Sync> OptionalFromRequestParts<S> for CurrentUser<U> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Error> {
        <LazyUser<U> as FromRequestParts<S>>::from_request_parts(parts, state).await?.load().await
    }
}

/// 401 when nobody is logged in.
impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for UserId<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let session = <Session as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        UserId::required(&session)
    }
}

/// `None` when nobody is logged in; a failing store is an error.
impl<T: FromStr, S: Send + Sync> OptionalFromRequestParts<S> for UserId<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Error> {
        let session = <Session as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        UserId::of(&session)
    }
}

/// A plain text page with the status of [`Error::status`] and the text of
/// [`message_of`](crate::middleware::message_of); the log has the details.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, message) = log_and_describe(&self);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, message).into_response();
        // The session layer replaces it, if it has a function for errors.
        response.extensions_mut().insert(self);
        response
    }
}
