//! The actix-web middleware that requires a user of routes.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{HttpMessage, ResponseError};

use super::LocalFuture;
use crate::login::auth::Requirement;
use crate::login::current_user::AnyUser;
use crate::site::boxed::boxed;
use crate::web::require::Guard;

/// Lets only users through who meet a [`Requirement`]. Django's `login_required`, `permission_required` and
/// `LoginRequiredMiddleware`. It stands inside the [`AuthTransform`](crate::AuthTransform): `wrap` it before.
///
/// Without a logged-in user the answer is [`Error::NotLoggedIn`](crate::Error::NotLoggedIn): 401, or a redirect by
/// [`redirect_to_login`](crate::SessionTransform::redirect_to_login). A user who lacks something gets
/// [`Error::Forbidden`](crate::Error::Forbidden), 403. Both reach
/// [`on_error`](crate::SessionTransform::on_error). The handler does not run, and the body is not read.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::{App, test, web};
/// use cloakroom::auth::Requirement;
/// use cloakroom::{AuthTransform, LoginRedirect, MemoryStore, RequireTransform, SessionTransform, Settings};
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
/// # actix_web::rt::System::new().block_on(async {
/// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let reports = web::scope("/reports")
///     .wrap(RequireTransform::new(Requirement::permission("shop.view_report")))
///     .route("", web::get().to(async || "reports"));
/// let app = App::new()
///     .service(reports)
///     .route("/orders", web::get().to(async || "orders"))
///     .route("/login", web::get().to(async || "the form"))
///     .wrap(RequireTransform::login().except(["/login"]))
///     .wrap(AuthTransform::new(Members))
///     .wrap(sessions.redirect_to_login(LoginRedirect::to("/login")));
///
/// let app = test::init_service(app).await;
/// for (path, status) in [("/orders", 302), ("/reports", 302), ("/login", 200)] {
///     let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
///     assert_eq!(response.status(), status, "{path}");
/// }
/// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RequireTransform {
    guard: Guard,
}

impl RequireTransform {
    /// Requires this.
    pub fn new(requirement: Requirement) -> RequireTransform {
        RequireTransform { guard: Guard::new(requirement) }
    }

    /// Requires a login. Django's `login_required`.
    pub fn login() -> RequireTransform {
        RequireTransform::new(Requirement::login())
    }

    /// Lets all requests for these paths through: exact ones, or with `*` at the end all paths that begin so.
    /// Django's `login_not_required`.
    #[must_use]
    pub fn except<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> RequireTransform {
        self.guard.exempt.extend(paths.into_iter().map(Into::into));
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for RequireTransform
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = RequireTransformService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(RequireTransformService { inner: Rc::new(inner), guard: Rc::new(self.guard.clone()) }))
    }
}

/// A service wrapped by [`RequireTransform`].
#[derive(Debug)]
pub struct RequireTransformService<S> {
    inner: Rc<S>,
    guard: Rc<Guard>,
}

impl<S, B> Service<ServiceRequest> for RequireTransformService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = LocalFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (inner, guard) = (Rc::clone(&self.inner), Rc::clone(&self.guard));
        boxed(|| async move {
            if !guard.is_exempt(request.path()) {
                let user = request.extensions().get::<AnyUser>().cloned();
                if let Err(error) = guard.check(user).await {
                    return Ok(request.into_response(error.error_response().map_into_right_body()));
                }
            }
            Ok(inner.call(request).await?.map_into_left_body())
        })
    }
}
