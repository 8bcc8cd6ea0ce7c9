//! The logged-in user's id as an argument of a handler.

use std::any::type_name;
use std::ops::Deref;
use std::str::FromStr;

use cloakroom_formats::{Kind, ValueError};

use super::{USER_ID_KEY, user_id};
use crate::session::Session;
use crate::site::error::Error;

/// The id of the user who is logged in, as an argument of a handler: nobody else gets in. Django's
/// `login_required` and `request.user.pk` in one.
///
/// The type is the primary key's: `UserId<i64>` for Django's own users, `UserId` (a text) for any, or whatever is read
/// from text, such as a UUID. When nobody is logged in the answer is 401; in axum, `Option<UserId>` lets everybody in. A
/// store that fails is an error either way. With actix-web ask [`UserId::of`] where nobody may be logged in: its
/// `Option<…>` takes every error for none.
///
/// As [`user_id`](super::user_id), it does not look at the password; see [`verify_user`](super::verify_user).
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
pub struct UserId<T = String>(pub T);

impl<T: FromStr> UserId<T> {
    /// The id in this session; none when nobody is logged in.
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

    /// The id in this session, which must have one.
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
