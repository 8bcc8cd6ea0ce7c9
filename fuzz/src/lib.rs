//! The fuzz targets of Cloakroom. Each takes any bytes, and panics when the library does something else than what
//! Python or Django does with them, as far as it means to do the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)]

mod oracle;
#[path = "../../tests/it/vectors/python.rs"]
#[allow(dead_code)]
mod python;
pub mod settings_file;
pub mod targets;
