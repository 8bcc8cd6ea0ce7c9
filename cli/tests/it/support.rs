//! Helpers of the tests. One that a single module needs stands in that module.

pub(crate) mod browser;
pub(crate) mod command;
pub(crate) mod documents;
pub(crate) mod pasted;
pub(crate) mod project;
pub(crate) mod sessions;
pub(crate) mod terminal;

pub(crate) use self::of_the_library::{chromium, servers, vectors};

#[path = "../../../tests/it/support"]
mod of_the_library {
    #[allow(dead_code, reason = "the library's tests need more of it")]
    pub(crate) mod chromium;
    #[allow(dead_code, reason = "the library's tests need more of it")]
    pub(crate) mod servers;
    #[allow(dead_code, reason = "the library's tests need more of it")]
    pub(crate) mod vectors;
}
