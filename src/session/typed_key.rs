//! Keys that know the type of their value.

use std::fmt;
use std::marker::PhantomData;

/// A session key together with the type of its value.
///
/// ```
/// use cloakroom::Key;
///
/// const CART: Key<Vec<u64>> = Key::new("cart");
/// assert_eq!(CART.name(), "cart");
/// ```
pub struct Key<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// Creates a key of this name.
    pub const fn new(name: &'static str) -> Key<T> {
        Key { name, value: PhantomData }
    }

    /// The key's name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Key").field(&self.name).finish()
    }
}

/// The key argument of [`Session::get`](crate::Session::get) and similar methods: any text, or a [`Key`] that
/// fixes the type.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Key, MemoryStore, Session, Settings};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// const VISITS: Key<u32> = Key::new("visits");
/// session.set(VISITS, 7)?;
/// assert_eq!(session.get(&VISITS)?, Some(7), "the key says the type");
/// assert_eq!(session.get::<u32>("visits")?, Some(7), "a text does not");
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub trait AsKey<T> {
    /// The key's name.
    fn as_key(&self) -> &str;
}

impl<T> AsKey<T> for &str {
    fn as_key(&self) -> &str {
        self
    }
}

impl<T> AsKey<T> for &String {
    fn as_key(&self) -> &str {
        self
    }
}

impl<T> AsKey<T> for Key<T> {
    fn as_key(&self) -> &str {
        self.name
    }
}

impl<T> AsKey<T> for &Key<T> {
    fn as_key(&self) -> &str {
        self.name
    }
}
