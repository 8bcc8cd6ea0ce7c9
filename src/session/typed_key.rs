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

/// The key's name, for methods that take any text, such as [`Session::update`](crate::Session::update).
impl<T> AsRef<str> for Key<T> {
    fn as_ref(&self) -> &str {
        self.name
    }
}

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

/// The key argument of [`Session::set`](crate::Session::set): any text, or a [`Key`] whose type has the same
/// stored form as the value.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Key, MemoryStore, Session, Settings};
///
/// const NAME: Key<String> = Key::new("name");
/// const CART: Key<Vec<u64>> = Key::new("cart");
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set(NAME, "Ada")?;
/// let cart = vec![3, 5];
/// session.set(CART, &cart)?;
/// assert_eq!((session.get(NAME)?.as_deref(), session.get(CART)?), (Some("Ada"), Some(cart)));
/// # Ok::<(), cloakroom::Error>(())
/// ```
///
/// Another type does not compile:
///
/// ```compile_fail
/// # use cloakroom::{Key, Session};
/// # const NAME: Key<String> = Key::new("name");
/// # fn handler(session: Session) {
/// session.set(NAME, 7);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no session key for a value of the type `{V}`",
    note = "a key is a `Key<T>`, a `&str` or a `&String`"
)]
pub trait KeyFor<V> {
    /// The key's name.
    fn key_name(&self) -> &str;
}

impl<V> KeyFor<V> for &str {
    fn key_name(&self) -> &str {
        self
    }
}

impl<V> KeyFor<V> for &String {
    fn key_name(&self) -> &str {
        self
    }
}

impl<V, T: StoredFrom<V>> KeyFor<V> for Key<T> {
    fn key_name(&self) -> &str {
        self.name
    }
}

impl<V, T: StoredFrom<V>> KeyFor<V> for &Key<T> {
    fn key_name(&self) -> &str {
        self.name
    }
}

/// Marks that a `V` is stored in the same form as this type, so that a [`Key`] of this type can be set from
/// it: a reference, `&str` for a `String`, a slice or an array for a `Vec`, a value for an `Option`.
///
/// Implement it for a borrowed form of your own type, whose `Serialize` writes the same.
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Key, MemoryStore, Session, Settings, StoredFrom};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Item { name: String }
/// #[derive(serde::Serialize)]
/// struct ItemRef<'a> { name: &'a str }
/// impl StoredFrom<ItemRef<'_>> for Item {}
///
/// const ITEM: Key<Item> = Key::new("item");
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// session.set(ITEM, ItemRef { name: "wool" })?;
/// assert_eq!(session.get(ITEM)?.unwrap().name, "wool");
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "a key of the type `{Self}` cannot be set from a `{V}`")]
pub trait StoredFrom<V> {}

impl<T> StoredFrom<T> for T {}
impl<T> StoredFrom<&T> for T {}
impl StoredFrom<&str> for String {}
impl<T> StoredFrom<&[T]> for Vec<T> {}
impl<T, const N: usize> StoredFrom<[T; N]> for Vec<T> {}
impl<T, const N: usize> StoredFrom<&[T; N]> for Vec<T> {}
impl<T> StoredFrom<T> for Option<T> {}
impl<T> StoredFrom<&T> for Option<T> {}

/// The key argument of methods that need no type, such as [`Session::remove`](crate::Session::remove): any
/// text, or a [`Key`].
///
/// ```
/// use std::sync::Arc;
/// use cloakroom::{Key, MemoryStore, Session, Settings};
///
/// let session = Session::new(Arc::new(MemoryStore::new()), Settings::new("secret"));
/// const VISITS: Key<u32> = Key::new("visits");
/// session.set(VISITS, 7)?;
/// assert!(session.contains_key(VISITS) && session.contains_key("visits"));
/// assert!(session.remove(VISITS));
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub trait KeyName {
    /// The key's name.
    fn key_name(&self) -> &str;
}

impl<S: AsRef<str> + ?Sized> KeyName for &S {
    fn key_name(&self) -> &str {
        (*self).as_ref()
    }
}

impl<T> KeyName for Key<T> {
    fn key_name(&self) -> &str {
        self.name
    }
}
