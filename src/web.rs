//! Sessions in requests and responses: the rules, and the adapters for web frameworks.

#[cfg(feature = "actix")]
pub(crate) mod actix;
#[cfg(feature = "axum")]
mod axum;
pub(crate) mod csrf;
pub(crate) mod login_redirect;
pub(crate) mod messages;
pub mod middleware;
pub(crate) mod request_head;
#[cfg(any(feature = "tower", feature = "actix"))]
mod require;
pub(crate) mod site;
#[cfg(feature = "tower")]
pub(crate) mod tower;
