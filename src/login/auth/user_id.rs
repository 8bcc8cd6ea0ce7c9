//! The logged-in user's id as an argument of a handler.

use std::any::type_name;
use std::ops::Deref;
use std::str::FromStr;

use cloakroom_formats::{Kind, ValueError};

use super::{USER_ID_KEY, user_id};
use crate::session::Session;
use crate::site::error::Error;

/// The id of the logged-in user, as an argument of a handler. A request without a logged-in user gets a 401.
///
/// It checks one thing: that the session holds a user's id which can be read as a `T`. It does not check the
/// session auth hash, and it does not look the user up. So an old session still passes after a change of
/// password, or when the user was deleted or is no longer `is_active`; Django's `login_required` refuses all
/// of these. [`CurrentUser`](super::CurrentUser) refuses them too.
///
/// `T` is the type of the primary key: `UserId<i64>` for Django's own users, `UserId` (a text) for any, or
/// another type that is read from text, such as a UUID. In axum, `Option<UserId>` also admits requests
/// without a user. A failing store is an error in both cases. With actix-web use [`UserId::of`] for pages
/// without a login: its `Option<…>` turns every error into `None`.
///
/// ```
/// use axum::{Router, routing::get};
/// use cloakroom::auth::UserId;
///
/// async fn orders(UserId(user): UserId<i64>) -> String {
///     format!("the orders of user {user}")
/// }
///
/// async fn greeting(user: Option<UserId>) -> String {
///     user.map_or("hello".to_owned(), |user| format!("hello, user {}", *user))
/// }
///
/// let site: Router = Router::new().route("/orders", get(orders)).route("/", get(greeting));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct UserId<T = String>(pub T);

impl<T: FromStr> UserId<T> {
    /// Returns the id in this session; `None` when nobody is logged in.
    ///
    /// # Errors
    /// [`Error::Value`] when the session holds an id of another type.
    pub fn of(session: &Session) -> Result<Option<UserId<T>>, Error> {
        let Some(id) = user_id(session)? else { return Ok(None) };
        id.parse().map(|id| Some(UserId(id))).map_err(|_| Error::Value {
            key: USER_ID_KEY.to_owned(),
            source: ValueError::Mismatch {
                found: Kind::Str,
                wanted: type_name::<T>(),
                detail: "the user's id is of another type".to_owned(),
            },
        })
    }

    /// Returns the id in this session; an error when nobody is logged in.
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) fn required(session: &Session) -> Result<UserId<T>, Error> {
        UserId::of(session)?.ok_or(Error::NotLoggedIn)
    }
}

impl<T> Deref for UserId<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
