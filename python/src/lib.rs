//! The native part of the Python package `django_cloakroom`: the codec and the save protocol of the crate `cloakroom`.
//!
//! Django keeps its connections, transactions, models and cache clients in Python, and the session's dictionary too. So
//! the Rust [`Session`](cloakroom::Session) does here what must be right once for both languages: it decides what changed,
//! compares and swaps, and replays the changes on what another request saved meanwhile. A [`store`] made of Python
//! callables runs the statements.

mod codec;
mod error;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod files;
mod save;
mod store;

/// The module `django_cloakroom._core`. `_core.pyi` has its signatures.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::codec::{Codec, Stored};
    #[pymodule_export]
    use crate::error::{SessionGone, SessionUnreadable};
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    #[pymodule_export]
    use crate::files::Files;
    #[pymodule_export]
    use crate::save::save;
}
