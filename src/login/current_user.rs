//! The verified user of a request.

#[cfg(any(feature = "tower", feature = "actix"))]
mod any_user;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use super::auth::{self, BACKEND_SESSION_KEY, HASH_SESSION_KEY};
use super::requirement::Requirement;
use super::users::{AuthUser, Grants, UserSource};
use crate::session::{LazySession, Session};
use crate::site::error::Error;

#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) use self::any_user::AnyUser;

/// The logged-in user of a request before it is looked up. Django's lazy `request.user`.
///
/// `AuthLayer` (tower, axum) and `AuthTransform` (actix-web) put one on each request, and handlers take it as an
/// argument where a user may be missing. A request that does not load it costs the source nothing.
///
/// ```
/// use std::borrow::Cow;
/// use std::sync::Arc;
/// use cloakroom::auth::{self, AuthUser, LazyUser, UserSource};
/// use cloakroom::{MemoryStore, SessionMiddleware, Settings, StoreError};
///
/// #[derive(Clone)]
/// struct Member;
///
/// impl AuthUser for Member {
///     fn id(&self) -> Cow<'_, str> {
///         "7".into()
///     }
///
///     fn password(&self) -> &str {
///         "pbkdf2_sha256$..."
///     }
/// }
///
/// struct Members;
///
/// #[cloakroom::async_trait]
/// impl UserSource for Members {
///     type User = Member;
///
///     async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
///         Ok((id == "7").then_some(Member))
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
/// let session = middleware.begin([]);
/// let user = LazyUser::new(Arc::new(Members), Some(session.clone()));
/// assert!(user.load().await?.is_none());
/// auth::login_user(&session.load().await?, &Member).await?;
/// assert_eq!(user.load().await?.unwrap().id(), "7");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct LazyUser<U> {
    inner: Arc<Inner<U>>,
}

struct Inner<U> {
    source: Arc<dyn UserSource<User = U>>,
    session: Option<LazySession>,
    /// Whether the session stays as it is, whatever is found.
    is_read_only: bool,
    /// Held while the source is asked, so that it is asked once. The source knows nothing of the request.
    found: Mutex<Option<Found<U>>>,
}

/// A login, and the user that was found for it.
struct Found<U> {
    login: Login,
    user: Option<CurrentUser<U>>,
}

/// A login, as the session has it.
#[derive(PartialEq, Eq)]
struct Login {
    id: Option<String>,
    backend: String,
    hash: String,
}

impl Login {
    fn of(session: &Session) -> Result<Login, Error> {
        let text = |key| auth::text_in(session, key);
        Ok(Login {
            id: auth::user_id(session)?,
            backend: text(BACKEND_SESSION_KEY),
            hash: text(HASH_SESSION_KEY),
        })
    }
}

impl<U: AuthUser> LazyUser<U> {
    /// Begins a request with this session. Without one, [`load`](LazyUser::load) fails. The layers call it.
    pub fn new(source: Arc<dyn UserSource<User = U>>, session: Option<LazySession>) -> LazyUser<U> {
        LazyUser::of(source, session, false)
    }

    /// Never changes the session. Where Django's `get_user` flushes a session whose hash does not fit,
    /// [`load`](LazyUser::load) returns `None` and the session stays; where it renews a hash that fits with one of
    /// `SECRET_KEY_FALLBACKS`, the user is returned and the hash stays. For services that only ask who is logged in,
    /// such as a gate in front of other services.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # #[derive(Clone)]
    /// # struct Member(&'static str);
    /// # impl AuthUser for Member {
    /// #     fn id(&self) -> Cow<'_, str> {
    /// #         "7".into()
    /// #     }
    /// #
    /// #     fn password(&self) -> &str {
    /// #         self.0
    /// #     }
    /// # }
    /// # struct Members;
    /// # #[cloakroom::async_trait]
    /// # impl UserSource for Members {
    /// #     type User = Member;
    /// #
    /// #     async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
    /// #         Ok((id == "7").then_some(Member("pbkdf2_sha256$new")))
    /// #     }
    /// # }
    /// use std::sync::Arc;
    /// use cloakroom::auth::{self, AuthUser, LazyUser, UserSource};
    /// use cloakroom::{MemoryStore, SessionMiddleware, Settings, StoreError};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret"))?;
    /// let session = middleware.begin([]);
    /// auth::login_user(&session.load().await?, &Member("pbkdf2_sha256$old")).await?;
    /// // The password was changed since: in `Members` it is `pbkdf2_sha256$new`.
    /// let user = LazyUser::new(Arc::new(Members), Some(session.clone())).read_only();
    /// assert!(user.load().await?.is_none());
    /// assert_eq!(auth::user_id(&session.load().await?)?.as_deref(), Some("7"), "the session stays");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn read_only(self) -> LazyUser<U> {
        LazyUser::of(Arc::clone(&self.inner.source), self.inner.session.clone(), true)
    }

    fn of(
        source: Arc<dyn UserSource<User = U>>,
        session: Option<LazySession>,
        is_read_only: bool,
    ) -> LazyUser<U> {
        LazyUser { inner: Arc::new(Inner { source, session, is_read_only, found: Mutex::default() }) }
    }

    /// Returns the user who is logged in; `None` if nobody is. Django's `get_user`, with all its effects:
    ///
    /// 1. The login's back end must be one that the source accepts, and the source must know the user.
    /// 2. Whoever is not active counts as nobody. The session stays as it is.
    /// 3. The session auth hash must fit the user's password. If it fits with a fallback secret only, it is renewed,
    ///    and the session gets a new key. If it does not fit, the session is flushed. Neither happens to a
    ///    [`read_only`](LazyUser::read_only) user's session.
    ///
    /// The source is asked once for each login, so usually once a request.
    ///
    /// # Errors
    /// [`Error::Store`] when the source or the session's store fails: that is not "nobody". [`Error::NoLayer`] when
    /// the session layer is not around the layer of the login. As [`auth::user_id`] and [`auth::verify_user`].
    pub async fn load(&self) -> Result<Option<CurrentUser<U>>, Error> {
        self.inner.load().await
    }
}

impl<U: AuthUser> Inner<U> {
    async fn load(&self) -> Result<Option<CurrentUser<U>>, Error> {
        let session = self.session.as_ref().ok_or(Error::NoLayer)?.load().await?;
        let mut found = self.found.lock().await;
        let mut login = Login::of(&session)?;
        if let Some(found) = found.as_ref().filter(|found| found.login == login) {
            return Ok(found.user.clone());
        }
        let user = self.find(&session, &login).await?;
        // The hash may have been renewed. Another login meanwhile is another user's.
        let now = Login::of(&session)?;
        if user.is_some() && now.id == login.id {
            login = now;
        }
        *found = Some(Found { login, user: user.clone() });
        Ok(user)
    }

    async fn find(&self, session: &Session, login: &Login) -> Result<Option<CurrentUser<U>>, Error> {
        let source = &self.source;
        let Some(id) = &login.id else { return Ok(None) };
        if login.backend.is_empty() || !source.accepts_backend(&login.backend) {
            return Ok(None);
        }
        let Some(user) = source.find(id).await?.filter(U::is_active) else { return Ok(None) };
        let is_verified = match self.is_read_only {
            true => auth::hash_fits(session, user.password()),
            false => auth::verify_hash(session, user.password()).await?,
        };
        Ok(is_verified.then(|| CurrentUser::new(Arc::clone(source), user)))
    }
}

/// The verified user of a request, as an argument of a handler. Its methods and fields are those of the
/// application's own type.
///
/// A request without a logged-in user gets [`Error::NotLoggedIn`]: a 401, or a redirect to the login page if the
/// session layer has one. In axum, `Option<CurrentUser<U>>` also admits requests without a user. With actix-web take
/// a [`LazyUser<U>`] for such pages: its `Option<…>` turns every error into `None`. A failing source is an error in
/// all cases.
///
/// `AuthLayer` or `AuthTransform` must be around the handler. [`LazyUser::load`] has the rules. For the id alone,
/// which costs no lookup and is not verified, there is [`UserId`](super::auth::UserId).
pub struct CurrentUser<U> {
    inner: Arc<Verified<U>>,
}

struct Verified<U> {
    user: U,
    source: Arc<dyn UserSource<User = U>>,
    grants: OnceCell<Grants>,
}

impl<U: AuthUser> CurrentUser<U> {
    fn new(source: Arc<dyn UserSource<User = U>>, user: U) -> CurrentUser<U> {
        CurrentUser { inner: Arc::new(Verified { user, source, grants: OnceCell::new() }) }
    }

    /// Returns the user's groups and permissions. The source is asked once a request.
    ///
    /// # Errors
    /// [`Error::Store`] when the source fails.
    pub async fn grants(&self) -> Result<&Grants, Error> {
        let Verified { user, source, grants } = &*self.inner;
        Ok(grants.get_or_try_init(|| source.grants(user)).await?)
    }

    /// Whether the user meets this requirement. For permissions this is Django's `has_perm`. The source is asked
    /// for groups and permissions only where they decide.
    ///
    /// # Errors
    /// [`Error::Store`] when the source fails.
    pub async fn meets(&self, requirement: &Requirement) -> Result<bool, Error> {
        let user = &self.inner.user;
        match requirement.is_met(user, None) {
            Some(is_met) => Ok(is_met),
            None => Ok(requirement.is_met_by(user, self.grants().await?)),
        }
    }

    /// Requires this of the user. Django's `permission_required` with `raise_exception`.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; otherwise as [`meets`](CurrentUser::meets).
    pub async fn require(&self, requirement: &Requirement) -> Result<(), Error> {
        if self.meets(requirement).await? { Ok(()) } else { Err(Error::Forbidden) }
    }
}

impl<U> Deref for CurrentUser<U> {
    type Target = U;

    fn deref(&self) -> &U {
        &self.inner.user
    }
}

impl<U> Clone for CurrentUser<U> {
    fn clone(&self) -> Self {
        CurrentUser { inner: Arc::clone(&self.inner) }
    }
}

impl<U> Clone for LazyUser<U> {
    fn clone(&self) -> Self {
        LazyUser { inner: Arc::clone(&self.inner) }
    }
}

/// Shows no field of the user, among which is the password's hash.
impl<U> fmt::Debug for CurrentUser<U> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CurrentUser(..)")
    }
}

impl<U> fmt::Debug for LazyUser<U> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LazyUser(..)")
    }
}
