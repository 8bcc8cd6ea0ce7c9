//! The integration tests, in one binary.

mod pickles;
#[allow(dead_code, reason = "each feature uses a part of it")]
mod servers;
mod stores;
