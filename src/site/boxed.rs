//! Putting a future into a box.

use std::pin::Pin;

/// Boxes the future that `make` makes. [`Box::pin`] makes the future first and copies it; this makes it in its place,
/// and writes only the few bytes that a future has before it begins.
pub(crate) fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
