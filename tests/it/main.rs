//! The integration tests, in one binary.

mod json_dialect;
mod stores;
mod vectors;
