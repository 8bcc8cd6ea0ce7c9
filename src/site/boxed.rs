//! Putting a future into a box.

use std::pin::Pin;

/// Boxes the future that `make` makes. [`Box::pin`] gets a future that is made already, and copies all of it. Here the box
/// comes first, so that an optimised build can make the future in it, and writes only the few bytes that are in use before
/// it begins.
pub(crate) fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
