//! The actix-web extractors: a handler with a [`Session`] argument gets it loaded.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError};

use super::{LocalFuture, plain_text};
use crate::forms::csrf::{Csrf, LazyCsrf};
use crate::forms::messages::{LazyMessages, Messages};
use crate::login::auth::{AuthUser, CurrentUser, LazyUser, UserId};
use crate::login::current_user::AnyUser;
use crate::session::{LazySession, Session};
use crate::site::boxed::boxed;
use crate::site::error::Error;
use crate::web::middleware::log_and_describe;

impl FromRequest for LazySession {
    type Error = Error;
    type Future = Ready<Result<LazySession, Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<LazySession>().cloned().ok_or(Error::NoLayer))
    }
}

impl FromRequest for Session {
    type Error = Error;
    type Future = LocalFuture<Result<Session, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let lazy = LazySession::from_request(request, payload);
        boxed(|| async move { lazy.await?.load().await })
    }
}

/// The error names the layer when the request did not pass through a `MessagesTransform`.
impl FromRequest for Messages {
    type Error = Error;
    type Future = LocalFuture<Result<Messages, Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let lazy = request.extensions().get::<LazyMessages>().cloned();
        boxed(|| async move { lazy.ok_or(LazyMessages::MISSING)?.load().await })
    }
}

/// The error names the layer when the request did not pass through a `CsrfTransform`.
impl FromRequest for Csrf {
    type Error = Error;
    type Future = LocalFuture<Result<Csrf, Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let lazy = request.extensions().get::<LazyCsrf>().cloned();
        boxed(|| async move { lazy.ok_or(LazyCsrf::MISSING)?.load().await })
    }
}

/// The error names the layer when the request did not pass through an `AuthTransform` of such users.
impl<U: AuthUser> FromRequest for LazyUser<U> {
    type Error = Error;
    type Future = Ready<Result<LazyUser<U>, Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<LazyUser<U>>().cloned().ok_or(AnyUser::MISSING))
    }
}

/// 401 when nobody is logged in.
impl<U: AuthUser> FromRequest for CurrentUser<U> {
    type Error = Error;
    type Future = LocalFuture<Result<CurrentUser<U>, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let lazy = LazyUser::from_request(request, payload);
        boxed(|| async move { lazy.await?.load().await?.ok_or(Error::NotLoggedIn) })
    }
}

/// 401 when nobody is logged in.
impl<T: FromStr> FromRequest for UserId<T> {
    type Error = Error;
    type Future = LocalFuture<Result<UserId<T>, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let session = Session::from_request(request, payload);
        boxed(|| async move { UserId::required(&session.await?) })
    }
}

/// A plain text page with the status of [`Error::status`] and the text of
/// [`message_of`](crate::middleware::message_of); the log has the details.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        log_and_describe(self);
        plain_text(self)
    }
}
