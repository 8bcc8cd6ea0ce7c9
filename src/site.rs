//! The settings of one site, and the terms that all layers above share: keys, times and errors.

pub(crate) mod boxed;
pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod lock;
pub(crate) mod path_list;
pub(crate) mod session_key;
pub(crate) mod settings;
