//! The tower layer that requires a user of routes.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::SessionBody;
use super::messages::failed;
use crate::login::auth::Requirement;
use crate::login::current_user::AnyUser;
use crate::site::boxed::boxed;
use crate::web::require::Guard;

/// Lets only users through who meet a [`Requirement`]. Django's `login_required`, `permission_required` and
/// `LoginRequiredMiddleware`. It stands inside the [`AuthLayer`](crate::AuthLayer): in axum, it is added before.
///
/// Without a logged-in user the answer is [`Error::NotLoggedIn`](crate::Error::NotLoggedIn): 401, or a redirect by
/// [`redirect_to_login`](crate::SessionLayer::redirect_to_login). A user who lacks something gets
/// [`Error::Forbidden`](crate::Error::Forbidden), 403. Both reach
/// [`on_error`](crate::SessionLayer::on_error). The handler does not run, and the body is not read.
///
/// ```
/// use std::sync::Arc;
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use cloakroom::auth::Requirement;
/// use cloakroom::{AuthLayer, LoginRedirect, MemoryStore, RequireLayer, SessionLayer, Settings};
/// use tower::ServiceExt;
/// # use std::borrow::Cow;
/// # use cloakroom::StoreError;
/// # use cloakroom::auth::{AuthUser, UserSource};
/// # #[derive(Clone)]
/// # struct Member;
/// # impl AuthUser for Member {
/// #     fn id(&self) -> Cow<'_, str> { "7".into() }
/// #     fn password(&self) -> &str { "pbkdf2_sha256$..." }
/// # }
/// # struct Members;
/// # #[cloakroom::async_trait]
/// # impl UserSource for Members {
/// #     type User = Member;
/// #     async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
/// #         Ok((id == "7").then_some(Member))
/// #     }
/// # }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let reports = Router::new()
///     .route("/reports", get(async || "reports"))
///     .layer(RequireLayer::new(Requirement::permission("shop.view_report")));
/// let sessions = SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let site: Router = Router::new()
///     .route("/orders", get(async || "orders"))
///     .route("/login", get(async || "the form"))
///     .merge(reports)
///     .layer(RequireLayer::login().except(["/login"]))
///     .layer(AuthLayer::new(Members))
///     .layer(sessions.redirect_to_login(LoginRedirect::to("/login")));
///
/// for (path, status) in [("/orders", 302), ("/reports", 302), ("/login", 200)] {
///     let response = site.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
///     assert_eq!(response.status(), status, "{path}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RequireLayer {
    guard: Guard,
}

impl RequireLayer {
    /// Requires this.
    pub fn new(requirement: Requirement) -> RequireLayer {
        RequireLayer { guard: Guard::new(requirement) }
    }

    /// Requires a login. Django's `login_required`.
    pub fn login() -> RequireLayer {
        RequireLayer::new(Requirement::login())
    }

    /// Lets all requests for these paths through: exact ones, or with `*` at the end all paths that begin so.
    /// Django's `login_not_required`. In a nested router of axum a path is what follows the prefix.
    #[must_use]
    pub fn except<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> RequireLayer {
        self.guard.exempt.extend(paths.into_iter().map(Into::into));
        self
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> RequireService<S> {
        RequireService { inner, layer: self.clone() }
    }
}

/// A service wrapped by [`RequireLayer`].
#[derive(Clone, Debug)]
pub struct RequireService<S> {
    inner: S,
    layer: RequireLayer,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for RequireService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    RequestBody: Send + 'static,
    ResponseBody: Send + 'static,
{
    type Response = Response<SessionBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let guard = (!self.layer.guard.is_exempt(request.uri().path())).then(|| self.layer.guard.clone());
        let user = request.extensions().get::<AnyUser>().cloned();
        // The service that is ready handles the request.
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        boxed(|| async move {
            if let Some(guard) = guard
                && let Err(error) = guard.check(user).await
            {
                return Ok(failed(&error));
            }
            Ok(inner.call(request).await?.map(SessionBody::of_handler))
        })
    }
}
