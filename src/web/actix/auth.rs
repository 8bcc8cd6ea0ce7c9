//! The actix-web middleware of the login.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};

use crate::login::auth::{AuthUser, LazyUser, UserSource};
use crate::login::current_user::AnyUser;
use crate::session::LazySession;

/// Gives each request its verified user: [`CurrentUser`](crate::auth::CurrentUser) as an argument of a handler, or
/// [`LazyUser`] for pages that anyone may see. Django's `AuthenticationMiddleware`. It stands inside the
/// [`SessionTransform`](crate::SessionTransform): `wrap` it before. Create it once, outside of the closure that builds
/// each worker's application, and clone it into the closure.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::{App, test, web};
/// use cloakroom::auth::{CurrentUser, LazyUser};
/// use cloakroom::{AuthTransform, Error, MemoryStore, SessionTransform, Settings};
/// # use std::borrow::Cow;
/// # use cloakroom::StoreError;
/// # use cloakroom::auth::{AuthUser, UserSource};
/// # #[derive(Clone)]
/// # struct Member { name: String }
/// # impl AuthUser for Member {
/// #     fn id(&self) -> Cow<'_, str> { "7".into() }
/// #     fn password(&self) -> &str { "pbkdf2_sha256$..." }
/// # }
/// # struct Members;
/// # #[cloakroom::async_trait]
/// # impl UserSource for Members {
/// #     type User = Member;
/// #     async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
/// #         Ok((id == "7").then(|| Member { name: "Ada".to_owned() }))
/// #     }
/// # }
///
/// // `Members` is a `UserSource`; its users are of the type `Member`.
/// async fn greeting(user: LazyUser<Member>) -> Result<String, Error> {
///     Ok(user.load().await?.map_or("Hello".to_owned(), |user| format!("Hello, {}", user.name)))
/// }
///
/// async fn account(user: CurrentUser<Member>) -> String {
///     format!("{}'s account", user.name)
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let auth = AuthTransform::new(Members);
/// let sessions = SessionTransform::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let app = App::new().wrap(auth.clone()).wrap(sessions.clone());
/// let app = app.route("/", web::get().to(greeting)).route("/account", web::get().to(account));
///
/// let app = test::init_service(app).await;
/// let page = test::call_service(&app, test::TestRequest::get().uri("/").to_request()).await;
/// assert_eq!(test::read_body(page).await, "Hello");
/// let refused = test::call_service(&app, test::TestRequest::get().uri("/account").to_request()).await;
/// assert_eq!(refused.status(), 401);
/// # Ok::<(), cloakroom::SettingsError>(()) }).unwrap();
/// ```
pub struct AuthTransform<U> {
    source: Arc<dyn UserSource<User = U>>,
}

impl<U: AuthUser> AuthTransform<U> {
    /// Creates the middleware for the users of this source, which may be an `Arc` of one.
    pub fn new(source: impl UserSource<User = U>) -> AuthTransform<U> {
        AuthTransform { source: Arc::new(source) }
    }
}

impl<U> Clone for AuthTransform<U> {
    fn clone(&self) -> Self {
        AuthTransform { source: Arc::clone(&self.source) }
    }
}

impl<U> fmt::Debug for AuthTransform<U> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthTransform(..)")
    }
}

impl<S, B, U> Transform<S, ServiceRequest> for AuthTransform<U>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    U: AuthUser,
{
    type Response = ServiceResponse<B>;
    type Error = actix_web::Error;
    type Transform = AuthTransformService<S, U>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(AuthTransformService { inner, transform: self.clone() }))
    }
}

/// A service wrapped by [`AuthTransform`].
#[derive(Debug)]
pub struct AuthTransformService<S, U> {
    inner: S,
    transform: AuthTransform<U>,
}

impl<S, B, U> Service<ServiceRequest> for AuthTransformService<S, U>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    U: AuthUser,
{
    type Response = ServiceResponse<B>;
    type Error = actix_web::Error;
    type Future = S::Future;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let session = request.extensions().get::<LazySession>().cloned();
        let user = LazyUser::new(Arc::clone(&self.transform.source), session);
        request.extensions_mut().insert(AnyUser::of(&user));
        request.extensions_mut().insert(user);
        self.inner.call(request)
    }
}
