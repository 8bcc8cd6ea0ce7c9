//! Short forms for values: editing in place, defaults, and values of an older type.

use std::sync::Arc;

use cloakroom_formats::private::Text;
use cloakroom_formats::{Value, ValueError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::changes::{Change, NotReplayed, Replay};
use super::{AsKey, Session};
use crate::site::error::Error;

impl Session {
    /// Returns the value under this key, or the type's default when there is none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Key, MemoryStore, Session, Settings};
    ///
    /// const CART: Key<Vec<u64>> = Key::new("cart");
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert!(session.get_or_default(CART)?.is_empty());
    /// session.set(CART, [3, 5])?;
    /// assert_eq!(session.get_or_default(CART)?, [3, 5]);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// A stored null, Python's `None`, is a value for types that take it; other types get their default.
    ///
    /// # Errors
    /// As [`get`](Session::get).
    pub fn get_or_default<T: DeserializeOwned + Default>(&self, key: impl AsKey<T>) -> Result<T, Error> {
        Ok(self.get(key)?.unwrap_or_default())
    }

    /// Returns the value under this key. A value of another type, such as an older version of the
    /// application's, is removed and counts as none; the log names its key, not its content.
    ///
    /// [`get`](Session::get) returns an error instead, and does so for each request until the session ends.
    /// Use this method where losing the value is better.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Key, MemoryStore, Session, Settings};
    ///
    /// const CART: Key<Vec<u64>> = Key::new("cart");
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.set("cart", "a cart of the version before")?;
    /// assert!(session.get(CART).is_err());
    /// assert_eq!(session.get_or_discard(CART), None);
    /// assert!(!session.contains_key(CART));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// If another request replaces the value meanwhile, that value stays.
    pub fn get_or_discard<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Option<T> {
        let key = key.as_key();
        let found = self.exchange(key, |before| {
            let Some(before) = before else { return Ok((None, Ok(None))) };
            Ok(match before.read() {
                Ok(value) => (None, Ok(value)),
                Err(error) => {
                    (Some(Change::Discard(Text::of_key(key), before.clone())), Err((error, before.kind())))
                }
            })
        });
        let (error, found) = match found {
            Ok(Ok(value)) => return value,
            Ok(Err(discarded)) => discarded,
            // The closure returns no error.
            Err(_) => return None,
        };
        // The error's own text may quote the value.
        let class = match &error {
            ValueError::PythonObject(class) => Some(class.as_str()),
            _ => None,
        };
        let wanted = std::any::type_name::<T>();
        let found = found.to_string();
        tracing::warn!(key, found, class, wanted, "a session value of another type was discarded");
        None
    }

    /// Changes the value under this key in place, beginning with the type's default when there is none.
    /// Returns the new value.
    ///
    /// Like [`modify`](Session::modify): if another request changes the session meanwhile, saving runs `edit`
    /// again on that request's value, so that neither change is lost. So the closure may run more than once.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Key, MemoryStore, Session, Settings};
    ///
    /// const CART: Key<Vec<u64>> = Key::new("cart");
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// session.edit(CART, |cart| cart.push(3))?;
    /// assert_eq!(session.edit(CART, |cart| cart.push(5))?, [3, 5]);
    /// assert_eq!(session.edit("visits", |visits: &mut u32| *visits += 1)?, 1);
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`modify`](Session::modify).
    pub fn edit<T: Serialize + DeserializeOwned + Default>(
        &self,
        key: impl AsKey<T>,
        edit: impl Fn(&mut T) + Send + Sync + 'static,
    ) -> Result<T, Error> {
        self.modify(key, move |value| {
            let mut value = value.unwrap_or_default();
            edit(&mut value);
            value
        })
    }

    /// Like [`edit`](Session::edit), with a closure that can refuse: after its error nothing has changed.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cloakroom::{Key, MemoryStore, Session, Settings};
    ///
    /// const CART: Key<Vec<u64>> = Key::new("cart");
    ///
    /// fn add(session: &Session, item: u64) -> Result<Result<Vec<u64>, &'static str>, cloakroom::Error> {
    ///     session.try_edit(CART, move |cart| {
    ///         if cart.len() >= 2 {
    ///             return Err("the cart is full");
    ///         }
    ///         cart.push(item);
    ///         Ok(())
    ///     })
    /// }
    ///
    /// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
    /// assert_eq!(add(&session, 3)?, Ok(vec![3]));
    /// assert_eq!(add(&session, 5)?, Ok(vec![3, 5]));
    /// assert_eq!(add(&session, 7)?, Err("the cart is full"));
    /// assert_eq!(session.get(CART)?, Some(vec![3, 5]));
    /// # Ok::<(), cloakroom::Error>(())
    /// ```
    ///
    /// The outer `Result` is the session's, the inner one the closure's. If the closure accepts the value
    /// here, and refuses another request's value when the session is saved, saving fails with
    /// [`Error::Conflict`]: a 409.
    ///
    /// # Errors
    /// As [`modify`](Session::modify).
    pub fn try_edit<T: Serialize + DeserializeOwned + Default, E>(
        &self,
        key: impl AsKey<T>,
        edit: impl Fn(&mut T) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Result<T, E>, Error> {
        let key = key.as_key();
        let compute = move |value: Option<&Value>| {
            let mut edited = value.map_or(Ok(None), Value::read::<T>)?.unwrap_or_default();
            match edit(&mut edited) {
                Ok(()) => Value::serialize(&edited).map(Ok),
                Err(refused) => Ok(Err(refused)),
            }
        };
        let compute = Arc::new(compute);
        let replay: Replay = {
            let compute = Arc::clone(&compute);
            Arc::new(move |value| match compute(value) {
                Ok(Ok(value)) => Ok(Some(value)),
                Ok(Err(_)) => Err(NotReplayed::Refused),
                Err(error) => Err(NotReplayed::Value(error)),
            })
        };
        self.exchange(key, |before| {
            Ok(match compute(before)? {
                Ok(value) => {
                    let edited = value.deserialize()?;
                    (Some(Change::Modify(Text::of_key(key), Some(value), Arc::clone(&replay))), Ok(edited))
                }
                Err(refused) => (None, Err(refused)),
            })
        })
    }
}
