//! The tower layer of the login.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::login::auth::{AuthUser, LazyUser, UserSource};
use crate::login::current_user::AnyUser;
use crate::session::LazySession;

/// Gives each request its verified user: [`CurrentUser`](crate::auth::CurrentUser) as an argument of a handler.
/// Django's `AuthenticationMiddleware`. It stands inside the [`SessionLayer`](crate::SessionLayer): in axum, it is
/// added before.
///
/// ```
/// use std::sync::Arc;
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use cloakroom::auth::{self, CurrentUser};
/// use cloakroom::{AuthLayer, Error, MemoryStore, Session, SessionLayer, Settings};
/// use tower::ServiceExt;
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
/// async fn greeting(user: Option<CurrentUser<Member>>) -> String {
///     user.map_or("Hello".to_owned(), |user| format!("Hello, {}", user.name))
/// }
///
/// async fn login(session: Session) -> Result<(), Error> {
///     // After the password was checked.
///     auth::login_user(&session, &Member { name: "Ada".to_owned() }).await
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let site: Router = Router::new()
///     .route("/", get(greeting))
///     .route("/login", get(login))
///     .layer(AuthLayer::new(Members))
///     .layer(SessionLayer::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?);
///
/// let login = site.clone().oneshot(Request::get("/login").body(Body::empty())?).await?;
/// let cookie = login.headers()["set-cookie"].to_str()?.split(';').next().unwrap().to_owned();
/// let page = site.oneshot(Request::get("/").header("cookie", cookie).body(Body::empty())?).await?;
/// assert_eq!(axum::body::to_bytes(page.into_body(), 100).await?, "Hello, Ada");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct AuthLayer<U> {
    source: Arc<dyn UserSource<User = U>>,
}

impl<U: AuthUser> AuthLayer<U> {
    /// Creates a layer for the users of this source, which may be an `Arc` of one.
    pub fn new(source: impl UserSource<User = U>) -> AuthLayer<U> {
        AuthLayer { source: Arc::new(source) }
    }
}

impl<U> Clone for AuthLayer<U> {
    fn clone(&self) -> Self {
        AuthLayer { source: Arc::clone(&self.source) }
    }
}

impl<U> fmt::Debug for AuthLayer<U> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthLayer(..)")
    }
}

impl<S, U> Layer<S> for AuthLayer<U> {
    type Service = AuthService<S, U>;

    fn layer(&self, inner: S) -> AuthService<S, U> {
        AuthService { inner, layer: self.clone() }
    }
}

/// A service wrapped by [`AuthLayer`].
#[derive(Debug)]
pub struct AuthService<S, U> {
    inner: S,
    layer: AuthLayer<U>,
}

impl<S: Clone, U> Clone for AuthService<S, U> {
    fn clone(&self) -> Self {
        AuthService { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: Service<Request<B>>, B, U: AuthUser> Service<Request<B>> for AuthService<S, U> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let session = request.extensions().get::<LazySession>().cloned();
        let user = LazyUser::new(Arc::clone(&self.layer.source), session);
        request.extensions_mut().insert(AnyUser::of(&user));
        request.extensions_mut().insert(user);
        self.inner.call(request)
    }
}
